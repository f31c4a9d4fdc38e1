"""Vocal segments: where somebody speaks, cries, laughs or moans, from voice activity, pitch and energy.

A speech detector alone misses cries and moans; a pitch detector alone fires on hums. So a frame is vocal where speech
is likely, or where there is a pitch and the energy stands out of the noise of the last seconds. The detector also takes
most wordless bursts for speech; what they lack is articulation, the change of timbre from sound to sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.core import US, Curve, Span, Words

Mask = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]

ARTICULATION, ARTICULATION_STEP, ARTICULATION_PER_DB = 6.2, 0.7, 0.1
SPECTRAL = tuple(f"mfcc_{i}" for i in range(1, 7))  # the coarse shape of the spectrum: formants, not pitch
LAG_US = 50_000  # half a short sound of speech
LEAST_ROWS = 8
PIECE_S, PAUSE_S = 25.0, 1.0
STRAY_US, HOLE_US, LEAST_US = 200_000, 100_000, 20_000


@dataclass(frozen=True, slots=True)
class VocalRules:
    """speech, voiced: thresholds of the scores; margin_db above the noise floor; times in s.

    articulation, articulation_step: middle and width of the step from wordless to articulated; the middle is what nine
    of ten bursts of the development people of EmoGator stay below (`python -m bench sounds`): no speech was fitted. It
    falls by articulation_per_db for every dB of the SNR below full_quality_db, as those bursts do in white noise.
    """

    speech: float = 0.5
    voiced: float = 0.5
    margin_db: float = 8.0
    quiet_dbfs: float = -60.0
    floor_window_s: float = 10.0
    shortest_s: float = 0.2
    gap_s: float = 0.3
    longest_s: float = 5.0
    full_quality_db: float = 30.0
    articulation: float = ARTICULATION
    articulation_step: float = ARTICULATION_STEP
    articulation_per_db: float = ARTICULATION_PER_DB


@dataclass(frozen=True, slots=True)
class VocalSegment:
    """One vocal stretch of at most 5 s.

    kind: "speech" where `talk` is at least 0.5; without a timbre, where the speech detector covers half of it, which it
    does for seven of ten wordless bursts (EmoGator). Speech-like is meant: babble and song are articulated, too.
    snr_db: mean power in the segment over the noise floor; quality: that over 30 dB, within 0..1. speech, voiced:
    shares of the frames, 0..1. articulation: see `articulation`; NaN where it was not measured. talk: mean of the
    speech detector times the step of the articulation, 0..1; NaN without a timbre.
    """

    span: Span
    kind: Literal["speech", "voice"]
    quality: float
    snr_db: float
    speech: float
    voiced: float
    articulation: float = float("nan")
    talk: float = float("nan")


_DEFAULT = VocalRules()


def vocal_segments(
    acoustics: Curve, vad: Curve, pitch: Curve, rules: VocalRules = _DEFAULT, *, timbre: Curve | None = None
) -> list[VocalSegment]:
    """Vocal segments in order of time.

    Args:
        acoustics: from `signals.acoustics.describe`; its rows are the clock of the answer (10 ms).
        vad: ("speech",); pitch: ("f0_hz", "voicing"). Both on any hop; where they have no row, they say nothing.
        timbre: from `signals.timbre.timbre`; with it, speech is told from wordless voice.

    A whole sound that is voiced at one steady level has no quiet part to stand out of: a hum is left out, at the cost
    of a cry that fills the sound evenly and that the speech detector does not know.
    """
    n, step_s = len(acoustics), acoustics.hop_us / 1e6
    if not n:
        return []
    energy = column(acoustics, "energy_dbfs")
    floor = noise_floor_dbfs(energy, max(1, round(rules.floor_window_s / step_s)))
    likely = held_on(vad, "speech", acoustics)
    speech = likely >= rules.speech
    voiced = held_on(pitch, "voicing", acoustics) >= rules.voiced
    loud = (energy >= floor + rules.margin_db) & (energy >= rules.quiet_dbfs)
    active = bridged(speech | (voiced & loud), round(rules.gap_s / step_s))

    found: list[VocalSegment] = []
    for start, end in stretches(active):
        if (end - start) * step_s < rules.shortest_s - 1e-9:
            continue
        for a, b in _pieces(energy, start, end, round(rules.longest_s / step_s)):
            power = np.mean(10 ** (energy[a:b] / 10))
            snr = float(10 * np.log10(power) - np.median(floor[a:b]))
            share = float(speech[a:b].mean())
            span = Span(acoustics.t0_us + a * acoustics.hop_us, acoustics.t0_us + b * acoustics.hop_us)
            moved = float("nan") if timbre is None else articulation(timbre, span)
            talk = float("nan") if timbre is None else _talk(likely[a:b], moved, snr, rules)
            found.append(
                VocalSegment(
                    span=span,
                    kind="speech" if (share if np.isnan(talk) else talk) >= 0.5 else "voice",
                    quality=float(np.clip(snr / rules.full_quality_db, 0, 1)),
                    snr_db=snr,
                    speech=share,
                    voiced=float(voiced[a:b].mean()),
                    articulation=moved,
                    talk=talk,
                )
            )
    return found


def articulation(timbre: Curve, span: Span) -> float:
    """How much the sound changes its colour within 50 ms, over a span: mean Euclidean distance of mfcc_1 … mfcc_6.

    Steady voices have about 3, wordless bursts 4, speech 7-12 in quiet; white noise and noisy surroundings pull all
    towards one another. NaN where fewer than 8 rows are measured.
    """
    t_us = timbre.t0_us + timbre.hop_us * np.arange(len(timbre))
    inside = np.flatnonzero((t_us >= span.start_us) & (t_us < span.end_us))
    rows = timbre.values[inside][:, [timbre.names.index(name) for name in SPECTRAL]].astype(np.float64)
    lag = LAG_US // timbre.hop_us
    moved = np.linalg.norm(rows[lag:] - rows[:-lag], axis=1)
    moved = moved[np.isfinite(moved)]
    return float(moved.mean()) if len(moved) >= LEAST_ROWS else float("nan")


def _talk(likely: F64, moved: float, snr_db: float, rules: VocalRules) -> float:
    """Mean speech probability times the step of the articulation; the former alone where the latter is missing."""
    known = likely[np.isfinite(likely)]
    speech = float(known.mean()) if len(known) else 0.0
    if np.isnan(moved):
        return speech
    middle = rules.articulation - rules.articulation_per_db * max(0.0, rules.full_quality_db - snr_db)
    return speech / (1 + float(np.exp(-(moved - middle) / rules.articulation_step)))


def passages(segments: Sequence[VocalSegment], longest_s: float = PIECE_S, pause_s: float = PAUSE_S) -> list[Span]:
    """Stretches of speech for a recogniser of words: speech segments with pauses of at most 1 s, at most 25 s each."""
    out: list[Span] = []
    for span in (s.span for s in segments if s.kind == "speech"):
        near = out and span.start_us - out[-1].end_us <= pause_s * US
        if near and span.end_us - out[-1].start_us <= longest_s * US:
            out[-1] = Span(out[-1].start_us, span.end_us)
        else:
            out.append(span)
    return out


def spoken(words: Words, vad: Curve, threshold: float = 0.5) -> Words:
    """The words that lie in speech, trimmed to it. What a recogniser writes into silence or hum is left out.

    Holes of at most 0.1 s in the speech are closed. A word belongs to the stretch of speech it shares most time with,
    or that is at most 0.2 s away. The first word of a stretch begins with it, the last ends with it at the latest.
    """
    mask = bridged(column(vad, "speech") >= threshold, HOLE_US // vad.hop_us)
    talk = [(vad.t0_us + a * vad.hop_us, vad.t0_us + b * vad.hop_us) for a, b in stretches(mask)]
    span_us, kept = words.span_us.copy(), list[int]()
    before: tuple[int, int] | None = None
    for i, (start, end) in enumerate(words.span_us.tolist()):
        shared = [min(end, b) - max(start, a) for a, b in talk]
        best = int(np.argmax(shared)) if shared else -1
        if best < 0 or shared[best] < -STRAY_US:
            continue
        a, b = talk[best]
        here = (int(words.sound[i]), best)
        first = a if here != before else max(start, a, int(span_us[kept[-1], 1]))
        span_us[i] = first, max(min(end, b), first + LEAST_US)
        kept.append(i)
        before = here
    return replace(words, span_us=span_us).take(np.array(kept, np.intp))


def noise_floor_dbfs(energy_dbfs: F64, window: int) -> F64:
    """The level that 10 % of the surrounding `window` rows stay below: float64 `[n]`, follows slow changes of noise."""
    from scipy.ndimage import percentile_filter, uniform_filter1d

    # every tenth row is enough for a percentile over seconds and keeps long recordings fast
    sparse = energy_dbfs[::10]
    low = percentile_filter(sparse, 10, size=max(1, min(window // 10, len(sparse))), mode="nearest")
    smooth = uniform_filter1d(low, size=min(9, len(low)), mode="nearest")
    return np.repeat(smooth, 10)[: len(energy_dbfs)]


def column(curve: Curve, name: str) -> F64:
    """A column of a curve, float64 `[n]`."""
    return curve.values[:, curve.names.index(name)].astype(np.float64)


def held_on(curve: Curve, name: str, grid: Curve) -> F64:
    """A column on the rows of another curve (the row that covers each row's middle); NaN outside."""
    middle_us = grid.t0_us + grid.hop_us * np.arange(len(grid)) + grid.hop_us // 2
    row = (middle_us - curve.t0_us) // curve.hop_us
    inside = (row >= 0) & (row < len(curve))
    out = np.full(len(grid), np.nan)
    out[inside] = column(curve, name)[row[inside]]
    return out


def stretches(mask: Mask) -> list[tuple[int, int]]:
    """Runs of True as half-open rows (first, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def bridged(mask: Mask, gap: int) -> Mask:
    """The mask with inner gaps of at most `gap` rows closed."""
    out = mask.copy()
    for (_, end), (start, _) in pairwise(stretches(mask)):
        if start - end <= gap:
            out[end:start] = True
    return out


def _pieces(energy: F64, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    """[start, end) cut at the quietest row of its middle third until no piece is longer than `longest` rows."""
    if end - start <= longest:
        return [(start, end)]
    third = (end - start) // 3
    cut = start + third + int(np.argmin(energy[start + third : end - third]))
    return _pieces(energy, start, cut, longest) + _pieces(energy, cut, end, longest)
