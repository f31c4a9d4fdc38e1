"""One stage code, whoever does the work: canonical dumps of the whole default stack are the same to the bit."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.pipeline import Project
from mien.pipeline.engine import run
from mien.pipeline.engine.crew import crew_for
from mien.pipeline.engine.task import Done
from mien.pipeline.plan import STAGES
from mien.store import Store, canonical_dump

COMMAND = (sys.executable, "-m", "mien")
TERMS = "[analysis]\nmax_clip_s = 2.0\nfps = 2.0\n"


@pytest.fixture(scope="module")
def inputs(short_real_clip, demo_laugh) -> tuple[Path, Path]:
    """Two sources: pictures with sound, and sound alone; cut into four clips."""
    return short_real_clip, demo_laugh


def project(root: Path) -> Path:
    Project.init(root, "research").close()
    config = root / "mien.toml"
    config.write_text(config.read_text().replace("[analysis]\n", TERMS))
    return root


def dump(root: Path) -> str:
    with Store(root) as store:
        assert store.integrity() == []
        return canonical_dump(store)


def ran(root: Path, inputs, **terms) -> str:
    with contextlib.closing(Project.open(project(root), {"run": terms})) as opened:
        assert opened.run(inputs).failed == 0
    return dump(root)


@pytest.fixture(scope="module")
def expected(inputs, tmp_path_factory) -> str:
    """The dump of threads side by side in this process."""
    root = tmp_path_factory.mktemp("inline") / "project"
    found = ran(root, inputs, runner="inline", workers=2)
    with Store(root) as store:
        assert len(store.query("SELECT id FROM clips")[1]) >= 3
        done = {row.stage for row in store.stages() if row.state == "ok"}
    left_out = {"words", "events", "descriptors", "actions"}  # slots that are off by default
    assert {s.name for s in STAGES} - left_out <= done, "the whole default stack"
    return found


def test_one_thread_gives_the_same(inputs, expected, tmp_path):
    assert ran(tmp_path / "one", inputs, runner="inline", workers=1) == expected


def test_two_processes_give_the_same(inputs, expected, tmp_path):
    assert ran(tmp_path / "processes", inputs, runner="process", workers=2) == expected


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra: pip install 'mien[ray]'")
def test_ray_gives_the_same_although_a_worker_dies_says_little_and_leaves_nothing(inputs, expected, tmp_path):
    psutil = pytest.importorskip("psutil")
    root = project(tmp_path / "ray")
    terms = ["run", "--json", "--runner", "ray", "--workers", "2"]
    killed = 0
    with (
        tempfile.TemporaryDirectory(prefix="m-") as folder,  # sockets want short names
        (tmp_path / "talk").open("w+") as talk,
        subprocess.Popen(
            [*COMMAND, "-C", str(root), *terms, *map(str, inputs)],
            stdout=subprocess.PIPE,
            stderr=talk,
            text=True,
            env={**os.environ, "TMPDIR": folder},
        ) as run,
    ):
        watched = psutil.Process(run.pid)
        assert run.stdout is not None
        for line in run.stdout:
            event = json.loads(line)
            if not killed and event["event"] == "stage" and event["unit"].startswith("clip-"):
                killed = kill_one_at_work(watched)
        run.wait()
        assert not [*Path(folder).glob("mien-ray*")]
        talk.seek(0)
        said = talk.read()
    assert run.returncode == 0, said
    assert killed
    assert dump(root) == expected
    assert not {"Traceback", "WARNING", "ERROR"} & set(said.replace(":", " ").split())


def kill_one_at_work(watched) -> int:
    """End an actor in the middle of a clip, as the system does where memory is short; its process id, or 0."""
    for child in watched.children(recursive=True):
        with contextlib.suppress(Exception):
            if "MapWorker" in (title := " ".join(child.cmdline())) and "submit" in title:
                child.kill()
                return child.pid
    return 0


class Faked:
    """The crew of this process, with one of the faults that a distributed one might have."""

    def __init__(self, fault: str, crew) -> None:
        self.fault, self.crew, self.room, self.busy = fault, crew, True, False
        self.seen = 0
        self.first: dict | None = None

    def __getattr__(self, name):
        return getattr(self.crew, name)

    def finished(self, *, wait):
        return [dataclasses.replace(f, outcomes=self.spoiled(dict(f.outcomes))) for f in self.crew.finished(wait=wait)]

    def spoiled(self, outcomes):
        sound = outcomes["sound"]
        assert isinstance(sound, Done)
        self.seen += 1
        if self.seen > 1:
            return outcomes
        ((name, table),) = sound.tables.items()
        if self.fault == "drops a batch":
            table = table.slice(0, table.num_rows - 8)
        elif self.fault == "swaps order":
            order = np.arange(table.num_rows)
            order[[3, 4]] = 4, 3
            at = table.schema.get_field_index("t_us")
            table = table.take(order).set_column(at, table.schema.field(at), table.column(at))
        elif self.fault == "alters one value":
            at = table.schema.get_field_index("energy_dbfs")
            values = table.column(at).to_numpy().copy()
            values[3] += np.float32(1e-5)
            assert values[3] != table.column(at)[3].as_py()
            table = table.set_column(at, table.schema.field(at), pa.array(values))
        return outcomes | {"sound": dataclasses.replace(sound, tables={name: table})}


def test_a_crew_that_alters_anything_is_caught(demo_laugh, tmp_path, monkeypatch):
    dumps = {}
    for n, fault in enumerate(("none", "drops a batch", "swaps order", "alters one value")):
        made: list[Faked] = []
        monkeypatch.setattr(run, "crew_for", lambda *a, f=fault, m=made: m.append(Faked(f, crew_for(*a))) or m[0])
        dumps[fault] = ran(tmp_path / str(n), [demo_laugh], runner="inline", workers=1)
        assert made[0].seen > 1
    assert ran(tmp_path / "real", [demo_laugh], runner="inline", workers=1) == dumps["none"]
    assert [fault for fault, found in dumps.items() if found == dumps["none"]] == ["none"]
