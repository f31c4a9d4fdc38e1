"""Anomaly of scenes on planted outliers, and whether scene vectors tell people apart.

A score is worth something only against *ordinary newcomers*: one more clip of a source the project does not hold yet.
So every item, odd or ordinary, is added alone to a project without its source, and the AUC is that of odd items over
ordinary newcomers by their percentile. Features and scaling were chosen on the two development projects; the two
others were not looked at for that. Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.expression import FOLDER, largest
from bench.faces import DATA, one, read, resized, video
from mien.core import Device, Faces, Frames
from mien.models.vision.scene import without
from mien.models.weights import open_adapter, resolve
from mien.models.weights.extras import DEMO_VIDEO
from mien.signals.neighbours import anomalies, scaled

U8 = Any
FACES, TRACKING = DATA / "video_faces", DATA / "tracking"
TALKING = ("single", "hamilton", "hungry", "no", "sorry", "demo", "face")
DISTANT = ("vtest", "onebyone", "campus", "classroom", "walking")
ODD = ("empty", "cartoon", "mountain", "black", "bars", "noise", "inverted", "upside down")
SCORES = (
    ("scene.nanodet", "unit"), ("scene.nanodet, faces covered", "unit"), ("scene.nanodet", "standard"),
    ("scene.nanodet", "whitened"), ("open_nsfw", "unit"), ("open_nsfw", "whitened"), ("colour histogram", "unit"),
    ("8 × 8 thumbnail", "standard"), ("random", "unit"), ("scene.nanodet, rows shuffled", "unit"),
)  # fmt: skip
DRAWS = 5  # of the two controls
HELD_OUT = (*SCORES[:2], *SCORES[-4:])


@dataclass(frozen=True, slots=True)
class Item:
    """One frame that stands for a clip: what kind of thing, which source, whether its person is in the first half."""

    kind: str
    source: str
    first: bool
    pixels: U8


def main(args: list[str]) -> list[str]:
    items = load()
    rows = {name: vectors(name, items) for name in dict.fromkeys(name for name, _ in SCORES)}
    return [*outliers(items, rows), "", *people()]


# ---------------------------------------------------------------- planted outliers


def load() -> list[Item]:
    paths = {
        "single": FACES / "single_face.mp4", "hamilton": FACES / "short_hamilton_clip.mp4",
        "hungry": FACES / "hungry.mkv", "no": FACES / "no.mkv", "sorry": FACES / "sorry.mkv",
        "demo": resolve(DEMO_VIDEO).only, "classroom": FACES / "classroom.gif",
        "walking": FACES / "face-demographics-walking.gif", "empty": FACES / "no_face.mp4",
        "vtest": TRACKING / "vtest.avi", "onebyone": TRACKING / "one-by-one-person-detection.mp4",
        "campus": TRACKING / "TUD-Campus/TUD-Campus.mp4",
    }  # fmt: skip
    every = {"vtest": 60, "onebyone": 100, "demo": 48, "hamilton": 15}
    frames = {name: video(path, every.get(name, 10)) for name, path in paths.items()}
    both = video(FACES / "face_noface.mov", 10)
    frames["face"], frames["cartoon"] = both[:7], both[9:]
    frames["mountain"] = [read(DATA / "face_pictures/free-mountain-vector-01.jpg")]
    frames["black"] = [np.full((360, 640, 3), 4, np.uint8)]
    frames["bars"] = [bars()]
    frames["noise"] = [np.random.default_rng(0).integers(0, 256, (360, 640, 3), dtype=np.uint8)]
    # One recording under two names, as the near-duplicates of `python -m bench quality` show.
    same = {"face": "single"}
    items = [Item(n, same.get(n, n), True, resized(p, 640, 360)) for n, some in frames.items() for p in some]
    for path in sorted(FOLDER.glob("*.jpg")):
        person = re.sub(r"_\d+$", "", path.stem)
        items.append(Item("portrait", person, half(person), read(path)))
    for part in (TALKING, DISTANT, ("portrait",)):
        some = [i for i in items if i.kind in part][:: 7 if part != ("portrait",) else 60][:4]
        for name, change in (("inverted", lambda p: 255 - p), ("upside down", lambda p: p[::-1])):
            items += [Item(name, f"{name} {part[0]}", True, np.ascontiguousarray(change(i.pixels))) for i in some]
    return items


def outliers(items: list[Item], rows: dict[str, Any]) -> list[str]:
    """AUC of odd items over ordinary newcomers, by project and score."""
    kind, source = np.array([i.kind for i in items]), [i.source for i in items]
    first = np.array([i.first for i in items])
    portrait, talking, distant = (np.isin(kind, names) for names in (["portrait"], TALKING, DISTANT))
    projects = {
        "talking heads": (talking, per_source(talking, source), ("vtest", "campus", "classroom", "walking")),
        "portraits, first half": (portrait & first, np.flatnonzero(portrait & ~first)[::5], ("vtest", "campus")),
        "portraits, second half": (portrait & ~first, np.flatnonzero(portrait & first)[::5], ("onebyone", "demo")),
        "people at a distance": (distant, per_source(distant, source), ("portrait", "single", "hungry", "demo")),
    }
    lines = []
    for number, (name, (normal, newcomers, others)) in enumerate(projects.items()):
        kinds = (*others, *ODD)
        part = {"talking heads": TALKING, "people at a distance": DISTANT}.get(name, ("portrait",))
        odd = {k: pick(kind, source, k, part) for k in kinds}
        lines += [
            "",
            f"**{name}** ({'development' if number < 2 else 'held out'}): {normal.sum()} clips of "
            f"{len({source[i] for i in np.flatnonzero(normal)})} sources, {len(newcomers)} ordinary newcomers.",
            "",
            "| score | newcomers' mean percentile | AUC, mean | lowest | " + " | ".join(kinds) + " |",
            "|---" * (4 + len(kinds)) + "|",
        ]
        for vectors_of, how in SCORES if number < 2 else HELD_OUT:
            common, value = [], []
            for x in rows[vectors_of]:
                ranks = [percentile(x, how, source, normal, i) for i in newcomers]
                common.append(np.mean(ranks))
                value.append([auc(ranks, [percentile(x, how, source, normal, i) for i in odd[k]]) for k in kinds])
            value = np.mean(value, axis=0)
            lines.append(
                f"| {vectors_of}, {how} | {np.mean(common):.2f} | {np.mean(value):.2f} | {min(value):.2f} | "
                + " | ".join(f"{v:.2f}" for v in value)
                + " |"
            )
    return lines[1:]


def per_source(rows: Any, source: list[str]) -> Any:
    """Three clips of every source."""
    chosen = [[i for i in np.flatnonzero(rows) if source[i] == s][1::2][:3] for s in dict.fromkeys(source)]
    return np.array([i for some in chosen for i in some], np.int64)


def pick(kind: Any, source: list[str], wanted: str, part: tuple[str, ...]) -> list[int]:
    """Up to three items of a kind; what is made of ordinary items, of those of this project."""
    found = [i for i in np.flatnonzero(kind == wanted) if " " not in source[i] or source[i].endswith(part[0])]
    return [int(i) for i in found[:: max(1, len(found) // 3)][:3]]


def percentile(x: Any, how: Any, source: list[str], normal: Any, item: int) -> float:
    """The percentile of one item in a project without its source."""
    rows = [i for i in np.flatnonzero(normal) if source[i] != source[item]] + [item]
    answer = anomalies(scaled(x[rows], how), [source[i] for i in rows])[-1].percentile
    assert answer is not None
    return answer


def auc(ordinary: list[float], odd: list[float]) -> float:
    a, b = np.array(ordinary)[:, None], np.array(odd)[None]
    return float(((b > a) + 0.5 * (b == a)).mean())


# ---------------------------------------------------------------- do they tell people apart?


def people() -> list[str]:
    """Verification AUC (same person nearer than another) on pictures of people who are there more than once."""
    finder, model = open_adapter("face.centerface"), open_adapter("scene.nanodet")
    who, faces = [], []
    names = [re.sub(r"_\d+$", "", p.stem) for p in sorted(FOLDER.glob("*.jpg"))]
    for path, name in zip(sorted(FOLDER.glob("*.jpg")), names, strict=True):
        face = largest(finder, one(read(path))) if names.count(name) > 1 and path.stem[-4:].isdigit() else None
        if face is not None:
            who.append(name)
            faces.append(face)
    same = np.array(who)[:, None] == np.array(who)
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    lines = [
        f"**Do scene vectors tell people apart?** {len(who)} pictures of {len(set(who))} people, "
        f"{(same & upper).sum()} pairs of one person, on other days or in other places as far as the file says; "
        "AUC of same against other person (0.5: not at all), nearest picture is of the same person, and chance.",
    ]
    views: dict[str, Callable[[Faces], Frames]] = {
        "a face fills the frame": filled,
        "whole picture": lambda f: f.frames,
        "whole picture, face covered (`without`, margin 0.2)": lambda f: without(f.frames, f.boxes),
        "whole picture, face covered, margin 0.6": lambda f: without(f.frames, f.boxes, 0.6),
    }
    for name, view in views.items():
        x = np.concatenate([model.run(view(f)).vectors for f in faces])
        far = np.linalg.norm(x[:, None] - x[None], axis=2)
        np.fill_diagonal(far, np.inf)
        hit = same[np.arange(len(x)), far.argmin(1)].mean()
        chance = (same.sum(1) - 1).mean() / (len(x) - 1)
        value = auc(list(-far[upper & ~same]), list(-far[upper & same]))
        lines.append(f"- {name}: AUC {value:.3f}; nearest is the same person {hit:.3f} (chance {chance:.3f})")
    return lines


def filled(face: Faces) -> Frames:
    x1, y1, x2, y2 = (max(0, round(float(v))) for v in face.boxes.xyxy[0])
    return one(np.ascontiguousarray(face.frames.pixels[0, y1:y2, x1:x2]))


# ---------------------------------------------------------------- the scores


def vectors(name: str, items: list[Item]) -> list[Any]:
    """float64 `[n d]`, one row an item; several draws of what is drawn."""
    import cv2

    rng = np.random.default_rng(3)
    if name == "random":
        return [rng.normal(size=(len(items), 64)) for _ in range(DRAWS)]
    if name.startswith("scene.nanodet"):
        model = open_adapter("scene.nanodet", None, Device(threads=1))
        finder = open_adapter("face.centerface", None, Device(threads=1)) if name.endswith("covered") else None
        frames = [one(i.pixels) for i in items]
        x = np.concatenate([model.run(without(f, finder.run(f)) if finder else f).vectors for f in frames])
        return [rng.permutation(x) for _ in range(DRAWS)] if name.endswith("shuffled") else [x]
    if name == "open_nsfw":
        return [open_nsfw(items)]
    small = [cv2.resize(i.pixels, (64, 64), interpolation=cv2.INTER_AREA) for i in items]
    if name == "colour histogram":
        return [np.stack([np.sqrt(cv2.calcHist([p], [0, 1, 2], None, [4] * 3, [0, 256] * 3)).ravel() for p in small])]
    return [np.stack([cv2.resize(p, (8, 8), interpolation=cv2.INTER_AREA).ravel() for p in small]).astype(np.float64)]


def open_nsfw(items: list[Item]) -> Any:
    """The 1024 pooled features before open_nsfw's last layer."""
    import onnx
    from onnx import helper

    from mien.models.onnx import OnnxNet
    from mien.models.vision.objects.explicit import OpenNsfw, prepared

    weights = OpenNsfw.spec.weights
    assert weights is not None
    model = onnx.load(resolve(weights).only)
    last = next(n for n in reversed(model.graph.node) if n.op_type == "MatMul")
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, None))
    net = OnnxNet(model.SerializeToString(), Device(threads=1))
    return np.stack([net.run(prepared(i.pixels)[None])[0][0] for i in items]).astype(np.float64)


def bars() -> U8:
    """Seven colour bars at 75 %."""
    colours = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)]
    return np.repeat(np.repeat(np.array(colours, np.uint8)[None], 92, 1), 360, 0)[:, :640]


def half(person: str) -> bool:
    return int(hashlib.sha256(person.encode()).hexdigest(), 16) % 2 == 0
