"""The store of one project: open, commit a stage's result, read back.

Order of every commit: large arrays as files, durable first, then one SQLite transaction that replaces the stage's
records, holds the small arrays and names the files. A kill at any moment leaves either the old result or the new one,
and at worst an unnamed file, which the next writer sweeps.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mien.core import Failure, MienError, probe
from mien.store import arrays, durable, history, log, question, schema
from mien.store.lock import Lock
from mien.store.rows import TABLES, from_row, insertion, to_row
from mien.store.schema import STORE_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")
LOG_PAGES = 16_384  # of the log until it is brought into the database: a page that many commits touch is moved once
CACHE_KIB = 65_536  # of the database's pages: ids lie scattered, so a commit among many clips touches pages all over


@dataclass(frozen=True, slots=True)
class StageRow:
    """The ledger's line for one unit and stage. State: ok, failed, waiting-for-person, rejected."""

    unit: str
    stage: str
    key: str
    state: str
    code: str | None
    note: str | None
    attempt: int


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands over: records, and tables by name. Committed whole or not at all."""

    unit: str
    stage: str
    key: str
    records: Sequence[Any] = ()
    tables: dict[str, Any] = field(default_factory=dict)
    state: str = "ok"
    code: str | None = None
    note: str | None = None
    ms: float | None = None


class _Written(NamedTuple):
    """One array on its way into the record: a file that is durable already, or the packed table itself."""

    name: str
    file: str
    rows: int
    bytes: int
    packed: bytes | None = None


class Store:
    """One project's record. `root=None` keeps everything in memory.

    Raises:
        MienError: `store.newer`, `store.schema-mismatch`, `store.busy`, `store.damaged`.
    """

    def __init__(self, root: Path | None, *, write: bool = False) -> None:
        self.root = root
        self._memory: dict[str, Any] = {}
        self._lock: Lock | None = None
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

    # ------------------------------------------------------------ opening

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

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ writing

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

    def registered(self) -> list[log.Registered]:
        return log.registered(self._db)

    def note(self, kind: str, payload: dict[str, Any], at_utc: str) -> log.Entry:
        """Add an entry to the log; the chain holds a commitment, the payload can be erased."""
        with self._transaction() as db:
            return log.append(db, kind, payload, at_utc)

    def entries(self) -> list[log.Entry]:
        """The log, oldest first; what was erased has no payload."""
        return log.entries(self._db)

    def erasing(self) -> bool:
        """Whether an erasure began and did not end (`mien.store.erasure`)."""
        return self._db.execute("SELECT count(*) FROM erasures").fetchone()[0] > 0

    def verify_log(self) -> list[str]:
        """What is wrong with the log; empty where it verifies."""
        return log.verify(self._db)

    # ------------------------------------------------------------ reading

    def stage(self, unit: str, stage: str) -> StageRow | None:
        if self._lock is not None:  # nobody else writes: the unit's lines hold until we do
            if self._unit[0] != unit:
                self._unit = (unit, {row.stage: row for row in self.stages_of(unit)})
            return self._unit[1].get(stage)
        row = self._db.execute(
            "SELECT unit, stage, key, state, code, note, attempt FROM stages WHERE unit=? AND stage=?", (unit, stage)
        ).fetchone()
        return StageRow(*row) if row else None

    def stages(self) -> list[StageRow]:
        rows = self._db.execute("SELECT unit, stage, key, state, code, note, attempt FROM stages ORDER BY unit, stage")
        return [StageRow(*row) for row in rows]

    def stages_in(self, stage: str, state: str) -> list[StageRow]:
        """The ledger's lines of one stage that are in one state."""
        rows = self._db.execute(
            "SELECT unit, stage, key, state, code, note, attempt FROM stages WHERE stage=? AND state=? ORDER BY unit",
            (stage, state),
        )
        return [StageRow(*row) for row in rows]

    def stages_of(self, unit: str) -> list[StageRow]:
        rows = self._db.execute(
            "SELECT unit, stage, key, state, code, note, attempt FROM stages WHERE unit=? ORDER BY stage", (unit,)
        )
        return [StageRow(*row) for row in rows]

    def spent(self, run_id: str) -> Iterator[dict[str, float]]:
        """Stage → ms of the stages that a run did on a clip, one clip after another."""
        rows = self._db.execute(
            "SELECT s.unit, s.stage, s.ms FROM stages s JOIN clips c ON c.id = s.unit "
            "WHERE s.run_id=? AND s.ms IS NOT NULL AND s.state='ok' ORDER BY s.unit, s.stage",
            (run_id,),
        )
        for _, mine in itertools.groupby(rows, key=lambda row: row[0]):
            yield {stage: ms for _, stage, ms in mine}

    def states(self) -> dict[tuple[str, str], int]:
        """(stage, state) → units."""
        rows = self._db.execute("SELECT stage, state, count(*) FROM stages GROUP BY stage, state ORDER BY stage, state")
        return {(stage, state): n for stage, state, n in rows}

    def all(self, record: type[R], where: str = "", params: Sequence[object] = ()) -> list[R]:
        """Records of a kind, in key order. `where` is SQL of ours with `?` for values."""
        table = TABLES[record]
        clause = f" WHERE {where}" if where else ""
        rows = self._db.execute(f"SELECT * FROM {table}{clause}", tuple(params))  # noqa: S608 - our own clauses
        return [from_row(record, dict(row)) for row in rows]

    def find(self, record_id: str) -> tuple[str, Any] | None:
        """(table, record) with this id, or with the only id that starts so (≥ 8 characters)."""
        for record, table in TABLES.items():
            key = "sha256" if table == "sources" else "id"
            if table in ("failures", "attributes", "verdicts"):
                continue
            found = self.all(record, f"{key} = ?", (record_id,))
            if not found and len(record_id) >= 8:
                found = self.all(record, f"{key} >= ? AND {key} < ?", (record_id, record_id + "\U0010ffff"))
            if len(found) == 1:
                return table, found[0]
        return None

    def table(self, name: str) -> pa.Table | None:
        """A stored array by name (`UNIT/STAGE`), or None."""
        if self.root is None:
            return self._memory.get(name)
        sql = "SELECT a.file, p.body FROM arrays a LEFT JOIN packed p ON p.name = a.name WHERE a.name=?"
        row = self._db.execute(sql, (name,)).fetchone()
        while row is not None:
            if not row[0]:
                return arrays.unpack(row[1] or b"", name)
            try:
                return arrays.read(self.root / row[0])
            except MienError:
                again = self._db.execute(sql, (name,)).fetchone()
                if again is not None and again[0] == row[0]:
                    raise
                row = again  # a writer replaced it between the row and the file
        return None

    def array_names(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT name FROM arrays ORDER BY name")]

    def adapters(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute("SELECT * FROM adapters ORDER BY slot, name")]

    def config(self, sha256: str) -> str | None:
        """The configuration of this digest as JSON; None for runs before it was kept."""
        row = self._db.execute("SELECT json FROM configs WHERE sha256=?", (sha256,)).fetchone()
        return row[0] if row else None

    def next_run_id(self, now: str) -> str:
        """The id of a run that begins now (`run-NOW`): after all before it in the order of text, whatever the clock."""
        return history.next_id(self._db, now)

    def abandoned(self) -> list[str]:
        """Runs that a later writer found begun and not ended: killed, or out of power or disk space."""
        return history.abandoned(self._db)

    def as_of(self, run_id: str | None = None) -> history.AsOf:
        """The record as it stood when a run ended; None: as it stands now."""
        return history.AsOf(self._db, run_id)

    def readable(self, run_id: str) -> bool:
        """Whether all that stood when this run ended is still kept."""
        return history.readable(self._db, run_id)

    def history_size(self) -> tuple[int, int]:
        """(runs whose replaced results are kept, bytes of these)."""
        return history.size(self._db)

    def query(self, sql: str, *, limit: int | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Answer a read-only SQL question: (column names, rows).

        Raises:
            MienError: `query.not-read-only` for anything that could write, attach or load; `query.bad-sql`.
        """
        db = self._db if self.root is None else question.connect(self.root / "mien.db")
        try:
            return question.ask(db, sql, limit)
        finally:
            if db is not self._db:
                db.close()

    def damaged(self) -> list[tuple[str, str]]:
        """(unit, stage) of every array that is named but cannot be read."""
        found: set[tuple[str, str]] = set()
        rows = self._db.execute("SELECT name, unit, stage FROM arrays").fetchall()  # a half-read answer holds the past
        for name, unit, stage in rows:
            try:
                self.table(name)
            except MienError:
                found.add((unit, stage))
        return sorted(found)

    def integrity(self) -> list[str]:
        """What is wrong: SQLite's own check, and stages whose arrays cannot be read."""
        found = [row[0] for row in self._db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [f"arrays of {stage} ({unit}) cannot be read" for unit, stage in self.damaged()]
