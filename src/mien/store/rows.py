"""Records of `core` as SQLite rows: the tables are derived from the record classes, so they cannot drift apart.

A `Span` becomes `start_us`, `end_us`; tuples and nested records become JSON text (`json_extract` reads them in SQL).
Every row also names its owner (`_unit`, `_stage`): a stage that runs again replaces exactly its own rows.
"""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from mien.core import (
    Assessment,
    Assignment,
    Attribute,
    Claim,
    Clip,
    Consent,
    Contribution,
    Failure,
    Item,
    Observation,
    Run,
    Setting,
    Signal,
    Source,
    Span,
    Subject,
    Trace,
    Track,
    Verdict,
)

R = TypeVar("R")

TABLES: dict[type[Any], str] = {
    Item: "items",
    Attribute: "attributes",
    Source: "sources",
    Subject: "subjects",
    Clip: "clips",
    Track: "tracks",
    Observation: "observations",
    Signal: "signals",
    Assessment: "assessments",
    Claim: "claims",
    Trace: "traces",
    Run: "runs",
    Failure: "failures",
    Verdict: "verdicts",
    Consent: "consents",
    Assignment: "assignments",
}
KEYS = {
    "sources": ("sha256",),
    "failures": ("unit", "stage"),
    "attributes": ("item_id", "key"),
    "verdicts": ("key", "target", "at_utc", "_unit"),
}
INDEXES = {
    "items": ("given",),
    "clips": ("source_sha",),
    "tracks": ("clip_id",),
    "observations": ("clip_id", "target"),
    "signals": ("clip_id", "name"),
    "assessments": ("clip_id",),
    "claims": ("trace_id",),
    "traces": ("clip_id",),
    "consents": ("subject_id",),
    "assignments": ("source_sha",),
}
_SQL = {str: "TEXT", int: "INTEGER", float: "REAL", bool: "INTEGER"}


@cache
def columns(record: type[Any]) -> tuple[tuple[str, Any, str], ...]:
    """(field, python type without None, SQL type or "json" or "span") of a record class."""
    hints = typing.get_type_hints(record)
    found: list[tuple[str, Any, str]] = []
    for field in fields(record):
        kind = hints[field.name]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            (kind,) = [k for k in typing.get_args(kind) if k is not type(None)]
        if typing.get_origin(kind) is typing.Literal:
            kind = str
        found.append((field.name, kind, "span" if kind is Span else _SQL.get(kind, "json")))
    return tuple(found)


@cache
def _optional(record: type[Any], name: str) -> bool:
    return type(None) in typing.get_args(typing.get_type_hints(record)[name])


def ddl() -> str:
    """The SQL that makes every record table and its indexes."""
    out: list[str] = []
    for record, table in TABLES.items():
        parts: list[str] = []
        for name, _, sql in columns(record):
            if sql == "span":
                parts += ["start_us INTEGER NOT NULL", "end_us INTEGER NOT NULL"]
            else:
                parts.append(f"{name} {'TEXT' if sql == 'json' else sql}")
        key = ", ".join(KEYS.get(table, ("id",)))
        parts += ["_unit TEXT NOT NULL", "_stage TEXT NOT NULL", f"PRIMARY KEY ({key})"]
        out.append(f"CREATE TABLE IF NOT EXISTS {table} (\n  " + ",\n  ".join(parts) + "\n) WITHOUT ROWID;")
        out.append(f"CREATE INDEX IF NOT EXISTS {table}_owner ON {table} (_unit, _stage);")
        if table in INDEXES:
            out.append(f"CREATE INDEX IF NOT EXISTS {table}_by ON {table} ({', '.join(INDEXES[table])});")
    return "\n".join(out) + "\n"


def to_row(record: Any) -> tuple[str, dict[str, Any]]:
    """(table, column → value) of one record."""
    row: dict[str, Any] = {}
    for name, _, sql in columns(type(record)):
        value = getattr(record, name)
        if sql == "span":
            row["start_us"], row["end_us"] = value.start_us, value.end_us
        elif sql == "json":
            row[name] = None if value is None else json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))
        else:
            row[name] = value
    return TABLES[type(record)], row


@cache
def insertion(record: type[Any]) -> str:
    """The SQL that puts one row of this class, with its owner, in the place of an older one."""
    names: list[str] = []
    for name, _, sql in columns(record):
        names += ["start_us", "end_us"] if sql == "span" else [name]
    names += ["_unit", "_stage"]
    marks = ",".join(f":{n}" for n in names)
    return f"INSERT OR REPLACE INTO {TABLES[record]} ({','.join(names)}) VALUES ({marks})"  # noqa: S608 - our own names


def from_row(record: type[R], row: dict[str, Any]) -> R:
    """The record a row holds."""
    values: dict[str, Any] = {}
    for name, kind, sql in columns(record):
        if sql == "span":
            values[name] = Span(row["start_us"], row["end_us"])
        elif sql == "json":
            values[name] = None if row[name] is None else _typed(kind, json.loads(row[name]))
        else:
            value = row[name]
            if kind is bool:
                value = bool(value)
            elif kind is float and value is None and not _optional(record, name):
                value = math.nan  # SQLite keeps NaN as NULL
            values[name] = value
    return record(**values)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _typed(kind: Any, value: Any) -> Any:
    if kind in (Setting, Contribution):
        hints = typing.get_type_hints(kind)
        return kind(**{k: _typed(hints[k], v) for k, v in value.items()})
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(_typed(inner[0], v) for v in value)
        return tuple(_typed(k, v) for k, v in zip(inner, value, strict=True))
    return value
