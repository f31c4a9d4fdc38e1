"""Age and explicit content (rules of display and export), objects and landmarks in short, and what each adapter costs.

Truth for age: pictures of `../shared/data/face_expression_muxspace` that show people whose year of birth is public;
such news pictures were taken in 2002-2004, taken here as 2003, so one year of the error is ours. All are adults: the
error that matters most, on minors, cannot be measured with this data.
"""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np

from bench.expression import FOLDER, largest
from bench.faces import DATA, one, read, resized, video
from mien.core import Boxes, Device, Faces, Frames
from mien.models.vision.faces.detection import CenterFace
from mien.models.weights import load_adapters, open_adapter

PAIRS = [[33, 263], [133, 362], [61, 291]]  # outer and inner corners of the eyes, corners of the mouth
TAKEN = 2003
BORN = {
    "Al_Sharpton": 1954, "Alejandro_Toledo": 1946, "Anastasia_Myskina": 1981, "Anna_Kournikova": 1981,
    "Ariel_Sharon": 1928, "Aung_San_Suu_Kyi": 1945, "Bill_Belichick": 1952, "Colin_Farrell": 1976,
    "Colin_Powell": 1937, "David_Nalbandian": 1982, "Dennis_Kucinich": 1946, "Derek_Jeter": 1974,
    "Elizabeth_Dole": 1936, "Fernando_Alonso": 1981, "Fernando_Gonzalez": 1980, "George_Robertson": 1946,
    "George_W_Bush": 1946, "Gloria_Macapagal_Arroyo": 1947, "Gordon_Brown": 1951, "Gregg_Popovich": 1949,
    "Guillermo_Coria": 1982, "Gustavo_Kuerten": 1976, "Guy_Ritchie": 1968, "Heidi_Klum": 1973, "Hugo_Chavez": 1954,
    "JJ_Redick": 1984, "Jason_Kidd": 1973, "Javier_Solana": 1942, "Jean_Charest": 1958, "Jean_Chretien": 1934,
    "Jennifer_Capriati": 1976, "Jesse_Jackson": 1941, "Jiang_Zemin": 1926, "Jim_Carrey": 1962,
    "John_Ashcroft": 1942, "John_Howard": 1939, "John_Kerry": 1943, "Jon_Stewart": 1962, "Jude_Law": 1972,
    "Kim_Clijsters": 1983, "Lance_Bass": 1979, "Laura_Bush": 1946, "Laura_Linney": 1964, "Lindsay_Davenport": 1976,
    "Lleyton_Hewitt": 1981, "Luiz_Inacio_Lula_da_Silva": 1945, "Mahathir_Mohamad": 1925, "Marat_Safin": 1980,
    "Megawati_Sukarnoputri": 1947, "Michael_Phelps": 1985, "Michael_Schumacher": 1969, "Naomi_Watts": 1968,
    "Nelson_Mandela": 1918, "Oprah_Winfrey": 1954, "Paula_Radcliffe": 1973, "Pete_Sampras": 1971,
    "Queen_Elizabeth_II": 1926, "Rob_Lowe": 1964, "Rudolph_Giuliani": 1944, "Tim_Henman": 1974, "Tony_Blair": 1953,
    "Venus_Williams": 1980, "Vicente_Fox": 1942, "Yao_Ming": 1980,
}  # fmt: skip


def main(args: list[str]) -> list[str]:
    return [*age(), "", *explicit(), "", *objects(), "", *landmarks(), "", *cost()]


def age() -> list[str]:
    finder: Any = open_adapter("face.centerface")
    model: Any = open_adapter("age.ageandgender")
    truth, value, sd = [], [], []
    for path in sorted(FOLDER.glob("*.jpg")):
        born = BORN.get(re.sub(r"_\d+$", "", path.stem))
        face = largest(finder, one(read(path))) if born else None
        if born and face is not None:
            answer = model.run(face)
            truth.append(TAKEN - born)
            value.append(float(answer.value[0]))
            sd.append(float(answer.sd[0]))
    t, v, s = np.array(truth, float), np.array(value), np.array(sd)
    error = v - t
    far = np.abs(error)
    lines = [
        f"Age: {len(t)} pictures of adults of {t.min():.0f}-{t.max():.0f} years: mean absolute error {far.mean():.1f} "
        f"years, bias {error.mean():+.1f}, 90th percentile {np.quantile(far, 0.9):.1f}, r "
        f"{np.corrcoef(t, v)[0, 1]:.2f}; mean sd {s.mean():.1f}; truth within 1 sd {(far <= s).mean():.2f}, "
        f"within 2 sd {(far <= 2 * s).mean():.2f}."
    ]
    for low, high in ((15, 30), (30, 50), (50, 65), (65, 100)):
        part = (t >= low) & (t < high)
        if part.any():
            lines.append(
                f"- {low}-{high} years, {part.sum()} pictures: MAE {far[part].mean():.1f}, "
                f"bias {error[part].mean():+.1f}, within 2 sd {(far[part] <= 2 * s[part]).mean():.2f}"
            )
    return lines


