"""Body pose models beside each other on real people without labelled points: what can be checked without labels.

Accuracy against labelled points: not measured (no labelled set is here). Measured instead: mirrored pictures, moved
boxes, the face detector's eyes and nose, anatomy, walking direction, empty boxes, neighbouring frames, agreement of
unrelated networks, time. Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.faces import DATA, one, read, video
from mien.core import COCO_POINTS, Boxes, Device, Keypoints, People, Strict
from mien.models.vision.people.blazepose import BlazePose
from mien.models.vision.people.pose import MoveNet
from mien.models.weights import open_adapter

CANDIDATES: tuple[tuple[str, str, Strict | None], ...] = (
    ("movenet", "pose.movenet", None),
    ("movenet, box × 1.5", "pose.movenet", MoveNet.Config(enlarge=1.5)),
    ("movenet-thunder", "pose.movenet-thunder", None),
    ("blazepose", "pose.blazepose", None),
    ("blazepose, no finder", "pose.blazepose", BlazePose.Config(min_finder=1)),
)
OTHER = {"left": "right", "right": "left"}
SWAP = np.array([COCO_POINTS.index("_".join(OTHER.get(w, w) for w in name.split("_"))) for name in COCO_POINTS])
NOSE, L_EYE, R_EYE, L_SHOULDER, R_SHOULDER, L_HIP, R_HIP = (
    COCO_POINTS.index(n)
    for n in ("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
SEEN = 0.3
EVERY = 159  # frames of the street
MOVES = ((0.1, 0, 1), (0, -0.1, 1), (0, 0, 1.1), (0, 0, 0.9))  # right, up, larger, smaller


@dataclass(frozen=True, slots=True)
class Person:
    """One person's box in one frame. `whole`: the body is in the frame from head to foot; `heading`: +1 walks towards
    the camera, -1 away; `face`: 3 points px `[3 2]` (eye left in the picture, other eye, nose) where the detector
    found a frontal one."""

    pixels: np.ndarray
    box: np.ndarray
    whole: bool = True
    heading: int = 0
    face: np.ndarray | None = None

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])


def main(args: list[str]) -> list[str]:
    argparse.ArgumentParser(prog="bench pose", description=__doc__).parse_args(args)
    far, near = street(), rooms()
    empty, coming = emptied(far) + nobody(), walkers()
    steps = neighbours()
    lines = [
        "Accuracy against labelled points: not measured.",
        "",
        f"Far: {len(far)} people of 52-288 px height (two street scenes, annotated boxes). Near: {len(near)} people, "
        f"mostly cut off at the waist or below the shoulders (videos and portraits, boxes of object.nanodet). Empty: "
        f"{len(empty)} boxes without a person.",
        "Distances are medians over people of the median over 17 points as % of the box's height (near: over points of "
        f"visibility ≥ {SEEN} in both answers); "
        "mirror: picture flipped, sides exchanged (in brackets: sides not exchanged); moved: box shifted or scaled by "
        "10 %; face: eyes and nose against face.centerface, as % of the eyes' distance (median, 90 %); frames: second "
        "difference over three neighbouring frames, far and near; ms: processor time of one person.",
        "",
        "| model | mirror far | near | moved far | near | face 50 | face 90 | frames far | near | ms |",
        "|---" * 10 + "|",
    ]
    second = [
        "",
        "upright: shoulders above hips, far; own box: middle of the trunk in the person's own box, far; heading: "
        f"shoulders' order fits the walking direction, {len(coming)} people; frontal: shoulders' "
        f"order fits a frontal face, {sum(p.face is not None for p in near)} people; presence (movenet's "
        "own definition, chosen among eight on these same boxes, so flattered): 5 % quantile of people far and near, "
        "95 % and highest of empty boxes, AUC; points: how many of 17 are visible on people and on empty "
        "boxes.",
        "",
        "| model | upright | own box | heading | frontal | far 5 % | near 5 % | empty 95 % | max | AUC | points |",
        "|---" * 11 + "|",
    ]
    answers: dict[str, list[np.ndarray]] = {}
    for title, name, config in CANDIDATES:
        model = open_adapter(name, config, Device(threads=1))
        all_far, all_near = [solo(model, p) for p in far], [solo(model, p) for p in near]
        answers[title] = [k.points[0, :17] for k in all_far + all_near]
        m_far, m_near = mirrored(model, far, all_far), mirrored(model, near, all_near)
        lines.append(
            f"| {title} | {m_far[0]:.1f} ({m_far[1]:.0f}) | {m_near[0]:.1f} ({m_near[1]:.0f}) | "
            f"{moved(model, far, all_far):.1f} | {moved(model, near, all_near):.1f} | "
            + " | ".join(f"{v:.0f}" for v in on_face(near, all_near))
            + f" | {' | '.join(f'{jerk(model, s):.1f}' for s in steps)} | {milliseconds(model, near + far):.1f} |"
        )
        nothing, walking = [solo(model, p) for p in empty], [solo(model, p) for p in coming]
        there, not_there = presence(all_far + all_near), presence(nothing)
        auc = float(np.mean(there[:, None] > not_there) + 0.5 * np.mean(there[:, None] == not_there))
        visible = [np.mean([(k.points[0, :17, 2] >= SEEN).sum() for k in ks]) for ks in (all_far + all_near, nothing)]
        second.append(
            f"| {title} | {upright(all_far):.2f} | {in_own_box(far, all_far):.2f} | {heading(coming, walking):.2f} | "
            f"{frontal(near, all_near):.2f} | {np.quantile(presence(all_far), 0.05):.2f} | "
            f"{np.quantile(presence(all_near), 0.05):.2f} | {np.quantile(not_there, 0.95):.2f} | "
            f"{not_there.max():.2f} | {auc:.3f} | {visible[0]:.1f}, {visible[1]:.1f} |"
        )
    return lines + second + agreement(answers, far, near)


# ---------------------------------------------------------------- people


def street() -> list[Person]:
    """People alone in their box in two annotated street scenes."""
    out: list[Person] = []
    folder = DATA / "tracking"
    for path, truth, every in (
        (folder / "vtest.avi", folder / "PETS09-S2L1_gt.txt", EVERY),
        (folder / "TUD-Campus/TUD-Campus.mp4", folder / "TUD-Campus/gt.txt", 24),
    ):
        rows = annotated(truth)
        for index, pixels in enumerate(video(path, every)):
            here = np.array(list(rows[index * every + 1].values()))
            inside = (here[:, :2] >= 0).all(1) & (here[:, 2:] <= (pixels.shape[1], pixels.shape[0])).all(1)
            out += [Person(pixels, box) for box in here[inside] if (covered(box, here) > 0.15).sum() == 1]
    return out


def annotated(path: Path) -> dict[int, dict[int, np.ndarray]]:
    """MOTChallenge text: frame (from 1) → person → xyxy px."""
    out: dict[int, dict[int, np.ndarray]] = {}
    for row in np.loadtxt(path, delimiter=",", ndmin=2):
        out.setdefault(int(row[0]), {})[int(row[1])] = np.concatenate([row[2:4], row[2:4] + row[4:6]])
    return out


def walkers() -> list[Person]:
    """People of the first street who plainly come or go (feet move 1.5 times more along than across the picture), one
    frame of each in 8 s and direction."""
    rows, chosen = annotated(DATA / "tracking/PETS09-S2L1_gt.txt"), {}
    for frame in range(5, 790):
        for who, box in rows[frame].items():
            a, b = rows[frame - 4].get(who), rows[frame + 4].get(who)
            if a is None or b is None or (covered(box, np.array(list(rows[frame].values()))) > 0.15).sum() > 1:
                continue
            dx, dy = (b[0] + b[2] - a[0] - a[2]) / 2, b[3] - a[3]
            if abs(dy) > max(1.5 * abs(dx), 0.1 * (box[3] - box[1])):
                chosen.setdefault((who, dy > 0, frame // 80), (frame, box, int(np.sign(dy))))
    pictures = frames_at({frame for frame, _, _ in chosen.values()})
    return [Person(pictures[frame], box, heading=sign) for frame, box, sign in chosen.values()]


def frames_at(wanted: set[int]) -> dict[int, np.ndarray]:
    """Frames of the first street by number (from 1)."""
    import av

    with av.open(str(DATA / "tracking/vtest.avi")) as container:
        numbered = enumerate(container.decode(video=0), 1)
        return {n: frame.to_ndarray(format="rgb24") for n, frame in numbered if n in wanted}


def rooms() -> list[Person]:
    """People near the camera, the face's points where the whole face lies in their box and looks ahead."""
    pictures = [read(p) for p in sorted((DATA / "face_pictures").glob("*.jpg"))]
    for name, every in (
        ("single_face.mp4", 36), ("short_hamilton_clip.mp4", 40), ("hungry.mkv", 20), ("no.mkv", 30), ("sorry.mkv", 30),
        ("classroom.gif", 40), ("face-demographics-walking.gif", 12), ("face_noface.mov", 40),
    ):  # fmt: skip
        pictures += video(DATA / "video_faces" / name, every)
    objects, faces = open_adapter("object.nanodet"), open_adapter("face.centerface")
    out = []
    for pixels in pictures:
        found, seen = objects.run(one(pixels)), faces.run(one(pixels))
        for box in found.xyxy[(found.label == 0) & (found.score > 0.5)].astype(float):
            own = [i for i, f in enumerate(seen.xyxy) if (f[:2] >= box[:2] - 4).all() and (f[2:] <= box[2:] + 4).all()]
            face = seen.points[own[0], :3].astype(float) if len(own) == 1 else None
            out.append(Person(pixels, box, whole=False, face=face if face is not None and ahead(face) else None))
    return out


