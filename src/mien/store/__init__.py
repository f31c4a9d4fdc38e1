"""A project on disk: one SQLite database (WAL) as the system of record, Parquet parts for what is too large for it.

What may enter: reading and writing of records, nothing that knows what they mean. With no folder the same store lives
in memory and keeps nothing.
"""

from mien.store.arrays import array_schema
from mien.store.canonical import canonical_dump
from mien.store.history import AsOf, Held
from mien.store.lock import Holder, holder
from mien.store.log import Entry, Registered
from mien.store.project import StageResult, StageRow, Store
from mien.store.schema import STORE_VERSION

__all__ = [
    "STORE_VERSION",
    "AsOf",
    "Entry",
    "Held",
    "Holder",
    "Registered",
    "StageResult",
    "StageRow",
    "Store",
    "array_schema",
    "canonical_dump",
    "holder",
]
