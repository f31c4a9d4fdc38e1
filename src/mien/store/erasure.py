"""Erasing rows of people and sources from the record, and the journal that lets a killed erasure be finished.

A journal row stands from before the first byte is removed until nothing is left; whoever opens the project sees it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from mien.store import history, log
from mien.store.project import Store
from mien.store.rows import TABLES

_LONG = 12
_SHARED_STAGES = ("batches",)  # tables over many clips, made of ids; of no use but for repeating a run to the bit


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be erased.

    Attributes:
        kind: `subject` or `source`. subjects, sources: pseudonyms and sha256 that must not be found again.
        units: whose rows go: sources, clips, items, inputs. keys: of labels on what somebody's tracks show.
        inside: files and folders of the project. outside: what only people can remove.
        revoked: name and version, and root, of releases. needles: texts that no payload or configuration may hold.
    """

    kind: str
    subjects: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    revoked: tuple[tuple[str, str], ...] = ()
    needles: tuple[str, ...] = ()


def pending(store: Store) -> dict[str, Plan]:
    """Erasures that began and did not end."""
    with store.transaction() as db:
        rows = db.execute("SELECT id, plan FROM erasures ORDER BY id").fetchall()
    return {row[0]: _plan(json.loads(row[1])) for row in rows}


def begin(store: Store, name: str, plan: Plan) -> None:
    """Write the journal's row. `name`: a digest of what is erased."""
    with store.transaction() as db:
        db.execute("INSERT OR REPLACE INTO erasures VALUES (?,?)", (name, json.dumps(asdict(plan))))


def rows(store: Store, plan: Plan) -> Counter[str]:
    """Erase everything the plan names from the record, in one transaction; how many rows of each table."""
    gone: Counter[str] = Counter()
    with store.transaction() as db:
        db.execute("PRAGMA secure_delete=ON")
        _units(db, plan.units, gone)
        _people(db, plan, gone)
        for stage in _SHARED_STAGES:
            db.execute("DELETE FROM packed WHERE name IN (SELECT name FROM arrays WHERE stage=?)", (stage,))
            db.execute("DELETE FROM arrays WHERE stage=?", (stage,))
            db.execute("DELETE FROM stages WHERE stage=?", (stage,))
        _texts(db, plan.needles, gone)
        _registry(db, plan, gone)
        gone["log payloads"] += log.erase(db, plan.needles)
    return +gone


def forget_plan(store: Store, name: str, plan: Plan) -> None:
    """Take what names anybody out of the journal's row; the row stays until the disk holds nothing more."""
    with store.transaction() as db:
        db.execute("PRAGMA secure_delete=ON")
        bare = Plan(plan.kind, outside=plan.outside, revoked=plan.revoked)
        db.execute("UPDATE erasures SET plan=? WHERE id=?", (json.dumps(asdict(bare)), name))


def end(store: Store, name: str, receipt: dict[str, Any], at_utc: str) -> log.Entry:
    """The erasure is done: its receipt enters the log, its journal row goes."""
    with store.transaction() as db:
        db.execute("DELETE FROM erasures WHERE id=?", (name,))
        return log.append(db, "erasure", receipt, at_utc)


def _units(db: sqlite3.Connection, units: Sequence[str], gone: Counter[str]) -> None:
    for unit in (*units, "project"):  # clips were compared with each other over the whole project
        for table in TABLES.values():
            gone[table] += db.execute(f"DELETE FROM {table} WHERE _unit=?", (unit,)).rowcount  # noqa: S608 - our own names
        sql = "DELETE FROM packed WHERE name IN (SELECT name FROM arrays WHERE unit=?)"
        db.execute(sql, (unit,))
        gone["arrays"] += db.execute("DELETE FROM arrays WHERE unit=?", (unit,)).rowcount
        gone["stages"] += db.execute("DELETE FROM stages WHERE unit=?", (unit,)).rowcount
        gone["history"] += db.execute("SELECT count(*) FROM past WHERE unit=? OR source=?", (unit, unit)).fetchone()[0]
        history.erase(db, unit)


def _people(db: sqlite3.Connection, plan: Plan, gone: Counter[str]) -> None:
    for name in plan.subjects:
        gone["subjects"] += db.execute("DELETE FROM subjects WHERE id=?", (name,)).rowcount
        for table in ("consents", "assignments"):
            gone[table] += db.execute(f"DELETE FROM {table} WHERE subject_id=?", (name,)).rowcount  # noqa: S608 - our own names
        gone["verdicts"] += db.execute("DELETE FROM verdicts WHERE target='subject' AND value=?", (name,)).rowcount
    for key in plan.keys:
        gone["verdicts"] += db.execute("DELETE FROM verdicts WHERE key=?", (key,)).rowcount
    for sha in plan.sources:
        gone["sources"] += db.execute("DELETE FROM sources WHERE sha256=?", (sha,)).rowcount
        gone["clips"] += db.execute("DELETE FROM clips WHERE source_sha=?", (sha,)).rowcount
        gone["assignments"] += db.execute("DELETE FROM assignments WHERE source_sha=?", (sha,)).rowcount


def _texts(db: sqlite3.Connection, needles: Sequence[str], gone: Counter[str]) -> None:
    """Rows that are no unit's own, and speak of what is erased: JSON by whole texts, sentences by what is long."""
    for needle in needles:
        for table, column in (("configs", "json"), ("past", "records")):
            for quoted in (f'"{needle}"', f'\\"{needle}\\"'):
                sql = f"DELETE FROM {table} WHERE instr({column}, ?)"  # noqa: S608 - our own names
                gone[table] += db.execute(sql, (quoted,)).rowcount
        found = db.execute("SELECT id, source_shas FROM items WHERE instr(source_shas, ?)", (f'"{needle}"',))
        for name, held in found.fetchall():
            kept = [sha for sha in json.loads(held) if sha != needle]
            db.execute("UPDATE items SET source_shas=? WHERE id=?", (json.dumps(kept), name))
        if len(needle) >= _LONG:  # a pseudonym such as P1 is part of too many words
            gone["failures"] += db.execute("DELETE FROM failures WHERE instr(message, ?)", (needle,)).rowcount
            db.execute("UPDATE runs SET command='run' WHERE instr(command, ?)", (needle,))
            db.execute("UPDATE stages SET note=NULL WHERE instr(note, ?)", (needle,))


def _registry(db: sqlite3.Connection, plan: Plan, gone: Counter[str]) -> None:
    """What was removed is registered no more; what lies outside stays, without naming anybody who is erased."""
    for r in log.registered(db):
        if r.path in plan.inside:
            gone["registry"] += db.execute("DELETE FROM registry WHERE n=?", (r.n,)).rowcount
        else:
            left = [json.dumps([v for v in held if v not in plan.needles]) for held in (r.sources, r.subjects)]
            db.execute("UPDATE registry SET sources=?, subjects=? WHERE n=?", (*left, r.n))


def _plan(told: dict[str, Any]) -> Plan:
    held = {f.name: told[f.name] for f in fields(Plan)}
    lists: dict[str, Any] = {
        k: tuple(tuple(v) if isinstance(v, list) else v for v in held[k]) for k in held if k != "kind"
    }
    return Plan(held["kind"], **lists)
