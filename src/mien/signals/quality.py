"""How well a frame or a sound was recorded: sharpness, exposure, contrast; loudness, signal-to-noise, clipping.

Quality says how far other measurements can be trusted; it judges nobody. Unmeasurable is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, Curve, Sound

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

ROWS = 240  # sharpness is measured at this height, so that the size of a frame does not decide it
DARK, BRIGHT = 4, 251  # 8-bit values: every channel at or below, or at or above, holds no detail any more
FLAT_SD = 2 / 255  # a luma spread below this is rounding and sensor noise: sharpness is not measured

BLOCK_S, STEP_S = 0.4, 0.1  # gating blocks of BS.1770: 400 ms, three quarters shared
SILENT_LUFS, GATE_LU = -70.0, -10.0
CLIPPED, RUN = 0.9999, 3  # full scale (16 bits: 0.99997), held for this many samples
SPEECH, PAUSE = 0.5, 0.15  # speech probability of the frames that count as speech, and as pause
GUARD_US = 96_000  # around speech: reverberation and soft endings are neither
LEAST_US = 300_000  # of speech and of pause


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame, or one cut-out. Luma is 0..1 (Rec. 601).

    Attributes:
        sharpness: variance of the Laplacian ÷ variance of the luma, at `ROWS` rows; higher is sharper. NaN: flat.
        luma: mean.
        contrast: standard deviation of the luma.
        dark, bright: share of pixels without detail, in 0..1.
    """

    sharpness: float
    luma: float
    contrast: float
    dark: float
    bright: float


def picture(pixels: U8) -> Picture:
    """Quality of uint8 `[h w 3]` RGB.

    Sharpness is the variance of the Laplacian (LAPV in Pertuz et al., 2013; Pech-Pacheco et al., 2000), divided by the
    variance of the luma, so that gain and contrast cancel, and measured after averaging down to `ROWS` rows, so that
    the same scene at two sizes agrees. Frames with fewer rows are taken as they are: compare only like with like.
    Noise counts as sharp; motion blur and defocus are not told apart.

    Raises:
        ValueError: shape or dtype does not fit, or a side is shorter than 3 px.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or min(pixels.shape[:2]) < 3:
        raise ValueError(f"pixels must be uint8 [h w 3] of at least 3 x 3, but got {pixels.dtype} {list(pixels.shape)}")
    plane = luma(pixels)
    h, w = plane.shape
    rows = min(h, ROWS)
    small = shrunk(plane, rows, max(3, round(w * rows / h)))
    inner = small[1:-1, 1:-1]
    laplacian = small[:-2, 1:-1] + small[2:, 1:-1] + small[1:-1, :-2] + small[1:-1, 2:] - 4 * inner
    flat = small.std() < FLAT_SD
    # Channel by channel: numpy reduces an axis of three ten times slower.
    red, green, blue = (pixels[..., k] for k in range(3))
    return Picture(
        sharpness=float("nan") if flat else float(laplacian.var() / small.var()),
        luma=float(plane.mean()),
        contrast=float(plane.std()),
        dark=float((np.maximum(np.maximum(red, green), blue) <= DARK).mean()),
        bright=float((np.minimum(np.minimum(red, green), blue) >= BRIGHT).mean()),
    )


def luma(pixels: U8) -> F64:
    """Rec. 601 luma 0..1 `[h w]` of uint8 `[h w 3]` RGB."""
    return pixels @ np.array([0.299, 0.587, 0.114]) / 255


def shrunk(plane: F64, rows: int, columns: int) -> F64:
    """`[h w]` averaged over equal areas to `[rows columns]`; smaller planes are sampled up, without interpolation."""
    return _averaged(_averaged(plane, rows).T, columns).T


def _averaged(plane: F64, rows: int) -> F64:
    if len(plane) == rows:
        return plane
    total = np.vstack([np.zeros_like(plane[:1]), np.cumsum(plane, axis=0)])
    edge = np.linspace(0, len(plane), rows + 1)
    whole = np.minimum(edge.astype(np.int64), len(plane) - 1)
    at = total[whole] + (edge - whole)[:, None] * plane[whole]
    return np.diff(at, axis=0) * (rows / len(plane))


# ---------------------------------------------------------------- sounds


def rms_dbfs(sound: Sound) -> float:
    """RMS re full scale in dB: a full-scale sine is -3.01. NaN when empty, -inf for digital silence."""
    power = float(np.mean(np.square(sound.samples, dtype=np.float64))) if len(sound) else float("nan")
    return _db(power)


def loudness_lufs(sound: Sound) -> float:
    """Integrated loudness in LUFS, ITU-R BS.1770-4: K-weighting, 400 ms blocks, gates at -70 LUFS and -10 LU.

    One channel at 16 kHz: what lies above 8 kHz is missing, and a stereo recording mixed down to mono reads about 3 LU
    below its two channels. NaN: shorter than one block, or nothing above -70 LUFS.
    """
    block, step = round(BLOCK_S * SAMPLE_RATE_HZ), round(STEP_S * SAMPLE_RATE_HZ)
    if len(sound) < block:
        return float("nan")
    weighted = _sections_of(k_weighting(SAMPLE_RATE_HZ), sound.samples.astype(np.float64))
    total = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - block + 1, step)
    power = np.maximum(total[starts + block] - total[starts], 0) / block
    heard = power[power > 10 ** ((SILENT_LUFS + 0.691) / 10)]
    if not len(heard):
        return float("nan")
    return -0.691 + _db(float(heard[heard > heard.mean() * 10 ** (GATE_LU / 10)].mean()))


def _sections_of(sections: F64, x: F64) -> F64:
    """What `scipy.signal.sosfilt` gives, by its frequency response: importing that package takes a worker a second.

    One second of silence behind `x` takes up the tail, which the slower filter (38 Hz) has lost after 0.1 s.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = int(next_fast_len(len(x) + SAMPLE_RATE_HZ, real=True))  # pyright: ignore[reportArgumentType]
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    powers = np.stack([z**0, z, z * z])
    response = np.prod([(b @ powers) / (a @ powers) for b, a in zip(sections[:, :3], sections[:, 3:], strict=True)], 0)
    return np.asarray(irfft(np.asarray(rfft(x, size)) * response, size))[: len(x)]


