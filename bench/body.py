"""Pose events on generated figures (planted truth, quiet time, frame rates) and on real footage without labels.

Generated figures say what the rules can do when points are right; how often real people set them off is measured only
on two street and room scenes (`--real`, needs the shared data and weights; minutes).
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.faces import DATA
from mien.core import COCO_POINTS, US, Frames, People, Span
from mien.models.weights import open_adapter
from mien.signals.body import BodyEvent, BodySeries, events
from mien.signals.tracking import Tracker
from mien.testing.skeletons import Act, Movement, Skeleton, skeleton

RATES = (3, 5, 10, 15, 30)
KIND: dict[str, str] = {"striking_head": "striking", "striking_out": "striking"}
PLANTED: dict[str, tuple[Movement, float]] = {
    "rocking 0.4 Hz": ("rocking", 12), "rocking 0.9 Hz": ("rocking", 10), "rocking 1.6 Hz": ("rocking", 8),
    "pacing": ("pacing", 24), "hand at ear": ("hand_at_ear", 3), "hand at mouth": ("hand_near_face", 3),
    "hand on the crown": ("hand_at_head", 3), "one blow to the own head": ("striking_head", 0.21),
    "one blow outward": ("striking_out", 0.21), "reaching": ("reaching", 3),
    "hand on the other arm": ("self_contact", 4), "freezing": ("freezing", 7),
}  # fmt: skip
REAL = (("vtest.avi", 2, "street, PETS 2009"), ("one-by-one-person-detection.mp4", 2, "room, one person at a time"))


def main(args: list[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="bench body", description=__doc__)
    parser.add_argument("--real", action="store_true", help="also detector, tracker and pose on real footage")
    options = parser.parse_args(args)
    lines = [
        "Generated figures, 8 per cell, sitting and standing, jitter 1.2 % of the trunk, 3 % of points lost in every "
        "third, start at a random phase of the frame clock: found with IoU ≥ 0.5 of its time (blows: overlapping it) / "
        "other events in the same 30 s.",
        "",
        f"| planted | {' | '.join(f'{r}/s' for r in RATES)} |",
        "|---" * (len(RATES) + 1) + "|",
        *planted(),
        "",
        *quiet(),
        "",
        *annotated(),
    ]
    return [*lines, "", *real()] if options.real else lines


def found_in(figure: Skeleton) -> list[BodyEvent]:
    return events(BodySeries(figure.t_us, figure.points, figure.names))


def planted() -> Iterator[str]:
    for name, (movement, seconds) in PLANTED.items():
        cells = []
        for rate in RATES:
            hits = others = 0
            for seed in range(8):
                start = 9 + random.Random(seed).random()
                hz = float(name.split()[1]) if movement == "rocking" else 1.0
                act = Act(movement, start, start + seconds, hz=hz, amplitude=0.12 if hz > 1 else 0.2)
                before = (Act("walking", 4, start),) if movement == "freezing" else ()
                figure = skeleton(
                    40 if movement == "pacing" else 30, (*before, act), rate_hz=rate, seed=seed,
                    dropout=0.03 * (seed % 3 == 2), sitting=seed % 2 == 1 and movement not in ("pacing", "freezing"),
                )  # fmt: skip
                found = found_in(figure)
                right = any(matches(e, act) for e in found)
                hits += right
                others += len(found) - right
            cells.append(f"{hits}/8, {others}" if others else f"{hits}/8")
        yield f"| {name} | {' | '.join(cells)} |"


def matches(event: BodyEvent, act: Act) -> bool:
    both = event.span.overlap_us(act.span)
    if event.kind != KIND.get(act.movement, act.movement):
        return False
    if event.kind == "striking":  # a blow is shorter than two frames at 5/s: that it overlaps is all one can ask
        return both > 0
    return both / (event.span.duration_us + act.span.duration_us - both) >= 0.5


def quiet() -> Iterator[str]:
    """An hour of generated figures that do nothing on the list."""
    rng = random.Random(1)
    gestures = tuple(Act("gesturing", s, s + rng.uniform(1, 6), side="both") for s in range(3, 590, 12))
    walks = tuple(Act("walking", s, s + rng.uniform(5, 18)) for s in range(5, 570, 30))
    for name, acts, jitter in (
        ("standing", (), 0.012), ("talking with the hands", gestures, 0.012), ("walking through", walks, 0.012),
        ("talking with the hands, jitter 3 %", gestures, 0.03), ("standing, jitter 5 %", (), 0.05),
    ):  # fmt: skip
        counts: Counter[str] = Counter()
        for rate, seed in ((5, 0), (5, 1), (15, 2)):
            counts.update(e.kind for e in found_in(skeleton(600, acts, rate_hz=rate, seed=seed, jitter=jitter)))
        told = ", ".join(f"{k} {n}" for k, n in sorted(counts.items())) or "none"
        yield f"- half an hour, {name}: {told}"


def annotated() -> Iterator[str]:
    """Pacing on annotated boxes of PETS09-S2L1 (actors who walk to and fro): the walk without any model."""
    table = np.loadtxt(DATA / "tracking" / "PETS09-S2L1_gt.txt", delimiter=",")
    paced: list[tuple[int, Span]] = []
    people = np.unique(table[:, 1])
    for person in people:
        rows = table[table[:, 1] == person]
        rows = rows[np.argsort(rows[:, 0])]
        t = np.round(rows[:, 0] * US / 7).astype(np.int64)  # seven frames a second
        boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
        x, h = boxes[:, [0, 2]].mean(axis=1), boxes[:, 3] - boxes[:, 1]
        points = np.full((len(t), len(COCO_POINTS), 3), np.nan, np.float32)
        for part, below in (("shoulder", 0.182), ("hip", 0.47)):  # shares of the stature (Winter 2009)
            for side, aside in (("left", 0.05), ("right", -0.05)):
                place = np.stack([x + aside * h, boxes[:, 1] + below * h, np.ones(len(t))], axis=1)
                points[:, COCO_POINTS.index(f"{side}_{part}")] = place.astype(np.float32)
        found = [e for e in events(BodySeries(t, points, COCO_POINTS)) if e.kind == "pacing"]
        paced += [(int(person), e.span) for e in found]
    told = ", ".join(f"person {p} {span}" for p, span in paced)
    yield f"PETS09-S2L1, annotated boxes of {len(people)} people, pacing: {told or 'none'}."


def real() -> Iterator[str]:
    """What fires on real footage that nobody labelled: object.nanodet, the tracker, pose.movenet, about 5 frames/s."""
    for name, step, what in REAL:
        series = bodies(DATA / "tracking" / name, step)
        found = [e for s in series for e in events(s)]
        minutes = sum(Span(int(s.t_us[0]), int(s.t_us[-1])).duration_s for s in series) / 60
        counts = Counter(e.kind for e in found)
        told = ", ".join(f"{k} {n}" for k, n in sorted(counts.items())) or "none"
        yield f"- {name} ({what}): {len(series)} tracks, {minutes:.1f} person minutes: {told}"


def bodies(path: Path, step: int) -> list[BodySeries]:
    import cv2

    detector, pose, tracker = open_adapter("object.nanodet"), open_adapter("pose.movenet"), Tracker()
    rows: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    video = cv2.VideoCapture(str(path))
    rate, number = video.get(cv2.CAP_PROP_FPS), -1
    while True:
        there, picture = video.read()
        number += 1
        if not there:
            break
        if number % step:
            continue
        t_us = round(number / rate * US)
        frames = Frames(np.ascontiguousarray(picture[None, :, :, ::-1], np.uint8), np.array([t_us]))
        boxes = detector.run(frames)
        boxes = boxes.take(np.flatnonzero(boxes.label == boxes.names.index("person")))
        ids = tracker.update(t_us, boxes.xyxy, boxes.score, boxes.label)
        kept = np.flatnonzero(ids >= 0)
        if len(kept):
            for i, points in zip(ids[kept], pose.run(People(frames, boxes.take(kept))).points, strict=True):
                rows[int(i)].append((t_us, points))
    return [
        BodySeries(np.array([t for t, _ in r]), np.stack([p for _, p in r]), COCO_POINTS)
        for r in rows.values()
        if len(r) >= 10
    ]
