"""How a sound moves, in numbers that gain cannot change: pitch, voicing, spectral balance, envelope and its shape.

All levels are relative to the loudest moment of the same sound (Whisper's log-mel picture with its peak moved), so a
louder recording of the same voice has the same numbers: valence and arousal read from them are not loudness.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

FRAME, HOP, N_FFT = 640, 320, 2048  # 40 ms every 20 ms: three periods of 75 Hz
LOWEST_HZ, HIGHEST_HZ = 75.0, 1500.0
VOICED = 0.5  # normalised autocorrelation from which a frame counts as voiced
OCTAVE = 0.9  # the shortest lag this close to the best is the period: multiples of a period are as good
HEARD_DB = -35.0  # frames this far below the loudest are the room
FLOOR_DB = -60.0
EDGES_HZ = (0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
CEPSTRA = 12
BEATS_HZ = ((0.5, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0))
CURVES = (
    "pitch_octaves", "periodicity", "centroid_octaves", "flatness", "flux", "slope_db", "above_500_db", "above_1000_db",
    *(f"mfcc_{i}" for i in range(1, CEPSTRA + 1)),
)  # fmt: skip
STATISTICS = ("mean", "sd", "low", "median", "high", "trend")
WHOLE = (
    "voiced", "heard", "heard_s", "starts", "level_mean", "level_sd", "level_low", "peak_at", "attack_s", "decay_s",
    *(f"beat_{low:g}_{high:g}" for low, high in BEATS_HZ),
)  # fmt: skip
NAMES = (*(f"{curve}.{what}" for curve in CURVES for what in STATISTICS), *WHOLE)


def prosody(samples: F32) -> F32:
    """Numbers of one sound, float32 `[len(NAMES)]`, in the order of `NAMES`; 0 where a curve has no frames (an unvoiced
    sound has no pitch: `voiced` says so), because a linear head cannot read NaN.

    Curves every 20 ms over frames within 35 dB of the loudest: pitch in octaves above 100 Hz and its periodicity
    (normalised autocorrelation of Boersma, 1993), centroid in octaves above 1 kHz, flatness, flux, spectral slope,
    balance above and below 500 and 1000 Hz (Bone, Lee & Narayanan, 2014), MFCC 1-12 without the level. Of each: mean,
    standard deviation, 10th, 50th and 90th percentile, straight-line trend per second. Of the whole: shares voiced and
    heard, seconds heard, starts per second, level below the peak, where the peak lies, attack and decay (10 to 90 %),
    strength of the envelope's beat in four bands.
    """
    n = max(1, len(samples) // HOP)
    half = (FRAME - HOP) // 2
    padded = np.pad(samples, (half, max(half, half + n * HOP - len(samples)) + FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][:n]
    power = _power(frames)
    level = 10 * np.log10(np.maximum(power.sum(axis=1), 1e-30))
    level = np.maximum(level - level.max(), FLOOR_DB).astype(np.float64)
    heard = level > HEARD_DB
    curves, voiced = _curves(power[heard])
    t_s = np.flatnonzero(heard).astype(np.float64) * (HOP / SAMPLE_RATE_HZ)
    rows = np.concatenate([_statistics(curves[voiced, :1], t_s[voiced]), _statistics(curves[:, 1:], t_s)])
    whole = _whole(level, heard, voiced)
    return np.nan_to_num(np.concatenate([rows.ravel(), whole])).astype(np.float32)


def _power(frames: F32) -> F32:
    from scipy.fft import rfft

    spectrum = np.asarray(rfft(frames * _window(), N_FFT, axis=1), np.complex64)
    return spectrum.real**2 + spectrum.imag**2


def _curves(power: F32) -> tuple[F64, npt.NDArray[np.bool_]]:
    """Curves `[n len(CURVES)]` of power spectra `[n f]`, and which frames are voiced."""
    from scipy.fft import dct

    hz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    power = power / np.maximum(power.max(axis=1, keepdims=True), 1e-30) + np.float32(1e-8)
    total = power.sum(axis=1)
    pitch, period = _pitch(power)
    centroid = np.log2(power @ hz / total / 1000)
    flatness = np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1)
    unit = np.sqrt(power / total[:, None])
    flux = np.sqrt(((unit - np.vstack([unit[:1], unit[:-1]])) ** 2).sum(axis=1))
    bands = np.stack([power[:, (hz >= a) & (hz < b)].mean(axis=1) for a, b in pairwise(EDGES_HZ)], axis=1)
    octave = np.arange(bands.shape[1]) - (bands.shape[1] - 1) / 2
    slope = 10 * np.log10(bands) @ (octave / (octave**2).sum())
    balance = [
        10 * np.log10(power[:, hz >= edge].sum(axis=1) / power[:, hz < edge].sum(axis=1)) for edge in (500, 1000)
    ]
    mel = np.log(np.maximum(power @ _mel().T, 1e-8))
    cepstra = np.asarray(dct(mel, type=2, norm="ortho", axis=1))[:, 1 : CEPSTRA + 1]
    columns = [np.log2(pitch / 100), period, centroid, flatness, flux, slope, *balance, *cepstra.T]
    return np.stack(columns, axis=1).astype(np.float64), period >= VOICED


def _pitch(power: F32) -> tuple[F64, F64]:
    """Pitch in Hz and its periodicity 0..1, both `[n]`."""
    from scipy.fft import irfft

    low, high = int(SAMPLE_RATE_HZ / HIGHEST_HZ), int(SAMPLE_RATE_HZ / LOWEST_HZ) + 1
    lags = np.asarray(irfft(power, axis=1))
    r = lags[:, low - 1 : high + 1] / lags[:, :1] / _own()[low - 1 : high + 1]
    inner = r[:, 1:-1]
    peak = np.where((inner >= r[:, :-2]) & (inner > r[:, 2:]), inner, 0)
    best = np.argmax(peak >= OCTAVE * peak.max(axis=1, keepdims=True), axis=1)
    rows = np.arange(len(r))
    a, b, c = r[rows, best], r[rows, best + 1], r[rows, best + 2]
    bend = a - 2 * b + c
    shift = np.where(bend < 0, (a - c) / (2 * np.where(bend < 0, bend, -1)), 0)
    return SAMPLE_RATE_HZ / (best + low + np.clip(shift, -1, 1)), np.clip(b, 0, 1).astype(np.float64)


def _statistics(values: F64, t_s: F64) -> F64:
    """Rows `[k len(STATISTICS)]` of curves `[n k]`."""
    if not len(values):
        return np.zeros((values.shape[1], len(STATISTICS)))
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    t = t_s - t_s.mean()
    spread = float(t @ t)
    trend = t @ values / spread if spread > 0 else np.zeros(values.shape[1])
    return np.stack([values.mean(axis=0), values.std(axis=0), low, middle, high, np.clip(trend, -50, 50)], axis=1)


def _whole(level: F64, heard: npt.NDArray[np.bool_], voiced: npt.NDArray[np.bool_]) -> F64:
    step_s = HOP / SAMPLE_RATE_HZ
    first, last = np.flatnonzero(heard)[[0, -1]]
    held = level[first : last + 1]
    amplitude = 10 ** (held / 20)
    peak = int(amplitude.argmax())
    above = np.flatnonzero(amplitude >= 0.9)
    starts = int(np.count_nonzero(np.diff(heard.astype(np.int8)) == 1)) + int(heard[0])
    spectrum = np.abs(np.fft.rfft(amplitude - amplitude.mean(), 512)) / max(len(amplitude), 1) / amplitude.mean()
    hz = np.fft.rfftfreq(512, step_s)
    beats = [float(spectrum[(hz >= low) & (hz < high)].max()) for low, high in BEATS_HZ]
    return np.array([
        voiced.mean(), heard.mean(), heard.sum() * step_s, starts / (len(held) * step_s), held.mean(), held.std(),
        np.quantile(held, 0.1), peak / len(held), above[0] * step_s, (len(held) - 1 - above[-1]) * step_s, *beats,
    ])  # fmt: skip


@cache
def _window() -> F32:
    return np.hanning(FRAME + 1)[:-1].astype(np.float32)


@cache
def _own() -> F64:
    """Autocorrelation of the window, by which that of a frame is divided (Boersma, 1993)."""
    own = np.fft.irfft(np.abs(np.fft.rfft(_window(), N_FFT)) ** 2)
    return own / own[0]


@cache
def _mel() -> F32:
    """26 triangles of height 1 on the mel scale of HTK: float32 `[26 1025]` over 0-8 kHz."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, 28) / 2595) - 1)
    hz = np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1)
    rise = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