def ahead(face: np.ndarray) -> bool:
    """Whether the nose stands in the middle half between the eyes."""
    return bool(0.25 < (face[2, 0] - face[0, 0]) / max(1e-6, face[1, 0] - face[0, 0]) < 0.75)


def emptied(people: list[Person]) -> list[Person]:
    """Boxes of the same sizes in frames of the first street that touch nobody annotated there."""
    rng, out = np.random.default_rng(5), []
    rows = annotated(DATA / "tracking/PETS09-S2L1_gt.txt")
    for frame, pixels in frames_at(set(range(10, 795, 30))).items():
        taken = np.array(list(rows[frame].values()))
        for _ in range(40):
            side = people[int(rng.integers(len(people)))].box
            corner = rng.uniform(0, np.array([pixels.shape[1], pixels.shape[0]]) - (side[2:] - side[:2]))
            box = np.concatenate([corner, corner + side[2:] - side[:2]])
            if covered(box, taken).max() < 0.02:
                out.append(Person(pixels, box))
                break
    return out


def nobody() -> list[Person]:
    """Large boxes in pictures and videos without people."""
    rng, out = np.random.default_rng(6), []
    frames = video(DATA / "video_faces/no_face.mp4", 8) + video(DATA / "video_faces/face_noface.mov", 12)[8:]
    frames += [read(DATA / "face_pictures" / name) for name in ("no-faces.jpg", "free-mountain-vector-01.jpg")]
    for pixels in frames:
        h, w = pixels.shape[:2]
        for share in (0.5, 0.9):
            size = np.array([0.5 * h * share, h * share])
            corner = rng.uniform(0, np.array([w, h]) - size)
            out.append(Person(pixels, np.concatenate([corner, corner + size])))
    return out


