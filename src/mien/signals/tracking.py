"""Boxes of one clip → short-lived track ids, by motion and overlap alone. No appearance, no identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from mien.core import Strict

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]


class TrackerConfig(Strict):
    """Thresholds and motion model. Lengths are in box heights, so one setting fits near and far.

    Motion and overlap were chosen on PETS09-S2L1 (public detections, 7, 3.5 and 1.75 frames/s: `python -m bench
    tracking`) and on a rocking box.

    high: detections from here on take part in the first association; low: and from here on in the second. new: score a
    new track must start with. overlap: least buffered IoU of the first association; overlap_low: least plain IoU of the
    second. buffer_per_s: boxes grow on each side by this share of their size per second since the track was last seen,
    up to buffer_max. lost_us: how long a track may stay unseen. min_hits: detections before a track gets its id (tracks
    of the very first frame get it at once). accel_sd: h/s^1.5, how erratic the motion is; speed_sd: h/s at birth;
    position_sd: h, error of a detection.
    """

    high: Annotated[float, Ge(0), Le(1)] = 0.6
    low: Annotated[float, Ge(0), Le(1)] = 0.1
    new: Annotated[float, Ge(0), Le(1)] = 0.6
    overlap: Annotated[float, Gt(0), Le(1)] = 0.1
    overlap_low: Annotated[float, Gt(0), Le(1)] = 0.4
    buffer_per_s: Annotated[float, Ge(0)] = 1.5
    buffer_max: Annotated[float, Ge(0)] = 0.5
    lost_us: Annotated[int, Ge(0)] = 1_500_000
    min_hits: Annotated[int, Ge(1)] = 2
    accel_sd: Annotated[float, Gt(0)] = 0.35
    speed_sd: Annotated[float, Gt(0)] = 1.0
    position_sd: Annotated[float, Gt(0)] = 0.07


@dataclass(slots=True)
class _Tracks:
    """Columns of the tracks alive: state `[n 4]` (cx, cy, aspect, h), speed `[n 4]` per s, and per coordinate the
    2×2 covariance as var `[n 4]`, mix `[n 4]`, speed_var `[n 4]`. With diagonal noise the 8-state filter of the paper
    falls apart into these four, exactly."""

    state: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    speed: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    var: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    mix: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    speed_var: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    last: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    id: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    label: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    hits: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    seen_us: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.id)

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])

    def append(self, other: _Tracks) -> None:
        for name in self.__slots__:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))


class Tracker:
    """ByteTrack (Zhang et al., ECCV 2022) in real time units, with buffered overlap (C-BIoU, Yang et al., WACV 2023).

    Every detection counts: strong ones are matched first, those left over once more with a wider reach, weak ones last
    and only to tracks that were just seen. Differences to the paper: process noise and track buffer follow the time
    between frames in µs, so variable frame rates and 5 analysed frames/s are right; boxes are widened with the time
    since a track was last seen, because at 5 frames/s a walking or rocking person may not overlap their own last box;
    labels never mix.

    Deterministic; memory is bounded by the tracks seen within `lost_us`. Ids count up from 0 and are never used twice.
    """

    def __init__(self, config: TrackerConfig | None = None) -> None:
        self.config = config or TrackerConfig()
        self._tracks = _Tracks()
        self._t_us: int | None = None
        self._next = 0

    def __len__(self) -> int:
        """Tracks held in memory."""
        return len(self._tracks)

    def update(self, t_us: int, xyxy: F32, score: F32, label: I64) -> I64:
        """Take one frame's detections and say which track each belongs to.

        Args:
            t_us: presentation time, rising. xyxy: `[n 4]` px. score: `[n]` 0..1. label: `[n]` class index.

        Returns:
            int64 `[n]`: track id, or -1 where not tracked (weak, empty box, or not yet confirmed by `min_hits`).

        Raises:
            ValueError: shapes do not fit, a value is not finite, or time does not rise.
        """
        c, n, first = self.config, len(score), self._t_us is None
        boxes, label = np.asarray(xyxy, np.float64), np.asarray(label, np.int64)
        if boxes.shape != (n, 4) or score.shape != (n,) or label.shape != (n,):
            raise ValueError(f"xyxy must be [{n} 4], score and label [{n}], but got {list(boxes.shape)}")
        if not (np.isfinite(boxes).all() and np.isfinite(score).all()):
            raise ValueError("boxes and scores must be finite")
        if self._t_us is not None and t_us <= self._t_us:
            raise ValueError(f"t_us must rise, but went from {self._t_us} to {t_us}")
        t, recent_us = self._tracks, self._t_us
        if self._t_us is not None:
            self._predict((t_us - self._t_us) / 1e6)
        self._t_us = t_us

        solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # detectors do clip boxes to nothing at the frame's edge
        strength = np.where(solid, score, -1.0)
        owner = self._associate(boxes, strength, label, t_us, recent_us)
        taken = np.flatnonzero(owner >= 0)
        self._correct(owner[taken], boxes[taken], t_us)
        for r in owner[taken][(t.id[owner[taken]] < 0) & (t.hits[owner[taken]] >= c.min_hits)]:
            t.id[r] = self._issue()
        ids = np.full(n, -1, np.int64)
        ids[taken] = t.id[owner[taken]]

        starts = np.flatnonzero((owner < 0) & (strength >= max(c.high, c.new)))
        self._start(boxes[starts], label[starts], t_us, confirmed=first or c.min_hits == 1)
        if len(starts):
            ids[starts] = t.id[-len(starts) :]
        # a track on probation that was not seen again at once was a false start
        t.keep(((t.id >= 0) & (t_us - t.seen_us <= c.lost_us)) | (t.seen_us == t_us))
        return ids

    def finish(self) -> I64:
        """End the clip: the ids still alive (sorted); the next `update` starts afresh, with new ids."""
        alive = np.sort(self._tracks.id[self._tracks.id >= 0])
        self._tracks, self._t_us = _Tracks(), None
        return alive

    def _associate(self, boxes: F64, score: F64, label: I64, t_us: int, recent_us: int | None) -> I64:
        """int64 `[n]`: the row of the track each detection belongs to, or -1."""
        t, c = self._tracks, self.config
        expected = _corners(t.state)
        wide = np.minimum(c.buffer_per_s * (t_us - t.seen_us) / 1e6, c.buffer_max)
        same = t.label[:, None] == label[None]
        owner = np.full(len(boxes), -1, np.int64)
        strong, weak = np.flatnonzero(score >= c.high), np.flatnonzero((score >= c.low) & (score < c.high))
        known, fresh = t.id >= 0, t.seen_us == recent_us

        def match(rows: Rows, columns: Rows, least: float, *overlaps: F64) -> None:
            assign(owner, rows, columns, np.where(same[np.ix_(rows, columns)], np.maximum.reduce(overlaps), 0), least)

        # confirmed tracks choose first, then those on probation: a false start may not steal a person's box
        for group in (known, ~known):
            rows, columns = np.flatnonzero(group), strong[owner[strong] < 0]
            match(rows, columns, c.overlap, buffered_iou(expected[rows], boxes[columns], wide[rows]))
            # Who was there a frame ago and is left over may have turned round: look farther, and also from where they
            # were. Tracks lost for longer may not: a wide search would hand one person's track to the next.
            rows, columns = _unmatched(group & fresh, owner), strong[owner[strong] < 0]
            ahead = buffered_iou(expected[rows], boxes[columns], 2 * wide[rows])
            back = buffered_iou(t.last[rows], boxes[columns], 2 * wide[rows])
            match(rows, columns, c.overlap, ahead, back)
        rows = _unmatched(known & fresh, owner)
        match(rows, weak, c.overlap_low, buffered_iou(expected[rows], boxes[weak], 0 * wide[rows]))
        return owner

    def _issue(self) -> int:
        self._next += 1
        return self._next - 1

    def _predict(self, dt_s: float) -> None:
        """Constant velocity with white-noise acceleration of spectral density q² (Bar-Shalom 2001, §6.2.2)."""
        t = self._tracks
        q = np.square(self.config.accel_sd * _scale(t.state))
        t.state = t.state + dt_s * t.speed
        t.state[:, 2:] = np.maximum(t.state[:, 2:], [1e-2, 1.0])
        t.var = t.var + 2 * dt_s * t.mix + dt_s**2 * t.speed_var + q * dt_s**3 / 3
        t.mix = t.mix + dt_s * t.speed_var + q * dt_s**2 / 2
        t.speed_var = t.speed_var + q * dt_s

    def _correct(self, rows: I64, boxes: F64, t_us: int) -> None:
        t, measured = self._tracks, _measure(boxes)
        noise = np.square(self.config.position_sd * _scale(measured))
        gain, gain_speed = t.var[rows] / (t.var[rows] + noise), t.mix[rows] / (t.var[rows] + noise)
        miss = measured - t.state[rows]
        t.state[rows] += gain * miss
        t.speed[rows] += gain_speed * miss
        t.speed_var[rows] -= gain_speed * t.mix[rows]
        t.mix[rows] *= 1 - gain
        t.var[rows] *= 1 - gain
        t.last[rows] = boxes
        t.hits[rows] += 1
        t.seen_us[rows] = t_us

    def _start(self, boxes: F64, label: I64, t_us: int, *, confirmed: bool) -> None:
        state, n, c = _measure(boxes), len(boxes), self.config
        scale = _scale(state)
        ids = np.array([self._issue() for _ in range(n)] if confirmed else [-1] * n, np.int64)
        self._tracks.append(
            _Tracks(
                state, np.zeros((n, 4)), np.square(c.position_sd * scale), np.zeros((n, 4)),
                np.square(c.speed_sd * scale), boxes, ids, label, np.ones(n, np.int64), np.full(n, t_us, np.int64),
            )
        )  # fmt: skip


def _unmatched(group: npt.NDArray[np.bool_], owner: I64) -> Rows:
    rows = np.flatnonzero(group)
    return rows[~np.isin(rows, owner)]


def _measure(boxes: F64) -> F64:
    """xyxy → (cx, cy, aspect w/h, h)."""
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.stack([boxes[:, 0] + w / 2, boxes[:, 1] + h / 2, w / h, h], axis=1)


def _corners(state: F64) -> F64:
    cx, cy, h = state[:, 0], state[:, 1], state[:, 3]
    w = state[:, 2] * h
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=1)


def _scale(state: F64) -> F64:
    """Unit of each coordinate's noise: h for places and heights; aspect and height change a fifth as fast."""
    h = state[:, 3]
    return np.stack([h, h, np.full(len(h), 0.2), 0.2 * h], axis=1)


