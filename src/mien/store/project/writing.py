"""What is written into a project: results of stages, single records, what is taken out of it, what left it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mien.core import Failure, MienError, probe
from mien.store import arrays, durable, history, log
from mien.store.project.opening import Opened
from mien.store.project.results import StageResult
from mien.store.rows import TABLES, insertion, to_row


class _Written(NamedTuple):
    """One array on its way into the record: a file that is durable already, or the packed table itself."""

    name: str
    file: str
    rows: int
    bytes: int
    packed: bytes | None = None


class Writing(Opened):
    """The part of `mien.store.Store` that writes."""

    def commit(self, result: StageResult, *, run_id: str, at_utc: str) -> None:
        """Make a stage's result durable. After this returns, no kill can lose it."""
        self.commit_all([result], run_id=run_id, at_utc=at_utc)

    def commit_all(self, results: Sequence[StageResult], *, run_id: str, at_utc: str) -> None:
        """Make several results durable in one transaction (one sync to disk): all of them, or none."""
        with probe.span("write", results[0].stage if len({r.stage for r in results}) == 1 else "several"):
            self._commit_all(results, run_id, at_utc)

    def _commit_all(self, results: Sequence[StageResult], run_id: str, at_utc: str) -> None:
        written = [[self._put(n, r.key, table) for n, table in r.tables.items()] for r in results]
        stale: set[str] = set()
        with self._transaction() as db:
            for result, files in zip(results, written, strict=True):
                stale |= self._replace(db, result, files, run_id, at_utc)
        for file in stale - {w.file for files in written for w in files}:
            self._remove(file)

    def _replace(
        self, db: sqlite3.Connection, result: StageResult, written: list[_Written], run_id: str, at: str
    ) -> set[str]:
        """Put a result in the place of the stage's older one; the array files that one named."""
        owner = (result.unit, result.stage)
        history.supersede(db, *owner, run_id)
        stale = {r[0] for r in db.execute("SELECT file FROM arrays WHERE unit=? AND stage=?", owner) if r[0]}
        self._drop_owned(db, *owner)
        for record in result.records:
            self._insert(db, record, *owner)
        for w in written:
            db.execute("INSERT OR REPLACE INTO arrays VALUES (?,?,?,?,?,?)", (w.name, *owner, w.file, w.rows, w.bytes))
            if w.packed is not None:
                db.execute("INSERT OR REPLACE INTO packed VALUES (?,?)", (w.name, w.packed))
        attempt = self._attempts(db, *owner) + 1
        db.execute(
            "INSERT OR REPLACE INTO stages VALUES (?,?,?,?,?,?,?,?,?,?)",
            (*owner, result.key, result.state, result.code, result.note, attempt, run_id, result.ms, at),
        )
        if result.state == "ok":
            db.execute("DELETE FROM failures WHERE unit=? AND stage=?", owner)
        return stale

    def fail(
        self,
        unit: str,
        stage: str,
        key: str,
        error: MienError,
        keep: Sequence[Any] = (),
        *,
        run_id: str,
        at_utc: str,
    ) -> Failure:
        """Record that a stage of one unit did not work; its older results are withdrawn, `keep` is written."""
        attempt = self._attempts(self._db, unit, stage) + 1
        failure = Failure(unit, stage, error.code, error.message, error.hint, attempt, error.retryable, at_utc)
        self.commit(
            StageResult(unit, stage, key, [failure, *keep], state="failed", code=error.code),
            run_id=run_id,
            at_utc=at_utc,
        )
        return failure

    def put(self, records: Iterable[Any], *, unit: str, stage: str) -> None:
        """Insert or replace single records that no stage owns alone (items, runs, subjects, verdicts)."""
        with self._transaction() as db:
            for record in records:
                self._insert(db, record, unit, stage)

    def drop_unit(self, unit: str) -> None:
        """Remove everything one unit owns: records, arrays, ledger lines, and their history."""
        with self._transaction() as db:
            files = self._drop(db, unit)
            history.erase(db, unit)
        for file in files:
            self._remove(file)

    def withdraw_unit(self, unit: str, *, run_id: str) -> None:
        """Take what one unit owns out of the record, as a run finds that it is no more; history keeps its records."""
        with self._transaction() as db:
            for (stage,) in db.execute("SELECT stage FROM stages WHERE unit=?", (unit,)).fetchall():
                history.supersede(db, unit, stage, run_id)
            files = self._drop(db, unit)
        for file in files:
            self._remove(file)

    @staticmethod
    def _drop(db: sqlite3.Connection, unit: str) -> list[str]:
        """Remove a unit's rows; the array files they named."""
        files = [row[0] for row in db.execute("SELECT file FROM arrays WHERE unit=?", (unit,)) if row[0]]
        for table in TABLES.values():
            db.execute(f"DELETE FROM {table} WHERE _unit=?", (unit,))  # noqa: S608 - our own names
        db.execute("DELETE FROM packed WHERE name IN (SELECT name FROM arrays WHERE unit=?)", (unit,))
        db.execute("DELETE FROM arrays WHERE unit=?", (unit,))
        db.execute("DELETE FROM stages WHERE unit=?", (unit,))
        return files

    def erase_readings(self, unit: str) -> None:
        """Drop the history of a unit, and what reasoning engines said of it: somebody withdrew what they stand on."""
        with self._transaction() as db:
            history.erase(db, unit)
            said = db.execute("SELECT stage FROM stages WHERE unit=? AND substr(stage, 1, 7)='reason.'", (unit,))
            for (stage,) in said.fetchall():
                self._drop_owned(db, unit, stage)
                db.execute("DELETE FROM stages WHERE unit=? AND stage=?", (unit, stage))

    def drop_stage(self, unit: str, stage: str) -> None:
        """Remove the records and the ledger line of one stage that holds no arrays."""
        with self._transaction() as db:
            self._drop_owned(db, unit, stage)
            db.execute("DELETE FROM stages WHERE unit=? AND stage=?", (unit, stage))

    def forget_stages(self, rows: Iterable[tuple[str, str]]) -> None:
        """Drop ledger lines (unit, stage), so that the next run does those again; attempts are kept by `failures`."""
        with self._transaction() as db:
            db.executemany("UPDATE stages SET key='' WHERE unit=? AND stage=?", list(rows))

    def put_adapter(self, fingerprint: str, name: str, slot: str, weights_sha256: str, config: str) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO adapters VALUES (?,?,?,?,?)", (fingerprint, name, slot, weights_sha256, config)
            )

    def put_config(self, sha256: str, text: str) -> None:
        """Keep the configuration that runs name by its digest, as JSON."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO configs VALUES (?,?)", (sha256, text))

    def prune_history(self, runs: int) -> None:
        """Keep what the last `runs` runs replaced of older ones' results, and no more."""
        with self._transaction() as db:
            history.prune(db, runs)

    @staticmethod
    def _attempts(db: sqlite3.Connection, unit: str, stage: str) -> int:
        row = db.execute("SELECT attempt FROM stages WHERE unit=? AND stage=?", (unit, stage)).fetchone()
        return row[0] if row else 0

    @staticmethod
    def _drop_owned(db: sqlite3.Connection, unit: str, stage: str) -> None:
        for table in TABLES.values():
            db.execute(f"DELETE FROM {table} WHERE _unit=? AND _stage=?", (unit, stage))  # noqa: S608 - our own names
        owner = (unit, stage)
        db.execute("DELETE FROM packed WHERE name IN (SELECT name FROM arrays WHERE unit=? AND stage=?)", owner)
        db.execute("DELETE FROM arrays WHERE unit=? AND stage=?", owner)

    @staticmethod
    def _insert(db: sqlite3.Connection, record: Any, unit: str, stage: str) -> None:
        row = to_row(record)[1] | {"_unit": unit, "_stage": stage}
        db.execute(insertion(type(record)), row)

    def _put(self, name: str, key: str, table: Any) -> _Written:
        arrays.check(table)
        if self.root is None:
            self._memory[name] = table
            return _Written(name, name, table.num_rows, table.nbytes)
        packed = arrays.pack(table)
        if packed is not None:
            return _Written(name, "", table.num_rows, len(packed), packed)
        file = f"arrays/{name}.{key[:12]}.parquet"
        return _Written(name, file, table.num_rows, arrays.write(table, self.root / file))

    def _remove(self, file: str) -> None:
        if self.root is not None:
            durable.remove(self.root / file)

    # ------------------------------------------------------------ what left, and the log

    def register(
        self, kind: str, path: Path | str, sources: Collection[str], subjects: Collection[str], sha256: str, at_utc: str
    ) -> None:
        """Note what left the project, or lies beside its record, so that it can be found when somebody withdraws.

        Works on a store that was opened for reading, too.

        Args:
            kind: `export`, `report`, `release`, `adapter` or `profile`. path: the file or folder, or an
                address. sources, subjects: whose data it holds. sha256: of its manifest, or of the file.
        """
        where = self._told(path)
        with self._transaction() as db:
            log.register(db, kind, where, sources, subjects, sha256, at_utc)
            told = {"path": where, "sha256": sha256, "sources": sorted(set(sources)), "subjects": sorted(set(subjects))}
            log.append(db, kind, told, at_utc)

    def _told(self, path: Path | str) -> str:
        """A path within the project from its root, any other whole; an address as it is."""
        if isinstance(path, str) and "://" in path:
            return path
        whole = Path(os.path.abspath(path))
        root = None if self.root is None else Path(os.path.abspath(self.root))
        return str(whole.relative_to(root) if root is not None and whole.is_relative_to(root) else whole)

    def note(self, kind: str, payload: dict[str, Any], at_utc: str) -> log.Entry:
        """Add an entry to the log; the chain holds a commitment, the payload can be erased."""
        with self._transaction() as db:
            return log.append(db, kind, payload, at_utc)
