"""The identity window: how well the embedding tells people apart, and at which threshold tracks may be joined.

Photographs of `../shared/data/face_expression_muxspace` whose file name holds a person's name; some people are there
several times, with other photographs. People are split by the parity of the SHA-256 of their name: crop and threshold
were chosen on one half, figures are of the other. Videos: the same person seconds later, which is the window's task.
"""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import numpy as np

from bench.expression import largest
from bench.faces import DATA, one, read
from mien.core import Boxes, Faces, Frames
from mien.models.vision.faces.identity import FaceRes
from mien.models.weights import open_adapter, resolve
from mien.models.weights.extras import DEMO_VIDEO
from mien.pipeline.stages.identity import WindowConfig

Array = np.ndarray
FOLDER = DATA / "face_expression_muxspace"
VIDEOS = ("single_face.mp4", "face_noface.mov", "hungry.mkv", "sorry.mkv", "no.mkv")
HEIGHTS_PX = (24, 32, 48, 64, 96)


def main(args: list[str]) -> list[str]:
    """`--crops` also compares crops on the fitting half (slow)."""
    faces, names = photographs()
    v = vectors(faces)
    seen, found = np.flatnonzero(np.isfinite(v).all(axis=1)), len(names)
    faces, names, v = [faces[i] for i in seen], names[seen], v[seen]
    fit = np.array([hashlib.sha256(n.encode()).digest()[-1] % 2 == 0 for n in names])
    chosen = WindowConfig().threshold
    lines = [
        f"{len(names)} of {found} photographs are large enough, of {len(set(names))} named people; threshold {chosen} "
        "chosen on half of the people."
    ]
    if "--crops" in args:
        lines += ["", "| box × | AUC (fit) | EER (fit) |", "|---|---|---|"]
        for enlarge in (1.0, 1.2, 1.4, 1.6, 1.8):
            same, other = pairs(vectors(faces, FaceRes.Config(enlarge=enlarge)), names, fit)
            lines.append(f"| {enlarge} | {auc(same, other):.3f} | {eer(same, other):.3f} |")
    lines += ["", "| people | same pairs | other pairs | AUC | EER | joined, same | joined, other |", "|---" * 7 + "|"]
    for name, half in (("fitted on", fit), ("held out", ~fit)):
        same, other = pairs(v, names, half)
        lines.append(
            f"| {name} | {len(same)} | {len(other)} | {auc(same, other):.3f} | {eer(same, other):.3f} | "
            f"{(same >= chosen).mean():.2f} | {(other >= chosen).mean():.4f} |"
        )
    lines += ["", *small(faces, names, v, ~fit), "", *footage(v[~fit])]
    model: Any = open_adapter("identity.faceres")
    start, n = time.process_time(), 20
    for face in faces[:n]:
        model.run(face)
    return [*lines, "", f"{(time.process_time() - start) / n * 1e3:.0f} ms of processor a face."]


def photographs() -> tuple[list[Faces], Array]:
    finder: Any = open_adapter("face.centerface")
    faces, names = [], []
    for path in sorted(FOLDER.glob("*.jpg")):
        face = None if path.name.startswith("facial-expressions") else largest(finder, one(read(path)))
        if face is not None:  # pictures without a person's name are left out
            faces.append(face)
            names.append(re.sub(r"_?\d+\.jpg$", "", path.name))
    return faces, np.array(names)


def vectors(faces: list[Faces], config: FaceRes.Config | None = None) -> Array:
    """Unit vectors `[n 1024]`."""
    model: Any = open_adapter("identity.faceres", config)
    found = np.concatenate([model.run(face).vectors for face in faces])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def pairs(v: Array, names: Array, half: Array) -> tuple[Array, Array]:
    """Cosines of pairs of one person, and of two."""
    cosine, who = v[half] @ v[half].T, names[half]
    i, j = np.triu_indices(len(who), 1)
    same = who[i] == who[j]
    return cosine[i, j][same], cosine[i, j][~same]


def auc(same: Array, other: Array) -> float:
    return float((same[:, None] > other[None]).mean() + 0.5 * (same[:, None] == other[None]).mean())


def eer(same: Array, other: Array) -> float:
    """Equal error rate: where as many same pairs are missed as other pairs are taken."""
    return float(min(max((same < t).mean(), (other >= t).mean()) for t in np.unique(np.concatenate([same, other]))))


def small(faces: list[Faces], names: Array, v: Array, half: Array) -> list[str]:
    """The held-out photographs made small, against the other photographs of the person at full size."""
    import cv2

    rows = np.flatnonzero(half)
    lines = ["| face, px | AUC | cosine with itself at full size, median |", "|---|---|---|"]
    for height in HEIGHTS_PX:
        shrunk = []
        for face in (faces[r] for r in rows):
            box, pixels = face.boxes.xyxy[0], face.frames.pixels[0]
            scale = height / float(max(box[2] - box[0], box[3] - box[1]))
            size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
            less = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            b = face.boxes
            made = Boxes(b.frame, b.xyxy * np.float32(scale), b.score, b.label, b.names, b.points * np.float32(scale))
            shrunk.append(Faces(Frames(np.asarray(less, np.uint8)[None], face.frames.t_us), made))
        w = vectors(shrunk, FaceRes.Config(min_face_px=8))
        cosine = w @ v[rows].T
        same = (names[rows][:, None] == names[rows][None]) & ~np.eye(len(rows), dtype=bool)
        other = names[rows][:, None] != names[rows][None]
        lines.append(f"| {height} | {auc(cosine[same], cosine[other]):.3f} | {np.median(np.diagonal(cosine)):.2f} |")
    return lines


def footage(strangers: Array) -> list[str]:
    """One person per video: cosines between pictures at least a second apart, and to the held-out photographs."""
    import av

    finder: Any = open_adapter("face.centerface")
    lines = [
        "| video | pictures | cosine a second or more apart: least, tenth percentile, median | "
        "mean, first third to last | mean to another, most | joined with how many of them |",
        "|---" * 6 + "|",
    ]
    for path in (resolve(DEMO_VIDEO).only, *(DATA / "video_faces" / name for name in VIDEOS)):
        faces, at = [], []
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                t = frame.time or 0.0
                if at and t - at[-1] < 0.25:
                    continue
                face = largest(finder, one(frame.to_ndarray(format="rgb24")))
                if face is not None and face.boxes.score[0] > 0.5:
                    faces.append(face)
                    at.append(t)
        if len(faces) < 5:
            continue
        v = vectors(faces)
        apart = np.abs(np.subtract.outer(at, at)) >= 1
        cosine = (v @ v.T)[apart]
        low, tenth, middle = np.quantile(cosine, (0, 0.1, 0.5))
        third = len(v) // 3
        again = float((v[:third] @ v[-third:].T).mean())
        wrong = (v @ strangers.T).mean(0)
        lines.append(
            f"| {path.name} | {len(at)} | {low:.2f}, {tenth:.2f}, {middle:.2f} | {again:.2f} | {wrong.max():.2f} | "
            f"{int((wrong >= WindowConfig().threshold).sum())} of {len(wrong)} |"
        )
    return lines
