"""Dense arrays: small ones packed into the database, larger ones as Parquet parts beside it.

A clip has some forty tables of a few kilobytes. As files each would cost two syncs, an inode and a footer; as a
compressed Arrow stream in the transaction that names it, it costs a tenth of the time and a third of the bytes
(decision 0016). A part is written whole, synced, renamed, and only then named by the database.

No embedding ever comes this far: a column must be a plain number, text or flag, and `Embeddings` has no schema. Vectors
of faces or voices would be identifying (DESIGN: policy), and a test scans the disk for them.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core import Embeddings, MienError
from mien.store import durable

if TYPE_CHECKING:
    import pyarrow as pa

ARRAY_VERSION = 1
PACKED_BYTES = 65_536  # of a packed table; a larger one becomes a file
_PLAIN_BYTES = 16 * PACKED_BYTES  # the most that a packed table unpacks to
_HEAD = struct.Struct("<II")
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


def pack(table: pa.Table) -> bytes | None:
    """Length and CRC-32, then the table as a zstd-compressed Arrow stream; None where that is too large for a row."""
    import pyarrow as pa

    if table.nbytes > _PLAIN_BYTES // 2:
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    plain = sink.getvalue()
    body: bytes = pa.compress(plain, "zstd", asbytes=True)
    fits = plain.size <= _PLAIN_BYTES and _HEAD.size + len(body) <= PACKED_BYTES
    return _HEAD.pack(plain.size, zlib.crc32(body)) + body if fits else None


def unpack(packed: bytes, name: str) -> pa.Table:
    """The table that `pack` was given; `store.array-damaged` if it cannot be read."""
    import pyarrow as pa

    try:
        size, crc = _HEAD.unpack_from(packed)
        body = packed[_HEAD.size :]
        if size > _PLAIN_BYTES or crc != zlib.crc32(body):
            raise ValueError("its checksum does not fit")
        plain = pa.decompress(body, size, "zstd")
        with pa.ipc.open_stream(plain) as stream:
            return stream.read_all()
    except Exception as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> MienError:
    return MienError(
        "store.array-damaged", f"cannot read {name}: {error}", "run 'mien doctor --repair', then 'mien run'"
    )


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
        raise _damaged(path.name, error) from error
