"""Vocal segments: where somebody speaks, cries, laughs or moans, from voice activity, pitch and energy.

A speech detector alone misses cries and moans; a pitch detector alone fires on hums. So a frame is vocal where speech
is likely, or where there is a pitch and the energy stands out of the noise of the last seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.core import Curve, Span

Mask = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class VocalRules:
    """speech, voiced: thresholds of the scores; margin_db above the noise floor; times in s."""

    speech: float = 0.5
    voiced: float = 0.5
    margin_db: float = 8.0
    quiet_dbfs: float = -60.0
    floor_window_s: float = 10.0
    shortest_s: float = 0.2
    gap_s: float = 0.3
    longest_s: float = 5.0
    full_quality_db: float = 30.0


@dataclass(frozen=True, slots=True)
class VocalSegment:
    """One vocal stretch of at most 5 s.

    kind: "speech" where the speech detector covers at least half of it, else "voice". That means speech-like: the
    detector also fires on three of four wordless vocal bursts (EmoGator), so it never says that words were said.
    snr_db: mean power in the segment over the noise floor; quality: that over 30 dB, within 0..1. speech, voiced:
    shares of the frames, 0..1.
    """

    span: Span
    kind: Literal["speech", "voice"]
    quality: float
    snr_db: float
    speech: float
    voiced: float


_DEFAULT = VocalRules()


def vocal_segments(acoustics: Curve, vad: Curve, pitch: Curve, rules: VocalRules = _DEFAULT) -> list[VocalSegment]:
    """Vocal segments in order of time.

    Args:
        acoustics: from `signals.acoustics.describe`; its rows are the clock of the answer (10 ms).
        vad: ("speech",); pitch: ("f0_hz", "voicing"). Both on any hop; where they have no row, they say nothing.

    A whole sound that is voiced at one steady level has no quiet part to stand out of: a hum is left out, at the cost
    of a cry that fills the sound evenly and that the speech detector does not know.
    """
    n, step_s = len(acoustics), acoustics.hop_us / 1e6
    if not n:
        return []
    energy = _column(acoustics, "energy_dbfs")
    floor = noise_floor_dbfs(energy, max(1, round(rules.floor_window_s / step_s)))
    speech = _held(vad, "speech", acoustics) >= rules.speech
    voiced = _held(pitch, "voicing", acoustics) >= rules.voiced
    loud = (energy >= floor + rules.margin_db) & (energy >= rules.quiet_dbfs)
    active = _bridged(speech | (voiced & loud), round(rules.gap_s / step_s))

    found: list[VocalSegment] = []
    for start, end in _runs(active):
        if (end - start) * step_s < rules.shortest_s - 1e-9:
            continue
        for a, b in _pieces(energy, start, end, round(rules.longest_s / step_s)):
            power = np.mean(10 ** (energy[a:b] / 10))
            snr = float(10 * np.log10(power) - np.median(floor[a:b]))
            share = float(speech[a:b].mean())
            found.append(
                VocalSegment(
                    span=Span(acoustics.t0_us + a * acoustics.hop_us, acoustics.t0_us + b * acoustics.hop_us),
                    kind="speech" if share >= 0.5 else "voice",
                    quality=float(np.clip(snr / rules.full_quality_db, 0, 1)),
                    snr_db=snr,
                    speech=share,
                    voiced=float(voiced[a:b].mean()),
                )
            )
    return found


def noise_floor_dbfs(energy_dbfs: F64, window: int) -> F64:
    """The level that 10 % of the surrounding `window` rows stay below: float64 `[n]`, follows slow changes of noise."""
    from scipy.ndimage import percentile_filter, uniform_filter1d

    # every tenth row is enough for a percentile over seconds and keeps long recordings fast
    sparse = energy_dbfs[::10]
    low = percentile_filter(sparse, 10, size=max(1, min(window // 10, len(sparse))), mode="nearest")
    smooth = uniform_filter1d(low, size=min(9, len(low)), mode="nearest")
    return np.repeat(smooth, 10)[: len(energy_dbfs)]


def _column(curve: Curve, name: str) -> F64:
    return curve.values[:, curve.names.index(name)].astype(np.float64)


def _held(curve: Curve, name: str, grid: Curve) -> F64:
    """A column on the rows of another curve (the row that covers each row's middle); NaN outside."""
    middle_us = grid.t0_us + grid.hop_us * np.arange(len(grid)) + grid.hop_us // 2
    row = (middle_us - curve.t0_us) // curve.hop_us
    inside = (row >= 0) & (row < len(curve))
    out = np.full(len(grid), np.nan)
    out[inside] = _column(curve, name)[row[inside]]
    return out


def _runs(mask: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _bridged(mask: Mask, gap: int) -> Mask:
    """The mask with inner gaps of at most `gap` rows closed."""
    out = mask.copy()
    runs = _runs(mask)
    for (_, end), (start, _) in pairwise(runs):
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
