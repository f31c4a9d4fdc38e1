"""The database of a project while it is open: the connection, who may write, transactions, what a dead writer left."""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from mien.core import MienError
from mien.store import durable, history, schema
from mien.store.lock import Lock
from mien.store.project.results import StageRow
from mien.store.schema import STORE_VERSION

LOG_PAGES = 16_384  # of the log until it is brought into the database: a page that many commits touch is moved once
CACHE_KIB = 65_536  # of the database's pages: ids lie scattered, so a commit among many clips touches pages all over


class Opened:
    """An open database; see `mien.store.Store`."""

    def __init__(self, root: Path | None, *, write: bool = False) -> None:
        self.root = root
        self._memory: dict[str, Any] = {}
        self._lock: Lock | None = None
        self._unit: tuple[str, dict[str, StageRow]] = ("", {})  # the last unit that `stage` was asked about, its lines
        with contextlib.ExitStack() as undo:
            if root is not None and write:
                self._lock = Lock(root)
                undo.callback(self._unlock)
            self._db = self._connect(write or root is None)
            weakref.finalize(self, self._db.close)  # a project that nobody closed is closed when it is forgotten
            undo.callback(self._db.close)
            if root is not None and write:
                self._sweep()
            undo.pop_all()

    def _connect(self, write: bool) -> sqlite3.Connection:
        target = ":memory:" if self.root is None else str(self.root / "mien.db")
        try:
            db = sqlite3.connect(target, timeout=30, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise durable.coded(error) from error
        try:
            db.row_factory = sqlite3.Row
            db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > STORE_VERSION:
                raise MienError("store.newer", f"this project has store version {version}", "upgrade mien to read it")
            if not write and version < STORE_VERSION:
                raise MienError(
                    "store.older", f"this project has store version {version}", "bring it up with: mien run"
                )
            if write:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=FULL")
                db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
                schema.make(db, version)
        except BaseException as error:
            db.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise durable.coded(error) from error
            raise
        return db

    def _sweep(self) -> None:
        """Clear up after a writer that did not come to its end: array files that no row names, runs that go on nowhere.

        The folders are synced, as it may have made one and then lost the power to say so.
        """
        assert self.root is not None  # noqa: S101 - only called for stores on disk
        named = {row[0] for row in self._db.execute("SELECT file FROM arrays WHERE file != ''")}
        folder = self.root / "arrays"
        with contextlib.suppress(OSError):  # what cannot be cleared now is in nobody's way
            for path in folder.rglob("*") if folder.is_dir() else ():
                if path.is_file() and str(path.relative_to(self.root)) not in named:
                    durable.remove(path)
        try:
            for held in (self.root.parent, self.root, folder):
                if held.is_dir():
                    durable.sync_folder(held)
        except OSError as error:
            raise durable.failed(self.root.name, error) from error
        with self._transaction() as db:
            history.abandon(db)

    def close(self) -> None:
        self._db.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._unit = ("", {})
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._rollback()
            if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
                raise durable.coded(error) from error
            raise  # a mistake of ours
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):  # of a disk that fails now: SQLite has rolled back by itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def transaction(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A transaction for the parts of this room: all of it, or none."""
        return self._transaction()
