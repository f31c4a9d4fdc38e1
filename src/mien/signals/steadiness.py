"""How steady the partials of a sound stand: weak evidence of music, from rules alone.

Instruments hold a pitch, voices glide: even a held vowel wanders by some tens of cents within an eighth of a second
(Sundberg, "The Science of the Singing Voice", 1987). A hum, a beep and a siren's held note are as steady as music,
singing lies between, and drums have no partials at all: read it as "steady tones", not as a recogniser of music.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US, Curve, Sound
from mien.signals.acoustics import SILENT_DBFS

F32 = npt.NDArray[np.float32]

HOP = 480  # 30 ms
FRAME = 2048  # 128 ms: bins of 7.8 Hz, so that the notes of a chord come apart above about 150 Hz
LAG = 5  # rows (150 ms): longer than a frame, so that the two share no sample
LOWEST, HIGHEST = 10, 512  # bins: 78 Hz to 4 kHz
ABOVE_MEDIAN, BELOW_TOP = 100.0, 1e-4  # a partial stands 20 dB out of its frame and at most 40 dB below the loudest
CENTS = 12.0
BLOCK = 512


def steadiness(sound: Sound) -> Curve:
    """Share of the partials' power that stood at the same frequency (±12 cents) 150 ms before: ("steady",) every 30 ms.

    Partials are peaks of the power spectrum of 128 ms (Hann), placed by a parabola through the logarithm (Smith &
    Serra, 1987). A held chord has 1, a glide of an octave a second 0. NaN below -80 dBFS, where no partial stands out,
    and in the first 150 ms.
    """
    x = sound.samples
    n = -(-len(x) // HOP)
    out = np.full((n, 1), np.nan, np.float32)
    half = (FRAME - HOP) // 2
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    held = np.full((LAG, HIGHEST - LOWEST), np.nan, np.float32)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        hz, power = _partials(_frames(x, rows * HOP - half), window)
        before = np.concatenate([held, hz])[: len(rows)]
        near = np.stack([np.roll(before, k, axis=1) for k in (-1, 0, 1)])
        with np.errstate(invalid="ignore"):
            stood = (np.abs(1200 * np.log2(hz / near)) <= CENTS).any(axis=0)
        total = power.sum(axis=1)
        share = (power * stood).sum(axis=1) / np.where(total > 0, total, np.nan)
        out[rows, 0] = np.where(rows >= LAG, share, np.nan)
        held = np.concatenate([held, hz])[-LAG:]
    return Curve(out, ("steady",), sound.t0_us, HOP * US // SAMPLE_RATE_HZ)


def _frames(x: F32, first: npt.NDArray[np.intp]) -> F32:
    """Pieces `[b 2048]` that begin at the given samples; beyond the ends there is silence."""
    low, high = int(first[0]), int(first[-1]) + FRAME
    piece = np.pad(x[max(0, low) : high], (max(0, -low), max(0, high - len(x))))
    return np.lib.stride_tricks.sliding_window_view(piece, FRAME)[first - low]


def _partials(frames: F32, window: F32) -> tuple[F32, F32]:
    """Frequency (bins; NaN where there is no partial) and power (0 there) of `[b 502]` bins."""
    from scipy.fft import rfft

    spectrum = np.asarray(rfft(frames * window, axis=1), np.complex64)[:, LOWEST - 1 : HIGHEST + 1]
    power = (spectrum.real**2 + spectrum.imag**2 + np.float32(1e-20)).astype(np.float32)
    inner = power[:, 1:-1]
    level = np.median(inner, axis=1, keepdims=True), inner.max(axis=1, keepdims=True)
    heard = (np.mean(frames**2, axis=1) >= 10 ** (SILENT_DBFS / 10))[:, None]
    is_peak = (inner > power[:, :-2]) & (inner >= power[:, 2:]) & heard
    is_peak &= (inner >= ABOVE_MEDIAN * level[0]) & (inner >= BELOW_TOP * level[1])
    logs = np.log(power)
    a, b, c = logs[:, :-2], logs[:, 1:-1], logs[:, 2:]
    bend = a - 2 * b + c
    place = np.arange(LOWEST, HIGHEST) + 0.5 * (a - c) / np.where(bend < 0, bend, -1)
    return np.where(is_peak, place, np.nan).astype(np.float32), np.where(is_peak, inner, 0).astype(np.float32)
