"""Curves for the page: thinned without losing an extreme or a gap, and packed as short numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np

from mien.core import Span
from mien.export.report.data import F64, I64, Bools, SignalView

MAX_POINTS = 2000
MIN_POINTS = 300
PAGE_POINTS = 400_000  # about 5 MB of numbers: twenty clips of a minute stay far below 10 MB
FIXED_RANGE = {"valence": (-1.0, 1.0), "arousal": (-1.0, 1.0)}


def points_each(curves: int) -> int:
    """How many points each of `curves` may have, so that a page of many clips still opens at once."""
    return max(MIN_POINTS, min(MAX_POINTS, PAGE_POINTS // max(1, curves)))


def thin(value: F64, gap: Bools, limit: int) -> I64:
    """Indices, rising, of at most about `limit` samples to draw.

    Every bucket of the clock keeps its lowest and its highest measured sample and, where it holds a gap, one sample of
    the gap: a peak or a hole never disappears (min-max decimation).
    """
    n = len(value)
    if n <= limit:
        return np.arange(n, dtype=np.int64)
    measured = ~gap & np.isfinite(value)
    low, high = np.where(measured, value, np.inf), np.where(measured, value, -np.inf)
    edges = np.linspace(0, n, max(1, limit // 3) + 1).astype(np.int64)
    keep = {0, n - 1}
    for a, b in itertools.pairwise(edges):
        if a == b:
            continue
        if measured[a:b].any():
            keep.update((int(a + low[a:b].argmin()), int(a + high[a:b].argmax())))
        holes = np.flatnonzero(~measured[a:b])
        if len(holes):
            keep.add(int(a + holes[len(holes) // 2]))
    return np.array(sorted(keep), dtype=np.int64)


def gap_spans(view: SignalView, span: Span) -> list[tuple[int, int]]:
    """The gaps as (start, end) in ms; those shorter than 1/300 of the clip are too thin to be drawn as an area."""
    hole = view.gap | ~np.isfinite(view.value)
    flank = np.diff(np.concatenate(([0], hole.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(flank == 1), np.flatnonzero(flank == -1)
    step = view.signal.step_us
    found = [(int(view.t_us[a]), int(view.t_us[b - 1]) + step) for a, b in zip(starts, ends, strict=True)]
    floor = span.duration_us / 300
    return [(a // 1000, min(b, span.end_us) // 1000) for a, b in found if b - a >= floor]


def summary(view: SignalView) -> tuple[float, float, float, float] | None:
    """Median, 5th and 95th percentile of what was measured, and the measured share; None when nothing was."""
    measured = ~view.gap & np.isfinite(view.value)
    if not measured.any():
        return None
    low, mid, high = np.percentile(view.value[measured], (5, 50, 95))
    return float(mid), float(low), float(high), float(measured.mean())


def limits(view: SignalView) -> tuple[float, float]:
    """The vertical range: fixed for valence, arousal and shares, so that a small change looks small; else measured."""
    if view.signal.name in FIXED_RANGE:
        return FIXED_RANGE[view.signal.name]
    if view.signal.unit == "0..1":
        return 0.0, 1.0
    measured = ~view.gap & np.isfinite(view.value)
    if not measured.any():
        return 0.0, 1.0
    value = view.value[measured]
    sd = np.nan_to_num(view.sd[measured], nan=0.0, posinf=0.0)
    low, high = float((value - sd).min()), float((value + sd).max())
    if float(value.min()) >= 0:
        low = 0.0 if float(value.min()) < 0.5 * high else max(0.0, low)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def pack(view: SignalView, limit: int) -> dict[str, object]:
    """The curve as JSON: `t` [n] ms as differences, `v` [n] and `s` [n] with null for "not measured", `g` gap runs."""
    keep = thin(view.value, view.gap, limit)
    t_ms = view.t_us[keep] // 1000
    gap = (view.gap | ~np.isfinite(view.value))[keep]
    return {
        "t": np.diff(t_ms, prepend=0).tolist(),
        "v": [_short(v, 4) for v in view.value[keep].tolist()],
        "s": [_short(s, 3) for s in view.sd[keep].tolist()],
        "g": "".join("1" if g else "0" for g in gap.tolist()),
    }


def _short(x: float, figures: int) -> float | int | None:
    if not math.isfinite(x):
        return None
    rounded = float(f"{x:.{figures}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e9 else rounded
