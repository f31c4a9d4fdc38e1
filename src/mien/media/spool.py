"""Decoded media on its way from the scan, which decodes a source once, to the analysis of its clips.

A clip is known only once its end has been found, so its frames wait here. They wait in files without a name: the
system frees them when the process that holds them ends, however it ends, so nothing can be left behind and nothing
needs to be swept. A worker process of the same user reads them through `/proc/PID/fd`; each file begins with random
bytes that the reader checks, since on another machine that path may be anything.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, US, Frames, Sound, Span

_FILE_BYTES = 64 << 20
_SEAL_BYTES = 16
_SPARE_BYTES = 1 << 30  # of disk, left to everybody else
_AHEAD = 2  # clips ready for whoever comes next: what is used soon is freed before the system writes it to the disk


class SpoolLostError(Exception):
    """What was spooled cannot be read: it has to be decoded again."""


class Place(NamedTuple):
    """Where an array lies: descriptor of its file in the process that spooled it, offset, shape."""

    fd: int
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spooled:
    """Where the decoded media of one clip lie; small, and may be sent to other processes.

    Attributes:
        owner: pid of the process that holds the files. seal: how each of them begins.
        fps, max_side_px: as asked of `Decoder.frames`.
        pictures: (t_us, place) of exactly the frames that `Decoder.frames` gives; None: decode them.
        sound: what `Decoder.sound` gives; None: decode it.
    """

    owner: int
    seal: bytes
    span: Span
    fps: float
    max_side_px: int
    pictures: tuple[tuple[int, Place], ...] | None
    sound: Place | None

    def frames(self, batch: int = 8) -> Iterator[Frames]:
        """The batches that `Decoder.frames` would give. Raises `SpoolLostError`, also half-way."""
        waiting = deque(self.pictures or ())
        with _Reader(self) as reader:
            while waiting:
                shape = waiting[0][1].shape
                times: list[int] = []
                pixels = np.empty((min(batch, len(waiting)), *shape), np.uint8)
                while waiting and len(times) < batch and waiting[0][1].shape == shape:
                    t_us, place = waiting.popleft()
                    reader.into(pixels[len(times)], place)
                    times.append(t_us)
                yield Frames(pixels[: len(times)], np.array(times, np.int64))

    def samples(self) -> Sound:
        """The clip's sound. Raises `SpoolLostError`."""
        if self.sound is None:
            raise SpoolLostError
        samples = np.empty(self.sound.shape, np.float32)
        with _Reader(self) as reader:
            reader.into(samples, self.sound)
        return Sound(samples, self.span.start_us)


