"""One reader of a project that is being written to: `python reader_script.py ROOT STOP`. Says how often it read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mien.core import Observation
from mien.store import Store


def looked(root: Path) -> None:
    """What people and pages ask of a project; each result must be whole."""
    with Store(root) as store:
        for row in store.stages():
            assert row.state == "ok"
        sql = "SELECT o.value, s.key FROM observations o JOIN stages s ON s.unit = o._unit AND s.stage = o._stage"
        for value, key in store.query(sql)[1]:
            assert f"k{value:.0f}" == key  # a record and its ledger line are of one commit
        for name in store.array_names():
            table = store.table(name)
            assert table is not None
            values = table["value"].to_numpy()
            assert (values == values[0]).all()
            assert len(values) == (20_000 if name.endswith("0") else 100)
        assert all(o.value is not None for o in store.all(Observation))
        assert store.as_of().ledger
        assert store.integrity() == []


def main(root: Path, stop: Path) -> None:
    count = 0
    errors: list[str] = []
    looked(root)
    print("ready", flush=True)
    while not stop.exists() or not count:
        try:
            looked(root)
        except Exception as error:  # noqa: BLE001 - counted
            errors.append(f"{type(error).__name__}: {error}")
        count += 1
    print(json.dumps({"read": count, "errors": errors}), flush=True)
    os._exit(0)  # threads of native libraries sometimes abort an orderly end on a busy machine


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
