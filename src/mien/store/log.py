"""The log: a hash chain over salted commitments, whose payloads can be erased and the chain still verifies.

An entry holds SHA-256(salt ‖ payload) and the hash of the entry before it; salt and payload lie in a table of their
own. Without the 32 random bytes of the salt nobody can try payloads against a commitment (a hiding commitment in the
random-oracle model; Halevi & Micali, CRYPTO 1996). A chain alone does not show that its end was cut off together with
the mark of its head: that needs the head kept elsewhere (a receipt holds one).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

HEAD = "log_head"
START = "0" * 64
DDL = """
CREATE TABLE IF NOT EXISTS log (
  n INTEGER PRIMARY KEY, at_utc TEXT NOT NULL, kind TEXT NOT NULL, commitment TEXT NOT NULL, prev TEXT NOT NULL,
  hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS log_payloads (n INTEGER PRIMARY KEY, salt TEXT NOT NULL, payload TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registry (
  n INTEGER PRIMARY KEY, kind TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, sources TEXT NOT NULL,
  subjects TEXT NOT NULL, at_utc TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS erasures (id TEXT PRIMARY KEY, plan TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the chain. `payload`: None once it was erased."""

    n: int
    at_utc: str
    kind: str
    commitment: str
    hash: str
    payload: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Registered:
    """What left the project or lies beside its record. `sha256`: of its manifest, or of the file itself."""

    n: int
    kind: str
    path: str
    sha256: str
    sources: tuple[str, ...]
    subjects: tuple[str, ...]
    at_utc: str


def append(db: sqlite3.Connection, kind: str, payload: dict[str, Any], at_utc: str) -> Entry:
    """Add an entry, within the caller's transaction."""
    last = db.execute("SELECT n, hash FROM log ORDER BY n DESC LIMIT 1").fetchone()
    n, prev = (last[0] + 1, last[1]) if last else (1, START)
    salt, text = secrets.token_hex(32), json.dumps(payload, sort_keys=True, ensure_ascii=False)
    commitment = _commitment(salt, text)
    link = _link(n, at_utc, kind, commitment, prev)
    db.execute("INSERT INTO log VALUES (?,?,?,?,?,?)", (n, at_utc, kind, commitment, prev, link))
    db.execute("INSERT INTO log_payloads VALUES (?,?,?)", (n, salt, text))
    db.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", (HEAD, f"{n} {link}"))
    return Entry(n, at_utc, kind, commitment, link, payload)


def entries(db: sqlite3.Connection) -> list[Entry]:
    """All entries, oldest first."""
    rows = db.execute(
        "SELECT l.n, l.at_utc, l.kind, l.commitment, l.hash, p.payload FROM log l LEFT JOIN log_payloads p ON p.n = l.n"
        " ORDER BY l.n"
    )
    return [Entry(n, at, kind, c, link, None if p is None else json.loads(p)) for n, at, kind, c, link, p in rows]


def verify(db: sqlite3.Connection) -> list[str]:
    """What is wrong with the chain, in sentences; empty: every entry follows from the one before it, every payload
    that is there is the one that was committed to, and the chain ends where the record says."""
    wrong: list[str] = []
    prev, at, link = START, 0, START
    rows = db.execute(
        "SELECT l.n, l.at_utc, l.kind, l.commitment, l.prev, l.hash, p.salt, p.payload FROM log l "
        "LEFT JOIN log_payloads p ON p.n = l.n ORDER BY l.n"
    )
    for n, at_utc, kind, commitment, before, link, salt, payload in rows:
        at += 1
        if n != at or before != prev or link != _link(n, at_utc, kind, commitment, before):
            wrong.append(f"entry {n} of the log does not follow from the one before it")
        if payload is not None and commitment != _commitment(salt, payload):
            wrong.append(f"entry {n} of the log holds another payload than was committed to")
        prev, at = link, n
    if stray := db.execute("SELECT count(*) FROM log_payloads WHERE n NOT IN (SELECT n FROM log)").fetchone()[0]:
        wrong.append(f"{stray} payload(s) belong to no entry of the log")
    head = db.execute("SELECT value FROM meta WHERE key=?", (HEAD,)).fetchone()
    if (head[0] if head else f"0 {START}") != f"{at} {prev}":
        wrong.append("the log does not end where the record says: entries are missing at its end")
    return wrong


def erase(db: sqlite3.Connection, needles: Collection[str]) -> int:
    """Erase salt and payload of every entry that names one of these; how many."""
    wanted = set(needles)
    found = [
        n
        for n, text in db.execute("SELECT n, payload FROM log_payloads")
        if not wanted.isdisjoint(_texts(json.loads(text)))
    ]
    db.executemany("DELETE FROM log_payloads WHERE n=?", [(n,) for n in found])
    return len(found)


def register(
    db: sqlite3.Connection, kind: str, path: str, sources: Collection[str], subjects: Collection[str], sha: str, at: str
) -> None:
    """Note what left. What was written to the same path before is there no more."""
    db.execute("DELETE FROM registry WHERE kind=? AND path=?", (kind, path))
    row = (kind, path, sha, json.dumps(sorted(set(sources))), json.dumps(sorted(set(subjects))), at)
    db.execute("INSERT INTO registry (kind, path, sha256, sources, subjects, at_utc) VALUES (?,?,?,?,?,?)", row)


def registered(db: sqlite3.Connection) -> list[Registered]:
    """All that is registered, oldest first."""
    rows = db.execute("SELECT n, kind, path, sha256, sources, subjects, at_utc FROM registry ORDER BY n")
    return [
        Registered(n, kind, path, sha, tuple(json.loads(sources)), tuple(json.loads(subjects)), at)
        for n, kind, path, sha, sources, subjects, at in rows
    ]


def _texts(value: Any) -> Iterator[str]:
    """Every text in a payload, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for k, v in value.items():
            yield from (k, *_texts(v))
    elif isinstance(value, list):
        for v in value:
            yield from _texts(v)


def _commitment(salt: str, payload: str) -> str:
    return hashlib.sha256(f"{salt}\0{payload}".encode()).hexdigest()


def _link(n: int, at_utc: str, kind: str, commitment: str, prev: str) -> str:
    return hashlib.sha256(json.dumps([n, at_utc, kind, commitment, prev]).encode()).hexdigest()
