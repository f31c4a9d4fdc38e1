"""The bench of many clips, on a scripted one: costs do not grow, a resume reads no array, copies are what they copy."""

import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bench import scale
from bench.scale_made import ScriptedRunner, Template, fill, multiply
from bench.scale_page import lines_of, plot
from mien.core import Clip, Observation, Source, Span, content_id
from mien.pipeline import Project
from mien.pipeline.config import load
from mien.store import StageResult, Store

SHA = "5" * 64
CLIP = content_id("clip", "scripted")
AT = {"run_id": "run-0", "at_utc": "2026-01-01T00:00:00.000+00:00"}


def observed(target: str, at: int) -> Observation:
    said = (("a", 0.25), ("b", 0.75))
    name = content_id("obs", target, at)
    return Observation(name, CLIP, None, Span(at, at + 10), target, 0.5, None, "0..1", said, 0.9, 3, "scripted@1")


@pytest.fixture(scope="module")
def template() -> Template:
    config = load(None, {"project": {"context": "research"}})[0]
    source = Source(SHA, "/m/a.mp4", "video", 9, 10_000_000, 640, 360, 25.0, 16_000, 1, "research")
    times = pa.array([0, 1, 2], pa.int64())
    tables = {
        "motion": {f"motion/{CLIP}": pa.table({"t_us": times, "value": pa.array([0.1, 0.2, 0.3], pa.float32())})},
        "explicit": {},
        "scene": {
            f"scene/{CLIP}": pa.table({"value": pa.array(np.ones(8, np.float32))}),
            f"hashes/{CLIP}": pa.table({"hash": ["00000000000000ff"] * 5}),
        },
    }
    with Store(None) as store:
        clip = Clip(CLIP, SHA, Span(0, 10_000_000), "start", "end", "shots")
        store.commit(StageResult(SHA, "clips", "k", [source, clip]), **AT)
        for stage, held in tables.items():
            records = [observed(f"{stage}.level", i) for i in range(3)]
            if stage == "explicit":
                records = [replace(observed("explicit.max", 0), value=0.01, dist=())]
            store.commit(StageResult(CLIP, stage, "k", records, held), **AT)
        return Template(store, config)


def filled(template: Template, root: Path, clips: int) -> Path:
    Project.init(root, "research").close()
    with Store(root, write=True) as store:
        fill(store, template, range(clips))
    return root


def test_a_cost_is_measured_at_every_size_and_no_clip_costs_more_statements(template, tmp_path, monkeypatch):
    for name, value in (("COMMITTED", 5), ("MORE", 4), ("EXPORTED", 5), ("COMPARED", 20)):
        monkeypatch.setattr(scale, name, value)
    found = [scale.measure(template, n, tmp_path) | {"rows": 9.0, "tables": 3.0} for n in (8, 24, 40)]
    for name in ("resume statements", "queue statements"):
        assert found[-1][name] <= 1.05 * found[0][name], name
    assert {"compare" in f for f in found[:1]} == {True}
    assert "compare" not in found[-1], "too many to compare all with all"
    assert all(f["files"] == 0 for f in found), "small tables are in the database"
    lines = lines_of(found)
    assert sum(line.endswith(("| met |", "| missed |")) for line in lines) == 7
    plot(found, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().count("<polyline") == 7


def test_a_copied_clip_is_what_the_store_would_have_committed(template, tmp_path):
    one, two = filled(template, tmp_path / "one", 6), filled(template, tmp_path / "two", 2)
    multiply(two, template, range(2, 6), varied=True)

    def rows(root: Path) -> list[str]:
        db = sqlite3.connect(root / "mien.db")
        held: list[str] = []
        for table in ("sources", "clips", "observations", "stages", "arrays", "packed"):
            for row in db.execute(f"SELECT * FROM {table}"):  # noqa: S608 - our own names
                told = re.sub(r"obs-[0-9a-f]{15}", "obs", repr((table, row)))
                held.append(re.sub(r"\d{4}-\d\d-\d\dT[^']*", "then", told))
        db.close()
        return sorted(held)

    assert rows(one) == rows(two)


def test_a_resume_reads_no_array_and_does_what_is_missing(template, tmp_path, monkeypatch):
    root = filled(template, tmp_path / "p", 4)
    with Store(root, write=True) as store:
        ScriptedRunner(store, template.config).run()  # compares the clips
        asked: list[str] = []
        table = Store.table
        monkeypatch.setattr(Store, "table", lambda self, name: asked.append(name) or table(self, name))
        runner = ScriptedRunner(store, template.config)
        runner.run()
        assert (runner.counts[0], asked) == (0, [])
        clip = template.clip(2)
        store.forget_stages([(clip.clip.id, "motion")])
        runner.crew.made = {clip.clip.id: clip}
        runner.run()
        assert runner.counts[0] >= 1
        assert store.stage(clip.clip.id, "motion").attempt == 2


def test_status_asks_as_much_of_many_clips_as_of_few(template, tmp_path):
    def statements(clips: int) -> int:
        project = Project.open(filled(template, tmp_path / str(clips), clips))
        said: list[str] = []
        project.store._db.set_trace_callback(said.append)
        assert len(project.status()["sources"]) == clips
        project.close()
        return len(said)

    assert statements(3) == statements(9)