def explicit() -> list[str]:
    """Only the side of false alarms: no explicit picture is, or will be, in the shared data."""
    model: Any = open_adapter("explicit.opennsfw")
    faces = np.array([model.run(one(read(p))).value[0] for p in sorted(FOLDER.glob("*.jpg"))])
    frames = [f for p in sorted((DATA / "video_faces").glob("*.mp4")) for f in video(p, 12)]
    frames_score = np.array([model.run(one(f)).value[0] for f in frames])
    return [
        f"Explicit: {len(faces)} pictures of dressed people: {(faces >= 0.2).mean():.3f} at 0.2 or more, "
        f"{(faces >= 0.8).mean():.3f} at 0.8 or more, worst {faces.max():.2f}; {len(frames)} video frames: "
        f"{(frames_score >= 0.2).mean():.3f} at 0.2 or more, worst {frames_score.max():.2f}. Recall: not measured."
    ]


def objects() -> list[str]:
    """Persons where a face was seen, and none where nobody is: all that can be said without labelled boxes."""
    finder: Any = open_adapter("face.centerface", CenterFace.Config(min_score=0.5))
    model: Any = open_adapter("object.nanodet")
    seen, found = 0, 0
    for name in ("single_face.mp4", "short_hamilton_clip.mp4"):
        for frame in video(DATA / "video_faces" / name, 10):
            heads = finder.run(one(frame)).xyxy
            people = model.run(one(frame))
            people = people.xyxy[people.label == 0]
            for middle in (heads[:, :2] + heads[:, 2:]) / 2:
                seen += 1
                found += bool(((people[:, :2] <= middle) & (people[:, 2:] >= middle)).all(1).any())
    empty = video(DATA / "video_faces/no_face.mp4", 5)
    false = sum(bool((model.run(one(frame)).label == 0).any()) for frame in empty)
    return [
        f"Objects: {found} of {seen} faces lie in a person's box; a person in {false} of {len(empty)} empty frames."
    ]


def landmarks() -> list[str]:
    """Presence on faces and on empty places, and how far the points of a mirrored picture are from mirrored points."""
    finder: Any = open_adapter("face.centerface")
    model: Any = open_adapter("landmarks.facemesh")
    presence, apart, empty = [], [], []
    scenes = video(DATA / "video_faces/no_face.mp4", 5)
    rng = np.random.default_rng(11)
    for path in sorted(FOLDER.glob("*.jpg")):
        picture = read(path)
        straight, turned = (largest(finder, one(p)) for p in (picture, np.ascontiguousarray(picture[:, ::-1])))
        if straight is None or turned is None:
            continue
        a, b = model.run(straight), model.run(turned)
        presence.append(a.score[0])
        back = b.points[0, [p[::-1] for p in PAIRS], :2] * [-1, 1] + [picture.shape[1], 0]
        eyes = np.linalg.norm(a.points[0, 33, :2] - a.points[0, 263, :2])
        apart.append(np.linalg.norm(a.points[0, PAIRS, :2] - back, axis=-1).mean() / eyes)
        x, y, side = rng.integers(0, 200), rng.integers(0, 120), rng.integers(60, 160)
        box = np.array([[x, y, x + side, y + side]], np.float32)
        zero = np.zeros(1, np.int64)
        nobody = Boxes(zero, box, np.ones(1, np.float32), zero, ("face",))
        empty.append(model.run(Faces(one(scenes[len(empty) % len(scenes)]), nobody)).score[0])
    return [
        f"Landmarks: presence ≥ 0.5 on {np.mean(np.array(presence) >= 0.5):.3f} of {len(presence)} faces and on "
        f"{np.mean(np.array(empty) >= 0.5):.3f} of as many empty places; corners of eyes and mouth of the mirrored "
        f"picture lie {np.median(apart):.3f} of the eyes' distance from the mirrored ones (median; 90th percentile "
        f"{np.quantile(apart, 0.9):.3f}). Accuracy against labelled points: not measured."
    ]


def cost() -> list[str]:
    """Per 640x360 frame with one face: processor time, which other work disturbs less, and wall time (medians)."""
    frame = resized(video(DATA / "video_faces/single_face.mp4", 30)[0], 640, 360)
    lines = ["| adapter | processor ms | wall ms, one thread | wall ms a frame, two threads |", "|---|---|---|---|"]
    two = Frames(np.stack([frame, frame]), np.array([0, 40_000]))
    finder: Any = open_adapter("face.centerface")
    for name, cls in load_adapters().items():
        if cls.spec.takes not in (Frames, Faces):
            continue
        took = []
        for n in (1, 2):
            frames = Frames(two.pixels[:n], two.t_us[:n])
            batch = frames if cls.spec.takes is Frames else Faces(frames, finder.run(frames))
            model: Any = open_adapter(name, None, Device(threads=n))
            model.run(batch)
            times = []
            for _ in range(15):
                start = time.perf_counter(), time.process_time()
                model.run(batch)
                times.append(((time.perf_counter() - start[0]) / n, (time.process_time() - start[1]) / n))
            wall, cpu = 1e3 * np.median(times, axis=0)
            took += [cpu, wall] if n == 1 else [wall]
            model.close()
        lines.append(f"| {name} | {took[0]:.1f} | {took[1]:.1f} | {took[2]:.1f} |")
    return lines
