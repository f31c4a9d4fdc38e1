"""From a signal to its episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.signals.temporal.flanks import measured
from mien.signals.temporal.quiet import outstanding, quiet_of
from mien.signals.temporal.records import Edge, Episode, TemporalRules

F64 = npt.NDArray[np.float64]
_DEFAULT = TemporalRules()


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
    return tuple(outstanding(found, t_us[there], v[there], step, rules))


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
            yield measured(grid, curve**2, holes, (left, top, right), beside, own, edges, rules)
        else:
            yield measured(grid, curve, holes, (left, top, right), beside, (quiet, noise, need), edges, rules)


def leading(found: Sequence[Episode]) -> Episode | None:
    """The highest episode over its noise; of those that are as high to two figures, the earliest."""

    def worth(e: Episode) -> tuple[float, int]:
        return float(f"{e.height / max(e.noise, 1e-12):.2g}"), -e.peak_us

    return max(found, key=worth, default=None)
