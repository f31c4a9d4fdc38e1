"""What a dead writer leaves is cleared up by the next one, and readers are never in its way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.core import Observation, Run, Span
from mien.pipeline.inputs import Vault
from mien.store import StageResult, Store, arrays

HERE = Path(__file__).parent
AT = "2026-01-01T00:00:00"


def one(round_: int, unit: int) -> StageResult:
    """A result of one round: its record and its table say which. Unit 0 has a file, the others packed tables."""
    name = f"clip-{unit}"
    seen = Observation(f"obs-{unit}", name, None, Span(0, 1), "x", float(round_), None, "1", (), 1.0, 1, "m@1")
    table = pa.table({"value": np.full(20_000 if unit == 0 else 100, float(round_))})
    return StageResult(name, "one", f"k{round_}", [seen], {f"one/{name}": table})


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit 0's table is constant, and would be packed for all its length."""
    pack = arrays.pack
    monkeypatch.setattr(arrays, "pack", lambda table: None if table.num_rows > 1000 else pack(table))


def run_row(number: int, finished: str | None) -> Run:
    return Run(f"run-2026-01-01T00:00:0{number}.000+00:00", AT, finished, "run", "1", "research", "c")


def test_the_next_writer_clears_up_after_one_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    child = os.fork()
    if not child:  # a writer that dies between the file and the row of a second result
        store = Store(tmp_path, write=True)
        store.put([run_row(1, None)], unit=run_row(1, None).id, stage="run")
        store.commit(one(1, 0), run_id=run_row(1, None).id, at_utc=AT)
        arrays.write(pa.table({"value": [1.0]}), tmp_path / "arrays" / "one" / "clip-9.k.parquet")
        (tmp_path / "arrays" / "one" / "clip-8.k.tmp").write_bytes(b"half")
        (tmp_path / "media" / ".part-x").write_bytes(b"half")
        os.kill(os.getpid(), 9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert len([p for p in (tmp_path / "arrays").rglob("*") if p.is_file()]) == 3
    with Store(tmp_path) as reader:
        assert reader.abandoned() == []  # nobody knows yet
    with Store(tmp_path, write=True) as store:
        Vault(tmp_path, "research")
        assert [p.name for p in (tmp_path / "arrays").rglob("*") if p.is_file()] == ["clip-0.k1.parquet"]
        assert not list((tmp_path / "media").iterdir())
        assert store.abandoned() == [run_row(1, None).id]
        store.put([run_row(2, None)], unit=run_row(2, None).id, stage="run")
        with Store(tmp_path) as reader:
            assert reader.abandoned() == [run_row(1, None).id]  # not the run that goes on
        store.put([run_row(2, AT)], unit=run_row(2, None).id, stage="run")
        assert store.integrity() == []
    with Store(tmp_path, write=True) as store:
        assert store.abandoned() == [run_row(1, None).id]


def test_a_file_that_cannot_be_cleared_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path, write=True) as store:
        store.commit(one(1, 0), run_id="run-1", at_utc=AT)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(self)

    (tmp_path / "arrays" / "stray.parquet").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with Store(tmp_path, write=True) as store:
            store.commit(one(2, 0), run_id="run-2", at_utc=AT)  # the older file stays
            assert store.table("one/clip-0")["value"][0].as_py() == 2.0
    with Store(tmp_path, write=True) as store:
        assert len([p for p in (tmp_path / "arrays").rglob("*") if p.is_file()]) == 1


def test_an_array_replaced_while_it_is_read_is_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, late = arrays.read, [1]
    with Store(tmp_path, write=True) as store, Store(tmp_path) as reader:
        store.commit(one(1, 0), run_id="run-1", at_utc=AT)

        def replaced_first(path: Path) -> pa.Table:
            if late:
                late.clear()
                store.commit(one(2, 0), run_id="run-2", at_utc=AT)
            return read(path)

        monkeypatch.setattr(arrays, "read", replaced_first)
        assert reader.integrity() == []
        late.append(1)
        table = reader.table("one/clip-0")
        assert table is not None
        assert table["value"][0].as_py() == 2.0


def test_three_processes_read_while_one_writes(tmp_path: Path) -> None:
    root, stop = tmp_path / "project", tmp_path / "stop"
    root.mkdir()
    with Store(root, write=True) as store:
        for unit in range(6):
            store.commit(one(0, unit), run_id="run-0", at_utc=AT)
        command = [sys.executable, HERE / "reader_script.py", root, stop]
        readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for round_ in range(1, 16):
            for unit in range(6):
                store.commit(one(round_, unit), run_id=f"run-{round_:02d}", at_utc=AT)
            store.prune_history(2)
        stop.touch()
        said = [json.loads(reader.communicate(timeout=120)[0]) for reader in readers]
    assert [s["errors"] for s in said] == [[], [], []]
    assert all(s["read"] > 1 for s in said)
    assert all(reader.returncode == 0 for reader in readers)
