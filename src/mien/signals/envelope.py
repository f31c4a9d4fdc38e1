"""How the strength of a sound moves: roughness (30-150 Hz), and per segment its attack, decay and slow modulation.

Roughness is what sets screams and alarms apart from speech (Arnal et al., "Human screams occupy a privileged niche in
the communication soundscape", 2015); the slow modulation of speech lies at 2-8 Hz, one syllable a beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US, Curve, Sound, Span
from mien.signals.acoustics import HOP, SILENT_DBFS

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

DECIMATE = 16
RATE_HZ = SAMPLE_RATE_HZ // DECIMATE
BLOCK, MARGIN = 16_384, 1_024  # samples; the analytic signal of a block needs its surroundings
LOWEST_HZ = 75.0  # rumble and offset are no voice, but would beat with one
ROUGH_HZ = (30.0, 150.0)
WINDOW = 160  # ms: nearly five periods of 30 Hz
ROWS = 4096
SLOW_HZ = (1.0, 12.0)
LEAST_S = 1.0  # a period of 1 Hz


def envelope(sound: Sound) -> Curve:
    """Amplitude of the analytic signal (Gabor, 1946) above 75 Hz, low-passed at 500 Hz: ("amplitude",) every 1 ms.

    A steady tone has a flat envelope at its peak value, whatever its frequency.
    """
    from scipy.fft import fft, ifft

    x = sound.samples
    size = BLOCK + 2 * MARGIN
    keep = np.zeros(size, np.float32)
    keep[round(LOWEST_HZ * size / SAMPLE_RATE_HZ) : size // 2] = 2  # positive frequencies alone
    padded = np.pad(x, (MARGIN, MARGIN + -len(x) % BLOCK))
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(x), BLOCK):
        analytic = np.asarray(ifft(np.asarray(fft(padded[start : start + size])) * keep))
        parts.append(np.abs(analytic[MARGIN:-MARGIN]).astype(np.float32))
    amplitude = np.concatenate(parts)[: len(x)]
    return Curve(
        np.maximum(_decimated(amplitude), 0).astype(np.float32)[:, None], ("amplitude",), sound.t0_us, US // RATE_HZ
    )


def _decimated(x: F32) -> F32:
    """Every 16th value of `x` below the new Nyquist rate: what `scipy.signal.resample_poly(x, 1, 16)` gives, without
    the second that importing that package takes each worker."""
    if not len(x):
        return x
    half = 10 * DECIMATE
    at = np.arange(-half, half + 1)
    kernel = np.sinc(at / DECIMATE) * np.kaiser(2 * half + 1, 5.0)
    views = np.lib.stride_tricks.sliding_window_view(np.pad(x, half), 2 * half + 1)[::DECIMATE]
    return views @ (kernel / kernel.sum()).astype(np.float32)


def roughness(sound: Sound) -> Curve:
    """Depth of fast amplitude modulation: `Curve` ("roughness",), hop 10 ms, on the clock of `describe`.

    sqrt(2·v)/m, where m is the mean and v the variance between 30 and 150 Hz of the envelope in a Hann window of
    160 ms: a tone modulated at such a rate with index d has roughness d, whatever its level. The band is that of Arnal
    et al. (2015), who read it off the modulation power spectrum; this is the wideband envelope, not their spectrum.
    White noise has about 0.13, and an onset inside the window up to 0.4: read medians over segments.

    A pitch below 150 Hz is itself a modulation at such a rate, so deep voices read as rough: compare only where the
    pitch is higher. NaN within 80 ms of either end, and below -80 dBFS.
    """
    n = -(-len(sound) // HOP)
    out = np.full((n, 1), np.nan, np.float32)
    low = envelope(sound).values[:, 0]
    step = HOP // DECIMATE
    first = (WINDOW - step) // 2  # row i is centred on its own 10 ms
    rows = np.arange(-(-first // step), n)
    rows = rows[rows * step - first + WINDOW <= len(low)]
    if len(rows):
        views = np.lib.stride_tricks.sliding_window_view(low, WINDOW)
        for part in np.array_split(rows, -(-len(rows) // ROWS)):
            out[part, 0] = _depth(views[part * step - first])
    return Curve(out, ("roughness",), sound.t0_us, HOP * US // SAMPLE_RATE_HZ)


def _depth(pieces: F32) -> F32:
    """Modulation depth `[b]` of envelopes `[b 160]`; NaN in silence."""
    from scipy.fft import rfft

    size = 256
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    mean = pieces @ window / window.sum()
    spectrum = np.asarray(rfft((pieces - mean[:, None]) * window, size, axis=1))
    hz = np.fft.rfftfreq(size, 1 / RATE_HZ)
    band = (hz >= ROUGH_HZ[0]) & (hz <= ROUGH_HZ[1])
    variance = 2 * (np.abs(spectrum[:, band]) ** 2).sum(axis=1) / (size * (window**2).sum())
    silent = mean < np.sqrt(2) * 10 ** (SILENT_DBFS / 20)
    return np.where(silent, np.nan, np.sqrt(2 * variance) / np.where(silent, 1, mean)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Shape:
    """How one segment begins, beats and ends.

    attack_s: from the first row above 10 % of the highest amplitude to the first above 90 %; decay_s: from the last
    above 90 % to the last above 10 % (Peeters, 2004); NaN where the sound was already, or is still, above 10 % at the
    edge. Rows are 40 ms wide, so a click has about 0.03 s.
    modulation_hz, modulation_depth: rate (1-12 Hz) and index of the strongest slow modulation of the amplitude; NaN for
    segments shorter than 1 s. modulation_depth is 1 for a sine that reaches silence; a steady tone has about 0.
    """

    attack_s: float
    decay_s: float
    modulation_hz: float
    modulation_depth: float


def shape(acoustics: Curve, span: Span) -> Shape:
    """Attack, decay and slow modulation of a span, from `signals.acoustics.describe`; NaN outside the curve."""
    rows = acoustics.t0_us + np.arange(len(acoustics)) * acoustics.hop_us
    inside = (rows >= span.start_us) & (rows < span.end_us)
    level = acoustics.values[inside, acoustics.names.index("energy_dbfs")].astype(np.float64)
    step_s = acoustics.hop_us / US
    if not len(level) or level.max() < SILENT_DBFS:
        return Shape(*(float("nan"),) * 4)
    amplitude = 10 ** ((level - level.max()) / 20)
    low, high = np.flatnonzero(amplitude >= 0.1), np.flatnonzero(amplitude >= 0.9)
    attack = (high[0] - low[0]) * step_s if low[0] > 0 else float("nan")
    decay = (low[-1] - high[-1]) * step_s if low[-1] < len(level) - 1 else float("nan")
    return Shape(float(attack), float(decay), *_beat(amplitude, step_s))


def _beat(amplitude: F64, step_s: float) -> tuple[float, float]:
    """Rate in Hz and index of the strongest modulation between 1 and 12 Hz."""
    n = len(amplitude)
    if n * step_s < LEAST_S - 1e-9:
        return float("nan"), float("nan")
    window = np.hanning(n + 1)[:-1]
    mean = amplitude @ window / window.sum()
    size = max(1024, 1 << (n - 1).bit_length())
    spectrum = np.abs(np.fft.rfft((amplitude - mean) * window, size)) * 2 / window.sum() / mean
    hz = np.fft.rfftfreq(size, step_s)
    band = np.flatnonzero((hz >= SLOW_HZ[0]) & (hz <= SLOW_HZ[1]))
    best = band[np.argmax(spectrum[band])]
    return float(hz[best]), float(spectrum[best])
