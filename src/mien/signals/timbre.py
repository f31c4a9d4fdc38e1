"""The colour of a sound every 10 ms: spread and slope of its spectrum, and cepstral coefficients (MFCC).

Rows lie on the clock of `signals.acoustics.describe`. All but mfcc_0 do not depend on gain. A microphone, a room and
a codec colour a sound as well: compare within one recording, not between recordings. No voice is recognised here, and
a mean of these rows over a person must not be kept: that would come close to a voice print.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, Curve, Sound
from mien.signals.acoustics import BLOCK, HOP, SILENT_DBFS

F32 = npt.NDArray[np.float32]

COEFFICIENTS = 13
NAMES = ("spread_hz", "slope_db_per_octave", *(f"mfcc_{i}" for i in range(COEFFICIENTS)))
FRAME, N_FFT = 400, 512  # 25 ms, the usual window of MFCC
BANDS = 26
RANGE_DB = 80.0  # a band this far below the loudest of its frame counts as this far: keeps empty bands off -inf
OCTAVES_HZ = 8000.0 / 2.0 ** np.arange(5, -1, -1)  # edges 250, 500, 1000, 2000, 4000, 8000
SLOPE_RANGE_DB = 60.0


def timbre(sound: Sound) -> Curve:
    """Colour of a sound: `Curve` [n 15] with `NAMES`, hop 10 ms; row i is centred on its 10 ms.

    - spread_hz: standard deviation of the power spectrum about its centroid (Peeters, 2004).
    - slope_db_per_octave: straight line through the mean power density of the five octaves from 250 to 8000 Hz, each at
      most 60 dB below the strongest. White noise 0, pink -3.01, harmonics of amplitude 1/k -6.02. A pitch above 500 Hz
      leaves the low octaves empty.
    - mfcc_0 … mfcc_12: orthonormal DCT-II of the natural logarithm of 26 triangular bands of the power spectrum, equal
      in height and equally spaced from 0 to 8000 Hz on the mel scale of HTK, 2595·log10(1 + f/700) (Davis &
      Mermelstein, 1980; Young et al., The HTK Book, 2006); Hann window of 25 ms, no pre-emphasis, no liftering; a band
      is at most 80 dB below the loudest of its row. Gain g adds sqrt(26)·2·ln(g) to mfcc_0 and nothing to the others.

    Rows below -80 dBFS are NaN.
    """
    x = sound.samples
    n = -(-len(x) // HOP)
    out = np.full((n, len(NAMES)), np.nan, np.float32)
    half = (FRAME - HOP) // 2
    padded = np.pad(x, (half, half + n * HOP - len(x))) if n else np.zeros(FRAME, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    for start in range(0, n, BLOCK):
        part = frames[start : min(start + BLOCK, n)]
        out[start : start + len(part)] = _rows(part)
    return Curve(out, NAMES, sound.t0_us, HOP * 1_000_000 // SAMPLE_RATE_HZ)


def _rows(frames: F32) -> F32:
    """Rows `[b 15]` of a block of frames `[b 400]`."""
    from scipy.fft import dct, rfft

    out = np.full((len(frames), len(NAMES)), np.nan, np.float32)
    heard = np.flatnonzero(np.mean(frames**2, axis=1) >= 10 ** (SILENT_DBFS / 10))
    if not len(heard):
        return out
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    spectrum = np.asarray(rfft(frames[heard] * window, N_FFT, axis=1), np.complex64)
    power = spectrum.real**2 + spectrum.imag**2
    hz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    total = power.sum(axis=1)
    centroid = power @ hz / total
    out[heard, 0] = np.sqrt(np.maximum(power @ hz**2 / total - centroid**2, 0))
    out[heard, 1] = _slope(power, hz)
    bands = power @ mel_bands().T
    bands = np.maximum(bands, bands.max(axis=1, keepdims=True) * np.float32(10 ** (-RANGE_DB / 10)))
    out[heard, 2:] = np.asarray(dct(np.log(bands), type=2, norm="ortho", axis=1))[:, :COEFFICIENTS]
    return out


def _slope(power: F32, hz: F32) -> F32:
    """dB per octave `[b]` of power spectra `[b f]`."""
    density = np.stack([power[:, (hz >= a) & (hz < b)].mean(axis=1) for a, b in pairwise(OCTAVES_HZ)], axis=1)
    level = np.maximum(density / density.max(axis=1, keepdims=True), 10 ** (-SLOPE_RANGE_DB / 10))
    octave = np.arange(len(OCTAVES_HZ) - 1) - (len(OCTAVES_HZ) - 2) / 2
    return (10 * np.log10(level) @ (octave / (octave**2).sum())).astype(np.float32)


@cache
def mel_bands() -> F32:
    """Triangles of height 1 on the mel scale of HTK: float32 `[26 257]` over 0-8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    rise = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
