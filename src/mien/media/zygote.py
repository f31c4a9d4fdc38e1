"""The zygote: a process that has imported libav once and forks one decoding child per source, in milliseconds.

`python -P -m mien.media.zygote FD`. It never opens media, has one thread, and only ever reads requests of its own
program from an unnamed pair of sockets. Each request hands over three descriptors (requests, replies, life line). On
the life line it tells the child's pid and, once it has reaped it, how the child ended; a byte on that line, or its end,
kills the child. The zygote ends with its parent, and its children with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path

from mien.media.wire import NUMBER

_MESSAGE_BYTES = 1 << 16
_CHECK_MS = 1000
_PDEATHSIG = 1  # PR_SET_PDEATHSIG


def main(argv: list[str]) -> None:
    """Serve requests until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = os.getppid()
    control = socket.socket(fileno=int(argv[0]))
    import av.error
    import av.logging
    import numpy as np
    from av.video.reformatter import VideoReformatter  # noqa: F401

    import mien.media.picture
    import mien.media.shots
    import mien.media.sound
    import mien.media.source  # noqa: F401

    np.seterr(all="ignore")
    av.logging.set_level(None)
    _Zygote(control, parent).serve()
    os._exit(0)


class _Zygote:
    """Children by the descriptor of their life line."""

    def __init__(self, control: socket.socket, parent: int) -> None:
        self._control, self._parent = control, parent
        self._lines: dict[int, int] = {}  # pid → life line
        self._poll = select.poll()
        self._poll.register(control.fileno(), select.POLLIN)
        self._ended, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._ended, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._poll.register(self._ended, select.POLLIN)
        self._warm = False

    def serve(self) -> None:
        while os.getppid() == self._parent:
            for fd, _ in self._poll.poll(_CHECK_MS if self._warm else 0):
                if fd == self._control.fileno():
                    if not self._asked():
                        return self._end()
                elif fd == self._ended:
                    with contextlib.suppress(BlockingIOError):
                        os.read(fd, 4096)
                else:
                    self._kill(fd)
            self._reap()
            if not self._warm and self._lines:
                self._warm_up()
        return self._end()

    def _warm_up(self) -> None:
        """What only scans need is imported while the first child already works; forks then share all of it."""
        import cv2
        import scenedetect.common
        import scenedetect.detectors  # noqa: F401

        cv2.setNumThreads(1)
        gc.collect()
        gc.freeze()  # the collector leaves these pages alone, so that children keep sharing them
        self._warm = True

    def _asked(self) -> bool:
        """Fork for one request; False when the parent has gone."""
        data, fds = b"", []
        while not data.endswith(b"\n"):
            part, got, *_ = socket.recv_fds(self._control, _MESSAGE_BYTES, 3)
            if not part:
                return False
            data, fds = data + part, fds + got
        asked = json.loads(data)
        if len(fds) != 3:  # this process has no descriptors left: the parent sees its life line close
            for fd in fds:
                os.close(fd)
            return True
        requests, replies, line = fds
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            _child(asked, requests, replies, me)
        for fd in (requests, replies):
            os.close(fd)
        if pid > 0:
            self._lines[pid] = line
            self._poll.register(line, select.POLLIN)
        with contextlib.suppress(OSError):
            os.write(line, NUMBER.pack(pid))
        if pid < 0:
            os.close(line)
        return True

    def _kill(self, line: int) -> None:
        pid = next(p for p, held in self._lines.items() if held == line)
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        self._poll.unregister(line)  # reaping follows

    def _reap(self) -> None:
        while self._lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            line = self._lines.pop(pid)
            with contextlib.suppress(KeyError):
                self._poll.unregister(line)
            with contextlib.suppress(OSError):
                os.write(line, NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os.close(line)

    def _end(self) -> None:
        for pid in self._lines:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _child(asked: dict[str, object], requests: int, replies: int, zygote: int) -> None:
    """Become a decoding child: nothing of the zygote is left open, limits are its own. Never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(requests, 0)
        os.dup2(replies, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _die_with_parent()
        if os.getppid() == zygote:
            from mien.media.child import serve

            serve(Path(str(asked["path"])), asked["limits"])  # pyright: ignore[reportArgumentType]
    finally:
        os._exit(1)


def _die_with_parent() -> None:
    """The kernel kills the child with the zygote where it can; elsewhere the child looks once a second."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
