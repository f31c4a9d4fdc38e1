"""Slopes, states and runs on irregular clocks: what all rules of the body share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Span

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
EPS_S = 1e-3  # clocks are rounded to milliseconds by some containers


def local_line(t_s: F64, place: F64, window_s: float) -> tuple[F64, F64]:
    """A straight line by least squares through the points within ±window/2 of each frame: its value there and slope.

    Unlike differences of neighbours the slope depends on neither the frame rate nor a lost frame, and jitter falls
    with the window. The window is at least one frame to each side.

    Args:
        t_s: `[n]`, rising. place: `[n d]`, NaN where not measured.

    Returns:
        Two float64 `[n d]` (unit of place; per second); NaN where the frame itself, or all on one side of it, was not
        measured.
    """
    n = len(t_s)
    known = np.asarray(np.isfinite(place).all(axis=1), bool)
    if n < 2 or not known.any():
        return np.full(place.shape, np.nan), np.full(place.shape, np.nan)
    half = max(window_s / 2, float(np.median(np.diff(t_s)))) + EPS_S
    m = known.astype(np.float64)
    origin = place[known].mean(axis=0)  # near zero, so that running sums keep their digits
    x = np.where(known[:, None], place - origin, 0.0)
    t = t_s - t_s[n // 2]
    low, high = np.searchsorted(t_s, t_s - half, "left"), np.searchsorted(t_s, t_s + half, "right")

    def total(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        run = np.concatenate([np.zeros((1, *column.shape[1:])), np.cumsum(column, axis=0)])
        return run[high] - run[low]

    count, st, stt = total(m), total(m * t), total(m * t * t)
    sx, stx = total(x), total(x * (m * t)[:, None])
    some = np.maximum(count, 1)
    middle = st / some
    spread = stt - count * middle**2
    here, run = np.arange(n), np.concatenate([[0.0], np.cumsum(m)])
    both = (run[here] - run[low] > 0) & (run[high] - run[here + 1] > 0)
    good = known & both & (spread > 1e-6)
    slope = np.where(good[:, None], (stx - middle[:, None] * sx) / np.where(good, spread, 1)[:, None], np.nan)
    return origin + sx / some[:, None] + slope * (t - middle)[:, None], slope


def rolling_mean(t_s: F64, value: F64, window_s: float) -> F64:
    """Mean of what is measured `[n]` within ±window/2; NaN where nothing is."""
    known = np.isfinite(value)
    low = np.searchsorted(t_s, t_s - window_s / 2 - EPS_S, "left")
    high = np.searchsorted(t_s, t_s + window_s / 2 + EPS_S, "right")
    sums, counts = (np.concatenate([[0.0], np.cumsum(c)]) for c in (np.where(known, value, 0.0), known))
    count = counts[high] - counts[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1), np.nan)


def mean_of(columns: list[F64], least: int = 1) -> F64:
    """Mean over columns `[n]` of what is measured; NaN where fewer than `least` are."""
    stacked = np.stack(columns)
    known = np.isfinite(stacked)
    count = known.sum(axis=0)
    total = np.where(known, stacked, 0).sum(axis=0)
    return np.where(count >= least, total / np.maximum(count, 1), np.nan)


def hysteresis(distance: F64, enter: float, leave: float) -> F64:
    """1 from where a distance falls to `enter` until it rises above `leave`, else 0; NaN where it is NaN."""
    out = np.where(np.isfinite(distance), 0.0, np.nan)
    inside = False
    for i in np.flatnonzero(np.isfinite(distance)):
        inside = bool(distance[i] <= enter or (inside and distance[i] <= leave))
        out[i] = float(inside)
    return out


def runs(t_s: F64, state: F64, bridge_s: float, step_s: float) -> list[tuple[int, int]]:
    """Stretches (first, last row) of state 1; unknown rows (NaN, or no frame at all) up to `bridge_s` are bridged."""
    found: list[tuple[int, int]] = []
    for i in np.flatnonzero(state == 1):
        if found:
            first, last = found[-1]
            between = state[last + 1 : i]
            if t_s[i] - t_s[last] <= bridge_s + step_s + EPS_S and not np.any(between == 0):
                found[-1] = (first, int(i))
                continue
        found.append((int(i), int(i)))
    return found


def lasting(t_s: F64, rows: tuple[int, int], step_s: float) -> float:
    """Seconds a stretch covers, its last frame included; a single frame shows nothing that lasts: 0."""
    if rows[0] == rows[1]:
        return 0.0
    return float(t_s[rows[1]] - t_s[rows[0]] + step_s + EPS_S)


def span_of(t_us: I64, rows: tuple[int, int], step_s: float) -> Span:
    """From the first row until one frame after the last."""
    return Span(int(t_us[rows[0]]), int(t_us[rows[1]]) + round(step_s * 1e6))


def turns(value: F64, least: float) -> list[int]:
    """Rows of the turning points that are at least `least` apart in value (zigzag with hysteresis); NaN is skipped."""
    known = np.flatnonzero(np.isfinite(value))
    if not len(known):
        return []
    pivots: list[int] = []
    low = high = int(known[0])
    direction = 0
    for i in known:
        if value[i] > value[high]:
            high = int(i)
        if value[i] < value[low]:
            low = int(i)
        if direction >= 0 and value[high] - value[i] >= least and high < i:
            pivots.append(high)
            direction, low = -1, int(i)
            high = int(i)
        elif direction <= 0 and value[i] - value[low] >= least and low < i:
            pivots.append(low)
            direction, high = 1, int(i)
            low = int(i)
    if direction:
        pivots.append(high if direction > 0 else low)
    return pivots
