"""The right order of a commit, and wrong ones that a careless rewrite might bring. Each must be found out."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import Any

from mien.pipeline.engine.books import Books
from mien.pipeline.events import Event
from mien.store import Store, arrays, durable


def row_before_file() -> None:
    """The row is committed first, the file is renamed after it."""
    write, commit = arrays.write, Store.commit_all
    waiting: list[tuple[Any, Any]] = []
    arrays.write = lambda table, path: waiting.append((table, path)) or 0

    def commit_all(self: Store, *args: Any, **given: Any) -> None:
        commit(self, *args, **given)
        while waiting:
            write(*waiting.pop())

    Store.commit_all = commit_all


class _Os:
    """`os` in which a sync of some kind of file does nothing."""

    def __init__(self, skipped: Any) -> None:
        self._skipped = skipped

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        if not self._skipped(os.fstat(fd).st_mode):
            os.fsync(fd)


def file_not_synced() -> None:
    durable.os = _Os(stat.S_ISREG)


def folder_not_synced() -> None:
    durable.os = _Os(stat.S_ISDIR)


def rename_before_sync() -> None:
    """The file gets its name before its bytes are durable; they are synced only after the row."""
    fsync, commit = os.fsync, Store.commit_all
    late: list[int] = []
    other = _Os(stat.S_ISREG)
    other.fsync = lambda fd: late.append(os.dup(fd)) if stat.S_ISREG(os.fstat(fd).st_mode) else fsync(fd)  # pyright: ignore[reportAttributeAccessIssue]
    durable.os = other

    def commit_all(self: Store, *args: Any, **given: Any) -> None:
        commit(self, *args, **given)
        while late:
            fd = late.pop()
            fsync(fd)
            os.close(fd)

    Store.commit_all = commit_all


def told_before_commit() -> None:
    """A result is acknowledged, and then committed."""
    commit = Books.commit

    def told(self: Books, result: Any) -> None:
        self._tell(Event("stage", result.unit, result.stage, text=result.state))
        commit(self, result)

    Books.commit = told


def database_not_synced() -> None:
    """`synchronous=NORMAL`: a commit in WAL mode is durable only with the next checkpoint."""
    connect = Store._connect

    def relaxed(self: Store, write: bool) -> sqlite3.Connection:
        db = connect(self, write)
        db.execute("PRAGMA synchronous=NORMAL")
        return db

    Store._connect = relaxed


ORDERS = {
    "right": lambda: None,
    "row before file": row_before_file,
    "file not synced": file_not_synced,
    "folder not synced": folder_not_synced,
    "rename before sync": rename_before_sync,
    "told before commit": told_before_commit,
    "database not synced": database_not_synced,
}
