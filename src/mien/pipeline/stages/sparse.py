"""A detector and its tracker, asked only where the answer cannot be had more cheaply.

The detector looks at every n-th frame. Between two such frames its boxes are interpolated where (1) the same boxes are
in both, overlapping, and (2) the picture inside each interpolated box is still that of one of the two. Where either
fails (somebody enters, leaves, moves fast, or rocks at the very rate of the sampling) it looks at the frame in the
middle, and so on. Calm scenes cost one call in n, busy ones as many as without this.

What is missed: who comes and goes between two frames that were looked at, n - 1 analysed frames at most. Which frames
were looked at is recorded: the tables say of each box whether it was measured.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Boxes, Frames
from mien.signals.tracking import Tracker, assign, buffered_iou

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

SAME = 0.5  # least IoU of one box in two frames
ALIKE = 0.8  # least correlation of what is inside
PATCH = 24  # px, the side that is compared
_SMALL = 4  # px: nothing can be told from less


@dataclass(frozen=True, slots=True)
class Seen:
    """boxes: of every frame of a batch. track int64 `[n]`: as of `Tracker.update`. measured bool `[n]`: found by the
    detector in that very frame. looked: the frames of the batch that the detector saw, rising."""

    boxes: Boxes
    track: I64
    measured: npt.NDArray[np.bool_]
    looked: I64


@dataclass(slots=True)
class _Look:
    """One frame that the detector saw: its boxes, which of them have to be found again, and how those looked."""

    t_us: int
    boxes: Boxes
    binding: npt.NDArray[np.bool_]
    patches: list[F32 | None]
    track: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class _Fill:
    """The boxes of one frame between two looks, and which rows of those they come from (-1: of the first alone)."""

    boxes: Boxes
    first: I64
    second: I64


class SparseDetector:
    """Takes the batches of one clip in order.

    Args:
        every: it looks at each n-th frame of the clip at least, and at the last of each batch.
        finest: and at each n-th at most: between two such frames, tracks are interpolated whatever the picture says.
        binding: class whose boxes have to agree; others are interpolated where they do, and left out where not.
        least: score from which on a box counts for that.
    """

    def __init__(self, model: Any, tracker: Tracker, every: int, finest: int, binding: str, least: float) -> None:
        self._model, self._tracker, self._binding, self._least = model, tracker, binding, least
        self._every, self._finest = max(every, finest), finest
        self._before: _Look | None = None
        self._fed = 0

    def run(self, frames: Frames) -> Seen:
        """The boxes of every frame of the batch."""
        n = len(frames)
        first = [0] if self._before is None else []
        due = sorted({*first, *range(-(self._fed + 1) % self._every, n, self._every), n - 1})
        self._fed += n
        looks: dict[int, _Look] = {} if self._before is None else {-1: self._before}
        fills: dict[int, tuple[_Fill, _Look, _Look]] = {}
        while due:
            looks |= zip(due, self._look(frames, due), strict=True)
            due = []
            for a, b in itertools.pairwise(sorted(looks)):
                if b - a <= self._finest or a + 1 in fills:
                    continue
                filled = _filled(frames, looks[a], looks[b], range(a + 1, b))
                if filled is None:
                    due.append((a + b) // 2)
                else:
                    fills |= {i: (fill, looks[a], looks[b]) for i, fill in filled.items()}
        for i in range(n):
            if look := looks.get(i):
                found = look.boxes
                look.track = self._tracker.update(look.t_us, found.xyxy, found.score, found.label)
        for a, b in itertools.pairwise(sorted(looks)):
            for i in range(a + 1, b):
                if i not in fills:
                    fills[i] = (_followed(int(frames.t_us[i]), looks[a], looks[b]), looks[a], looks[b])
        self._before = looks[n - 1]
        return _gathered(n, looks, fills)

    def _look(self, frames: Frames, at: list[int]) -> list[_Look]:
        found: Boxes = self._model.run(Frames(frames.pixels[at], frames.t_us[at]))
        label = found.names.index(self._binding) if self._binding in found.names else -1
        out: list[_Look] = []
        for k, i in enumerate(at):
            mine = found.of_frame(k)
            binding = (mine.label == label) & (mine.score >= self._least)
            patches = [_patch(frames.pixels[i], box) if must and self._every > self._finest else None
                       for box, must in zip(mine.xyxy, binding, strict=True)]  # fmt: skip
            out.append(_Look(int(frames.t_us[i]), mine, binding, patches))
        return out


def _filled(frames: Frames, a: _Look, b: _Look, missing: range) -> dict[int, _Fill] | None:
    """The boxes of the frames between two looks; None where these do not say enough."""
    owner = np.full(len(b.boxes), -1, np.int64)
    before, after = a.boxes.xyxy.astype(np.float64), b.boxes.xyxy.astype(np.float64)
    overlap = buffered_iou(before, after, np.zeros(len(before)))
    overlap[a.boxes.label[:, None] != b.boxes.label] = 0
    assign(owner, np.arange(len(a.boxes)), np.arange(len(b.boxes)), overlap, SAME)
    second, first = np.flatnonzero(owner >= 0), owner[owner >= 0]
    if not np.isin(np.flatnonzero(a.binding), first).all() or not np.isin(np.flatnonzero(b.binding), second).all():
        return None
    firm = np.flatnonzero(a.binding[first] | b.binding[second])
    out: dict[int, _Fill] = {}
    for i in missing:
        made = _between(a.boxes.take(first), b.boxes.take(second), _share(int(frames.t_us[i]), a, b))
        for k in firm:
            patch = _patch(frames.pixels[i], made.xyxy[k])
            if not any(_alike(patch, p) for p in (a.patches[first[k]], b.patches[second[k]])):
                return None
        out[i] = _Fill(made, first, second)
    return out


def _followed(t_us: int, a: _Look, b: _Look) -> _Fill:
    """The boxes of one frame between two looks where it may look no closer: tracks of both on a straight line, those
    of the first alone where they were."""
    same = (a.track[:, None] == b.track) & (a.track[:, None] >= 0)
    first, second = np.nonzero(same)
    held = np.flatnonzero((a.track >= 0) & ~same.any(axis=1))
    made = _between(a.boxes.take(first), b.boxes.take(second), _share(t_us, a, b))
    return _Fill(
        _joined([made, a.boxes.take(held)]),
        np.concatenate([first, held]),
        np.concatenate([second, np.full(len(held), -1, np.int64)]),
    )


def _share(t_us: int, a: _Look, b: _Look) -> np.float32:
    return np.float32((t_us - a.t_us) / (b.t_us - a.t_us))


def _between(a: Boxes, b: Boxes, share: np.float32) -> Boxes:
    """Boxes (and their points) on the straight line from `a` to `b`; the lower of both scores."""
    points = a.points + share * (b.points - a.points) if len(a.points) and len(b.points) else b.points[:0]
    return replace(
        b, xyxy=a.xyxy + share * (b.xyxy - a.xyxy), score=np.minimum(a.score, b.score), points=points, masks=()
    )


def _joined(parts: list[Boxes]) -> Boxes:
    """Boxes one after another; points only where all have them, and no masks."""
    pointed = all(len(p.points) == len(p) for p in parts)
    return Boxes(
        *(np.concatenate([getattr(p, c) for p in parts]) for c in ("frame", "xyxy", "score", "label")),
        names=parts[0].names,
        points=np.concatenate([p.points for p in parts if len(p)]) if pointed and any(map(len, parts))
        else parts[0].points[:0],
    )  # fmt: skip


def _gathered(n: int, looks: dict[int, _Look], fills: dict[int, tuple[_Fill, _Look, _Look]]) -> Seen:
    parts: list[Boxes] = []
    tracks: list[I64] = []
    for i in range(n):
        if i in looks:
            boxes, track = looks[i].boxes, looks[i].track
        else:
            fill, a, b = fills[i]
            boxes, track = fill.boxes, a.track[fill.first]
            later = np.append(b.track, -1)[fill.second]
            track = np.where(track < 0, later, track)
        parts.append(replace(boxes, frame=np.full(len(boxes), i, np.int64)))
        tracks.append(track)
    measured = np.concatenate([np.full(len(p), i in looks) for i, p in enumerate(parts)])
    return Seen(_joined(parts), np.concatenate(tracks), measured, np.array([i for i in range(n) if i in looks]))


def _patch(pixels: Array, box: Array) -> F32 | None:
    """The inside of a box, small and grey, at mean 0 and length 1; None where there is nothing to compare."""
    import cv2

    h, w = pixels.shape[:2]
    x1, y1, x2, y2 = (round(float(v)) for v in np.clip(box, 0, [w, h, w, h]))
    if min(x2 - x1, y2 - y1) < _SMALL:
        return None
    step = max(1, min(x2 - x1, y2 - y1) // (4 * PATCH))
    part = np.ascontiguousarray(pixels[y1:y2:step, x1:x2:step, 1])  # green is most of what is light
    grey = np.asarray(cv2.resize(part, (PATCH, PATCH), interpolation=cv2.INTER_AREA), np.float32)
    grey -= grey.mean()
    length = float(np.sqrt((grey * grey).sum()))
    return grey / length if length > PATCH else None  # a standard deviation of 1 of 255


def _alike(a: F32 | None, b: F32 | None) -> bool:
    return a is not None and b is not None and float((a * b).sum()) >= ALIKE
