"""The store of one project: open, commit a stage's result, read back.

Order of every commit: large arrays as files, durable first, then one SQLite transaction that replaces the stage's
records, holds the small arrays and names the files. A kill at any moment leaves either the old result or the new one,
and at worst an unnamed file, which the next writer sweeps.
"""

from __future__ import annotations

import sqlite3

from mien.core import MienError
from mien.store import durable
from mien.store.project.reading import Reading
from mien.store.project.results import StageResult, StageRow
from mien.store.project.writing import Writing

__all__ = ["StageResult", "StageRow", "Store"]


class Store(Writing, Reading):
    """One project's record. `root=None` keeps everything in memory.

    Raises:
        MienError: `store.newer`, `store.schema-mismatch`, `store.busy`, `store.damaged`.
    """

    def scrub(self) -> None:
        """Leave no byte of what was deleted in the database, its log or an array file that no row names.

        The database is written anew (in memory, not by way of a temporary file) and the log cut to nothing. On disks
        that copy on write, and on flash, older blocks may outlive this beneath the file system.

        Raises:
            MienError: `store.busy` while another program reads.
        """
        if self.root is None:
            self._memory = {name: self._memory[name] for name in self.array_names() if name in self._memory}
            return
        try:
            self._sweep()
            self._db.execute("PRAGMA temp_store=MEMORY")
            self._db.execute("VACUUM")
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise durable.coded(error) from error
        if busy:
            raise MienError("store.busy", "another program reads mien.db", "close it, then again", retryable=True)
