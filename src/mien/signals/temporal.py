"""Episodes of a signal: onset, escalation, peak, resolution and offset, each with its time and how sure that is.

A maximum is an episode when it stands out by `on` standard deviations of the quiet cells, both over the quiet and over
the valleys beside it (topographic prominence), and by the smallest change that counts; it ends where the curve has come
back to `off` of them (two thresholds: Schmitt 1938). The quiet is the lower fifth of what was measured, so that an
episode may fill most of a clip. How often noise makes one, by its kind: `python -m bench captions` plants and counts.

Onset and offset are where the flank, from its lower to its upper crossing, meets the quiet when drawn on as a straight
line (the attack of Peeters 2004, continued to its foot): exact for steps and ramps, late by a tenth of the rise for a
raised cosine. Their sd is the noise over the slope of the flank, with half a cell and what gaps hide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Phase = Literal["before", "escalation", "peak", "resolution", "after"]
PHASES: tuple[Phase, ...] = ("before", "escalation", "peak", "resolution", "after")
Edge = Literal["", "clip-border", "gap"]


@dataclass(frozen=True, slots=True)
class TemporalRules:
    """When a movement of a signal is an episode.

    least: smallest height in the signal's unit; floor: lower values count as this one (silence is no deeper quiet than
    that of a room). on, off: in sd of the quiet. split: a valley lower than this share of the lower peak parts two
    episodes. near_top: from this share of the height on it is at its peak. bridge_us: longer gaps end an episode;
    smooth_us: means over this long; cells: fewer measured ones tell nothing. root: for signals that are sums of small
    movements and never negative: found on the square root, where their noise looks normal, timed on the signal itself.
    """

    least: float = 0.0
    floor: float = -math.inf
    on: float = 6.0
    off: float = 1.5
    split: float = 0.5
    near_top: float = 0.9
    bridge_us: int = 1_000_000
    smooth_us: int = 250_000
    cells: int = 10
    root: bool = False


@dataclass(frozen=True, slots=True)
class Episode:
    """One rise and what followed, in µs of the signal's clock; sd in s.

    onset, peak and offset with their sd; None where it began before or ended after what was measured (`began`, `ended`
    say why: "clip-border" or "gap"). top_from_us, top_until_us: the stretch near the peak: escalation comes before it,
    resolution after it. height over `quiet`, in the signal's unit; least: the height it needed to be one;
    confidence: 0..1, that the height is no noise.
    """

    onset_us: int | None
    peak_us: int
    offset_us: int | None
    top_from_us: int
    top_until_us: int
    onset_sd_s: float
    peak_sd_s: float
    offset_sd_s: float
    height: float
    quiet: float
    noise: float
    least: float
    confidence: float
    began: Edge = ""
    ended: Edge = ""

    def __post_init__(self) -> None:
        times = [self.onset_us, self.top_from_us, self.peak_us, self.top_until_us, self.offset_us]
        known = [t for t in times if t is not None]
        if any(b < a for a, b in pairwise(known)):
            raise ValueError(f"onset, peak and offset must come in this order, but got {known}")

    def phase(self, t_us: int) -> Phase:
        """Where in the episode an instant lies."""
        if t_us < self.top_from_us:
            return "before" if self.onset_us is not None and t_us < self.onset_us else "escalation"
        if t_us <= self.top_until_us:
            return "peak"
        return "after" if self.offset_us is not None and t_us >= self.offset_us else "resolution"

    def phases(self, start_us: int, end_us: int) -> tuple[tuple[Phase, int, int], ...]:
        """(phase, start, end) of the parts of `[start_us, end_us)`, in order, without empty ones."""
        onset = start_us if self.onset_us is None else self.onset_us
        offset = end_us if self.offset_us is None else self.offset_us
        inner = (onset, self.top_from_us, self.top_until_us, offset)
        edges = (start_us, *(min(max(t, start_us), end_us) for t in inner), end_us)
        return tuple((p, a, b) for p, (a, b) in zip(PHASES, pairwise(edges), strict=True) if b > a)


_DEFAULT = TemporalRules()


def quiet_of(value: F64, sd: F64 | None = None) -> tuple[float, float]:
    """Level and sd of the quiet cells.

    The level is the 20th percentile, brought to the middle of the quiet. The sd is the largest of: the median of the
    signal's own; that of its lower fifth, as of a normal law; that of its differences over 1, 2, 4 and 8 cells (their
    30th percentile, as of a normal law). So neither a smooth wavering (small steps from cell to cell) nor a signal that
    knows its error is taken for quieter than it is, and an episode may fill more than half of a clip.
    """
    v = value[np.isfinite(value)]
    low, level = np.quantile(v, (0.02, 0.2))
    spread = float(level - low) / 1.212  # 2 % and 20 % of a normal law lie 1.212 sd apart
    own = sd[np.isfinite(sd)] if sd is not None else np.zeros(0)
    known = float(np.median(own)) if 2 * len(own) >= len(v) else 0.0
    noise = max(spread, known, *(_steps(v, lag) for lag in (1, 2, 4, 8) if lag <= max(2, len(v) // 10)))
    return float(level) + 0.842 * min(spread, noise), noise


def _steps(v: F64, lag: int) -> float:
    """sd of one cell from differences: 30 % of |N(0, 2 σ²)| lie below 0.385 √2 σ."""
    return float(np.quantile(np.abs(v[lag:] - v[:-lag]), 0.3)) / (0.385 * math.sqrt(2))


def episodes(
    t_us: npt.NDArray[np.int64],
    value: npt.NDArray[Any],
    sd: npt.NDArray[Any] | None = None,
    rules: TemporalRules = _DEFAULT,
) -> tuple[Episode, ...]:
    """The episodes of a signal in order of time; none where it only wavers.

    Args:
        t_us: int64 `[n]`, starts of equal cells. value, sd: float `[n]`, NaN where not measured.

    Raises:
        ValueError: the arrays differ in length, or time does not rise.
    """
    v = np.maximum(np.asarray(value, np.float64), rules.floor)  # NaN stays NaN
    own = None if sd is None else np.asarray(sd, np.float64)
    if not len(t_us) == len(v) == (len(v) if own is None else len(own)):
        raise ValueError(f"t_us, value and sd must have one length, but got {len(t_us)}, {len(v)}")
    if len(t_us) > 1 and np.diff(t_us).min() <= 0:
        raise ValueError("t_us must rise")
    if rules.root:
        v, own = np.sqrt(np.maximum(v, 0)), None
    there = np.flatnonzero(np.isfinite(v))
    if len(there) < rules.cells:
        return ()
    step = int(np.median(np.diff(t_us)))
    quiet, noise = quiet_of(v, own)
    found: list[Episode] = []
    parts = np.split(there, np.flatnonzero(np.diff(t_us[there]) > rules.bridge_us + step) + 1)
    for k, part in enumerate(parts):
        if len(part) >= 3:
            edges: tuple[Edge, Edge] = ("gap" if k else "clip-border", "gap" if k + 1 < len(parts) else "clip-border")
            found += _of_run(t_us[part], v[part], step, quiet, noise, edges, rules)
    return tuple(found)


def _of_run(
    t_us: npt.NDArray[np.int64],
    v: F64,
    step: int,
    quiet: float,
    noise: float,
    edges: tuple[Edge, Edge],
    rules: TemporalRules,
) -> Iterator[Episode]:
    """The episodes of one stretch without a long gap."""
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import find_peaks, medfilt

    grid = np.arange(t_us[0], t_us[-1] + 1, step)
    holes = np.abs(t_us[np.clip(np.searchsorted(t_us, grid), 0, len(t_us) - 1)] - grid) > step / 2
    curve = np.interp(grid, t_us, v)
    curve = medfilt(np.concatenate([curve[:1], curve, curve[-1:]]), 3)[1:-1]  # one odd cell is no episode
    width = int(rules.smooth_us // step)
    if width > 1:
        curve = uniform_filter1d(curve, width | 1, mode="nearest")
    least = math.sqrt(quiet**2 + rules.least) - quiet if rules.root else rules.least
    need = max(rules.on * noise, least, 1e-12)
    padded = np.concatenate([[quiet], np.maximum(curve, quiet), [quiet]])
    tops, facts = find_peaks(padded, height=quiet + need, prominence=need)
    height = facts["peak_heights"] - quiet
    tops = [int(p) - 1 for p, h, stands in zip(tops, height, facts["prominences"], strict=True) if
            stands >= rules.split * h]  # fmt: skip
    for k, top in enumerate(tops):
        left = 0 if k == 0 else tops[k - 1] + int(np.argmin(curve[tops[k - 1] : top + 1]))
        right = len(curve) - 1 if k + 1 == len(tops) else top + int(np.argmin(curve[top : tops[k + 1] + 1]))
        beside = (k > 0, k + 1 < len(tops))
        if rules.root:
            own = (quiet**2, (quiet + noise) ** 2 - quiet**2, (quiet + need) ** 2 - quiet**2)
            yield _episode(grid, curve**2, holes, (left, top, right), beside, own, edges, rules)
        else:
            yield _episode(grid, curve, holes, (left, top, right), beside, (quiet, noise, need), edges, rules)


def _episode(
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
        1.0 if noise == 0 else math.erf(height / noise / 2 / math.sqrt(2)),
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


def leading(found: Sequence[Episode]) -> Episode | None:
    """The highest episode over its noise; of those that are as high to two figures, the earliest."""

    def worth(e: Episode) -> tuple[float, int]:
        return float(f"{e.height / max(e.noise, 1e-12):.2g}"), -e.peak_us

    return max(found, key=worth, default=None)


def trend(value: npt.NDArray[Any], sd: npt.NDArray[Any] | None = None) -> tuple[float, float]:
    """Change from the first to the last third (medians) and its sd; (NaN, NaN) where either third was hardly measured.

    The sd is that of a single cell, √2 times (own, or as in `quiet_of` from the differences): errors of a filtered
    signal are alike from cell to cell, so that averaging them would promise too much.
    """
    v = np.asarray(value, np.float64)
    third = len(v) // 3
    ends = [part[np.isfinite(part)] for part in (v[:third], v[len(v) - third :])]
    if third < 3 or min(len(part) for part in ends) < max(3, third // 2):
        return math.nan, math.nan
    own = np.zeros(0) if sd is None else np.asarray(sd, np.float64)
    own = own[np.isfinite(own)]
    noise = float(np.median(own)) if 2 * len(own) >= len(v) else 0.0
    known = v[np.isfinite(v)]
    noise = max(noise, float(np.median(np.abs(np.diff(known)))) * 1.4826 / math.sqrt(2))
    return float(np.median(ends[1]) - np.median(ends[0])), noise * math.sqrt(2)
