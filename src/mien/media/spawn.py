"""Starting decoding children: forked by this process's zygote, or, where that fails, as a process of their own."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from mien.media.records import Limits
from mien.media.wire import NUMBER

log = logging.getLogger("mien")
_START_S = 60.0  # importing libav on a busy machine
_FEW_THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Child(Protocol):
    """A running decoding child; `ask` and `answer` are the descriptors of its requests and replies."""

    pid: int
    returncode: int | None
    ask: int
    answer: int

    def poll(self) -> int | None:
        """How it ended (−signal, or exit status); None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int | None:
        """As `poll`, after waiting; None when it still runs after `timeout` seconds."""
        ...

    def kill(self) -> None: ...

    def close(self) -> None:
        """Close the descriptors, after its end. May be called twice."""
        ...


def spawn(path: Path, limits: Limits) -> Child:
    """A new child for one source. Forking takes milliseconds; without a zygote, half a second of imports."""
    return _forked(path, limits) or _Started(path, limits)


class _Forked:
    """A child of the zygote: known by its life line, which tells when it has ended and kills it when asked."""

    def __init__(self, pid: int, ask: int, answer: int, line: socket.socket) -> None:
        self.pid, self.ask, self.answer = pid, ask, answer
        self.returncode: int | None = None
        self._line = line
        self._reading = threading.Lock()
        self._poll = select.poll()
        self._poll.register(line.fileno(), select.POLLIN)
        self._open = True

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout: float | None = None) -> int | None:
        until = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            # in steps, since another thread may take the word that this one waits for
            left = 0.5 if until is None else max(0.0, min(0.5, until - time.monotonic()))
            with self._reading:
                if self.returncode is None and self._poll.poll(1000 * left):
                    self.returncode = _number(self._line, else_=-signal.SIGKILL)
            if self.returncode is None and until is not None and time.monotonic() >= until:
                break
        return self.returncode

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._line.send(b"k")

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.ask)
            os.close(self.answer)
            self._line.close()


class _Started:
    """A child of this process."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "mien.media.child", str(path), json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=_environment(),
        )
        assert self._child.stdin is not None and self._child.stdout is not None  # noqa: S101, PT018 - both are pipes
        self._pipes = self._child.stdin, self._child.stdout
        self.pid, self.ask, self.answer = self._child.pid, *(p.fileno() for p in self._pipes)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.returncode = self._child.poll()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.returncode = self._child.wait(timeout)
        return self.returncode

    def kill(self) -> None:
        self._child.kill()

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()


class Zygote:
    """This process's line to its zygote."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mien.media.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(),
            )

    def fork(self, path: Path, limits: Limits) -> _Forked | None:
        """A child; None when the zygote is gone or cannot fork. One caller at a time."""
        ours, theirs = socket.socketpair()
        requests, ask = os.pipe()
        answer, replies = os.pipe()
        message = json.dumps({"path": str(path), "limits": asdict(limits)}).encode() + b"\n"
        try:
            with theirs:
                socket.send_fds(self._control, [message], [requests, replies, theirs.fileno()])
            ours.settimeout(_START_S)
            pid = _number(ours, else_=-1)
            ours.settimeout(None)
        except OSError:
            pid = -1
        finally:
            os.close(requests)
            os.close(replies)
        if pid > 0:
            return _Forked(pid, ask, answer, ours)
        ours.close()
        os.close(ask)
        os.close(answer)
        return None

    def close(self) -> None:
        self._control.close()
        if self.owner == os.getpid():
            self.process.kill()  # its children die with it
            self.process.wait()
        else:
            self.process.poll()  # not ours, but of the process that this one was forked from


_lock = threading.Lock()
_held: Zygote | None = None


def _forked(path: Path, limits: Limits) -> _Forked | None:
    """A child of this process's zygote, which is started or replaced where needed."""
    global _held  # noqa: PLW0603 - one per process
    if sys.platform == "win32":
        return None
    with _lock:
        for _ in range(2):
            if _held is None or _held.owner != os.getpid() or _held.process.poll() is not None:
                if _held is not None:
                    _held.close()
                _held = Zygote()
            if (forked := _held.fork(path, limits)) is not None:
                return forked
            _held.close()
            _held = None
    log.warning("decoding children cannot be forked here: each is started anew, which takes longer")
    return None


@atexit.register
def _close() -> None:
    if _held is not None:
        _held.close()


def _number(line: socket.socket, *, else_: int) -> int:
    """The number that the zygote sent; `else_` when the line has ended instead."""
    try:
        data = line.recv(NUMBER.size)
    except ConnectionResetError:
        data = b""
    return NUMBER.unpack(data)[0] if len(data) == NUMBER.size else else_


def _environment() -> dict[str, str]:
    # glibc reserves 64 MiB of address space per thread unless told otherwise
    return {**os.environ, **_FEW_THREADS, "MALLOC_ARENA_MAX": "2"}
