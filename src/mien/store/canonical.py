"""The canonical dump: all results of a project as sorted text, without attempts, times of day and run ids.

Two runs over the same input under the same configuration must give the same dump, however often one was interrupted.
"""

from __future__ import annotations

import hashlib
import json

from mien.store.project import Store
from mien.store.rows import TABLES

_NOT_RESULTS = {"runs", "items", "attributes", "consents", "assignments"}
_LEFT_OUT = {"_unit", "at_utc", "attempt", "run_id", "ms", "path", "started_utc", "finished_utc"}


def canonical_dump(store: Store) -> str:
    """One JSON line per record, ledger line and array (arrays as SHA-256 of their values), sorted."""
    lines: list[str] = []
    for table in sorted({*TABLES.values(), "stages"} - _NOT_RESULTS):
        names, rows = store.query(f"SELECT * FROM {table}")  # noqa: S608 - our own names
        for row in rows:
            kept = {n: v for n, v in zip(names, row, strict=True) if n not in _LEFT_OUT}
            if table == "stages" and (kept["stage"] in ("input", "batches") or kept["stage"].startswith("annotate.")):
                continue  # of items, which are left out too: their ids are made of paths; of a run's own doing
            lines.append(json.dumps([table, kept], sort_keys=True, ensure_ascii=False))
    for name in store.array_names():
        if name.startswith("batches/"):
            continue
        table = store.table(name)
        if table is not None:
            lines.append(json.dumps(["array", name, _digest(table)]))
    return "\n".join(sorted(lines)) + "\n"


def _digest(table) -> str:
    """SHA-256 over the column names and values (bit-exact for floats)."""
    sha = hashlib.sha256()
    for name in table.column_names:
        values = table[name].combine_chunks().to_numpy(zero_copy_only=False)
        sha.update(name.encode())
        sha.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return sha.hexdigest()
