"""Parquet: one file per long table, zstd, with `schema_version`, units and meanings in the metadata.

pandas, DuckDB and Arrow read the files as they are.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.export.selection.scope import Scope
from mien.export.tables.notice import Model
from mien.export.tables.rows import of_clip, of_project
from mien.export.tables.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 65_536  # rows that wait in memory, per table


def write(scope: Scope, folder: Path, models: list[Model]) -> dict[str, int]:
    """Write all tables; gives file name → rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, held = dict.fromkeys(TABLES, 0), dict.fromkeys(TABLES, 0)
    waiting: dict[str, list[pa.RecordBatch]] = {table: [] for table in TABLES}
    with ExitStack() as closing:
        sinks: dict[str, Any] = {}
        for table in TABLES:
            file = closing.enter_context((folder / f"{table}.parquet").open("wb"))
            sinks[table] = closing.enter_context(pq.ParquetWriter(file, arrow_schema(table), compression="zstd"))

        def flush(table: str) -> None:
            if waiting[table]:
                sinks[table].write_table(pa.Table.from_batches(waiting[table]))
                waiting[table].clear()
                held[table] = 0

        def put(table: str, batch: pa.RecordBatch) -> None:
            waiting[table].append(batch)
            rows[table] += batch.num_rows
            held[table] += batch.num_rows
            if held[table] >= GROUP_ROWS:
                flush(table)

        for clip in scope.clips():
            for table, batch in of_clip(scope, clip):
                put(table, batch)
        for table, batch in of_project(scope, models):
            put(table, batch)
        for table in TABLES:
            flush(table)
    return {f"{table}.parquet": n for table, n in rows.items()}
