"""Events of a signal by one stated rule: rise, fall, peak, onset, gap. Every event is a row that a claim may cite.

A turning point counts once the signal has come back from it by the threshold H = max(least, 2 σ), with `least` from the
vocabulary and σ the standard deviation of one cell. This hysteresis is that of rainflow counting (Matsuishi & Endo
1968; ASTM E1049) and of the "directional change" of Guillaume et al. 1997: movements below H make no event, however
many there are, and noise on the way up does not cut a rise in two.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Clip, Observation, Signal, Span, content_id
from mien.reason.vocabulary import QUANTITIES

Array = npt.NDArray[Any]
RULE = "rule.events@1"
CELL_US = 200_000
GAP_US = 1_000_000
SDS = 2.0
MOST = 6
"""Events kept per signal and kind: the largest. A claim can cite no more of one kind than a reader can follow."""
FLOORS = {"loudness": -70.0}  # quieter is quiet: digital silence is no deeper quiet than that of a room
ONSETS = ("loudness", "motion_energy", "body.motion_body")


@dataclass(frozen=True, slots=True)
class Event:
    """`value` ± `sd` in the signal's unit: the change of a rise or fall (signed), the level of a peak, the height of an
    onset above the rest, seconds of a gap."""

    kind: str
    span: Span
    value: float
    sd: float


def events(name: str, t_us: Array, value: Array, sd: Array) -> list[Event]:
    """The events of a signal, by time; at most `MOST` of a kind.

    Args:
        name: of the signal; one that is not in the vocabulary has no events.
        t_us: int64 `[n]` starts of equal cells. value, sd: float `[n]`; NaN where not measured.

    Raises:
        ValueError: the arrays differ in length.
    """
    if not len(t_us) == len(value) == len(sd):
        raise ValueError(f"t_us, value and sd must have one length, but got {len(t_us)}, {len(value)}, {len(sd)}")
    if name not in QUANTITIES or len(t_us) < 2:
        return []
    step = int(t_us[1] - t_us[0])
    t, v, s = _cells(t_us, np.asarray(value, np.float64), np.asarray(sd, np.float64), max(1, CELL_US // step))
    step = int(t[1] - t[0]) if len(t) > 1 else CELL_US
    found = _gaps(t, v, step)
    v = np.maximum(v, FLOORS.get(name, -np.inf))  # NaN stays NaN
    there = np.flatnonzero(np.isfinite(v))
    if len(there) >= 3:
        noise = _noise(v[there], s[there])
        least = max(QUANTITIES[name].least, SDS * noise)
        found += _turns(t[there], v[there], step, least, noise)
        if name in ONSETS:
            found += _onsets(t[there], v[there], step, least, noise)
    kept: list[Event] = []
    for kind in ("rise", "fall", "peak", "onset", "gap"):
        kept += sorted((e for e in found if e.kind == kind), key=lambda e: (-abs(e.value), e.span))[:MOST]
    return sorted(kept, key=lambda e: (e.span, e.kind))


def rows(clip: Clip, signal: Signal, t_us: Array, value: Array, sd: Array) -> list[Observation]:
    """The events of a signal as rows of the ledger: target `rise.loudness`, adapter `rule.events@1+…`."""
    made: list[Observation] = []
    for e in events(signal.name, t_us, value, sd):
        target, adapter = f"{e.kind}.{signal.name}", f"{RULE}+{signal.adapter}"
        unit = "s" if e.kind == "gap" else signal.unit
        made.append(
            Observation(
                content_id("obs", clip.id, signal.track_id, e.span, target, adapter),
                *(clip.id, signal.track_id, e.span, target, float(f"{e.value:.6g}")),
                None if math.isnan(e.sd) else float(f"{e.sd:.6g}"),
                *(unit, (), round(signal.coverage, 6), max(1, e.span.duration_us // CELL_US), adapter),
            )
        )
    return made


def _cells(t: Array, v: Array, sd: Array, every: int) -> tuple[Array, Array, Array]:
    """Means over `every` cells; a cell without any measured value is NaN."""
    if every == 1:
        return t, v, sd
    n = -(-len(t) // every)
    pad = n * every - len(t)
    grid = np.concatenate([v, np.full(pad, np.nan)]).reshape(n, every)
    there = np.isfinite(grid)
    count = there.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, grid, 0).sum(axis=1) / count
    return t[::every], mean, np.full(n, np.nan)


def _noise(v: Array, sd: Array) -> float:
    """σ of one cell: the signal's own sd where it has one, else from the first differences (median absolute, × 1.4826 /
    √2: a robust figure for white noise)."""
    known = sd[np.isfinite(sd)]
    if 2 * len(known) >= len(sd):
        return float(np.median(known))
    return float(1.4826 * np.median(np.abs(np.diff(v))) / math.sqrt(2)) if len(v) > 1 else 0.0


def _turns(t: Array, v: Array, step: int, least: float, noise: float) -> list[Event]:
    """Rises, falls and peaks between confirmed turning points."""
    turns: list[int] = []
    low = high = 0
    way = 0
    for i in range(1, len(v)):
        if v[i] > v[high]:
            high = i
        if v[i] < v[low]:
            low = i
        if way >= 0 and v[high] - v[i] >= least:
            if way == 0 and low < high and v[high] - v[low] >= least:
                turns.append(low)
            turns.append(high)
            low, high, way = i, i, -1
        elif way <= 0 and v[i] - v[low] >= least:
            if way == 0 and high < low and v[high] - v[low] >= least:
                turns.append(high)
            turns.append(low)
            low, high, way = i, i, 1
    if way:
        turns.append(high if way > 0 else low)
    made: list[Event] = []
    spread = noise * math.sqrt(2)
    for a, b in itertools.pairwise(turns):
        change = float(v[b] - v[a])
        if abs(change) >= least:  # from the last cell like the one extreme to the first like the other
            inside = v[a : b + 1]
            start = a + int(np.flatnonzero(np.abs(inside - v[a]) <= least / 4)[-1])
            end = a + int(np.flatnonzero(np.abs(inside - v[b]) <= least / 4)[0])
            span = Span(int(t[min(start, end)]), int(t[max(start, end)]) + step)
            made.append(Event("rise" if change > 0 else "fall", span, change, spread))
    for a, b, c in zip(turns, turns[1:], turns[2:], strict=False):
        if v[b] - max(v[a], v[c]) >= least:
            made.append(Event("peak", Span(int(t[b]), int(t[b]) + step), float(v[b]), noise))
    return made


def _onsets(t: Array, v: Array, step: int, least: float, noise: float) -> list[Event]:
    """Stretches above the quiet: on at quiet + H, off at quiet + H/2; the quiet is the lower quartile."""
    quiet = float(np.quantile(v, 0.25))
    made: list[Event] = []
    start: int | None = None
    for i in range(len(v) + 1):
        above = i < len(v) and v[i] - quiet >= (least if start is None else least / 2)
        if above and start is None:
            start = i
        elif not above and start is not None:
            height = float(v[start:i].max() - quiet)
            if start > 0:  # one that was there from the start began nowhere
                made.append(Event("onset", Span(int(t[start]), int(t[i - 1]) + step), height, noise))
            start = None
    return made


def _gaps(t: Array, v: Array, step: int) -> list[Event]:
    """Stretches of a second or more that were not measured, between others that were."""
    there = np.flatnonzero(np.isfinite(v))
    pairs = itertools.pairwise(there)
    spans = [Span(int(t[a]) + step, int(t[b])) for a, b in pairs if t[b] - t[a] - step >= GAP_US]
    return [Event("gap", s, s.duration_s, math.nan) for s in spans]
