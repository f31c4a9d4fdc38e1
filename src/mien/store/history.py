"""What later runs replaced: the results of stages as they stood before, so that two runs of a project can be compared.

A result holds from the run that made it until the run that replaced it (system-versioned rows, as in SQL:2011), so the
record as it stood when a run ended can be put together again. Replaced records lie in one table of their own: no query
for what holds now can meet them, and they go with their unit or source. Arrays of replaced stages are not kept.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from mien.core import Assessment, Claim, Clip, Observation, Signal, Trace, Track
from mien.store.rows import TABLES, columns, from_row

KEPT: tuple[type[Any], ...] = (Clip, Track, Observation, Signal, Assessment, Trace, Claim)
FLOOR = "history_floor"
ABANDONED = "abandoned:"  # and the id of a run
DDL = """
CREATE TABLE IF NOT EXISTS past (
  unit TEXT NOT NULL, stage TEXT NOT NULL, run_id TEXT NOT NULL, until TEXT NOT NULL, source TEXT NOT NULL,
  key TEXT NOT NULL, state TEXT NOT NULL, ms REAL, records TEXT NOT NULL, PRIMARY KEY (unit, stage, run_id)
);
CREATE INDEX IF NOT EXISTS past_source ON past (source);
CREATE INDEX IF NOT EXISTS past_until ON past (until);
CREATE TABLE IF NOT EXISTS configs (sha256 TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
"""
# Nothing is known of what was replaced before this table was there.
BEGIN = f"INSERT OR IGNORE INTO meta SELECT '{FLOOR}', coalesce(max(run_id), '') FROM stages;"  # noqa: S608 - our own name


@dataclass(frozen=True, slots=True)
class Held:
    """The result of one stage on one unit as a run knew it. `run_id`: the run that made it."""

    unit: str
    stage: str
    key: str
    state: str
    ms: float | None
    run_id: str


def next_id(db: sqlite3.Connection, now: str) -> str:
    """`run-NOW`, or a millisecond after the newest run where the clock was set back.

    Runs are ordered by their ids, and clocks step back: the id is a hybrid logical clock (Kulkarni et al., 2014). The
    times in the record stay what the clock said.
    """
    newest = db.execute("SELECT max(id) FROM runs WHERE id GLOB 'run-????-*'").fetchone()[0]
    if newest is None or f"run-{now}" > newest:
        return f"run-{now}"
    later = datetime.datetime.fromisoformat(newest.removeprefix("run-")) + datetime.timedelta(milliseconds=1)
    return f"run-{later.isoformat(timespec='milliseconds')}"


def abandon(db: sqlite3.Connection) -> None:
    """Mark the runs that began and did not end: who wrote them holds the project no longer."""
    db.execute(f"INSERT OR IGNORE INTO meta SELECT '{ABANDONED}' || id, '' FROM runs WHERE finished_utc IS NULL")  # noqa: S608 - our own name


def abandoned(db: sqlite3.Connection) -> list[str]:
    """The runs so marked, oldest first."""
    sql = "SELECT id FROM runs WHERE finished_utc IS NULL AND ? || id IN (SELECT key FROM meta) ORDER BY id"
    return [row[0] for row in db.execute(sql, (ABANDONED,))]


def supersede(db: sqlite3.Connection, unit: str, stage: str, until: str) -> None:
    """Keep a stage's records before the run `until` replaces them, in the same transaction.

    A run's own results are not history, nor is what holds no record of a clip and took no measured time.
    """
    row = db.execute("SELECT run_id, key, state, ms FROM stages WHERE unit=? AND stage=?", (unit, stage)).fetchone()
    if row is None or row[0] in ("", until):
        return
    found = {TABLES[r]: _rows(db, TABLES[r], unit, stage) for r in KEPT}
    found = {table: rows for table, rows in found.items() if rows}
    if not found and row[3] is None:
        return
    clip = db.execute("SELECT source_sha FROM clips WHERE id=?", (unit,)).fetchone()
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    db.execute(
        "INSERT OR REPLACE INTO past VALUES (?,?,?,?,?,?,?,?,?)",
        (unit, stage, row[0], until, clip[0] if clip else unit, *row[1:], text),
    )


def prune(db: sqlite3.Connection, keep: int) -> None:
    """Keep what the last `keep` runs that replaced anything replaced; runs before that can be read no more."""
    untils = [r[0] for r in db.execute("SELECT DISTINCT until FROM past ORDER BY until DESC")]
    if untils[keep:]:
        db.execute("DELETE FROM past WHERE until <= ?", (untils[keep],))
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (FLOOR, untils[keep]))


def erase(db: sqlite3.Connection, unit: str) -> None:
    """Drop all history of a unit, or of a source and whatever was cut from it."""
    db.execute("DELETE FROM past WHERE unit=? OR source=?", (unit, unit))


def readable(db: sqlite3.Connection, run_id: str) -> bool:
    """Whether all that stood when this run ended is still here."""
    floor = db.execute("SELECT value FROM meta WHERE key=?", (FLOOR,)).fetchone()
    return floor is None or run_id >= floor[0]


def size(db: sqlite3.Connection) -> tuple[int, int]:
    """(runs whose replacements are kept, bytes of the replaced records)."""
    return tuple(db.execute("SELECT count(DISTINCT until), coalesce(sum(length(records)), 0) FROM past").fetchone())


class AsOf:
    """The record as it stood when a run ended; without a run, as it stands now. Reads only."""

    def __init__(self, db: sqlite3.Connection, run_id: str | None = None) -> None:
        self._db = db
        now, then, values = "", " WHERE 0", ()
        if run_id is not None:
            now, then, values = " WHERE run_id <= ?", " WHERE run_id <= ? AND until > ?", (run_id, run_id)
        said = "unit, stage, key, state, ms, run_id FROM"
        self._now = self._read(f"SELECT {said} stages{now}", values[:1])
        self._then = self._read(f"SELECT {said} past{then}", values)
        self.ledger: dict[tuple[str, str], Held] = self._then | self._now
        """(unit, stage) → the result that stood."""
        self._units = {unit for unit, _ in self.ledger}
        self._past: dict[str, list[str]] = defaultdict(list)
        for unit, stage in self._then:
            self._past[unit].append(stage)

    def _read(self, sql: str, values: Iterable[str]) -> dict[tuple[str, str], Held]:
        return {(row[0], row[1]): Held(*row) for row in self._db.execute(sql, tuple(values))}

    def clips(self, source_sha: str) -> list[Clip]:
        """Clips of a source on which anything was done, in order of time."""
        held = [dict(r) for r in self._db.execute("SELECT * FROM clips WHERE source_sha = ?", (source_sha,))]
        for (text,) in self._db.execute("SELECT records FROM past WHERE unit = ?", (source_sha,)):
            held += json.loads(text).get(TABLES[Clip], ())
        found = {row["id"]: from_row(Clip, row) for row in held if row["id"] in self._units}
        return sorted(found.values(), key=lambda c: (c.span, c.id))

    def records(self, clip_id: str) -> dict[type[Any], list[tuple[str, Any]]]:
        """What was found in a clip: class of record → (stage, record)."""
        held: dict[str, list[dict[str, Any]]] = {}
        for table in map(TABLES.__getitem__, KEPT):
            rows = self._db.execute(f"SELECT * FROM {table} WHERE _unit = ?", (clip_id,))  # noqa: S608 - our own names
            held[table] = [dict(row) for row in rows if (clip_id, row["_stage"]) in self._now]
        for stage in self._past.get(clip_id, ()):
            asked = (clip_id, stage, self._then[clip_id, stage].run_id)
            found = self._db.execute("SELECT records FROM past WHERE unit=? AND stage=? AND run_id=?", asked)
            for table, rows in json.loads(found.fetchone()[0]).items():
                held[table] += rows
        return {k: [(row["_stage"], _record(k, row)) for row in held[TABLES[k]]] for k in KEPT}


def _rows(db: sqlite3.Connection, table: str, unit: str, stage: str) -> list[dict[str, Any]]:
    return [
        dict(row)
        for row in db.execute(f"SELECT * FROM {table} WHERE _unit=? AND _stage=?", (unit, stage))  # noqa: S608 - our own names
    ]


def _record(kind: type[Any], row: dict[str, Any]) -> Any:
    """The record a row holds; what an older mien did not know yet has its default."""
    absent = [name for name, _, sql in columns(kind) if sql != "span" and name not in row]
    known = {f.name: f.default for f in fields(kind) if f.name in absent and f.default is not MISSING}
    return replace(from_row(kind, dict.fromkeys(absent) | row), **known)
