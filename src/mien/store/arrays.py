"""Dense arrays as Parquet parts: written whole, synced, renamed, and only then named by the database.

No embedding ever comes this far: a column must be a plain number, text or flag, and `Embeddings` has no schema. Vectors
of faces or voices would be identifying (DESIGN: policy), and a test scans the disk for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core import Embeddings, MienError
from mien.store import durable

if TYPE_CHECKING:
    import pyarrow as pa

ARRAY_VERSION = 1
MAX_COLUMNS = 64  # a face embedding has 128 or more values: no honest table of ours is this wide


def array_schema(table: pa.Table, units: dict[str, str]) -> pa.Table:
    """The table with its schema version and the unit of each column in the field metadata."""
    import pyarrow as pa

    fields = [f.with_metadata({"unit": units[f.name]}) if f.name in units else f for f in table.schema]
    return table.cast(pa.schema(fields, metadata={"schema_version": str(ARRAY_VERSION)}))


def check(table: Any) -> None:
    """Raise `store.embedding-refused` unless every column is a scalar column of a narrow table."""
    import pyarrow as pa

    if isinstance(table, Embeddings):
        raise MienError("store.embedding-refused", "embeddings stay in memory and are never written")
    if not isinstance(table, pa.Table):
        raise MienError("store.not-a-table", f"an array must be an Arrow table, but got {type(table).__name__}")
    nested = [f.name for f in table.schema if pa.types.is_nested(f.type) or pa.types.is_binary(f.type)]
    if nested or table.num_columns > MAX_COLUMNS:
        what = f"columns {nested} hold vectors or bytes" if nested else f"{table.num_columns} columns"
        raise MienError("store.embedding-refused", f"only scalar columns may be stored, but {what}")


def write(table: pa.Table, path: Path) -> int:
    """Write atomically and durably (see `durable.write`); returns the size in bytes."""
    import pyarrow.parquet as pq

    return durable.write(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read(path: Path) -> pa.Table:
    """Read one part; `store.array-damaged` if it is missing or cannot be read."""
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            return pq.read_table(file)
    except Exception as error:
        raise MienError(
            "store.array-damaged", f"cannot read {path.name}: {error}", "run 'mien doctor --repair', then 'mien run'"
        ) from error
