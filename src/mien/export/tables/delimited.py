"""CSV: one file per long table, UTF-8, header, empty = not measured; `columns.csv` says what each column means.

Text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.export.selection.scope import Scope
from mien.export.tables.notice import Model
from mien.export.tables.rows import of_clip, of_project
from mien.export.tables.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

RISKY = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-][\d.]+(e-?\d+)?")


def guarded(text: str) -> str:
    """The text so that no spreadsheet takes it for a formula; numbers and ranges (`-1..1`) stay as they are."""
    return "'" + text if text.startswith(RISKY) and not _NUMBER.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith(RISKY) else text


def write(scope: Scope, folder: Path, models: list[Model]) -> dict[str, int]:
    """Write all tables; gives file name → rows."""
    from pyarrow import csv

    rows = dict.fromkeys(TABLES, 0)
    with ExitStack() as closing:
        sinks: dict[str, Any] = {}
        for table in TABLES:
            file = closing.enter_context((folder / f"{table}.csv").open("wb"))
            sinks[table] = closing.enter_context(csv.CSVWriter(file, arrow_schema(table)))

        def put(table: str, batch: pa.RecordBatch) -> None:
            sinks[table].write_batch(_guarded(batch))
            rows[table] += batch.num_rows

        for clip in scope.clips():
            for table, batch in of_clip(scope, clip):
                put(table, batch)
        for table, batch in of_project(scope, models):
            put(table, batch)
    counts = {f"{table}.csv": n for table, n in rows.items()}
    return counts | {"columns.csv": _columns(folder / "columns.csv")}


def _guarded(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    arrays: list[Any] = []
    for column in batch.columns:
        texts = column.to_pylist() if pa.types.is_string(column.type) else []
        risky = any(t is not None and t.startswith(RISKY) for t in texts)
        arrays.append(pa.array([t and guarded(t) for t in texts], pa.string()) if risky else column)
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def _columns(path: Path) -> int:
    import pyarrow as pa
    from pyarrow import csv

    told = [(t, c.name, c.kind, c.unit, c.says) for t, held in TABLES.items() for c in held]
    made = pa.table(dict(zip(("table", "column", "type", "unit", "meaning"), zip(*told, strict=True), strict=True)))
    csv.write_csv(made, str(path))
    return len(told)
