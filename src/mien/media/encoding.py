"""A span of a source as a file: constant rate, exact count of frames, one size, covered regions, sound in sync.

libav decodes hostile input in the child only; here it encodes pictures that we made. The same input gives the same
bytes, however many clips are encoded at a time: one thread per encoder, no dates and no names in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError, Span
from mien.media.cutting import planes
from mien.media.decoder import Decoder

SOUND_HZ = 48_000
ENCODERS = ("libx264", "libopenh264", "mpeg4")
_CPU_AVX512_SKX = 256  # of OpenCV's `CpuFeatures`: what x264 asks for before it uses AVX-512
_CELLS = 6  # a covered region keeps at most so many values along its longer side
_BITRATE = {"libopenh264": 8_000_000, "mpeg4": 12_000_000}

Box = tuple[float, float, float, float]
Covering = Callable[[int], Sequence[Box]]
"""Source time in µs → boxes xyxy, as shares of the source's frame, that must not be recognised then."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """What to cut, and how it shall be.

    Attributes:
        span: on the source's clock; no frame from outside of it is ever taken.
        frames, fps, width_px, height_px: of the file. crop: the part of the source's frame that is kept, as shares.
        sound: whether the sound goes into the file. covered: regions to make unrecognisable.
    """

    span: Span
    frames: int
    fps: Fraction
    width_px: int
    height_px: int
    crop: Box = (0.0, 0.0, 1.0, 1.0)
    sound: bool = False
    covered: Covering | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was written. t_us: int64 [frames], the source's own time of each frame."""

    t_us: npt.NDArray[np.int64]
    encoder: str
    sound: bool


def encoder() -> str:
    """The first encoder of `ENCODERS` that this build of libav has (decision 0024).

    Raises:
        MienError: `media.no-encoder`.
    """
    import av

    for name in ENCODERS:
        if name in av.codecs_available:
            return name
    raise MienError("media.no-encoder", "this build of libav encodes no video mien writes", "pip install --upgrade av")


def pictures(decoder: Decoder, cutting: Cutting) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """(source time in µs, uint8 `[h·3/2 w]` yuv420p) of every frame of the file, covered where asked for."""
    size = cutting.width_px, cutting.height_px
    for t_us, times, packed in decoder.cut(cutting.span, cutting.fps, cutting.frames, size):
        if cutting.covered is not None:
            for box in cutting.covered(t_us):
                conceal(packed, *size, within(box, cutting.crop))
        for _ in range(times):
            yield t_us, packed


def encode(decoder: Decoder, cutting: Cutting, path: Path) -> Encoded:
    """Write one clip as MP4: H.264 (yuv420p, BT.601), AAC 48 kHz stereo where sound is asked for and there.

    Memory holds one picture and a few seconds of sound at a time.

    Raises:
        MienError: of `Decoder`; `media.gap`, `media.no-picture`, `media.no-encoder`. Nothing is left at `path` then.
    """
    try:
        return _encode(decoder, cutting, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _encode(decoder: Decoder, cutting: Cutting, path: Path) -> Encoded:
    import av

    name = encoder()
    heard = cutting.sound and decoder.probe().audio_index is not None
    times: list[int] = []
    flags = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=flags) as out:
        video = _video(out, cutting, name)
        audio = _audio(out) if heard else None
        length = Fraction(cutting.frames) / cutting.fps
        for k, (t_us, packed) in enumerate(pictures(decoder, cutting)):
            frame = av.VideoFrame.from_numpy_buffer(packed, format="yuv420p")
            frame.pts, frame.time_base = k, 1 / cutting.fps
            out.mux(video.encode(frame))
            times.append(t_us)
        out.mux(video.encode(None))
        if audio is not None:
            for frame in _sound(decoder, cutting.span.start_us, length):
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return Encoded(np.array(times, np.int64), name, audio is not None)


