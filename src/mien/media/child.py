"""The decoding child, forked by `mien.media.zygote`; only this process runs libav on a source.

Where no fork can be had: `python -P -m mien.media.child PATH LIMITS`. Requests are JSON lines on stdin, replies go to
stdout (`mien.media.wire`). A newer request ends the running one; the end of stdin, or of the parent, ends the child.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.media import wire
from mien.media.records import Limits

if TYPE_CHECKING:
    from mien.media.keeping import Kept
    from mien.media.source import Source

_PULSE_S = 0.5


class SupersededError(Exception):
    """A newer request has come: stop working on this one."""


class Outbox:
    """Replies on their way to the parent: bounded in bytes, so that decoding runs ahead, but not away."""

    def __init__(self, fd: int, limit_bytes: int) -> None:
        self._fd, self._limit = fd, limit_bytes
        self._items: deque[tuple[bytes, npt.NDArray[Any] | None]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._drain, daemon=True).start()

    def put(self, header: dict[str, Any], array: npt.NDArray[Any] | None = None) -> None:
        size = 0 if array is None else array.nbytes
        with self._changed:
            self._changed.wait_for(lambda: not self._items or self._held + size <= self._limit)
            self._items.append((wire.encode(header, size), array))
            self._held += size
            self._changed.notify_all()

    def _drain(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._items))
                header, array = self._items[0]
            try:
                wire.write(self._fd, header)
                if array is not None:
                    wire.write(self._fd, array.data.cast("B"))
            except Exception:  # noqa: BLE001 - the parent is gone, or would wait for ever
                os._exit(1)
            with self._changed:
                self._items.popleft()
                self._held -= 0 if array is None else array.nbytes
                self._changed.notify_all()


class Inbox:
    """Requests from the parent, read on a thread; `latest` is the id of the newest."""

    def __init__(self) -> None:
        self.latest = 0
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._parent = os.getppid()
        threading.Thread(target=self._listen, daemon=True).start()

    def next(self) -> dict[str, Any]:
        return self._requests.get()

    def _listen(self) -> None:
        # getppid backs up the end of stdin: a sibling may have inherited the other end of the pipe
        held = b""
        while os.getppid() == self._parent:
            if not select.select([0], [], [], 1.0)[0]:
                continue
            data = os.read(0, 1 << 16)
            if not data:
                break
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                request = json.loads(line)
                self.latest = request["id"]
                self._requests.put(request)
        os._exit(0)


class Work:
    """One request: sends its replies, shows progress, stops when a newer request has come."""

    def __init__(self, request: dict[str, Any], inbox: Inbox, outbox: Outbox) -> None:
        self.request, self._inbox, self._outbox = request, inbox, outbox
        self._next = time.monotonic() + _PULSE_S

    def send(self, header: dict[str, Any], array: npt.NDArray[Any] | None = None) -> None:
        self.pulse()
        kind = {"id": self.request["id"], "kind": "data"}
        shape = {} if array is None else {"shape": array.shape, "dtype": array.dtype.name}
        self._outbox.put(kind | header | shape, array)

    def pulse(self) -> None:
        """Called for every packet: libav is alive."""
        if self._inbox.latest != self.request["id"]:
            raise SupersededError
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PULSE_S
            self._outbox.put({"id": self.request["id"], "kind": "pulse"})

    def end(self, kind: str, **fields: Any) -> None:
        self._outbox.put({"id": self.request["id"], "kind": kind, **fields})


def _answer(path: Path, limits: Limits, work: Work) -> None:
    from mien.media.cutting import send_cut
    from mien.media.picture import send_grid, send_stills
    from mien.media.shots import scan
    from mien.media.sound import send_sound
    from mien.media.source import Source

    asked = work.request
    with Source(path, limits, work.pulse) as source:
        match asked["op"]:
            case "probe":
                work.send({"value": asdict(source.probe())})
            case "frames":
                fps = Fraction(asked["fps"][0], asked["fps"][1])
                send_grid(source, asked["start_us"], asked["end_us"], fps, asked["max_side_px"], work.send)
            case "stills":
                send_stills(source, asked["times_us"], asked["max_side_px"], work.send)
            case "sound":
                send_sound(source, asked["start_us"], asked["end_us"], work.send)
            case "stereo":
                send_sound(source, asked["start_us"], asked["end_us"], work.send, asked["rate_hz"], 2)
            case "cut":
                fps, size = Fraction(asked["fps"][0], asked["fps"][1]), (asked["size_px"][0], asked["size_px"][1])
                send_cut(source, asked["start_us"], asked["end_us"], fps, asked["count"], size, work.send)
            case "scan":
                work.send({"value": scan(source, _telling(source, work), _kept(source, asked, work))})
            case op:
                raise MienError("media.bad-request", f"there is no request {op!r}")
        work.end("done", tally=asdict(source.tally))


def _telling(source: Source, work: Work) -> Callable[[int, list[int], list[float]], None]:
    def tell(settled_us: int, cuts_us: list[int], activity: list[float]) -> None:
        found = {"settled_us": settled_us, "cuts_us": cuts_us, "activity": activity}
        work.send({"found": found | {"damaged": source.tally.damaged}})

    return tell


def _kept(source: Source, asked: dict[str, Any], work: Work) -> Kept | None:
    """What the scan hands out of what it decodes, where that was asked for."""
    from mien.media.keeping import Kept

    if asked["keep"] is None:
        return None
    fps, side, longest_us = asked["keep"]
    return Kept(source, Fraction(fps[0], fps[1]), side, longest_us, work.send)


def _limit(limits: Limits) -> None:
    for what, most in (
        (resource.RLIMIT_AS, resource.RLIM_INFINITY if limits.hwaccel else limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256 if limits.hwaccel else 64),
    ):
        hard = resource.getrlimit(what)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):  # macOS has no address-space limit
            continue
    os.nice(5)


def main(argv: list[str]) -> None:
    """Serve requests until stdin ends."""
    serve(Path(argv[0]), json.loads(argv[1]))


def serve(path: Path, terms: dict[str, Any]) -> NoReturn:
    """Become the child of one source: requests from stdin, replies to what was stdout; `terms`: fields of `Limits`."""
    limits = Limits(**terms)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not reach the replies
    _limit(limits)
    inbox, outbox = Inbox(), Outbox(out, limits.ahead_bytes)

    import av.error
    import av.logging

    av.logging.set_level(None)
    while True:
        work = Work(inbox.next(), inbox, outbox)
        try:
            _answer(path, limits, work)
        except SupersededError:
            continue
        except MienError as error:
            work.end("error", code=error.code, message=error.message, hint=error.hint)
        except MemoryError:
            message = f"{path.name} needs more than the decoder's {limits.memory_bytes >> 20} MiB"
            work.end("error", code="media.too-large", message=message, hint="raise the limit if the size is real")
        except Exception as error:  # noqa: BLE001 - the decoder boundary: whatever was raised is a code from here on
            message = f"{path.name} cannot be decoded: {type(error).__name__}: {error}"
            # what libav raises is the file's fault; anything else may be ours, and must not pass for damage
            damaged = isinstance(error, av.error.FFmpegError)
            code = "media.corrupt" if damaged else "media.decoder-failed"
            hint = "copy the file again, or leave it out" if damaged else "please report this with the file's format"
            work.end("error", code=code, message=message, hint=hint)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(sys.argv[1:])
