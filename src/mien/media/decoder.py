"""The parent's side of decoding: one limited child per source, a deadline, and arrays read straight from its pipe."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US, Frames, MienError, Sound, Span
from mien.media import wire
from mien.media.clips import Found
from mien.media.files import open_regular
from mien.media.records import Limits, Probe, Scan, Tally
from mien.media.spawn import spawn
from mien.media.spool import Shelf

_F_SETPIPE_SZ = 1031
_START_S = 60.0  # importing libav on a busy machine
_MAX_SOUND_S = 4 * 3600


class Decoder:
    """Frames and sound of one source, decoded in a child process with limits on memory, time and files.

    The child decodes ahead while the caller works on a batch. One request runs at a time: a new one ends the running
    one, and its iterator then raises `media.superseded`. Open a second decoder for a second stream at the same time.

    Raises (every method):
        MienError: `media.not-found`, `media.unreadable`, `media.not-a-file`, `media.empty` when opened;
            `media.playlist`, `media.unknown-format`, `media.no-streams`, `media.corrupt`, `media.too-large`,
            `media.stalled` (no progress in time; the child is killed), `media.decoder-died` from requests.
    """

    def __init__(self, path: Path | str, limits: Limits | None = None) -> None:
        self.path = Path(path).absolute()
        self.limits = limits or Limits()
        self.tally = Tally()
        """What happened during the last finished request."""
        os.close(open_regular(self.path))
        self._serial = 0
        self._probe: Probe | None = None
        self._child = spawn(self.path, self.limits)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._child.answer, _F_SETPIPE_SZ, 1 << 20)
        self._reader = wire.Reader(self._child.answer, max(self.limits.stall_s, _START_S))

    # ------------------------------------------------------------ requests

    def probe(self) -> Probe:
        """What the header claims and the first picture shows; asked once."""
        if self._probe is None:
            self._probe = Probe(**self._only(self._request("probe")))
        return self._probe

    def frames(
        self, span: Span, fps: float | Fraction, max_side_px: int | None = None, batch: int = 8
    ) -> Iterator[Frames]:
        """Batches of upright RGB frames, uint8 `[n h w 3]`, at most `batch` long and all of one size.

        Taken are the frames inside the span that are the first at or after some instant `k/fps` of the source's clock
        (half a tick of the container's clock, at most 0.5 ms, early counts as on time). The clips of a source together
        get exactly the frames of the whole. Frames are scaled down (area averaging) only
        where their long side exceeds `max_side_px`. Sources without picture give nothing.
        """
        if not (math.isfinite(fps) and fps > 0 and batch > 0):
            raise ValueError(f"fps and batch must be positive, but got {fps}, {batch}")
        ask = {"fps": _ratio(fps), "max_side_px": max_side_px}
        replies = self._request("frames", start_us=max(0, span.start_us), end_us=span.end_us, **ask)
        return self._batched(replies, batch)

    def stills(self, times_us: Sequence[int], max_side_px: int | None = None) -> Frames:
        """The frame shown at each time (the last at or before it, else the first), in the order given; `t_us` is the
        frame's own time. Times are sought out one by one: meant for thumbnails.

        Raises:
            MienError: `media.no-picture` without a frame; `media.size-changed` where the frames differ in size.
        """
        pixels: list[np.ndarray[Any, Any] | None] = [None] * len(times_us)
        times = np.zeros(len(times_us), np.int64)
        replies = self._request("stills", times_us=[int(t) for t in times_us], max_side_px=max_side_px)
        for header, size in replies:
            image = np.empty(self._image(header, size), np.uint8)
            self._fill(image)
            pixels[header["index"]], times[header["index"]] = image, header["t_us"]
        found = [p for p in pixels if p is not None]
        if not times_us:
            return Frames(np.zeros((0, 0, 0, 3), np.uint8), times)
        if len(found) != len(pixels):
            raise MienError("media.no-picture", f"{self.path.name} has no picture at the times asked for")
        if len({p.shape for p in found}) > 1:
            raise MienError("media.size-changed", f"{self.path.name} changes its picture size", "ask for one at a time")
        return Frames(np.stack(found), times)

    def sound(self, span: Span) -> Sound:
        """Mono 16 kHz float32 of the whole span; zeros where the source has no sound (`tally.gap_us` counts gaps)."""
        if span.duration_us > _MAX_SOUND_S * US:
            raise MienError(
                "media.span-too-long", f"sound of {span} is more than {_MAX_SOUND_S // 3600} h", "ask parts"
            )
        first, last = (round(t * SAMPLE_RATE_HZ / US) for t in (span.start_us, span.end_us))
        samples = np.zeros(last - first, np.float32)
        for header, size in self._request("sound", start_us=span.start_us, end_us=span.end_us):
            part = samples[header["at"] : header["at"] + size // 4]
            if part.nbytes != size:
                self._die("media.decoder-died", "the decoder sent sound outside the span")
            self._fill(part)
        return Sound(samples, span.start_us)

    def cut(
        self, span: Span, fps: Fraction, count: int, size_px: tuple[int, int]
    ) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
        """(t_us, how many frames in a row it is, uint8 `[h·3/2 w]` yuv420p) of `count` frames at a constant rate: each
        the frame of the span nearest to its instant, scaled by Lanczos to cover `size_px` (width, height; even) and
        cropped about its middle.

        Raises:
            MienError: `media.gap`, `media.no-picture`.
        """
        width, height = size_px
        ask = {"fps": _ratio(fps), "count": count, "size_px": size_px}
        replies = self._request("cut", start_us=span.start_us, end_us=span.end_us, **ask)
        left = count
        for header, size in replies:
            times = len(header["instants"])
            if size != width * height * 3 // 2 or not 0 < times <= left:
                self._die("media.decoder-died", "the decoder sent a picture that was not asked for")
            left -= times
            packed = np.empty((height * 3 // 2, width), np.uint8)
            self._fill(packed)
            yield header["t_us"], times, packed
        if left:
            self._die("media.decoder-died", f"the decoder sent {count - left} of {count} frames")

    def stereo(self, start_us: int, count: int, rate_hz: int) -> Iterator[npt.NDArray[np.float32]]:
        """`count` samples from exactly `start_us` on, in pieces float32 `[n 2]`; zeros where the source has none."""
        end_us, at = start_us - (-count * US // rate_hz) + US // rate_hz, 0
        for header, size in self._request("stereo", start_us=start_us, end_us=end_us, rate_hz=rate_hz):
            piece = self._samples(size).reshape(-1, 2)
            first = int(header["at"])
            if first < at:
                self._die("media.decoder-died", "the decoder sent sound outside the span")
            while first > at < count:
                n = min(first - at, count - at, rate_hz)
                yield np.zeros((n, 2), np.float32)
                at += n
            if at < count:
                yield piece[: count - at]
                at += min(len(piece), count - at)
        while at < count:
            n = min(count - at, rate_hz)
            yield np.zeros((n, 2), np.float32)
            at += n

    def scan(self, tell: Callable[[Found], None] | None = None, keep: Shelf | None = None) -> Scan:
        """Decode everything once: shots, true times, coverage, damage. `tell` gets what is found as it is found.

        Args:
            keep: gets the frames that `frames` would give for the whole source, and the sound of its beginning.

        Raises:
            MienError: `media.corrupt` also when nothing at all could be decoded.
        """
        fields: dict[str, Any] = {}
        image = np.empty((0, 0, 3), np.uint8)
        for header, size in self._request("scan", keep=None if keep is None else _asked(keep)):
            if "value" in header:
                fields = header["value"]
            elif keep is not None and "picture" in header:
                if image.shape != (shape := self._image(header, size)):
                    image = np.empty(shape, np.uint8)
                self._fill(image)
                keep.picture(header["picture"], image)
            elif keep is not None and "sound" in header:
                keep.sound(header["sound"], self._samples(size))
            elif keep is not None and "lost" in header:
                keep.lose(header["lost"])
            elif tell is not None:
                news = header["found"]
                seen = tuple(news["cuts_us"]), tuple(news["activity"])
                tell(Found(int(news["settled_us"]), *seen, news["damaged"]))
        made: dict[str, Any] = {name: tuple(fields[name]) for name in ("cuts_us", "stitched_us")}
        made["tally"] = Tally(**fields["tally"])
        if not made["tally"].frames and not fields["sound_us"]:
            message = f"not one picture or sound of {self.path.name} can be decoded"
            raise MienError("media.corrupt", message, "copy the file again, or leave it out")
        return Scan(**fields | made)

    # ------------------------------------------------------------ talking to the child

    def _request(self, op: str, **fields: Any) -> Iterator[tuple[dict[str, Any], int]]:
        """Send now; iterate later. The caller of the iterator reads each payload before it goes on."""
        if self._child.poll() is not None:
            self._die("media.decoder-died", f"the decoder of {self.path.name} is not running")
        self._serial += 1
        line = json.dumps({"id": self._serial, "op": op, **fields}) + "\n"
        try:
            wire.write(self._child.ask, line.encode())
        except BrokenPipeError:
            self._dead()
        return self._replies(self._serial)

    def _replies(self, serial: int) -> Iterator[tuple[dict[str, Any], int]]:
        while True:
            if serial != self._serial:
                raise MienError("media.superseded", f"another request for {self.path.name} has ended this one")
            try:
                header, size = self._reader.header()
                if header["id"] != serial:
                    self._reader.skip(size)
                    continue
            except (wire.StalledError, wire.ClosedError) as error:
                self._lost(error)
            self._reader.stall_s = self.limits.stall_s
            match header["kind"]:
                case "data":
                    yield header, size
                case "pulse":
                    continue
                case "error":
                    raise MienError(header["code"], header["message"], header["hint"])
                case _:
                    self.tally = Tally(**header["tally"])
                    return

    def _only(self, replies: Iterator[tuple[dict[str, Any], int]]) -> dict[str, Any]:
        ((header, _),) = list(replies)
        return header["value"]

    def _batched(self, replies: Iterator[tuple[dict[str, Any], int]], batch: int) -> Iterator[Frames]:
        pixels, times, n = np.empty((0, 0, 0, 3), np.uint8), np.empty(0, np.int64), 0
        for header, size in replies:
            shape = self._image(header, size)
            if n and pixels.shape[1:] != shape:
                yield Frames(pixels[:n], times[:n])
                n = 0
            if not n:
                pixels, times = np.empty((batch, *shape), np.uint8), np.empty(batch, np.int64)
            self._fill(pixels[n])
            times[n] = header["t_us"]
            n += 1
            if n == batch:
                yield Frames(pixels, times)
                n = 0
        if n:
            yield Frames(pixels[:n], times[:n])

    def _image(self, header: dict[str, Any], size: int) -> tuple[int, int, int]:
        """The shape of an announced picture; the child ran hostile input, so its word is checked."""
        height, width, depth = header["shape"]
        if depth != 3 or height * width * 3 != size or not 0 < height * width <= 4 * self.limits.max_pixels:
            self._die("media.decoder-died", f"the decoder announced a picture of {header['shape']} in {size} bytes")
        return height, width, depth

    def _samples(self, size: int) -> npt.NDArray[np.float32]:
        if size % 4 or size > 4 * _MAX_SOUND_S * SAMPLE_RATE_HZ:
            self._die("media.decoder-died", f"the decoder announced sound of {size} bytes")
        samples = np.empty(size // 4, np.float32)
        self._fill(samples)
        return samples

    def _fill(self, array: np.ndarray[Any, Any]) -> None:
        try:
            self._reader.into(array.data.cast("B"))
        except (wire.StalledError, wire.ClosedError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> NoReturn:
        if isinstance(error, wire.StalledError):
            message = f"decoding {self.path.name} made no progress for {self._reader.stall_s:g} s"
            self._die("media.stalled", message, "the file is damaged or its disk hangs")
        self._dead()

    def _dead(self) -> NoReturn:
        code = self._child.wait(2)
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit {code}"
        self._die("media.decoder-died", f"the decoder of {self.path.name} died ({how})", "the file is likely damaged")

    def _die(self, code: str, message: str, hint: str = "") -> NoReturn:
        self.close()
        raise MienError(code, message, hint)

    def stop(self) -> None:
        """End the child, from any thread: the running request raises `media.decoder-died`. `close` comes after."""
        if self._child.poll() is None:
            self._child.kill()

    def close(self) -> None:
        """Kill the child (it holds nothing worth keeping); may be called twice."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ratio(fps: float | Fraction) -> tuple[int, int]:
    return Fraction(fps).limit_denominator(100_000).as_integer_ratio()


def _asked(keep: Shelf) -> tuple[tuple[int, int], int, int]:
    return _ratio(keep.fps), keep.max_side_px, keep.longest_us


def probe(path: Path | str, limits: Limits | None = None) -> Probe:
    """`Decoder.probe` in a child of its own."""
    with Decoder(path, limits) as decoder:
        return decoder.probe()
