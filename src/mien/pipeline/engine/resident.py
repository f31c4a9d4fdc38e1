"""Memory of processes as Linux tells it; elsewhere it is not known (None)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mien.core import probe

PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 0.0


def resident_mb(pid: int | str = "self") -> float | None:
    """Resident memory of a process in MB; pages that it shares with others count in full."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    return None


def family(pid: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if (fields := stat_of(entry.name)) is not None:
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:  # grows meanwhile
        found += below.get(one, [])
    return found


def stat_of(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None where there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return None


def note_memory() -> None:
    """Let whoever watches this process know its memory."""
    if probe.watcher is not None and (held := resident_mb()) is not None:
        probe.watcher.count("resident MB", held)