def buffered_iou(tracks: F64, boxes: F64, wide: F64) -> F64:
    """IoU `[a b]` after widening both boxes on each side by `wide` `[a]` times their own width and height."""
    grow = wide[:, None]

    def edges(lo: int) -> tuple[F64, F64, F64, F64]:
        ts, bs = (tracks[:, lo + 2] - tracks[:, lo])[:, None], (boxes[:, lo + 2] - boxes[:, lo])[None]
        return (tracks[:, lo, None] - grow * ts, tracks[:, lo + 2, None] + grow * ts,
                boxes[None, :, lo] - grow * bs, boxes[None, :, lo + 2] + grow * bs)  # fmt: skip

    shared, area_t, area_b = 1.0, 1.0, 1.0
    for lo in (0, 1):
        t1, t2, b1, b2 = edges(lo)
        shared = shared * np.maximum(np.minimum(t2, b2) - np.maximum(t1, b1), 0)
        area_t, area_b = area_t * (t2 - t1), area_b * (b2 - b1)
    return shared / (area_t + area_b - shared)


def assign(owner: I64, rows: Rows, columns: Rows, overlap: F64, least: float) -> None:
    """Hungarian assignment of largest summed overlap; pairs below `least` stay apart. Writes into `owner`."""
    if not overlap.size:
        return
    from scipy.optimize import linear_sum_assignment

    # pairs that may not match are worth nothing, so that they never pull a good pair apart
    i, j = linear_sum_assignment(np.where(overlap >= least, overlap, 0.0), maximize=True)
    good = overlap[i, j] >= least
    owner[columns[j[good]]] = rows[i[good]]
