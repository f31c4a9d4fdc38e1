"""Tracker on PETS09-S2L1's public detections, at every frame and at half of them: switches, fragments, MOTA.

Ground truth and detections are the MOTChallenge 2015 text files in `../shared/data/tracking`. The scene runs at 7
frames/s by the challenge's seqinfo.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from mien.signals.tracking import Tracker, TrackerConfig

DATA = Path(__file__).parents[2] / "shared" / "data" / "tracking"
FPS = 7
Frames = dict[int, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True)
class Score:
    """CLEAR-MOT counts (Bernardin & Stiefelhagen 2008) at IoU ≥ 0.5; fragments: gaps inside a person's coverage."""

    truth: int
    misses: int
    false: int
    switches: int
    fragments: int
    people: int
    tracks: int

    @property
    def mota(self) -> float:
        return 1 - (self.misses + self.false + self.switches) / self.truth

    def __str__(self) -> str:
        return (
            f"MOTA {self.mota:.3f} · {self.switches} ID switches · {self.fragments} fragments · {self.misses} misses · "
            f"{self.false} false of {self.truth} boxes · {self.tracks} tracks for {self.people} people"
        )


def read_mot(path: Path) -> Frames:
    """MOT text → frame → (xyxy float64 [n 4], [n 2] of id and score)."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
    return {int(f): (boxes[rows[:, 0] == f], rows[rows[:, 0] == f][:, [1, 6]]) for f in np.unique(rows[:, 0])}


def track(detections: Frames, frames: range, fps: float, config: TrackerConfig | None = None) -> Frames:
    """Run the tracker over the given frames of a sequence."""
    tracker, out = Tracker(config), {}
    for f in frames:
        boxes, info = detections.get(f, (np.zeros((0, 4)), np.zeros((0, 2))))
        ids = tracker.update(round(f * 1e6 / fps), boxes.astype(np.float32), info[:, 1], np.zeros(len(boxes), np.int64))
        out[f] = (boxes[ids >= 0], np.stack([ids, info[:, 1]], axis=1)[ids >= 0])
    return out


def clear(truth: Frames, answer: Frames, frames: range) -> Score:
    """CLEAR-MOT: matches of the frame before are kept while they overlap, the rest is assigned by IoU."""
    empty = (np.zeros((0, 4)), np.zeros((0, 2)))
    last: dict[int, int] = {}  # person → their latest track
    before: dict[int, int] = {}
    lost: set[int] = set()
    total = misses = false = switches = fragments = 0
    for f in frames:
        (gt, who), (got, ids) = truth.get(f, empty), answer.get(f, empty)
        people, tracks = who[:, 0].astype(int).tolist(), ids[:, 0].astype(int).tolist()
        overlap = iou(gt, got)
        held = np.array([[before.get(p) == k for k in tracks] for p in people], bool).reshape(overlap.shape)
        value = np.where(overlap >= 0.5, overlap + 10 * held, 0)
        i, j = linear_sum_assignment(value, maximize=True)
        pairs = {people[a]: tracks[b] for a, b in zip(i, j, strict=True) if value[a, b] > 0}
        total, misses, false = total + len(people), misses + len(people) - len(pairs), false + len(tracks) - len(pairs)
        for person, k in pairs.items():
            switches += person in last and last[person] != k
            fragments += person in lost
            last[person] = k
        lost = (lost | {p for p in people if p not in pairs and p in last}) - set(pairs)
        before = pairs
    all_tracks = {int(k) for f in frames for k in answer.get(f, empty)[1][:, 0]}
    all_people = {int(p) for f in frames for p in truth.get(f, empty)[1][:, 0]}
    return Score(total, misses, false, switches, fragments, len(all_people), len(all_tracks))


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU `[n m]` of boxes `[n 4]` and `[m 4]`."""
    size = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0)
    shared = size.prod(axis=2)
    return shared / ((a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None] - shared)


def pets(step: int = 1, config: TrackerConfig | None = None) -> Score:
    """Score on every `step`-th frame of PETS09-S2L1."""
    truth, detections = read_mot(DATA / "PETS09-S2L1_gt.txt"), read_mot(DATA / "PETS09-S2L1_det.txt")
    frames = range(1, 796, step)
    return clear(truth, track(detections, frames, FPS, config), frames)


def main(args: list[str]) -> list[str]:
    argparse.ArgumentParser(prog="bench tracking", description=__doc__).parse_args(args)
    plain = TrackerConfig(buffer_per_s=0)
    return [
        f"- every frame ({FPS}/s): {pets(1)}",
        f"- every 2nd ({FPS / 2}/s): {pets(2)}",
        f"- every 4th ({FPS / 4}/s): {pets(4)}",
        f"- every 2nd, without buffered overlap: {pets(2, plain)}",
        f"- every 4th, without buffered overlap: {pets(4, plain)}",
    ]