class _Reader:
    """Reads a clip's arrays, in the process that spooled them or in another."""

    def __init__(self, spooled: Spooled) -> None:
        self._spooled = spooled
        self._fds: dict[int, int] = {}
        self._foreign = spooled.owner != os.getpid()

    def into(self, array: npt.NDArray[Any], place: Place) -> None:
        try:
            fd = self._fds.get(place.fd)
            self._read(self._open(place.fd) if fd is None else fd, array.data.cast("B"), place.offset)
        except OSError as error:
            raise SpoolLostError from error

    def _open(self, theirs: int) -> int:
        fd = theirs
        if self._foreign:
            fd = os.open(f"/proc/{self._spooled.owner}/fd/{theirs}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._fds[theirs] = fd
        begins = bytearray(_SEAL_BYTES)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self._read(fd, memoryview(begins), 0)
        if begins != self._spooled.seal:
            raise SpoolLostError
        return fd

    @staticmethod
    def _read(fd: int, target: memoryview, offset: int) -> None:
        while target:
            got = os.preadv(fd, [target], offset)
            if not got:
                raise SpoolLostError
            target, offset = target[got:], offset + got

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values() if self._foreign else ():
            os.close(fd)


@dataclass(slots=True)
class _File:
    file: IO[bytes]
    end: int
    users: int = 0


class Spool:
    """What one process has decoded ahead, at most `limit_bytes` of it; 0 switches it off.

    Above the limit a scan waits as long as clips that would make room are being worked on, and else goes on without
    keeping: those clips are then decoded again. The same where the disk is short.

    Args:
        folder: where the nameless files are made; None: the system's temporary folder.
    """

    def __init__(self, folder: Path | None, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.seal = secrets.token_bytes(_SEAL_BYTES)
        self.changed = threading.Condition()
        self._folder = folder or Path(tempfile.gettempdir())
        self._files: dict[int, _File] = {}
        self._given = 0  # arrays of clips that are being worked on

    @property
    def held_bytes(self) -> int:
        with self.changed:
            return self._held()

    def shelf(self, fps: float, max_side_px: int, longest_us: int) -> Shelf | None:
        """Room for one source's media; None where the spool is off."""
        return Shelf(self, fps, max_side_px, longest_us) if self.limit_bytes else None

    def release(self, spooled: Spooled | None) -> None:
        """A clip is done (or not wanted): free what it held."""
        if spooled is not None:
            places = [place for _, place in spooled.pictures or ()] + ([spooled.sound] if spooled.sound else [])
            with self.changed:
                self._given -= len(places)
                self._free(places)

    def close(self) -> None:
        """Free everything; may be called twice."""
        with self.changed:
            for held in self._files.values():
                held.file.close()
            self._files.clear()
            self.changed.notify_all()

    # ------------------------------------------------------------ for shelves, with `changed` held

    def _held(self) -> int:
        return sum(f.end for f in self._files.values())

    def _fits(self, size: int) -> bool:
        return self._held() + size + _SEAL_BYTES <= self.limit_bytes

    def _write(self, array: npt.NDArray[Any], last: int | None) -> Place:
        """Write to the file `last`, or to a new one when that is full. Raises OSError when the disk is short."""
        held = self._files.get(last) if last is not None else None
        if held is None or held.end >= min(_FILE_BYTES, self.limit_bytes // 8):
            held = self._new(array.nbytes)
        offset, data = held.end, array.data.cast("B")
        while data:
            written = os.pwrite(held.file.fileno(), data, held.end)
            data, held.end = data[written:], held.end + written
        held.users += 1
        if last is not None and last != held.file.fileno():
            self._drop(last)
        return Place(held.file.fileno(), offset, array.shape)

    def _new(self, size: int) -> _File:
        if hasattr(os, "statvfs"):
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < _SPARE_BYTES + max(size, _FILE_BYTES):
                raise OSError("the disk is nearly full")
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - lives as long as its arrays
        os.pwrite(file.fileno(), self.seal, 0)
        held = self._files[file.fileno()] = _File(file, _SEAL_BYTES)
        return held

    def _free(self, places: list[Place]) -> None:
        for place in places:
            if (held := self._files.get(place.fd)) is not None:
                held.users -= 1
        for fd in {place.fd for place in places}:
            self._drop(fd)
        self.changed.notify_all()

    def _drop(self, fd: int) -> None:
        if (held := self._files.get(fd)) is not None and held.users <= 0:
            held.file.close()
            del self._files[fd]


class Shelf:
    """The media of one source, put in as the scan decodes them and taken out clip by clip.

    Attributes:
        hungry: whoever analyses clips waits for the next one, so that waiting for room would be for ever.
    """

    def __init__(self, spool: Spool, fps: float, max_side_px: int, longest_us: int) -> None:
        self.fps, self.max_side_px, self.longest_us = fps, max_side_px, longest_us
        self.hungry = False
        self._spool = spool
        self._ready = 0
        self._pictures: deque[tuple[int, Place]] = deque()
        self._lost_us: list[int] = []
        self._nothing_from_us: int | None = None
        self._pieces: list[tuple[int, npt.NDArray[np.float32]]] = []
        self._last: int | None = None
        self._full = self._closed = False

    def picture(self, t_us: int, pixels: npt.NDArray[np.uint8]) -> None:
        """The next frame; waits where there is no room but soon will be."""
        place = None if self._full else self._put(pixels)
        if place is None:
            self._lost_us.append(t_us)
        else:
            self._pictures.append((t_us, place))

    def sound(self, at: int, samples: npt.NDArray[np.float32]) -> None:
        """A piece of sound that begins at sample `at` of the source."""
        self._pieces.append((at, samples))

    def lose(self, t_us: int) -> None:
        """Nothing from here on can be kept."""
        self._nothing_from_us = t_us

    def take(self, span: Span, *, pictures: bool, sound: bool) -> Spooled | None:
        """A clip's media, to be released later; None where nothing of it was kept.

        Args:
            pictures: the frames kept are to be trusted. sound: so is the sound, and the clip is the whole source.
        """
        mine = [self._pictures.popleft() for _ in range(sum(t < span.end_us for t, _ in self._pictures))]
        lost = any(t < span.end_us for t in self._lost_us)
        lost |= self._nothing_from_us is not None and self._nothing_from_us < span.end_us
        self._lost_us = [t for t in self._lost_us if t >= span.end_us]
        heard = self._assembled(span) if sound else None
        spool = self._spool
        if lost or not pictures:
            with spool.changed:
                spool._free([place for _, place in mine])
            mine, kept = [], None
        else:
            kept = tuple(mine)
        if kept is None and heard is None:
            return None
        with spool.changed:
            spool._given += len(mine) + (heard is not None)
            self._ready += 1
        return Spooled(os.getpid(), spool.seal, span, self.fps, self.max_side_px, kept, heard)

    def release(self, spooled: Spooled | None) -> None:
        """As `Spool.release`."""
        self._spool.release(spooled)

    def fetched(self, spooled: Spooled | None) -> Spooled | None:
        """Say that somebody will now work on a clip."""
        with self._spool.changed:
            self._ready -= spooled is not None
            self._spool.changed.notify_all()
        return spooled

    def wake(self, *, hungry: bool) -> None:
        """Say whether whoever analyses clips waits for the next one."""
        with self._spool.changed:
            self.hungry = hungry
            self._spool.changed.notify_all()

    def _may_go_on(self, size: int) -> bool:
        if self._closed or self.hungry:
            return True
        return self._ready < _AHEAD and (self._spool._fits(size) or self._spool._given <= 0)

    def close(self) -> None:
        """Free what no clip has taken. May be called twice, from any thread."""
        with self._spool.changed:
            self._closed = True
            places = [place for _, place in self._pictures]
            self._pictures.clear()
            self._spool._free(places)
            if self._last is not None:
                self._spool._drop(self._last)
                self._last = None

    def _put(self, array: npt.NDArray[Any]) -> Place | None:
        spool = self._spool
        with spool.changed:
            spool.changed.wait_for(lambda: self._may_go_on(array.nbytes))
            if self._closed or not spool._fits(array.nbytes):
                return None
            try:
                place = spool._write(array, self._last)
            except OSError:  # the disk is short, or gone: these clips are decoded again
                self._full = True
                return None
            self._last = place.fd
            return place

    def _assembled(self, span: Span) -> Place | None:
        """The source's sound from its beginning to the end of the span, as one array; gaps are zeros."""
        samples = np.zeros(round(span.end_us * SAMPLE_RATE_HZ / US), np.float32)
        for at, piece in self._pieces:
            part = samples[at : at + len(piece)]
            part[:] = piece[: len(part)]
        self._pieces.clear()
        return self._put(samples) if len(samples) and not self._full else None
