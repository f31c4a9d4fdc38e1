"""Tracks against a truth: CLEAR-MOT (Bernardin & Stiefelhagen 2008) and identity measures (Ristani et al. 2016)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core import MienError

Scene = dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]
"""Frame number → (boxes xyxy float64 `[n 4]`, ids int64 `[n]`)."""

_NOBODY = (np.zeros((0, 4)), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class MotScore:
    """Counts over a scene, and the measures made of them.

    Attributes:
        objects: boxes of the truth. answers: boxes of the tracker. people, tracks: different ids of each.
        misses, false: boxes of the truth without, and of the tracker without, a partner.
        switches: a person is matched to another track than the last time they were matched.
        fragments: gaps in a person's coverage between their first and last match.
        mostly_tracked, partly_tracked, mostly_lost: people matched in ≥ 80 %, 20-80 %, < 20 % of their frames.
        motp: mean 1 - IoU of the matches (smaller is better); NaN without matches.
        idtp: boxes under the one assignment of tracks to people that explains most of them.
    """

    objects: int
    answers: int
    people: int
    tracks: int
    misses: int
    false: int
    switches: int
    fragments: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int
    motp: float
    idtp: int

    @property
    def mota(self) -> float:
        return 1 - (self.misses + self.false + self.switches) / self.objects if self.objects else float("nan")

    @property
    def recall(self) -> float:
        return (self.objects - self.misses) / self.objects if self.objects else float("nan")

    @property
    def precision(self) -> float:
        return (self.answers - self.false) / self.answers if self.answers else float("nan")

    @property
    def idp(self) -> float:
        return self.idtp / self.answers if self.answers else float("nan")

    @property
    def idr(self) -> float:
        return self.idtp / self.objects if self.objects else float("nan")

    @property
    def idf1(self) -> float:
        both = self.answers + self.objects
        return 2 * self.idtp / both if both else float("nan")

    def __str__(self) -> str:
        return (
            f"MOTA {self.mota:.3f} · IDF1 {self.idf1:.3f} · {self.switches} ID switches · {self.fragments} fragments · "
            f"{self.misses} misses · {self.false} false of {self.objects} boxes · {self.tracks} tracks for "
            f"{self.people} people"
        )


def evaluate_tracks(truth: Scene, answer: Scene, frames: range, min_iou: float = 0.5) -> MotScore:
    """Score `answer` on the given frames.

    A correspondence lasts as long as its boxes overlap by `min_iou`; the other boxes of a frame are assigned so that
    most find a partner, and among those assignments the one with most overlap is taken.
    """
    from scipy.optimize import linear_sum_assignment

    latest: dict[int, int] = {}
    seen: dict[int, list[bool]] = defaultdict(list)
    together: dict[tuple[int, int], int] = defaultdict(int)
    distances: list[float] = []
    misses = false = switches = answers = 0
    tracks: set[int] = set()
    for frame in frames:
        (real, who), (got, ids) = truth.get(frame, _NOBODY), answer.get(frame, _NOBODY)
        overlap = iou(real, got)
        far = overlap < min_iou
        for i, j in np.argwhere(~far):
            together[int(who[i]), int(ids[j])] += 1
        cost = np.where(far, 1e6, 1 - overlap)
        pairs: list[tuple[int, int]] = []
        for i, person in enumerate(who.tolist()):
            for j in np.flatnonzero((ids == latest.get(person)) & (cost[i] < 1e6)):
                pairs.append((i, int(j)))
                cost[i], cost[:, j] = 1e6, 1e6
        pairs += [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] < 1e6]
        for i, j in pairs:
            person, track = int(who[i]), int(ids[j])
            switches += person in latest and latest[person] != track
            latest[person] = track
            distances.append(1 - float(overlap[i, j]))
        matched = {i for i, _ in pairs}
        for i, person in enumerate(who.tolist()):
            seen[person].append(i in matched)
        misses, false, answers = misses + len(who) - len(pairs), false + len(ids) - len(pairs), answers + len(ids)
        tracks |= set(ids.tolist())
    shares = [float(np.mean(s)) for s in seen.values()]
    return MotScore(
        objects=sum(map(len, seen.values())),
        answers=answers,
        people=len(seen),
        tracks=len(tracks),
        misses=misses,
        false=false,
        switches=switches,
        fragments=sum(map(_gaps, seen.values())),
        mostly_tracked=sum(s >= 0.8 for s in shares),
        partly_tracked=sum(0.2 <= s < 0.8 for s in shares),
        mostly_lost=sum(s < 0.2 for s in shares),
        motp=float(np.mean(distances)) if distances else float("nan"),
        idtp=_identity(together),
    )


def _gaps(matched: list[bool]) -> int:
    """Runs of misses between the first and the last match."""
    hits = np.flatnonzero(matched)
    return int((np.diff(hits) > 1).sum())


def _identity(together: dict[tuple[int, int], int]) -> int:
    """The most boxes that one-to-one pairs of person and track explain."""
    from scipy.optimize import linear_sum_assignment

    people, tracks = (sorted({pair[side] for pair in together}) for side in (0, 1))
    counts = np.zeros((len(people), len(tracks)))
    for (person, track), n in together.items():
        counts[people.index(person), tracks.index(track)] = n
    return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def iou(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union `[n m]` of boxes xyxy `[n 4]` and `[m 4]`."""
    size = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0)
    shared = size.prod(axis=2)
    whole = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None] - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def read_mot(path: Path) -> Scene:
    """A MOTChallenge text file: lines of frame, id, left, top, width, height and more.

    Raises:
        MienError: `labels.not-mot` when a line is not numbers or too short.
    """
    try:
        rows = np.loadtxt(path, delimiter=",", ndmin=2)
        boxes = np.concatenate([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], axis=1)
        return {int(f): (boxes[mine], rows[mine, 1].astype(np.int64)) for f in np.unique(rows[:, 0])
                for mine in [rows[:, 0] == f]}  # fmt: skip
    except (ValueError, IndexError) as error:
        raise MienError(
            "labels.not-mot", f"{path.name} is not a MOTChallenge file: {error}", "frame,id,left,top,width,height,..."
        ) from error
