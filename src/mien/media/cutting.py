"""Frames of a cut inside the child: chosen by time on a constant rate, cropped and scaled to one size, YUV 4:2:0.

Colours are written as BT.601, limited range: readers that look at tags and readers that take 601 for granted (OpenCV)
see the same picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core import US, MienError
from mien.media.picture import Send, displayed, turned
from mien.media.source import Source

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


def cover(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int]:
    """The even size, of the picture's shape, that just covers the target: what stands out is cropped."""
    scale = max(Fraction(to_width, width), Fraction(to_height, height))
    w, h = (2 * round(side * scale / 2) for side in (width, height))
    return max(w, to_width), max(h, to_height)


def corner(width: int, height: int, to_width: int, to_height: int) -> tuple[int, int]:
    """Left and top of the centred crop in a covering picture; even, since chroma has half the resolution."""
    return (width - to_width) // 4 * 2, (height - to_height) // 4 * 2


class Fitted:
    """Turns decoded frames into planes of one size; keeps libav's scaler between frames."""

    def __init__(self, width: int, height: int) -> None:
        from av.video.reformatter import VideoReformatter

        self.width, self.height = width, height
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame, aspect: Fraction | None) -> npt.NDArray[np.uint8]:
        """uint8 `[h·3/2 w]`: Y, then U and V of half the size, as libav packs yuv420p."""
        from av.video.reformatter import ColorRange, Colorspace, Interpolation

        turns = turned(frame) // 90
        shown = displayed(frame.width, frame.height, aspect, 90 * turns)
        w, h = cover(*shown, self.width, self.height)
        flat = (h, w) if turns % 2 else (w, h)
        hd = frame.colorspace == _UNSPECIFIED and frame.height >= 720
        scaled = self._scaler.reformat(
            frame,
            *flat,
            "yuv420p",
            src_colorspace=Colorspace.ITU709 if hd else None,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.LANCZOS,
            threads=1,
        )
        x, y = corner(w, h, self.width, self.height)
        made = np.empty((self.height * 3 // 2, self.width), np.uint8)
        for plane, half, out in zip(scaled.planes, (1, 2, 2), planes(made, self.width, self.height), strict=True):
            held: Any = plane  # has the buffer protocol, which its stub does not say
            lines = np.frombuffer(held, np.uint8).reshape(plane.height, -1)[:, : plane.width]
            lines = lines if plane.line_size > 0 else lines[::-1]
            upright = np.rot90(lines, -turns)
            out[...] = upright[y // half :, x // half :][: out.shape[0], : out.shape[1]]
        return made


def planes(packed: npt.NDArray[np.uint8], width: int, height: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Views of Y `[h w]`, U and V `[h/2 w/2]` in a packed picture `[h·3/2 w]`; both sides even."""
    yield packed[:height]
    quarter = width * height // 4
    flat = packed.reshape(-1)[width * height :]
    for at in (0, quarter):
        yield flat[at : at + quarter].reshape(height // 2, width // 2)


def send_cut(
    source: Source, start_us: int, end_us: int, fps: Fraction, count: int, size: tuple[int, int], send: Send
) -> None:
    """`count` frames, the k-th being the one of the span that is nearest to `start + k/fps` (the earlier of equals).

    Raises:
        MienError: `media.no-picture`; `media.gap` where no frame lies within half a step (of the coarser of both rates)
            of an instant: time would run unevenly in what is trained.
    """
    fitted, chosen = Fitted(*size), _Nearest(start_us, fps, count)
    reach = max(US / fps, Fraction(source.frame_us)) / 2 + source.tolerance_us + 1
    aspect = None if source.video is None else source.video.sample_aspect_ratio
    for t_us, frame, instants in chosen(_inside(source, start_us, end_us)):
        off = max(abs(t_us - chosen.instant(k)) for k in instants)
        if off > reach and not source.image:
            at = chosen.instant(instants[0])
            message = f"no picture within {float(off) / 1000:.0f} ms of {float(at) / US:.3f} s"
            raise MienError("media.gap", message, "the source drops frames here: leave the clip out")
        send({"t_us": t_us, "instants": instants}, fitted(frame, aspect))
    if chosen.missing:
        raise MienError("media.no-picture", f"{chosen.missing} of {count} frames are not there", "copy the file again")


def _inside(source: Source, start_us: int, end_us: int) -> Iterator[tuple[int, VideoFrame]]:
    if source.video is None:
        return
    for t_us, frame in source.pictures(start_us):
        if t_us >= end_us:
            return
        if t_us >= start_us - source.tolerance_us:
            yield t_us, frame


class _Nearest:
    """Of frames in rising time, those nearest to instants of a constant rate, with the instants each one serves."""

    def __init__(self, start_us: int, fps: Fraction, count: int) -> None:
        self._start, self._fps, self._count, self._next = start_us, fps, count, 0

    def instant(self, k: int) -> Fraction:
        return self._start + k * US / self._fps

    @property
    def missing(self) -> int:
        return self._count - self._next

    def __call__(self, frames: Iterator[tuple[int, VideoFrame]]) -> Iterator[tuple[int, VideoFrame, list[int]]]:
        held: tuple[int, VideoFrame] | None = None
        for t_us, frame in frames:
            if held is not None and (mine := self._until(Fraction(held[0] + t_us, 2))):
                yield *held, mine
            held = t_us, frame
            if not self.missing:
                return
        if held is not None and (mine := self._until(None)):
            yield *held, mine

    def _until(self, end: Fraction | None) -> list[int]:
        """The instants up to a time that no frame has served; all that are left for None."""
        first = self._next
        while self._next < self._count and (end is None or self.instant(self._next) <= end):
            self._next += 1
        return list(range(first, self._next))
