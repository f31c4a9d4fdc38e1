"""Rule-based descriptors of a sound every 10 ms: energy, spectral shape, harmonicity.

All but the energy do not depend on gain. Nothing here is a judgement about a person: it is what a reader can check.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, Curve, Sound

F32 = npt.NDArray[np.float32]

NAMES = (
    "energy_dbfs",
    "envelope_dbfs",
    "centroid_hz",
    "rolloff_hz",
    "flatness",
    "flux",
    "zero_crossing_hz",
    "harmonicity_db",
)
HOP = 160  # 10 ms
FRAME = 640  # 40 ms: three periods of 75 Hz, what the autocorrelation needs
N_FFT = 2048  # more than twice the frame, so that the autocorrelation does not wrap round
BLOCK = 1024  # rows at a time, so that memory does not grow with the sound
FLOOR_DBFS = -120.0
SILENT_DBFS = -80.0  # below this a 16-bit recording holds rounding noise: spectral shape is not measured
ROLLOFF = 0.85
LOWEST_HZ, HIGHEST_HZ = 75.0, 1500.0  # pitches the harmonicity looks for
ENVELOPE = 11  # rows (110 ms): a syllable, not a period


def describe(sound: Sound) -> Curve:
    """Descriptors of a sound: `Curve` [n 8] with `NAMES`, hop 10 ms; row i is centred on its 10 ms.

    - energy_dbfs: RMS of 40 ms re full scale (a full-scale sine is -3.01), never below -120; envelope_dbfs: its mean
      power over 110 ms.
    - centroid_hz, rolloff_hz (85 % of the power), flatness (geometric ÷ arithmetic mean of the power, 0..1; Johnston,
      1988), flux (L2 distance of successive unit-norm magnitude spectra, 0..√2), zero_crossing_hz (crossings per s).
    - harmonicity_db: 10·log10(r / (1 - r)), r the highest normalised autocorrelation between 75 and 1500 Hz (Boersma,
      1993), within ±40 dB.

    Below -80 dBFS all but the two energies are NaN; flux is NaN in the first row and after such a row.
    """
    x = sound.samples
    n = -(-len(x) // HOP)
    out = np.full((n, len(NAMES)), np.nan, np.float32)
    half = (FRAME - HOP) // 2
    padded = np.pad(x, (half, half + n * HOP - len(x))) if n else np.zeros(FRAME, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    before: F32 | None = None
    for start in range(0, n, BLOCK):
        part = frames[start : min(start + BLOCK, n)]
        out[start : start + len(part)], before = _rows(part, window, before)
    out[:, 1] = _envelope(out[:, 0])
    return Curve(out, NAMES, sound.t0_us, HOP * 1_000_000 // SAMPLE_RATE_HZ)


def _rows(frames: F32, window: F32, before: F32 | None) -> tuple[F32, F32]:
    """Descriptors of a block of frames `[b 640]`, and its last unit-norm spectrum for the next block's flux."""
    from scipy.fft import rfft  # keeps single precision, which halves the time of this whole file

    energy = 10 * np.log10(np.maximum(np.mean(frames**2, axis=1, dtype=np.float64), 10 ** (FLOOR_DBFS / 10)))
    silent = energy < SILENT_DBFS
    spectrum = np.abs(np.asarray(rfft(frames * window, N_FFT, axis=1), np.complex64))
    power: F32 = spectrum**2 + np.float32(
        1e-30
    )  # silent rows are blanked below; the constant only keeps the divisions quiet
    hz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE_HZ).astype(np.float32)
    total = power.sum(axis=1)
    centroid = power @ hz / total
    rolloff = hz[np.argmax(np.cumsum(power, axis=1) >= ROLLOFF * total[:, None], axis=1)]
    flatness = np.exp(np.mean(np.log(power), axis=1)) / np.mean(power, axis=1)
    unit = spectrum / np.sqrt(total)[:, None]
    unit[silent] = np.nan
    previous = np.vstack([np.full_like(unit[:1], np.nan) if before is None else before, unit[:-1]])
    flux = np.sqrt(((unit - previous) ** 2).sum(axis=1))
    crossings = (np.diff(np.signbit(frames), axis=1)).sum(axis=1) * (SAMPLE_RATE_HZ / (FRAME - 1))
    rows = np.stack([energy, energy, centroid, rolloff, flatness, flux, crossings, _harmonicity(power, window)], axis=1)
    rows[silent, 2:] = np.nan
    return rows.astype(np.float32), unit[-1:]


def _harmonicity(power: F32, window: F32) -> F32:
    """Boersma's harmonics-to-noise ratio in dB from power spectra `[b f]` of windowed frames."""
    from scipy.fft import irfft

    own = np.fft.irfft(np.abs(np.fft.rfft(window, N_FFT)) ** 2)
    shape = own / own[0]
    low, high = int(SAMPLE_RATE_HZ / HIGHEST_HZ), int(SAMPLE_RATE_HZ / LOWEST_HZ) + 1
    lags: F32 = np.asarray(irfft(power, axis=1))
    r = lags[:, low - 1 : high + 1] / lags[:, :1] / shape[low - 1 : high + 1]
    inner = r[:, 1:-1]
    is_peak = (inner >= r[:, :-2]) & (inner > r[:, 2:])
    # a parabola through the best lag and its neighbours: at 16 kHz a lag is too coarse for high voices
    best = np.argmax(np.where(is_peak, inner, -np.inf), axis=1)
    rows = np.arange(len(r))
    a, b, c = r[rows, best], r[rows, best + 1], r[rows, best + 2]
    bend = a - 2 * b + c
    peak = np.where(is_peak.any(axis=1), b - (a - c) ** 2 / (8 * np.where(bend < 0, bend, -1)), 0)
    peak = np.clip(peak, 1e-4, 1 - 1e-4)
    return 10 * np.log10(peak / (1 - peak))


def _envelope(energy_dbfs: F32) -> F32:
    if not len(energy_dbfs):
        return energy_dbfs
    power = 10 ** (energy_dbfs.astype(np.float64) / 10)
    padded = np.pad(power, ENVELOPE // 2, mode="edge")
    mean = np.lib.stride_tricks.sliding_window_view(padded, ENVELOPE).mean(axis=1)
    return (10 * np.log10(mean)).astype(np.float32)
