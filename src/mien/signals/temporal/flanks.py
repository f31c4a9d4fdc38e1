"""One episode measured: its times from its flanks, with their sd."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mien.signals.temporal.quiet import sure
from mien.signals.temporal.records import Edge, Episode, TemporalRules

F64 = npt.NDArray[np.float64]


def measured(
    grid: npt.NDArray[np.int64],
    curve: F64,
    holes: npt.NDArray[np.bool_],
    place: tuple[int, int, int],
    beside: tuple[bool, bool],
    levels: tuple[float, float, float],
    edges: tuple[Edge, Edge],
    rules: TemporalRules,
) -> Episode:
    """One episode. place: valley or border before, top, the same after; levels: quiet, noise, the height needed."""
    (left, top, right), (quiet, noise, need) = place, levels
    step = int(grid[1] - grid[0])
    height = float(curve[top] - quiet)
    above = curve - quiet
    near = rules.near_top * height
    first, last = top, top
    while first > left and above[first - 1] >= near:
        first -= 1
    while last < right and above[last + 1] >= near:
        last += 1
    weight = above[first : last + 1] - near + 1e-9 * height
    centre = float(np.average(np.arange(first, last + 1), weights=weight))
    rise, rise_sd = _foot(above[left : top + 1][::-1], noise, height, rules, beside[0])
    fall, fall_sd = _foot(above[top : right + 1], noise, height, rules, beside[1])
    cell_s = step / 1e6

    def hidden(a: int, b: int) -> float:
        """sd in s for cells that were not measured around a flank."""
        return float(holes[max(0, a) : b + 1].sum()) * cell_s / math.sqrt(12)

    peak_us = int(grid[0] + centre * step)
    width_s = (last - first) * cell_s
    peak_sd = math.hypot(cell_s / math.sqrt(12), width_s / math.sqrt(12) * min(1.0, 4 * noise / height + 0.1))
    onset = None if rise is None else min(int(grid[top] - rise * step), int(grid[first]), peak_us)
    offset = None if fall is None else max(int(grid[top] + fall * step), int(grid[last]), peak_us)
    return Episode(
        onset, peak_us, offset, min(int(grid[first]), peak_us), max(int(grid[last]), peak_us),
        math.nan if rise is None else math.hypot(rise_sd * cell_s, hidden(top - math.ceil(rise) - 1, first)),
        math.hypot(peak_sd, hidden(first, last)),
        math.nan if fall is None else math.hypot(fall_sd * cell_s, hidden(last, top + math.ceil(fall) + 1)),
        height, quiet, noise, need,
        sure(height, noise),
        edges[0] if rise is None else "", edges[1] if fall is None else "",
    )  # fmt: skip


def _foot(flank: F64, noise: float, height: float, rules: TemporalRules, valley: bool) -> tuple[float | None, float]:
    """Cells from the peak to the foot of a flank (which begins at the peak and goes outwards), and their sd.

    None where the flank never comes down; in a valley between two episodes the foot lies at the latest there.
    """
    low = min(max(0.05, rules.off * noise / height), 0.4) * height
    high = low + 0.25 * height
    below = np.flatnonzero(flank <= low)
    if not len(below):
        return (float(len(flank) - 1), 0.5) if valley else (None, math.nan)
    outer = _crossing(flank, int(below[0]), low)
    inner = _crossing(flank, int(np.flatnonzero(flank[: below[0] + 1] >= high)[-1]) + 1, high)
    slope = (high - low) / max(outer - inner, 1e-6)  # per cell
    sd = math.hypot(1 / math.sqrt(12), min(noise / slope, float(len(flank))))
    return outer + low / slope, sd


def _crossing(flank: F64, after: int, level: float) -> float:
    """Where between `after - 1` and `after` a falling flank passes a level, in cells."""
    if after == 0:
        return 0.0
    a, b = float(flank[after - 1]), float(flank[after])
    return after - 1 + (a - level) / (a - b) if a > b else float(after)
