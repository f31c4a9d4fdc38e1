"""Opening files without trusting them: regular files only, never blocking, known by their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from mien.core import MienError

_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<asx", b"<smil", b"v=0\r\n", b"v=0\n")


def open_regular(path: Path) -> int:
    """A read-only descriptor of a regular, non-empty file; the caller closes it.

    `O_NONBLOCK` keeps a FIFO from blocking the open; the kind is checked on the descriptor, so nothing can be swapped
    in between.

    Raises:
        MienError: `media.not-found`, `media.unreadable`, `media.not-a-file`, `media.empty`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MienError("media.not-found", f"there is no file {path}", "check the path") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise MienError("media.not-a-file", f"{path} is a symlink loop or a socket, not a file") from error
        raise MienError("media.unreadable", f"{path} cannot be opened: {error.strerror}", "check its rights") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise MienError("media.not-a-file", f"{path} is not a regular file", "give a video, audio or image file")
        if status.st_size == 0:
            raise MienError("media.empty", f"{path} has no bytes", "was its copy or download finished?")
    except MienError:
        os.close(fd)
        raise
    return fd


def hash_file(path: Path | str) -> str:
    """SHA-256 (hex) of a file's bytes, streamed.

    Raises:
        MienError: as `open_regular`; `media.unreadable` too when reading fails half-way.
    """
    with os.fdopen(open_regular(Path(path)), "rb") as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise MienError("media.unreadable", f"{path} cannot be read: {error.strerror}", retryable=True) from error


def refuse_playlist(fd: int, name: str) -> None:
    """Refuse files that only point at other files or hosts; the descriptor's position is kept.

    Raises:
        MienError: `media.playlist`.
    """
    head = os.pread(fd, 1024, 0).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(_PLAYLISTS) or (head.startswith(b"<") and b"<MPD" in head):
        raise MienError("media.playlist", f"{name} is a playlist, not media", "give the media files themselves")
