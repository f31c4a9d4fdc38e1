"""What is read from a project: the ledger, records, arrays, the log, answers to questions in SQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mien.core import MienError
from mien.store import arrays, history, log, question
from mien.store.project.opening import Opened
from mien.store.project.results import StageRow
from mien.store.rows import TABLES, from_row

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")


class Reading(Opened):
    """The part of `mien.store.Store` that reads."""

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

    # ------------------------------------------------------------ runs and the log

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

    def registered(self) -> list[log.Registered]:
        return log.registered(self._db)

    def entries(self) -> list[log.Entry]:
        """The log, oldest first; what was erased has no payload."""
        return log.entries(self._db)

    def erasing(self) -> bool:
        """Whether an erasure began and did not end (`mien.store.erasure`)."""
        return self._db.execute("SELECT count(*) FROM erasures").fetchone()[0] > 0

    def verify_log(self) -> list[str]:
        """What is wrong with the log; empty where it verifies."""
        return log.verify(self._db)

    # ------------------------------------------------------------ questions and checks

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
