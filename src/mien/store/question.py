"""Read-only questions in SQL: nothing they say can write, attach or load."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from mien.core import MienError

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_FUNCTION}


def connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write to the file."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)


def ask(db: sqlite3.Connection, sql: str, limit: int | None) -> tuple[list[str], list[tuple[Any, ...]]]:
    """(column names, rows). Raises MienError `query.not-read-only`, `query.bad-sql`."""
    try:
        db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY)
        cursor = db.execute(sql)
        rows = cursor.fetchmany(limit) if limit else cursor.fetchall()
        return [d[0] for d in cursor.description or ()], [tuple(r) for r in rows]
    except sqlite3.DatabaseError as error:
        if "not authorized" in str(error) or "prohibited" in str(error):
            raise MienError(
                "query.not-read-only", "only SELECT is allowed here", "copy mien.db to work on it freely"
            ) from error
        raise MienError(
            "query.bad-sql",
            f"SQLite says: {error}",
            'see the tables with: mien query "SELECT name FROM sqlite_schema"',
        ) from error
    finally:
        db.set_authorizer(None)
