"""Files that are whole or not there, whatever ends this process, this machine or its disk space meanwhile.

A name outlives a loss of power only once its folder is synced, and a folder only once the folder above it is (POSIX
promises no more; Pillai et al., OSDI 2014, show file systems that give no more).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from mien.core import MienError


def write(path: Path, fill: Callable[[BinaryIO], object]) -> int:
    """Write a file by way of a temporary one: sync, rename, sync of the folder. Returns its size in bytes.

    Raises:
        MienError: `store.write-failed`; then the file under this name is the one before, or the new one, or none.
    """
    temporary = path.with_suffix(".tmp")
    try:
        _make(path.parent)
        with temporary.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(path.parent)
        return path.stat().st_size
    except OSError as error:
        remove(temporary)
        raise failed(path.name, error) from error


def failed(what: str, error: Exception) -> MienError:
    """What a writer says when the disk, or the room on it, ends."""
    return MienError("store.write-failed", f"cannot write {what}: {error}", "free some disk space, then run again")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def remove(path: Path) -> None:
    """Remove a file that nothing names. What cannot be removed now is swept by a later writer."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def coded(error: sqlite3.DatabaseError) -> MienError:
    """What SQLite says, as an error that says what to do."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return MienError("store.damaged", f"mien.db is damaged: {error}", "run 'mien doctor'")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return MienError("store.busy", f"mien.db is held by another program: {error}", "close it", retryable=True)
    return failed("mien.db", error)
