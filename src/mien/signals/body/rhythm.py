"""Repeated movement of the whole trunk: rocking in place, pacing to and fro."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mien.signals.body.config import PacingConfig, RockingConfig
from mien.signals.body.records import BodyEvent
from mien.signals.body.series import SHOULDER_WIDTH, Body
from mien.signals.body.timing import EPS_S, local_line, runs, span_of, turns

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HOP_S = 0.5
SHORTEST_S = 4.0  # a window holds this much even of a fast rhythm, so that 3 frames/s give enough samples to fit
NYQUIST = 0.45  # of the frame rate
LEAST_SAMPLES = 10
SHOULDERS = ("left_shoulder", "right_shoulder")
AXES = ("sideways", "up and down", "in apparent width")


def rocking(body: Body, config: RockingConfig) -> list[BodyEvent]:
    """Stretches in which the shoulders oscillate with one period while the hips stay in place.

    A quadratic trend and one sinusoid are fitted by least squares to the middle of the shoulders (x, y) and to their
    apparent width, in windows of at least 4 s and three periods (Lomb 1976; floating mean: Zechmeister & Kürster 2009).
    That needs no even clock. Rocking has a spectral peak, most other stereotypies do not (Ross et al. 1998).
    """
    top = min(config.high_hz, NYQUIST * body.rate_hz)
    if len(body.t_s) < LEAST_SAMPLES or top < config.low_hz:
        return []
    signal = _oscillating(body)
    grid = np.geomspace(config.low_hz, top, max(2, math.ceil(math.log(top / config.low_hz) / math.log(1.08))))
    longest = max(SHORTEST_S, config.cycles / config.low_hz)
    lengths = np.geomspace(SHORTEST_S, longest, 1 + math.ceil(math.log2(longest / SHORTEST_S) * 1.5 - 1e-9))
    served = np.searchsorted(lengths, config.cycles / grid - EPS_S)
    hits: list[Hit] = []
    for t0 in np.arange(body.t_s[0], body.t_s[-1], HOP_S):
        fits = (_fitted(body, signal, float(t0), float(s), grid[served == i], config) for i, s in enumerate(lengths))
        best = max(fits, key=lambda fit: fit.r2)
        if best.r2 >= config.periodic:
            hits.append(best)
    return [event for bout in _bouts(hits) for event in _confirmed(body, signal, bout, config)]


@dataclass(frozen=True, slots=True)
class Hit:
    """The best sinusoid of one window: share explained, window in s, frequency, axis (index into `AXES`)."""

    r2: float
    start_s: float
    end_s: float
    hz: float
    axis: int


def _oscillating(body: Body) -> F64:
    """`[n 3]` in px: middle of the shoulders x, y, and their distance."""
    width = np.linalg.norm(body.at[SHOULDERS[0]] - body.at[SHOULDERS[1]], axis=1)
    return np.concatenate([body.shoulders, width[:, None]], axis=1)


def _fitted(body: Body, signal: F64, t0: float, length: float, grid: F64, config: RockingConfig) -> Hit:
    """Adjusted R² (Ezekiel 1930); 0 where the window cannot be rocking: unseen, little movement, or not in place."""
    low, high = np.searchsorted(body.t_s, [t0 - EPS_S, t0 + length + EPS_S])
    nothing = Hit(0.0, t0, t0 + length, config.low_hz, 0)
    rows = np.arange(low, high)[np.isfinite(signal[low:high]).all(axis=1)]
    if len(rows) < max(LEAST_SAMPLES, 0.7 * length * body.rate_hz):
        return nothing
    t = body.t_s[rows] - t0 - length / 2
    # one scale for the window: that of each frame would add its own steps
    x = signal[rows] / np.median(body.scale[rows])
    basis, _ = np.linalg.qr(np.stack([np.ones_like(t), t, t * t], axis=1))
    x = x - basis @ (basis.T @ x)
    total = (x**2).sum(axis=0)
    if np.all(2 * total / len(t) < (0.7 * config.amplitude) ** 2) or not _in_place(body, rows, config):
        return nothing
    best = nothing
    for hz in grid:
        wave = np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)], axis=1)
        wave = wave - basis @ (basis.T @ wave)
        weights = np.linalg.solve(wave.T @ wave, wave.T @ x)
        left = ((x - wave @ weights) ** 2).sum(axis=0)
        enough = np.linalg.norm(weights, axis=0) >= config.amplitude
        # adjusted for two weights and the frequency: few samples of noise follow some sinusoid quite well
        share = left / np.maximum(total, 1e-12) * (len(t) - 3) / (len(t) - 6)
        r2 = np.where(enough, 1 - share, 0.0)
        axis = int(np.argmax(r2))
        if r2[axis] > best.r2:
            best = Hit(float(r2[axis]), t0, t0 + length, float(hz), axis)
    return best


def _in_place(body: Body, rows: npt.NDArray[np.intp], config: RockingConfig) -> bool:
    """Whether the hips (the shoulders, where no hips are seen) stay in place and the person keeps their distance."""
    scale = body.scale[rows]
    if np.log(scale.max() / scale.min()) > config.size:
        return False
    hips = body.hips[rows]
    place, limit = (hips, config.in_place) if np.isfinite(hips).all(axis=1).mean() > 0.5 else (
        body.shoulders[rows], 2 * config.in_place)  # fmt: skip
    span = np.nanpercentile(place, 97, axis=0) - np.nanpercentile(place, 3, axis=0)
    return bool(np.all(span <= limit * np.median(scale)))


def _bouts(hits: list[Hit]) -> list[list[Hit]]:
    """Overlapping windows of about the same frequency (within a third)."""
    bouts: list[list[Hit]] = []
    for hit in hits:
        last = bouts[-1] if bouts else []
        if last and hit.start_s <= max(h.end_s for h in last) and abs(math.log(hit.hz / last[-1].hz)) < 0.3:
            last.append(hit)
        else:
            bouts.append([hit])
    return bouts


def _confirmed(body: Body, signal: F64, bout: list[Hit], config: RockingConfig) -> list[BodyEvent]:
    """Trim a bout to where the oscillation is, and count its half cycles: a single sway is no rhythm."""
    weights = [h.r2 for h in bout]
    hz, axis = float(np.average([h.hz for h in bout], weights=weights)), max(bout, key=lambda h: h.r2).axis
    low, high = np.searchsorted(body.t_s, [bout[0].start_s - EPS_S, max(h.end_s for h in bout) + EPS_S])
    t = body.t_s[low:high]
    x = signal[low:high, axis : axis + 1] / float(np.nanmedian(body.scale[low:high]))
    slow, _ = local_line(t, x, 1 / hz)
    off = (x - slow)[:, 0]
    size = float(np.nanpercentile(np.abs(off), 90))
    # strokes without a pause longer than a cycle (or three frames, where they are few); the longest is the event
    pause = max(1 / hz, 3 * body.step_s)
    strokes = runs(t, np.where(np.abs(off) >= 0.5 * size, 1.0, np.nan), pause, body.step_s)
    if not strokes:
        return []
    first, last = max(strokes, key=lambda r: t[r[1]] - t[r[0]])
    seconds = t[last] - t[first] + 1 / (6 * hz)  # a sine is above half its height from 30° on
    halves = len(turns(off[first : last + 1], 1.2 * size)) - 1
    if seconds * hz < config.cycles - 0.3 or halves < 2 * config.cycles - 2:
        return []
    rows = (int(low + first), int(low + last))
    amplitude = size / math.sin(math.radians(81))  # nine tenths of a sine's frames lie below this
    seen = body.seen(*SHOULDERS)[rows[0] : rows[1] + 1]
    share = float(np.isfinite(off[first : last + 1]).mean())
    reason = (
        f"shoulders oscillate {AXES[axis]} at {hz:.2f} Hz by ±{amplitude:.2f} trunk lengths for {seconds * hz:.1f} "
        "cycles while the hips stay in place"
    )
    span = span_of(body.t_us, rows, body.step_s)
    return [BodyEvent("rocking", span, hz, "Hz", float(seen.mean()) * share, AXES[axis], reason)]


def pacing(body: Body, config: PacingConfig) -> list[BodyEvent]:
    """Walking to and fro across the picture: at least `reversals` turns between legs of `leg` body widths.

    The way is the sum of horizontal steps of the hips (of the shoulders, where hips are mostly unseen), each divided by
    the trunk length of its frame, so that coming nearer does not count as walking.
    """
    names = ("left_hip", "right_hip")
    place = body.hips[:, 0]
    if np.isfinite(place).mean() < 0.5:
        names, place = SHOULDERS, body.shoulders[:, 0]
    found: list[BodyEvent] = []
    known = np.flatnonzero(np.isfinite(place) & np.isfinite(body.scale))
    for part in np.split(known, np.flatnonzero(np.diff(body.t_s[known]) > config.pause_s) + 1):
        if len(part) < 2:
            continue
        way = np.concatenate([[0.0], np.cumsum(np.diff(place[part]) / body.scale[part[1:]])])
        for legs in _paced(body.t_s[part], way, config):
            rows = (int(part[legs[0][0]]), int(part[legs[-1][1]]))
            span = span_of(body.t_us, rows, body.step_s)
            count = len(legs) - 1
            mean = float(np.mean([abs(way[b] - way[a]) for a, b in legs])) / SHOULDER_WIDTH
            frames = np.isfinite(place[rows[0] : rows[1] + 1]).mean()
            quality = float(body.seen(*names)[rows[0] : rows[1] + 1].mean() * frames)
            reason = (
                f"{count} turns between ways of {mean:.1f} body widths across the picture in {span.duration_s:.0f} s"
            )
            found.append(BodyEvent("pacing", span, float(count), "turns", quality, "across", reason))
    return found


def _paced(t_s: F64, way: F64, config: PacingConfig) -> list[list[tuple[int, int]]]:
    """Groups of legs (first, last row) that follow each other and are long, quick and many enough."""
    least = config.leg * SHOULDER_WIDTH
    pivots = turns(way, least)
    groups: list[list[tuple[int, int]]] = [[]]
    for a, b in pairwise(pivots):
        inner = np.arange(a, b + 1)
        # a rest at a turn belongs to no leg
        start = int(inner[np.abs(way[inner] - way[a]) <= 0.15 * least][-1])
        end = int(inner[np.abs(way[inner] - way[b]) <= 0.15 * least][0])
        seconds = max(float(t_s[end] - t_s[start]), EPS_S)
        speed = abs(way[end] - way[start]) / seconds
        walked = seconds <= config.leg_s and config.speed <= speed <= config.fastest
        last = groups[-1][-1] if groups[-1] else None
        if not walked or (last is not None and t_s[start] - t_s[last[1]] > config.pause_s):
            groups.append([])
        if walked:
            groups[-1].append((start, end))
    return [legs for legs in groups if len(legs) > config.reversals]
