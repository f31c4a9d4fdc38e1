"""Seeded synthetic media with planted truth: frame numbers, shot cuts, a tone, a marked corner.

Pictures are smooth (gradients, a soft moving disc), so that lossy coding keeps them; each frame carries its number as
a bar of Gray code along its lower edge (one block changes at a time), and a red mark in its upper left
corner. Needs PyAV (a base dependency).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core import US, Span

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet

_TICKS = 90_000
_BITS = 12
_CODE_SHARE = 6  # the bar code is a sixth of the height
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make. The suffix of the path chooses the container.

    Attributes:
        times_us: frame times of a VFR video; empty means constant `fps`. Multiples of 100 µs are kept exactly.
        cuts_s: where a new shot starts (at the first frame at or after).
        tone_s: when a tone of `tone_hz` sounds over silence; None for silence.
        start_s: added to all times in the file; `sound_delay_s` to those of the sound.
        black: nothing in the pictures, not even their numbers.
        codec, pixels: libav's names; `libx264` and `yuv420p` by default.
    """

    seconds: float = 4.0
    fps: int = 25
    width: int = 160
    height: int = 120
    times_us: tuple[int, ...] = ()
    cuts_s: tuple[float, ...] = ()
    picture: bool = True
    codec: str = "libx264"
    pixels: str = "yuv420p"
    gop: int = 12
    sound: bool = True
    sound_codec: str = "aac"
    rate_hz: int = 44_100
    tone_s: tuple[float, float] | None = (1.0, 1.5)
    tone_hz: float = 440.0
    start_s: float = 0.0
    sound_delay_s: float = 0.0
    black: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A file and the truth about it. t_us int64 `[n]`: time of frame i (its code is i), without `start_s`."""

    path: Path
    t_us: npt.NDArray[np.int64]
    cuts_us: tuple[int, ...]
    tone: Span | None


def make(path: Path, recipe: Recipe = Recipe()) -> Made:
    """Write the file; the same recipe gives the same pictures and sound."""
    import av

    times = np.array(recipe.times_us or np.arange(round(recipe.seconds * recipe.fps)) * US // recipe.fps, np.int64)
    starts = [int(np.searchsorted(times, round(c * US))) for c in recipe.cuts_s] if len(times) else []
    with av.open(str(path), "w") as container:
        packets: list[Packet] = []
        streams: list[Any] = []
        if recipe.picture:
            streams.append(_add_video(container, recipe))
        if recipe.sound:
            streams.append(container.add_stream(recipe.sound_codec, rate=recipe.rate_hz))
            streams[-1].layout = "mono"
        if recipe.picture:
            packets += _encode_video(streams[0], recipe, times, starts)
        if recipe.sound:
            packets += _encode_sound(streams[-1], recipe)
        for packet in sorted(packets, key=lambda p: float((p.dts or 0) * p.time_base)):
            container.mux(packet)
    tone = Span(*(round((t + recipe.sound_delay_s) * US) for t in recipe.tone_s)) if recipe.tone_s else None
    shown = times if recipe.picture else times[:0]
    return Made(path, shown, tuple(int(times[s]) for s in starts), tone if recipe.sound else None)


def picture(number: int, t_s: float, shot: int, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """Frame `number` at time `t_s` in shot `shot`: uint8 `[h w 3]` RGB."""
    height, width = recipe.height, recipe.width
    if recipe.black:
        return np.zeros((height, width, 3), np.uint8)
    rng = np.random.default_rng((recipe.seed, shot))
    near, far, disc = rng.uniform(20, 235, (3, 3))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    image = near + (far - near) * (0.6 * x + 0.4 * y)[..., None]
    centre = 0.5 + 0.25 * np.array([math.cos(t_s), math.sin(0.7 * t_s)])
    soft = 1 / (1 + np.exp((np.hypot(x - centre[0], y - centre[1]) - 0.18) * 40))
    image += (disc - image) * soft[..., None]
    edge = height - height // _CODE_SHARE
    for bit, columns in enumerate(np.array_split(np.arange(width), _BITS)):
        image[edge:, columns] = 230 if (number ^ number >> 1) >> bit & 1 else 25
    image[: height // 8, : width // 8] = (220, 20, 20)
    return image.round().astype(np.uint8)


def frame_number(pixels: npt.NDArray[np.uint8]) -> int:
    """The number coded in an upright frame, uint8 `[h w 3]`, at any scale."""
    height = len(pixels)
    bar = pixels[height - height // (2 * _CODE_SHARE) - 1].mean(1)
    bits = [int(part[len(part) // 2] > 128) for part in np.array_split(bar, _BITS)]
    return sum((sum(bits[place:]) & 1) << place for place in range(_BITS))


def turn(path: Path, degrees: int) -> None:
    """Write a display matrix into the first track of an MP4: players turn it clockwise by 0, 90, 180 or 270."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of the box (ISO/IEC 14496-12 §8.3.2)
    rows = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    data[at : at + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in rows)
    path.write_bytes(data)


def _add_video(container: OutputContainer, recipe: Recipe) -> Any:
    options = {"preset": "veryfast", "threads": "1"} if recipe.codec == "libx264" else {}
    stream: Any = container.add_stream(recipe.codec, rate=recipe.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, recipe.pixels
    stream.gop_size = recipe.gop
    # MPEG-4 part 2 and GIF know only short clocks: theirs is the frame rate
    stream.codec_context.time_base = Fraction(1, _TICKS if recipe.codec in ("libx264", "ffv1") else recipe.fps)
    return stream


def _encode_video(stream: Any, recipe: Recipe, times: npt.NDArray[np.int64], starts: list[int]) -> Iterator[Packet]:
    import av

    base = stream.codec_context.time_base
    for number, t_us in enumerate(times):
        shot = sum(number >= s for s in starts)
        frame = av.VideoFrame.from_ndarray(picture(number, t_us / US, shot, recipe), format="rgb24")
        frame = frame.reformat(format=recipe.pixels)
        frame.time_base = base
        frame.pts = round((Fraction(int(t_us), US) + Fraction(recipe.start_s)) / base)
        following = times[number + 1] if number + 1 < len(times) else t_us + US // recipe.fps
        frame.duration = round(Fraction(int(following - t_us), US) / base)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _encode_sound(stream: Any, recipe: Recipe) -> Iterator[Packet]:
    import av

    n = round(recipe.seconds * recipe.rate_hz)
    t = np.arange(n) / recipe.rate_hz
    samples = np.zeros(n, np.float32)
    if recipe.tone_s:
        on = (t >= recipe.tone_s[0]) & (t < recipe.tone_s[1])
        samples[on] = 0.5 * np.sin(2 * np.pi * recipe.tone_hz * t[on])
    planar = stream.codec_context.format.name
    offset = round((recipe.start_s + recipe.sound_delay_s) * recipe.rate_hz)
    resampler = av.AudioResampler(format=planar, layout="mono", rate=recipe.rate_hz)
    for at in range(0, n, _BLOCK):
        frame = av.AudioFrame.from_ndarray(samples[None, at : at + _BLOCK], format="flt", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = recipe.rate_hz, Fraction(1, recipe.rate_hz), at + offset
        for piece in resampler.resample(frame):
            yield from stream.encode(piece)
    yield from stream.encode(None)
