"""What YAMNet hears: log-mel patches as published (Plakal & Ellis, 2019; `params.py` and `features.py` of its release).

Magnitudes of 25 ms every 10 ms (periodic Hann, 512 points), 64 triangles on the mel scale 1127·ln(1 + f/700) from 125
to 7500 Hz whose sides are straight in mel, ln(x + 0.001), patches of 96 frames every 48.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ

F32 = npt.NDArray[np.float32]

FRAME, HOP, N_FFT = 400, 160, 512
BANDS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7500.0
LOG_OFFSET = 0.001
PATCH_FRAMES, PATCH_HOP_FRAMES = 96, 48
PATCH = (PATCH_FRAMES - 1) * HOP + FRAME  # 15,600 samples: 0.975 s
PATCH_HOP = PATCH_HOP_FRAMES * HOP  # 7,680 samples: 0.48 s


@cache
def mel_filters() -> F32:
    """Triangles in mel, float32 `[257 64]`; the lowest bin counts nowhere."""

    def mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 1127 * np.log1p(hz / 700)

    bins = mel(np.linspace(0, SAMPLE_RATE_HZ / 2, N_FFT // 2 + 1))[:, None]
    low, top = mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    edges = np.linspace(low, top, BANDS + 2)
    rise = (bins - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins) / np.diff(edges)[1:]
    weights = np.maximum(0, np.minimum(rise, fall))
    weights[0] = 0
    return weights.astype(np.float32)


def log_mel(x: F32) -> F32:
    """Log-mel frames float32 `[t 64]` of whole frames of samples `[s]`."""
    if len(x) < FRAME:
        return np.zeros((0, BANDS), np.float32)
    window = np.hanning(FRAME + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME)[::HOP]
    magnitude = np.abs(np.fft.rfft(frames * window, N_FFT, axis=1)).astype(np.float32)
    return np.log(magnitude @ mel_filters() + np.float32(LOG_OFFSET))


def padded(x: F32) -> F32:
    """Samples with silence behind them, so that they make whole patches; at least one unless there is nothing."""
    if not len(x):
        return x
    more = -(-max(0, len(x) - PATCH) // PATCH_HOP)
    return np.pad(x, (0, PATCH + more * PATCH_HOP - len(x)))


def patches(x: F32) -> F32:
    """Patches float32 `[p 96 64]` of padded samples."""
    frames = log_mel(x)
    if len(frames) < PATCH_FRAMES:
        return np.zeros((0, PATCH_FRAMES, BANDS), np.float32)
    held = np.lib.stride_tricks.sliding_window_view(frames, PATCH_FRAMES, axis=0)[::PATCH_HOP_FRAMES]
    return np.ascontiguousarray(held.transpose(0, 2, 1))
