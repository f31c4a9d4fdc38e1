"""Typed values of attributes: int, float, bool, time or text, inferred per column; what does not parse stays text."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

Kind = Literal["text", "int", "float", "bool", "time"]
AGREE = 0.95  # share of a column's filled values that must parse for the column to have a type
MAX_DEPTH = 4

_INT = re.compile(r"[+-]?(0|[1-9]\d{0,17})", re.ASCII)  # no leading zeros: 007 is a code, not a number
_FLOAT = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_TYPES: tuple[Kind, ...] = ("int", "float", "bool", "time")
_BOOL = {"true", "false"}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def parse(text: str, kind: Kind) -> str | None:
    """The text in the canonical form of a kind, or None where it is none. Numbers keep their digits as written."""
    match kind:
        case "int":
            fits = _INT.fullmatch(text) is not None
        case "float":
            fits = len(text) < 400 and _FLOAT.fullmatch(text) is not None and math.isfinite(float(text))
        case "bool":
            text = text.lower()
            fits = text in _BOOL
        case "time":
            return _time(text)
        case _:
            fits = True
    return text if fits else None


def _time(text: str) -> str | None:
    """ISO 8601 of a date, or of a date and time."""
    try:
        if _DATE.fullmatch(text):
            return datetime.date.fromisoformat(text).isoformat()
        return datetime.datetime.fromisoformat(text).isoformat() if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def kind_of(value: object, *, native: bool) -> Kind | None:
    """The narrowest kind of one value; None for an empty one. `native`: the file itself has types (JSON, Parquet), so
    that a string is a time or a text, never a number."""
    if isinstance(value, str):
        text = value.strip()
        for kind in _TYPES:
            if parse(text, kind) is not None and (kind == "time" or not native):
                return kind
        return "text" if text else None
    plain = _plain(value)
    return plain[0] if plain else None


def infer(values: Iterable[object], *, native: bool) -> Kind:
    """The kind of a column: one that at least 95 % of its filled values have (int counts as float), else text."""
    counts = Counter(k for k in (kind_of(v, native=native) for v in values) if k)
    filled = sum(counts.values())
    counts["float"] += counts["int"]
    for kind in _TYPES:
        if filled and counts[kind] >= AGREE * filled:
            return kind
    return "text"


def typed(value: object, column: Kind) -> tuple[Kind, str] | None:
    """(kind, text) of one cell of a column of a kind; None for an empty cell (not measured)."""
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        parsed = None if column == "text" else parse(text, column)
        return (column, parsed) if parsed is not None else ("text", safe(value))
    plain = _plain(value)
    if plain and plain[0] == "int" and column == "float":
        return "float", plain[1]
    return plain


def safe(text: str) -> str:
    """Text as SQLite holds it whole: no NUL characters, no lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def flat(cells: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Nested objects by dotted key, down to four levels; what lies deeper stays an object."""
    out: dict[str, Any] = {}
    for key, value in cells.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and depth < MAX_DEPTH and "bytes" not in value:
            out |= flat(value, f"{name}.", depth + 1)
        else:
            out[name] = value
    return out


def _plain(value: object) -> tuple[Kind, str] | None:
    """(kind, text) of a value that is no string; None for what is not measured, and for bytes."""
    found: tuple[Kind, str] | None = None
    match value:
        case None | bytes():
            pass
        case bool():
            found = "bool", "true" if value else "false"
        case int():
            found = "int", str(value)
        case float() | decimal.Decimal():
            if not math.isnan(value):
                found = ("float" if math.isfinite(value) else "text"), str(value)
        case datetime.date():
            found = "time", value.isoformat()
        case list() | tuple() | dict():
            found = ("text", safe(json.dumps(value, ensure_ascii=False, default=_leaf))) if value else None
        case _:
            found = "text", safe(str(value))
    return found


def _leaf(value: object) -> str | None:
    """What JSON has no form for: bytes are left out, all else is written as text."""
    return None if isinstance(value, bytes) else str(value)
