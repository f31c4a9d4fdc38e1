"""A body that does not move: at first or after little movement ("still"), or right after movement ("freezing")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import COCO_POINTS
from mien.signals.body.config import StillnessConfig
from mien.signals.body.posture import LIMBS, motion
from mien.signals.body.records import BodyEvent
from mien.signals.body.series import Body
from mien.signals.body.timing import EPS_S, hysteresis, lasting, local_line, mean_of, rolling_mean, runs, span_of

F64 = npt.NDArray[np.float64]


def stillness(body: Body, config: StillnessConfig) -> list[BodyEvent]:
    """Stretches of at least `least_s` below the floor of movement while most points are seen.

    What went before decides the word: freezing needs a limb that moved, and was seen to move.
    """
    if body.rate_hz < config.min_rate_hz:
        return []
    share = np.mean([np.isfinite(p).all(axis=1) for p in body.at.values()], axis=0)
    speed = np.where(share >= config.visible, net_speed(body, config.window_s), np.nan)
    fast = motion(body)
    busiest = np.fmax.reduce([fast[f"motion_{limb}"] for limb in LIMBS])
    state = hysteresis(speed, config.floor, 1.3 * config.floor)
    # what swings within the window has no slope over it, and part of it would pass for jitter
    restless = _restless(body, config.window_s)
    state[((busiest >= config.moved) | (restless > config.jitter)) & (state == 1)] = 0
    found: list[BodyEvent] = []
    taken = -1
    for rows in runs(body.t_s, state, body.bridge_s, body.step_s):
        low, high = _widened(body.t_s, rows, busiest < config.moved, config.window_s / 2)
        low = max(low, taken + 1)
        seconds = lasting(body.t_s, (low, high), body.step_s)
        if seconds < config.least_s:
            continue
        taken = high
        part = slice(low, high + 1)
        energy = float(np.nanmean(speed[rows[0] : rows[1] + 1]))
        before = (body.t_s >= body.t_s[low] - config.before_s) & (np.arange(len(body.t_s)) < low)
        moving = busiest[before & np.isfinite(busiest)]
        froze = len(moving) >= 0.5 * config.before_s * body.rate_hz and float(moving.mean()) >= config.moved
        text = f"points move at {energy:.3f} trunk lengths/s beyond jitter for {seconds:.1f} s"
        if froze:
            text += f", after a limb moved at {float(moving.mean()):.2f}"
        quality = float((body.visibility[part].mean(axis=1) * np.isfinite(speed[part])).mean())
        span = span_of(body.t_us, (low, high), body.step_s)
        kind = "freezing" if froze else "still"
        found.append(BodyEvent(kind, span, energy, "trunk lengths/s", quality, "whole body", text))
    return found


def net_speed(body: Body, window_s: float) -> F64:
    """Root mean square speed `[n]` of all points, trunk lengths/s, without what jitter of the points adds.

    v² of straight lines through `window_s`, averaged over the points and over `window_s`. Jitter of variance σ² adds
    2σ²/Σ(t−t̄)² to it, which is taken out; σ² comes from the points' deviations from the line between their neighbours.
    Jitter that drifts over more than three frames is not told from movement.
    """
    t = body.t_s
    low = np.searchsorted(t, t - window_s / 2 - EPS_S, "left")
    high = np.searchsorted(t, t + window_s / 2 + EPS_S, "right")
    spread = np.array([((t[a:b] - t[a:b].mean()) ** 2).sum() for a, b in zip(low, high, strict=True)])
    places = [body.at[name] for name in COCO_POINTS]
    v2 = mean_of([(local_line(t, p, window_s)[1] ** 2).sum(axis=1) for p in places])
    sigma2 = rolling_mean(t, mean_of([_jitter(t, p) for p in places]), window_s)
    net = rolling_mean(t, v2, window_s) - np.where(np.isfinite(sigma2), sigma2, 0) / np.maximum(spread, 1e-6)
    return np.where(np.isfinite(v2), np.sqrt(np.maximum(net, 0)) / body.scale, np.nan)


def _restless(body: Body, window_s: float) -> F64:
    """Jitter `[n]` of the limb that has most of it, trunk lengths, over the window."""
    limbs = [mean_of([_jitter(body.t_s, body.at[p]) for p in points]) for points in LIMBS.values()]
    return np.sqrt(rolling_mean(body.t_s, np.fmax.reduce(limbs), window_s)) / body.scale


def _jitter(t_s: F64, at: F64) -> F64:
    """Variance `[n]` (both axes summed) of independent errors, from each point's place between its two neighbours."""
    out = np.full(len(t_s), np.nan)
    if len(t_s) > 2:
        share = ((t_s[1:-1] - t_s[:-2]) / (t_s[2:] - t_s[:-2]))[:, None]
        off = at[1:-1] - (1 - share) * at[:-2] - share * at[2:]
        out[1:-1] = (off**2 / (1 + share**2 + (1 - share) ** 2)).sum(axis=1)
    return out


def _widened(t_s: F64, rows: tuple[int, int], quiet: npt.NDArray[np.bool_], by_s: float) -> tuple[int, int]:
    """The windows blur both ends: neighbouring rows within `by_s` that are quiet on the short clock belong to it."""
    low, high = rows
    while low > 0 and quiet[low - 1] and t_s[rows[0]] - t_s[low - 1] <= by_s + EPS_S:
        low -= 1
    while high + 1 < len(quiet) and quiet[high + 1] and t_s[high + 1] - t_s[rows[1]] <= by_s + EPS_S:
        high += 1
    return low, high
