"""Who writes to a project: an exclusive lock of a file that says who holds it.

The system lets go of the lock when its holder ends, however that is; the words in the file may then be those of a dead
one, which `holder` tells apart.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.core import MienError

FILE = ".mien.lock"
LONGEST = 160


@dataclass(frozen=True, slots=True)
class Holder:
    """A writer: its process, machine, the time it came, its command, and when that process began (ticks, Linux)."""

    pid: int
    host: str
    since_utc: str
    command: str
    began: int | None = None

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, since {self.since_utc}: {self.command}"


class Lock:
    """Held from the start until `close`.

    Raises:
        MienError: `store.busy`, naming who holds it; `store.write-failed`.
    """

    def __init__(self, root: Path) -> None:
        try:
            self._file = (root / FILE).open("a+", encoding="utf-8")  # "w" would wipe out what the holder wrote
        except OSError as error:
            raise MienError("store.write-failed", f"cannot write {FILE}: {error}", "check the folder") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = _read(root)
            self._file.close()
            who = f" ({held})" if held else ""
            message = f"another mien is writing to {root.name}{who}"
            raise MienError("store.busy", message, "wait for it to end, or stop it", retryable=True) from None
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        mine = Holder(os.getpid(), socket.gethostname(), now, _command(), _began(os.getpid()))
        self._write(json.dumps(asdict(mine)))

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            self._file.seek(0)
            self._file.truncate()
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        """Let go; may be called twice."""
        if not self._file.closed:
            self._write("")
            with contextlib.suppress(OSError):
                self._file.close()


def holder(root: Path) -> Holder | None:
    """Who writes to the project now; None when nobody does. A writer on another machine is taken at its word."""
    held = _read(root)
    if held is None or held.host != socket.gethostname():
        return held
    try:
        os.kill(held.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return held if held.began == _began(held.pid) else None  # its number may have gone to another process


def _read(root: Path) -> Holder | None:
    try:
        said: Any = json.loads((root / FILE).read_text(encoding="utf-8"))
        return Holder(**said)
    except (OSError, ValueError, TypeError):
        return None


def _began(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _command() -> str:
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    said = " ".join(("mien" if program == "__main__.py" else program, *sys.argv[1:]))
    return said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"
