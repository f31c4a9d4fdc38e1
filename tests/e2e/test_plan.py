"""`mien plan` against what the runner then does, on real footage."""

import hashlib
import json

import pytest
from test_export import command

from mien.pipeline import Event, Project
from mien.pipeline.config import load
from mien.policy import WAITING_CODE


def did(project, inputs=()) -> set[tuple[str, str]]:
    """(clip, stage) that a run really did."""
    done: set[tuple[str, str]] = set()

    def listen(event: Event) -> None:
        if event.kind == "stage" and event.text == "ok" and event.unit.startswith("clip-"):
            done.add((event.unit, event.stage))

    project.run(inputs, listener=listen)
    return done


def promised(project, inputs=()) -> dict[str, int]:
    return {s.stage: s.clips["to do"] for s in project.plan(inputs).stages if s.clips.get("to do")}


def counted(done: set[tuple[str, str]]) -> dict[str, int]:
    return {stage: sum(s == stage for _, s in done) for stage in {s for _, s in done}}


@pytest.mark.parametrize("context", ["research", "care"])
def test_the_runner_does_exactly_what_the_plan_said(short_real_clip, tmp_path, context):
    project = Project.init(tmp_path / "p", context)
    project.config, _ = load(project.root, {"analysis": {"fps": 2.0}})
    promise = promised(project, [short_real_clip])
    assert counted(did(project, [short_real_clip])) == promise
    found = project.plan([short_real_clip])
    assert promised(project) == {}
    assert [(i.state, i.code) for i in found.inputs] == [("known", "")]
    waits = {s.stage for s in found.stages if s.state == "waiting"}
    assert waits == {s.stage for s in project.store.stages() if s.state == WAITING_CODE}
    assert bool(waits) is (context == "care")
    changes = (
        {"adapters": {"face.centerface": {"min_score": 0.5}}},
        {"analysis": {"fps": 2.0, "window_s": 1.0}},
        {"stack": {"landmarks": "off"}},
        {"fusion": {"thresholds": {"commit": 0.6}}},
    )
    for change in changes:
        project.config, _ = load(project.root, {"analysis": {"fps": 2.0}, **change})
        promise = promised(project)
        assert counted(did(project)) == promise, change
        assert promised(project) == {}
    project.close()


def test_a_plan_writes_nothing_and_says_the_same_as_a_dry_run(short_real_clip, tmp_path):
    root = tmp_path / "p"
    Project.init(root, "research").close()
    (tmp_path / "bad.mp4").write_bytes(b"nothing of a film")

    def state() -> dict[str, str]:
        files = [p for p in root.rglob("*") if p.is_file() and p.suffix not in (".db-shm", ".db-wal")]
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    before = state()
    said = json.loads(command("plan", short_real_clip, tmp_path / "bad.mp4", "--json", root=root).stdout)
    assert {(i["state"], i["code"]) for i in said["inputs"]} == {("new", ""), ("rejected", "media.unknown-format")}
    todo = [s for s in said["stages"] if s["state"] == "to do"]
    assert [s["stage"] for s in said["stages"] if s not in todo] == ["actions", "words", "events", "descriptors"]
    assert all(s["basis"] == "reference" for s in todo)
    assert said["predicted_s"] > 0
    assert said["predicted_mb"] > 0
    assert said["clips_estimated"] is True
    assert all(m["licences"]["weights"] for m in said["models"])
    dry = command("run", "--dry-run", short_real_clip, tmp_path / "bad.mp4", "--json", root=root)
    assert json.loads(dry.stdout) == said
    told = command("plan", short_real_clip, tmp_path / "bad.mp4", root=root)
    assert "would be refused: bad.mp4" in told.stderr
    assert "reference figures of another machine" in told.stderr
    assert "objects" in told.stdout
    assert state() == before


def test_a_second_similar_input_is_predicted_from_the_first(short_real_clip, tmp_path):
    """Only where the figures come from; how good they are is measured by `python -m bench forecast`."""
    project = Project.init(tmp_path / "p", "research")
    project.config, _ = load(project.root, {"analysis": {"fps": 2.0}})
    project.run([short_real_clip])
    other = tmp_path / "other.mp4"
    other.write_bytes(short_real_clip.read_bytes() + b"\0")
    found = project.plan([other])
    assert found.time_basis == "measured in this project"
    assert found.predicted_s > 2
    assert [i.state for i in found.inputs] == ["new"]
    project.close()
