"""The noise of a signal: of its quiet cells, of those outside of its episodes, and of its trend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.signals.temporal.records import Episode, TemporalRules

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
LAGS = (1, 2, 4, 8)
_FEW = 5  # cells outside of all episodes, with fewer of which their spread is not known
_PAIRS = 8  # that a figure of differences needs


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
    noise = max(spread, known, *(_steps(v, lag) for lag in LAGS if lag <= max(2, len(v) // 10)))
    return float(level) + 0.842 * min(spread, noise), noise


def _steps(v: F64, lag: int) -> float:
    """sd of one cell from differences: 30 % of |N(0, 2 σ²)| lie below 0.385 √2 σ."""
    return float(np.quantile(np.abs(v[lag:] - v[:-lag]), 0.3)) / (0.385 * math.sqrt(2))


def outstanding(found: Sequence[Episode], t_us: I64, value: F64, step: int, rules: TemporalRules) -> list[Episode]:
    """The episodes that also stand out of the cells outside of all of them, with the noise of those where it is larger.

    That noise is the largest of two. The upper spread of the cells (from their median to 90 %, as of a normal law): of
    skewed noise the lower cells show little. And their differences over 1, 2, 4 and 8 cells, continued to the longer
    flank of the episode as fast as they grow: not at all for white noise, with the root of time for a random walk. What
    has one flank alone may be a drift, so it must stand out of a walk. The least outstanding goes first, and its cells
    then count as outside.

    Args:
        t_us, value: `[n]`, measured cells; roots where the rules say so.
    """
    kept = list(found)
    while kept:
        outside, part = np.ones(len(t_us), bool), np.zeros(len(t_us), np.int64)
        for e in kept:
            begin = t_us[0] if e.onset_us is None else e.onset_us
            end = t_us[-1] if e.offset_us is None else e.offset_us
            outside &= (t_us < begin) | (t_us > end)
            part += t_us > end
        middle, high = np.quantile(value[outside], (0.5, 0.9)) if outside.sum() >= _FEW else (0.0, 0.0)
        grown = _growth(t_us, value, step, outside, part)
        noise = [max(float(high - middle) / 1.2816, grown(_flank(e) / step, _open(e))) for e in kept]
        ratio = [_height(e, rules) / max(rules.on * n, 1e-12) for e, n in zip(kept, noise, strict=True)]
        least = int(np.argmin(ratio))
        if ratio[least] >= 1:
            return [_noisier(e, n, rules) for e, n in zip(kept, noise, strict=True)]
        del kept[least]
    return kept


def _growth(t_us: I64, value: F64, step: int, outside: npt.NDArray[np.bool_], part: I64) -> Callable[..., float]:
    """sd of one cell from differences, as a function of the length of a flank in cells and whether it is the only one.

    From pairs outside of episodes and on one side of each; where those are few, from all, as in `quiet_of`.
    """
    sd: dict[int, float] = {}
    known = len(value)
    for lag in LAGS:
        pairs = (
            outside[lag:] & outside[:-lag] & (part[lag:] == part[:-lag]) & (t_us[lag:] - t_us[:-lag] < 1.5 * lag * step)
        )
        if pairs.sum() >= _PAIRS:
            known = int(pairs.sum())
            sd[lag] = float(np.median(np.abs(value[lag:] - value[:-lag])[pairs])) / (0.6745 * math.sqrt(2))
    if len(sd) < 2:
        sd = {lag: _steps(value, lag) for lag in LAGS if lag <= max(2, len(value) // 5)}
    last = max(sd)
    rate = math.log(max(sd[last], 1e-12) / max(sd[1], 1e-12)) / math.log(last)

    def grown(cells: float, alone: bool) -> float:
        power = 0.5 if alone else min(max(rate, 0.0), 0.5)
        few = 1 + 2.5 * power / math.sqrt(known)  # the fewer pairs, the less is known of how a walk goes on
        return max(*sd.values(), sd[last] * max(1.0, cells / last) ** power) * few

    return grown


def _flank(e: Episode) -> int:
    """The longer of the known flanks, in µs."""
    rise = 0 if e.onset_us is None else e.peak_us - e.onset_us
    return max(rise, 0 if e.offset_us is None else e.offset_us - e.peak_us)


def _open(e: Episode) -> bool:
    return e.onset_us is None or e.offset_us is None


def _height(e: Episode, rules: TemporalRules) -> float:
    """In the unit that noise is told in: of the roots where the rules say so."""
    return math.sqrt(e.quiet + e.height) - math.sqrt(e.quiet) if rules.root else e.height


def _noisier(e: Episode, noise: float, rules: TemporalRules) -> Episode:
    need = rules.on * noise
    if rules.root:
        level = math.sqrt(e.quiet)
        noise, need = (level + noise) ** 2 - e.quiet, (level + need) ** 2 - e.quiet
    noise = max(e.noise, noise)
    return replace(e, noise=noise, least=max(e.least, need), confidence=sure(e.height, noise))


def sure(height: float, noise: float) -> float:
    """0..1, that a height is no noise."""
    return 1.0 if noise == 0 else math.erf(height / noise / 2 / math.sqrt(2))


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