@lru_cache(maxsize=4)
def k_weighting(rate_hz: int) -> F64:
    """BS.1770's two filters as second-order sections `[2 6]` at any rate: the analogue prototypes whose bilinear
    transform gives the standard's table at 48 kHz (De Man, "Evaluation of implementations of the EBU R128 loudness
    measurement", 2018)."""
    k, q, high = np.tan(np.pi * 1681.974450955533 / rate_hz), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    shelf += [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    k, q = np.tan(np.pi * 38.13547087602444 / rate_hz), 0.5003270373238773
    norm = 1 + k / q + k * k
    low_cut = [norm, -2 * norm, norm, norm, 2 * (k * k - 1), 1 - k / q + k * k]  # the standard leaves its gain as is
    sections = np.array([shelf, low_cut])
    return sections / sections[:, 3:4]


def clipped_share(sound: Sound) -> float:
    """Share of samples in runs of at least 3 at full scale (|x| ≥ 0.9999). NaN when empty.

    Clipping that a gain change, resampling or mixing came after is not seen."""
    if not len(sound):
        return float("nan")
    full = np.concatenate([[0], (np.abs(sound.samples) >= CLIPPED).astype(np.int8), [0]])
    turns = np.flatnonzero(np.diff(full))
    runs = turns[1::2] - turns[::2]
    return float(runs[runs >= RUN].sum() / len(sound))


def snr_db(sound: Sound, speech: Curve) -> float:
    """Speech-to-noise ratio in dB from the pauses: 10·log10((P_speech - P_pause) / P_pause), mean powers.

    Args:
        speech: speech probability 0..1 of the same sound (`vad.silero`), first column. Frames from `SPEECH` on are
            speech; those up to `PAUSE` and at least `GUARD_US` from speech are pause; the rest counts for neither.

    It holds for noise that goes on through the pauses. NaN: too little speech or pause (`LEAST_US` each), or speech not
    louder than the pauses; inf for digital silence between the words.
    """
    hop_us, p = speech.hop_us, speech.values[:, 0]
    first = (speech.t0_us - sound.t0_us) * SAMPLE_RATE_HZ / 1e6
    edges = np.round(first + np.arange(len(p) + 1) * hop_us * SAMPLE_RATE_HZ / 1e6).astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(np.square(sound.samples, dtype=np.float64))])
    inside = np.clip(edges, 0, len(sound))
    energy, samples = np.diff(total[inside]), np.diff(inside)
    spoken = p >= SPEECH
    guard = -(-GUARD_US // hop_us)
    near = np.convolve(p > PAUSE, np.ones(2 * guard + 1), "same") > 0 if len(p) > 2 * guard else np.ones(len(p), bool)
    pause = ~near
    least = LEAST_US * SAMPLE_RATE_HZ / 1e6
    if samples[spoken].sum() < least or samples[pause].sum() < least:
        return float("nan")
    loud, quiet = energy[spoken].sum() / samples[spoken].sum(), energy[pause].sum() / samples[pause].sum()
    if loud <= quiet:
        return float("nan")
    return float("inf") if quiet == 0 else _db(float((loud - quiet) / quiet))


def _db(power: float) -> float:
    if power == 0:
        return float("-inf")
    return float(10 * np.log10(power))
