"""From figures to words that stay: robust medians, dead zones around the edges, and the clip's own past within them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import Span
from mien.export.captions.measures import Measures
from mien.export.captions.vocabulary import Rule
from mien.signals.temporal import Episode, TemporalRules, episodes, leading, trend

F64 = npt.NDArray[np.float64]
LEAST_SHARE = 0.5  # of the clip in which an axis must have been measured for a word
WINDOW = 5  # cells: medians over a second; a shorter clip gives no word that needs time
HOLDS = 2 / 3  # of the measured cells for which a word must hold
STRONG = 1.5  # times as high as an episode must be: from here on its course is told
BORDER_US = 1_000_000  # what begins or ends nearer to a border of the clip is not told
CLEAR = 1.5  # times its sd: a told trend


@dataclass(frozen=True, slots=True)
class Tag:
    """One phrase and what it stands on. value: the median or share; weak: as the signal or the rule says."""

    phrase: str
    attribute: str
    axis: str
    value: float
    unit: str
    weak: bool


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One episode of an axis, in µs of the source's clock (`signals.temporal`)."""

    axis: str
    track_id: str | None
    episode: Episode


def tag_of(rule: Rule, found: Measures) -> Tag | None:
    """The word of a rule; None where it says nothing or the axis was measured in less than half of the clip."""
    if not found.still and len(found.t_us) < WINDOW and rule.axis != "light":
        return None
    if rule.axis == "people":
        if not len(found.people):
            return None
        value, most = (float(np.quantile(found.people, q, method="lower")) for q in (0.75, 0.9))
        weak, unit = rule.weak, ""
        state = None if value == 0 < most else quantised(rule, np.array([value]))
    elif rule.axis in found.shares:
        value, weak, unit = found.shares[rule.axis], rule.weak, ""
        state = None if math.isnan(value) else quantised(rule, np.array([value]))
    else:
        curve = found.curves[rule.axis]
        known = np.isfinite(curve.value)
        weak = rule.weak or (curve.signal is not None and curve.signal.weak)
        unit = curve.axis.unit
        if known.mean() < LEAST_SHARE:
            return None
        value = float(np.median(curve.value[known]))
        state = quantised(rule, medians(curve.value))
    if state is None or not rule.words[state]:
        return None
    return Tag(rule.words[state], rule.name, rule.axis, value, unit, weak)


def medians(value: F64) -> F64:
    """Medians over a second around each measured cell, float64 `[m]`."""
    out = [np.nanmedian(value[max(0, i - WINDOW // 2) : i + WINDOW // 2 + 1]) for i in np.flatnonzero(~np.isnan(value))]
    return np.array(out, np.float64)


def quantised(rule: Rule, values: F64) -> int | None:
    """Index of the word that two thirds of the values stand for; None where none does.

    A value moves the state only when it is beyond an edge by its dead zone (two thresholds, as Schmitt 1938); the first
    state is that of the first value outside of all dead zones, else that of the median.
    """
    edges, dead = np.array(rule.edges), np.array(rule.dead)
    plain = np.searchsorted(edges, values, side="right")
    clear = np.flatnonzero((np.abs(values[:, None] - edges) >= dead).all(axis=1))
    state = int(plain[clear[0]]) if len(clear) else int(np.searchsorted(edges, np.median(values), side="right"))
    count = np.zeros(len(rule.words), np.int64)
    for v in values:
        while state < len(edges) and v >= edges[state] + dead[state]:
            state += 1
        while state > 0 and v < edges[state - 1] - dead[state - 1]:
            state -= 1
        count[state] += 1
    best = int(np.argmax(count))
    return best if count[best] >= HOLDS * len(values) else None


def descriptors(found: Measures) -> tuple[Descriptor, ...]:
    """The episodes of every axis that has a smallest change that counts, by axis and time."""
    rows: list[Descriptor] = []
    for curve in found.curves.values():
        axis = curve.axis
        if curve.signal is None or math.isinf(axis.least):
            continue
        rules = TemporalRules(least=axis.least, floor=axis.floor, root=axis.root)
        held = episodes(found.middle_us(axis), curve.value, curve.sd, rules)
        rows += [Descriptor(axis.name, curve.signal.track_id, e) for e in held]
    return tuple(rows)


def course(rows: tuple[Descriptor, ...], axis: str, span: Span) -> tuple[Episode | None, str]:
    """The leading episode of an axis, and what of it is told: "whole", "onset", "offset" or ""."""
    episode = leading([d.episode for d in rows if d.axis == axis])
    if episode is None:
        return None, ""
    rises = episode.onset_us is not None and episode.onset_us < span.end_us - BORDER_US
    falls = episode.offset_us is not None and episode.offset_us >= span.start_us + BORDER_US
    told = {(True, True): "whole", (True, False): "onset", (False, True): "offset"}.get((rises, falls), "")
    return episode, told if episode.height >= STRONG * episode.least else ""


def trend_of(found: Measures, axis: str) -> tuple[int, float, float]:
    """(-1, 0 or 1, change, its sd) of an axis of affect; 0 unless the change is clearly larger than its sd."""
    curve = found.curves[axis]
    change, sd = trend(curve.value, curve.sd)
    return (0 if not abs(change) > CLEAR * sd else int(np.sign(change))), change, sd
