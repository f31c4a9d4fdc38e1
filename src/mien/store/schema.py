"""The tables of `mien.db`: making them, and bringing an older project up to this version."""

from __future__ import annotations

import sqlite3

from mien.core import MienError, digest
from mien.store import history, log
from mien.store.rows import ddl

STORE_VERSION = 6

LEDGER = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stages (
  unit TEXT NOT NULL, stage TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, code TEXT, note TEXT,
  attempt INTEGER NOT NULL, run_id TEXT NOT NULL, ms REAL, at_utc TEXT NOT NULL, PRIMARY KEY (unit, stage)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arrays (
  name TEXT PRIMARY KEY, unit TEXT NOT NULL, stage TEXT NOT NULL, file TEXT NOT NULL, rows INTEGER NOT NULL,
  bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrays_owner ON arrays (unit, stage);
CREATE TABLE IF NOT EXISTS packed (name TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS adapters (
  fingerprint TEXT PRIMARY KEY, name TEXT NOT NULL, slot TEXT NOT NULL, weights_sha256 TEXT NOT NULL,
  config TEXT NOT NULL
) WITHOUT ROWID;
"""
# An array is packed (`file` is empty) or a Parquet part; projects from before version 5 keep their parts until a stage
# runs again.
# Store version → what brings the one before it there; tables that are dropped held nothing in it.
MIGRATIONS = {
    2: "ALTER TABLE items ADD COLUMN row TEXT; ALTER TABLE items ADD COLUMN given TEXT;"
    "ALTER TABLE items ADD COLUMN subject_id TEXT; DROP TABLE verdicts;"
    "UPDATE items SET row='', given=origin, subject_id='unassigned';",
    4: "ALTER TABLE assessments ADD COLUMN credible TEXT; ALTER TABLE assessments ADD COLUMN level REAL;"
    "ALTER TABLE assessments ADD COLUMN filtered TEXT; ALTER TABLE assessments ADD COLUMN smoothed TEXT;"
    "UPDATE assessments SET credible='[]', filtered='[]', smoothed='[]';",
}


def make(db: sqlite3.Connection, version: int) -> None:
    """Make the tables, or bring those of an older version up, in one transaction.

    Raises:
        MienError: `store.schema-mismatch` where another build made them under the same version.
    """
    schema = ddl() + LEDGER + history.DDL + log.DDL
    if version < STORE_VERSION:
        steps = " ".join(sql for since, sql in MIGRATIONS.items() if 0 < version < since)
        mark = f"INSERT OR REPLACE INTO meta VALUES ('schema_sha256', '{digest(schema)}');"  # noqa: S608 - our own digest
        db.executescript(
            f"BEGIN IMMEDIATE; {steps} {schema} {history.BEGIN} {mark} PRAGMA user_version={STORE_VERSION}; COMMIT;"
        )
    held = db.execute("SELECT value FROM meta WHERE key='schema_sha256'").fetchone()
    if held is None or held[0] != digest(schema):
        raise MienError(
            "store.schema-mismatch",
            "mien.db was made by another build with the same store version",
            "open it with the mien that made it, or start a new project and run again",
        )