def options(name: str) -> dict[str, str]:
    """What libav is told for an encoder.

    x264 goes without AVX-512: its sums over macroblock trees then depend on memory that nobody has written (core 165;
    a heap filled with 0xFE by `MALLOC_PERTURB_=1` gives other bytes), and so on what the process did before.
    """
    if name == "libx264":
        import cv2

        asm = ":asm=SSE2Fast,FMA3,BMI2,AVX2" if cv2.checkHardwareSupport(_CPU_AVX512_SKX) else ""
        return {"preset": "fast", "crf": "14", "x264-params": f"bframes=0{asm}"}
    return {"b": "8M"} if name == "libopenh264" else {}


def _video(out: Any, cutting: Cutting, name: str) -> Any:
    from av.codec.context import Flags

    video = out.add_stream(name, rate=cutting.fps, options=options(name))
    video.width, video.height, video.pix_fmt = cutting.width_px, cutting.height_px, "yuv420p"
    context = video.codec_context
    context.time_base, context.thread_count = 1 / cutting.fps, 1
    context.colorspace, context.color_range = 6, 1  # SMPTE 170M (BT.601), limited
    context.color_primaries, context.color_trc = 6, 6
    context.flags |= Flags.bitexact
    if name in _BITRATE:
        context.bit_rate = _BITRATE[name]
    return video


def _audio(out: Any) -> Any:
    from av.codec.context import Flags

    audio = out.add_stream("aac", rate=SOUND_HZ, layout="stereo")
    audio.bit_rate = 192_000
    audio.codec_context.flags |= Flags.bitexact
    return audio


def _sound(decoder: Decoder, start_us: int, length_s: Fraction) -> Iterator[Any]:
    """Sound from exactly `start_us` on, as long as the picture, piece by piece."""
    import av

    at = 0
    for samples in decoder.stereo(start_us, round(length_s * SOUND_HZ), SOUND_HZ):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, at, Fraction(1, SOUND_HZ)
        yield frame
        at += len(samples)


def within(box: Box, crop: Box) -> Box:
    """A box of the source's frame as shares of the cropped picture; not limited to it."""
    w, h = crop[2] - crop[0], crop[3] - crop[1]
    return (box[0] - crop[0]) / w, (box[1] - crop[1]) / h, (box[2] - crop[0]) / w, (box[3] - crop[1]) / h


def conceal(packed: npt.NDArray[np.uint8], width: int, height: int, box: Box) -> None:
    """Make a region of a packed yuv420p picture `[h·3/2 w]` unrecognisable, in place; outside nothing changes.

    What stays is at most 6 × 6 flat cells of a picture's lightness, in 16 steps, and one colour: too little to tell a
    face by (Newton, Sweeney and Malin 2005 could undo pixelation that keeps more), and nothing of it is noise that a
    filter could take away. The region is rounded outwards to whole chroma samples.
    """
    x1, y1 = (max(0, int(np.floor(v * side / 2)) * 2) for v, side in ((box[0], width), (box[1], height)))
    x2, y2 = (min(side, int(np.ceil(v * side / 2)) * 2) for v, side in ((box[2], width), (box[3], height)))
    if x2 <= x1 or y2 <= y1:
        return
    for i, (plane, half) in enumerate(zip(planes(packed, width, height), (1, 2, 2), strict=True)):
        part = plane[y1 // half : y2 // half, x1 // half : x2 // half]
        if i:
            part[...] = round(float(part.mean()))
            continue
        longer = max(part.shape)
        for rows in np.array_split(np.arange(part.shape[0]), max(1, round(_CELLS * part.shape[0] / longer))):
            for columns in np.array_split(np.arange(part.shape[1]), max(1, round(_CELLS * part.shape[1] / longer))):
                cell = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                cell[...] = int(cell.mean()) // 16 * 16 + 8


def rgb(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """uint8 `[h w 3]` of a packed yuv420p picture `[h·3/2 w]` (BT.601, limited range)."""
    import cv2

    return np.asarray(cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_I420), np.uint8)
