"""Motion energy: how much the picture changes per second, beyond exposure changes and sensor noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

SPARSE = 5
ROWS = 72
"""Luma is averaged over square blocks so that about this many rows stay: noise averages out, limbs stay visible."""
NOISE_CAP = 5 / 255
"""Largest noise floor per block (luma 0..1). Above it, change is taken for motion: else a moving camera is "noise"."""


@dataclass(frozen=True, slots=True)
class Motion:
    """whole: luma (0..1) per second over the frame; inside float64 `[n]`: over each box. NaN: nothing to compare with,
    or a box outside the frame."""

    whole: float
    inside: F64


class MotionEnergy:
    """Mean absolute luma difference between consecutive analysed frames, divided by the time between them.

    Before differencing, gain and offset between the two frames are fitted by trimmed least squares and taken out
    (exposure, lamps, auto gain). Then each block's difference shrinks by a noise floor of 3 robust sd (1.4826·MAD of
    the differences, at most `NOISE_CAP`). Identical frames give exactly 0. Differences saturate when something moves by
    more than its own width between frames: compare values only at a similar frame rate.
    """

    def __init__(self) -> None:
        self._luma: F32 | None = None
        self._t_us = 0

    def reset(self) -> None:
        """Forget the last frame (at a cut)."""
        self._luma = None

    def update(self, t_us: int, frame: U8, xyxy: F32 | None = None) -> Motion:
        """Compare with the frame before.

        Args:
            t_us: presentation time, rising. frame: uint8 `[h w 3]` RGB. xyxy: float `[n 4]` px of this frame.

        Raises:
            ValueError: shape or dtype does not fit, or time does not rise.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"frame must be uint8 [h w 3], but got {frame.dtype} {list(frame.shape)}")
        boxes = np.zeros((0, 4), np.float32) if xyxy is None else np.asarray(xyxy)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"xyxy must be [n 4], but got {list(boxes.shape)}")
        size = max(1, frame.shape[0] // ROWS)
        luma, before, dt_s = _blocks(frame, size), self._luma, (t_us - self._t_us) / 1e6
        if before is not None and dt_s <= 0:
            raise ValueError(f"t_us must rise, but went from {self._t_us} to {t_us}")
        self._luma, self._t_us = luma, t_us
        if before is None or before.shape != luma.shape:
            return Motion(np.nan, np.full(len(boxes), np.nan))
        change = _change(before, luma)
        inside = np.array([_inside(change, box / size) for box in boxes], np.float64)
        return Motion(float(change.mean()) / dt_s, inside / dt_s)


def _blocks(frame: U8, size: int) -> F32:
    """Rec. 601 luma 0..1, averaged over `size`×`size` px; the rest at the right and lower edge is dropped."""
    h, w = (max(1, s // size) for s in frame.shape[:2])
    cut = frame[: h * size, : w * size]
    sums = cut.reshape(h, size, w, size, 3).sum(axis=(1, 3), dtype=np.uint32)
    return (sums @ np.array([0.299, 0.587, 0.114]) / (255 * size * size)).astype(np.float32)


def _change(before: F32, after: F32) -> F32:
    if np.array_equal(before, after):
        return np.zeros_like(after)
    residual = after - _exposed(before, after)
    middle = np.median(residual)
    floor = min(3 * 1.4826 * float(np.median(np.abs(residual - middle))), NOISE_CAP)
    return np.maximum(np.abs(residual) - floor, 0)


def _exposed(before: F32, after: F32) -> F32:
    """`before` under the exposure of `after`: gain and offset by least squares on the calmer half of the blocks."""
    # every fifth block (no divisor of usual widths): two numbers need no more
    x, y = before.ravel()[::SPARSE].astype(np.float64), after.ravel()[::SPARSE].astype(np.float64)
    gain, offset = 1.0, float(np.median(y - x))
    for _ in range(3):
        miss = np.abs(y - gain * x - offset)
        calm = miss <= np.median(miss)
        cx, cy = x[calm], y[calm]
        spread = float(cx.var())
        if spread < 1e-4:
            break  # a flat picture says nothing of gain
        gain = float(np.clip(((cx - cx.mean()) * (cy - cy.mean())).mean() / spread, 0.5, 2.0))
        offset = float(cy.mean() - gain * cx.mean())
    return np.clip(gain * before + offset, 0, 1).astype(np.float32)


def _inside(change: F32, box: npt.NDArray[np.floating]) -> float:
    h, w = change.shape
    if not np.isfinite(box).all():
        return float("nan")
    x1, y1 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x2, y2 = min(w, int(np.ceil(box[2]))), min(h, int(np.ceil(box[3])))
    return float(change[y1:y2, x1:x2].mean()) if x2 > x1 and y2 > y1 else float("nan")
