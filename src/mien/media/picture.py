"""Pictures inside the child: upright, square pixels, RGB, no larger than asked; chosen on an absolute grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core import US
from mien.media.source import Source

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Send = Callable[[dict[str, Any], npt.NDArray[Any] | None], None]
_SEEK_AFTER_US = 3 * US
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def turned(frame: VideoFrame) -> int:
    """Clockwise quarter turns in degrees (0, 90, 180, 270) that make the frame upright; other angles are ignored.

    Read from `rotation`, never from `side_data`: PyAV 18.1 crashes on side data it does not know (EXIF, ICC).
    """
    angle = -frame.rotation % 360
    nearest = round(angle / 90) * 90
    return nearest % 360 if abs(angle - nearest) <= 1 else 0


def displayed(width: int, height: int, aspect: Fraction | None, rotation: int) -> tuple[int, int]:
    """Size in px as shown: square pixels, upright. Pixel shapes beyond 4:1 are taken for damage."""
    if aspect and aspect != 1 and Fraction(1, 4) <= aspect <= 4:
        width, height = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return (height, width) if rotation in (90, 270) else (width, height)


class Upright:
    """Turns decoded frames into upright RGB arrays; keeps libav's scaler between frames."""

    def __init__(self, max_side_px: int | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._scaler = VideoReformatter()
        self._max = max_side_px

    def __call__(self, frame: VideoFrame, aspect: Fraction | None, pixels: str = "rgb24") -> npt.NDArray[np.uint8]:
        """uint8 `[h w 3]`, contiguous; scaled by area averaging, and only where the long side exceeds the limit."""
        from av.video.reformatter import Colorspace, Interpolation

        width, height = displayed(frame.width, frame.height, aspect, 0)
        if self._max and max(width, height) > self._max:
            share = self._max / max(width, height)
            width, height = max(1, round(width * share)), max(1, round(height * share))
        shrinks = width < frame.width or height < frame.height
        # Untagged HD is BT.709 by convention (ITU-R BT.709, 2015); libav would take it for BT.601.
        hd = frame.colorspace == _UNSPECIFIED and frame.height >= 720
        rgb: npt.NDArray[Any] = self._scaler.reformat(
            frame,
            width,
            height,
            pixels,
            src_colorspace=Colorspace.ITU709 if hd else None,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BILINEAR,
            threads=1,
        ).to_ndarray()
        turns = turned(frame) // 90
        return np.ascontiguousarray(np.rot90(rgb, -turns) if turns else rgb)


class Grid:
    """Chooses, of all frames in rising time, those that are the first at or after some instant `k/fps` (k ≥ 0).

    Whether a frame is taken depends only on its time and its predecessor's, so the clips of a source together get
    exactly the frames of the whole.
    """

    def __init__(self, fps: Fraction, tolerance_us: int) -> None:
        self._fps, self._tolerance, self._served = fps, tolerance_us, -1

    def due(self, t_us: int) -> bool:
        """Asked of every frame, in order."""
        reached = (t_us + self._tolerance) * self._fps.numerator // (US * self._fps.denominator)
        due, self._served = reached > self._served, reached
        return due


def send_grid(source: Source, start_us: int, end_us: int, fps: Fraction, max_side_px: int | None, send: Send) -> None:
    """The frames whose time lies in the span and that the grid takes."""
    if source.video is None:
        return
    upright, grid = Upright(max_side_px), Grid(fps, source.tolerance_us)
    for t_us, frame in source.pictures(start_us - 1):
        if t_us >= end_us:
            return
        if grid.due(t_us) and t_us >= start_us:
            send({"t_us": t_us}, upright(frame, source.video.sample_aspect_ratio))


def send_stills(source: Source, times_us: Sequence[int], max_side_px: int | None, send: Send) -> None:
    """For each time, the frame shown then: the last one at or before it (or the first of all), in the order given."""
    if source.video is None:
        return
    upright, aspect = Upright(max_side_px), source.video.sample_aspect_ratio
    pictures, shown, coming = iter(()), None, None
    for index in sorted(range(len(times_us)), key=lambda i: times_us[i]):
        at = times_us[index]
        if coming is None or at - coming[0] > _SEEK_AFTER_US:
            pictures = source.pictures(at)
            shown = coming = next(pictures, None)
        while coming is not None and coming[0] <= at:
            shown, coming = coming, next(pictures, None)
        if shown is not None:
            send({"t_us": shown[0], "index": index}, upright(shown[1], aspect))
