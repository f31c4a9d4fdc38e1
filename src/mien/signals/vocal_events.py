"""When a voice begins, peaks and ends in long audio, and what else it might be: speech, wordless voice, music, noise.

A detector of speech answers late, holds on, and joins what is near. So each vocal segment is looked at again on the
energy: an event begins and ends where the level passes a lower threshold, and counts where it also passes a higher one
(hysteresis; Schmitt 1938; Canny 1986 for the term), both over the noise or the music around it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mien.core import US, Curve, Dist, Span
from mien.signals.vocal import F64, VocalSegment, bridged, column, held_on, noise_floor_dbfs, stretches

KINDS = ("speech", "voice", "music", "noise")
SMOOTH, PEAK = 3, 5  # rows: 30 ms for the edges, 50 ms for the peak
STEADY, STEADY_STEP = 0.55, 0.08


@dataclass(frozen=True, slots=True)
class EventRules:
    """Levels in dB, times in s.

    low_db over the noise floor and bed_db over the median level around (which music moves) is where an event begins
    and ends, high_db above that what it must pass; range_db: what lies further below its loudest row is its echo.
    reach_s: how far an edge may lie outside the segment (to half the way to the next; a detector of speech can be half
    a second late for laughter); around_s: what counts as around, but for guard_s beside segments; join_s: gaps that do
    not end an event; least_s: shorter ones are clicks. steady, steady_step: middle and width of the step to music.
    """

    low_db: float = 4.0
    bed_db: float = 3.0
    high_db: float = 4.0
    range_db: float = 30.0
    reach_s: float = 0.8
    around_s: float = 2.0
    guard_s: float = 0.15
    join_s: float = 0.2
    least_s: float = 0.08
    floor_window_s: float = 10.0
    full_quality_db: float = 30.0
    steady: float = STEADY
    steady_step: float = STEADY_STEP


@dataclass(frozen=True, slots=True)
class VocalEvent:
    """One vocal event, however long.

    span: onset to offset; peak: its loudest 50 ms, of peak_dbfs; snr_db: that over the level around; kinds: a
    distribution over `KINDS`; quality: snr_db over 30 dB, within 0..1.
    """

    span: Span
    peak: Span
    peak_dbfs: float
    snr_db: float
    kinds: Dist
    quality: float


_DEFAULT = EventRules()


def vocal_events(
    acoustics: Curve,
    segments: Sequence[VocalSegment],
    vad: Curve,
    pitch: Curve,
    rules: EventRules = _DEFAULT,
    *,
    steady: Curve | None = None,
) -> list[VocalEvent]:
    """Events in order of time; they do not overlap. Time and memory grow with the sound, and with nothing else.

    Args:
        acoustics: from `signals.acoustics.describe`; segments: from `vocal_segments` of the same curves.
        vad: ("speech",); pitch: ("f0_hz", "voicing"). steady: from `steadiness`; without it music has no share.
    """
    if not segments:
        return []
    step_s, t0 = acoustics.hop_us / US, acoustics.t0_us
    power = 10 ** (column(acoustics, "energy_dbfs") / 10)
    level, loud = (10 * np.log10(_mean(power, width)) for width in (SMOOTH, PEAK))
    floor = noise_floor_dbfs(column(acoustics, "energy_dbfs"), max(1, round(rules.floor_window_s / step_s)))
    rows = [tuple((t - t0) // acoustics.hop_us for t in (s.span.start_us, s.span.end_us)) for s in segments]
    quiet = np.ones(len(level), bool)
    guard = round(rules.guard_s / step_s)
    for a, b in rows:
        quiet[max(0, a - guard) : b + guard] = False
    likely, voiced = held_on(vad, "speech", acoustics), held_on(pitch, "voicing", acoustics)
    tones = np.full(len(level), np.nan) if steady is None else held_on(steady, "steady", acoustics)
    reach, join = round(rules.reach_s / step_s), round(rules.join_s / step_s)

    found: list[VocalEvent] = []
    joined = _touching(rows)
    for k, (first, last) in enumerate(joined):
        start, end = rows[first][0], rows[last][1]
        near = slice(max(0, start - round(rules.around_s / step_s)), end + round(rules.around_s / step_s))
        around = level[near][quiet[near]]
        bed = float(np.median(around)) if len(around) * step_s >= 2 * rules.guard_s else -math.inf
        base = max(float(np.median(floor[start:end])), bed)
        middle_before = (rows[joined[k - 1][1]][1] + start) // 2 if k else 0
        middle_after = (end + rows[joined[k + 1][0]][0]) // 2 if k + 1 < len(joined) else len(level)
        low_row, high_row = max(start - reach, middle_before), min(end + reach, middle_after)
        shown = level[low_row:high_row]
        for p, q in _parts(shown, start - low_row, end - low_row, base, bed, join, rules, step_s):
            a, b = p + low_row, q + low_row
            peak = a + int(np.argmax(loud[a:b]))
            mine = [i for i in range(first, last + 1) if rows[i][0] < b and a < rows[i][1]]
            if not mine:
                continue
            snr = float(loud[peak]) - base
            found.append(
                VocalEvent(
                    _span(acoustics, a, b),
                    _span(acoustics, max(a, peak - PEAK // 2), min(b, peak + PEAK // 2 + 1)),
                    float(loud[peak]),
                    snr,
                    _kinds([segments[i] for i in mine], likely[a:b], voiced[a:b], tones[a:b], power[a:b], rules),
                    float(np.clip(snr / rules.full_quality_db, 0, 1)),
                )
            )
    return found


def _parts(
    level: F64, start: int, end: int, base: float, bed: float, join: int, rules: EventRules, step_s: float
) -> list[tuple[int, int]]:
    """Stretches of rows over the thresholds that reach into [start, end); all of it where it never stands out."""
    top = float(level[start:end].max())
    low = max(base + (rules.bed_db if base == bed else rules.low_db), top - rules.range_db)
    if low + rules.high_db > top:  # speech may lie under the noise: the detector heard it, the level does not show it
        return [(start, end)]
    out: list[tuple[int, int]] = []
    for a, b in stretches(bridged(level >= low, join)):
        inside = slice(max(a, start), min(b, end))
        if (
            inside.start < inside.stop
            and level[inside].max() >= low + rules.high_db
            and (b - a) * step_s >= rules.least_s
        ):
            out.append((a, b))
    return out


def _kinds(
    segments: Sequence[VocalSegment], likely: F64, voiced: F64, tones: F64, power: F64, rules: EventRules
) -> Dist:
    """Shares of `KINDS`. Noise is the doubt of the speech detector and the pitch where they are surest (a quarter of
    the event: laughter is half breath); of the rest music has the step of the steadiness, and speech and voice share
    what is left as the segments' `talk` says."""
    heard = np.sort(np.fmax(np.nan_to_num(likely), np.nan_to_num(voiced)))
    sounding = float(heard[-max(1, len(heard) // 4) :].mean())
    held_tones = np.isfinite(tones)
    music = 0.0
    if held_tones.any():
        mean = float(np.average(tones[held_tones], weights=power[held_tones]))
        music = 1 / (1 + math.exp(-(mean - rules.steady) / rules.steady_step))
    long = np.array([s.span.duration_us for s in segments], np.float64)
    talk = float(np.average([s.speech if math.isnan(s.talk) else s.talk for s in segments], weights=long))
    voice = sounding * (1 - music)
    shares = (voice * talk, voice * (1 - talk), sounding * music, 1 - sounding)
    return tuple((name, float(p)) for name, p in zip(KINDS, shares, strict=True))


def pieces(event: Span, segments: Sequence[Span]) -> list[Span]:
    """A long event cut where the segments in it meet: at most 5 s each, of which each may have another source."""
    ends = {s.end_us for s in segments}
    inner = sorted(s.start_us for s in segments if s.start_us in ends and event.start_us < s.start_us < event.end_us)
    return [Span(a, b) for a, b in pairwise([event.start_us, *inner, event.end_us])]


def _touching(rows: list[tuple[int, ...]]) -> list[tuple[int, int]]:
    """First and last index of segments that follow one another without a gap."""
    out: list[tuple[int, int]] = []
    for i, (start, _) in enumerate(rows):
        if out and rows[out[-1][1]][1] == start:
            out[-1] = (out[-1][0], i)
        else:
            out.append((i, i))
    return out


def _mean(power: F64, width: int) -> F64:
    from scipy.ndimage import uniform_filter1d

    return np.maximum(uniform_filter1d(power, width, mode="nearest"), 1e-12)


def _span(curve: Curve, a: int, b: int) -> Span:
    return Span(curve.t0_us + a * curve.hop_us, curve.t0_us + b * curve.hop_us)