def covered(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of a box that each of the others covers."""
    side = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    return side.prod(1) / (box[2:] - box[:2]).prod()


# ---------------------------------------------------------------- measures


def solo(model: object, person: Person, boxes: Iterable[np.ndarray] = ()) -> Keypoints:
    """The model's answer for one person's box, or for these boxes in the same frame."""
    xyxy = np.array(list(boxes) or [person.box], np.float32).reshape(-1, 4)
    zero = np.zeros(len(xyxy), np.int64)
    batch = People(one(person.pixels), Boxes(zero, xyxy, np.ones(len(xyxy), np.float32), zero, ("person",)))
    return model.run(batch)  # pyright: ignore[reportAttributeAccessIssue]


def apart(a: np.ndarray, b: np.ndarray, person: Person) -> float:
    """Median distance of points `[17 3]`, % of the box's height: of all where the body is whole, else of those seen in
    both answers (NaN where none is)."""
    both = person.whole | ((a[:, 2] >= SEEN) & (b[:, 2] >= SEEN))
    distance = np.linalg.norm(a[both, :2] - b[both, :2], axis=1)
    return float(np.median(distance)) / person.height * 100 if both.any() else np.nan


def mirrored(model: object, people: list[Person], answers: list[Keypoints]) -> tuple[float, float]:
    right, wrong = [], []
    for person, straight in zip(people, answers, strict=True):
        width = person.pixels.shape[1]
        x1, y1, x2, y2 = person.box
        flipped = replace(
            person, pixels=np.ascontiguousarray(person.pixels[:, ::-1]), box=np.array([width - x2, y1, width - x1, y2])
        )
        back = solo(model, flipped).points[0, :17].copy()
        back[:, 0] = width - back[:, 0]
        right.append(apart(straight.points[0, :17], back[SWAP], person))
        wrong.append(apart(straight.points[0, :17], back, person))
    return float(np.nanmedian(right)), float(np.nanmedian(wrong))


def moved(model: object, people: list[Person], answers: list[Keypoints]) -> float:
    out = []
    for person, straight in zip(people, answers, strict=True):
        middle, size = (person.box[:2] + person.box[2:]) / 2, person.box[2:] - person.box[:2]
        boxes = [
            np.concatenate([middle + (dx, dy) * size - s * size / 2, middle + (dx, dy) * size + s * size / 2])
            for dx, dy, s in MOVES
        ]
        found = solo(model, person, boxes).points[:, :17]
        out += [apart(straight.points[0, :17], f, person) for f in found]
    return float(np.nanmedian(out))


def on_face(people: list[Person], answers: list[Keypoints]) -> tuple[float, float]:
    """Eyes and nose against the detector's, % of the eyes' distance: median and 90 % quantile. Without a gate."""
    out = []
    for person, k in zip(people, answers, strict=True):
        if person.face is not None:
            eyes = np.linalg.norm(person.face[1] - person.face[0])
            out += list(np.linalg.norm(k.points[0, [R_EYE, L_EYE, NOSE], :2] - person.face, axis=1) / eyes * 100)
    return float(np.median(out)), float(np.quantile(out, 0.9))


def upright(answers: list[Keypoints]) -> float:
    p = np.array([k.points[0] for k in answers])
    return float((p[:, [L_SHOULDER, R_SHOULDER], 1].mean(1) < p[:, [L_HIP, R_HIP], 1].mean(1)).mean())


def in_own_box(people: list[Person], answers: list[Keypoints]) -> float:
    trunk = [k.points[0, [L_SHOULDER, R_SHOULDER, L_HIP, R_HIP], :2].mean(0) for k in answers]
    return float(
        np.mean([(t >= p.box[:2]).all() and (t <= p.box[2:]).all() for t, p in zip(trunk, people, strict=True)])
    )


def heading(people: list[Person], answers: list[Keypoints]) -> float:
    """Left shoulder to the right of the picture while walking towards the camera, to the left while walking away."""
    order = [np.sign(k.points[0, L_SHOULDER, 0] - k.points[0, R_SHOULDER, 0]) for k in answers]
    return float(np.mean([o == p.heading for o, p in zip(order, people, strict=True)]))


def frontal(people: list[Person], answers: list[Keypoints]) -> float:
    order = [k.points[0, L_SHOULDER, 0] > k.points[0, R_SHOULDER, 0] for k in answers]
    return float(np.mean([o for o, p in zip(order, people, strict=True) if p.face is not None]))


def presence(answers: list[Keypoints]) -> np.ndarray:
    return np.array([k.score[0] for k in answers])


def neighbours() -> tuple[list[list[Person]], list[list[Person]]]:
    """Three neighbouring frames of one person each: far (annotated boxes) and near (one box for all three)."""
    rows, starts, far = annotated(DATA / "tracking/PETS09-S2L1_gt.txt"), range(30, 780, 150), []
    frames = frames_at({start + i for start in starts for i in range(3)})
    for start in starts:
        for who in sorted(set(rows[start]) & set(rows[start + 1]) & set(rows[start + 2])):
            if (covered(rows[start][who], np.array(list(rows[start].values()))) > 0.15).sum() == 1:
                far.append([Person(frames[start + i], rows[start + i][who]) for i in range(3)])
    near = []
    for name in ("single_face.mp4", "hungry.mkv", "no.mkv", "sorry.mkv"):
        clip = video(DATA / "video_faces" / name, 1)
        for start in range(5, len(clip) - 3, 30):
            found = open_adapter("object.nanodet").run(one(clip[start]))
            boxes = found.xyxy[(found.label == 0) & (found.score > 0.5)].astype(float)
            near += (
                [[Person(pixels, boxes[0], whole=False) for pixels in clip[start : start + 3]]] if len(boxes) else []
            )
    return far, near


def jerk(model: object, steps: list[list[Person]]) -> float:
    """Median second difference of the points over three frames, % of the box's height."""
    out = []
    for three in steps:
        a, b, c = (solo(model, person).points[0, :17] for person in three)
        middle = np.concatenate([(a[:, :2] + c[:, :2]) / 2, np.minimum(a[:, 2:], c[:, 2:])], 1)
        out.append(2 * apart(b, middle, three[1]))
    return float(np.nanmedian(out))


def agreement(answers: dict[str, list[np.ndarray]], far: list[Person], near: list[Person]) -> list[str]:
    """Distance between unrelated networks on the same people, % of the box's height."""
    people, lines = far + near, ["", "Apart from each other, median and 90 % quantile of people (% of height):"]
    for a, b in (
        ("movenet", "blazepose"), ("movenet-thunder", "blazepose"), ("movenet", "movenet-thunder"),
        ("movenet-thunder", "blazepose, no finder"),
    ):  # fmt: skip
        parts = []
        for title, rows in (("far", range(len(far))), ("near", range(len(far), len(people)))):
            d = [apart(answers[a][i], answers[b][i], people[i]) for i in rows]
            parts.append(f"{title} {np.nanmedian(d):.1f}, {np.nanquantile(d, 0.9):.1f}")
        lines.append(f"- {a} and {b}: {'; '.join(parts)}")
    return lines


def milliseconds(model: object, people: list[Person]) -> float:
    """Median time of one person on one thread, as processor time: other work on the machine hardly changes it."""
    took = []
    for person in people[:30]:
        start = time.thread_time()
        solo(model, person)
        took.append(time.thread_time() - start)
    return 1e3 * float(np.median(took))
