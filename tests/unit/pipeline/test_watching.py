"""What others see of a run: the trace file, the progress, the metrics."""

import gzip
import json
import os
import sys
import urllib.request
from pathlib import Path

import pytest

from mien.cli.watching import watched
from mien.core import MienError, probe
from mien.pipeline import Event, Project, silent
from mien.pipeline.watching import Profile, Progress, look
from mien.pipeline.watching.progress import FILE
from mien.pipeline.watching.trace import TraceFile
from mien.store import Store

EVENTS = (
    Event("plan", total_s=30.0, text="3 source(s)"),
    Event("begun", "clip-a", "faces,motion", clip_s=10.0),
    Event("stage", "clip-a", "faces", text="ok", ms=1500.0),
    Event("failed", "clip-a", "motion", text="Anna.mp4: [media.corrupt] x", code="media.corrupt"),
    Event("progress", "clip-a", done_s=10.0, total_s=30.0),
    Event("ended", "clip-a", clip_s=10.0),
    Event("begun", "clip-b", "faces", clip_s=10.0),
    Event("ended", "clip-b", text="again", clip_s=0.0),  # stage by stage: one of several passes
    Event("begun", "clip-b", "faces", clip_s=10.0),
)


def read(path) -> dict:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(data)


def filled(path, notes: int, ms: float = 1.0, most: int = 1000) -> TraceFile:
    trace = TraceFile(path, most)
    made = [("stage", "faces", 7, k * 1_000_000, round(ms * 1e6), "clip-a") for k in range(notes)]
    trace.add(probe.Taken(42, "worker 1", {7: "mien-faces"}, made, {}, 3))
    trace.close()
    return trace


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_trace_is_json_with_names_for_its_tracks(tmp_path, name):
    filled(tmp_path / name, 2)
    filled(tmp_path / name, 2)  # an older trace is replaced
    found = read(tmp_path / name)
    named = {(e["pid"], e["tid"], e["args"]["name"]) for e in found["traceEvents"] if e["name"].endswith("_name")}
    assert named == {(42, 0, "worker 1"), (42, 7, "mien-faces")}
    spans = [e for e in found["traceEvents"] if e["ph"] == "X"]
    assert [(e["name"], e["dur"], e["args"]) for e in spans] == [("faces", 1000, {"clip": "clip-a"})] * 2
    assert found["otherData"]["dropped"] == 3


def test_the_fuller_the_file_the_longer_a_span_must_be_and_the_rest_is_counted(tmp_path):
    short, long = filled(tmp_path / "s.json", 2000, 0.5), filled(tmp_path / "l.json", 2000, 20)
    assert 490 <= short.written <= 500, "half full: no more short ones"
    assert 990 <= long.written <= 1000
    assert short.dropped == 3 + 2000 - (short.written - 2)
    assert read(tmp_path / "s.json")["otherData"]["dropped"] == short.dropped


def test_a_trace_that_was_refused_is_not_told_of(tmp_path, capsys):
    terms = {"profile": False, "port": None, "as_json": False}
    with (
        pytest.raises(MienError, match=r"profile\.wrong-name"),
        watched(tmp_path, silent, trace=tmp_path / "clip.mp4", **terms),
    ):
        pass
    assert capsys.readouterr().err == ""
    with watched(tmp_path, silent, trace=tmp_path / "t.json", **terms):
        pass
    assert "t.json" in capsys.readouterr().err


def test_a_file_that_is_no_trace_is_never_written_over(tmp_path):
    mine = tmp_path / "table.json"
    mine.write_text('[{"file": "a.mp4"}]')
    with pytest.raises(MienError, match=r"profile\.not-a-trace"), Profile(mine):
        pass
    assert mine.read_text() == '[{"file": "a.mp4"}]'
    with pytest.raises(MienError, match=r"profile\.wrong-name"), Profile(tmp_path / "clip.mp4"):
        pass
    with pytest.raises(MienError, match=r"profile\.not-writable"), Profile(tmp_path / "no" / "t.json"):
        pass
    assert probe.watcher is None


def test_spans_of_other_processes_come_into_table_and_trace(tmp_path):
    with Profile(tmp_path / "t.json") as profile:
        other = probe.Taken(4711, "worker 1", {9: "MainThread"}, [("stage", "faces", 9, 0, 5_000_000, "clip-a")], {}, 0)
        other.sums["faces", "infer"] = 20_000_000
        probe.absorb(other)
        for event in EVENTS:
            profile.listen(event)
    (row,) = [r for r in profile.rows() if r.stage == "faces"]
    assert row.infer == 20.0
    assert row.ms_per_media_s == 2.0, "of the ten seconds that were settled"
    events = read(tmp_path / "t.json")["traceEvents"]
    assert {e["name"] for e in events if e["ph"] == "C"} >= {"clips under way", "× real time"}
    assert [e["pid"] for e in events if e["ph"] == "X"] == [4711]


def test_spans_of_another_machine_are_told_in_our_time():
    here, far = probe.Watcher(), 3_000_000_000_000
    ours = probe.Watcher("same machine").drain()
    note = ("stage", "faces", 1, 500, 70, "clip-a")
    for zero_ns in (ours.zero_ns, ours.zero_ns + far):
        here.absorb(probe.Taken(1, "actor", {}, [note], {}, 0, zero_ns))
    _, same, other = here.drain_all()
    assert same.notes == [note]
    (moved,) = other.notes
    assert abs(moved[3] - 500 - far) < 1_000_000, "a second there is a second here, three thousand seconds later"
    assert moved[4:] == note[4:]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_a_full_disk_ends_the_trace_and_not_the_run(tmp_path, name):
    with Profile(tmp_path / name) as profile, open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), profile._trace._raw.fileno())
        for k in range(30_000):
            with probe.span("stage", f"stage-{k % 7}"):
                pass
            if k % 5000 == 0:
                profile.listen(EVENTS[0])
    assert "space" in profile.broken
    assert len(profile.rows()) == 7


def test_a_run_in_progress_is_seen_and_gone_with_it(tmp_path):
    Project.init(tmp_path, "research").close()
    with Store(tmp_path) as reader:
        assert look(tmp_path, reader)["state"] == "idle"
        with Store(tmp_path, write=True):
            assert look(tmp_path, reader)["state"] == "writing"
            heard: list[Event] = []
            progress = Progress(tmp_path, "run-1", heard.append)
            for event in EVENTS:
                progress(event)
                progress._written = 0.0
            progress(Event("progress", "clip-b", done_s=12.0, total_s=30.0))
            found = look(tmp_path, reader)
            assert heard[:-1] == list(EVENTS)
            assert found["state"] == "running"
            assert found["clips"] == {"known": 0, "done": 1, "left": 0}
            assert [(w["clip"], w["stages"]) for w in found["under_way"]] == [("clip-b", ["faces"])]
            assert found["failures"] == {"media.corrupt": 1}
            assert found["eta_s"] >= 0
            assert found["times_real_time"] > 0
            assert "Anna" not in (tmp_path / FILE).read_text()
            progress.close()
            assert look(tmp_path, reader)["state"] == "writing"
        assert look(tmp_path, reader)["state"] == "idle"
    assert not list(tmp_path.glob(f"{FILE}*"))


def test_what_was_done_before_does_not_count_as_speed(tmp_path):
    progress = Progress(None, "run-1", lambda _: None)
    for event in (
        Event("plan", total_s=30.0),
        Event("progress", "clip-a", done_s=20.0, total_s=30.0),
        Event("ended", "clip-a", clip_s=20.0),
        Event("begun", "clip-b", "faces", clip_s=10.0),
    ):
        progress(event)
    now = progress._started
    assert now is not None
    assert progress.said(now + 1)["times_real_time"] is None
    progress(Event("progress", "clip-b", done_s=22.0, total_s=30.0))
    said = progress.said(now + 4)
    assert said["times_real_time"] == 0.5
    assert said["eta_s"] == 16.0


def served(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


def test_metrics_are_served_on_this_machine_and_name_nobody():
    pytest.importorskip("prometheus_client")
    from mien.pipeline.watching.metrics import LABELS, Metrics

    with Metrics(0) as metrics:
        assert metrics._server.server_address[0] == "127.0.0.1"
        for event in EVENTS:
            metrics.listen(event)
        metrics.listen(Event("failed", "u", "Room 12", code="Anna Smith fell"))
        found = served(metrics.port)
        with pytest.raises(MienError, match=r"metrics\.port"), Metrics(metrics.port):
            pass
    assert found["mien_clips_total"] == 1
    assert found['mien_stages_total{stage="faces",state="ok"}'] == 1
    assert found['mien_failures_total{code="media.corrupt",stage="motion"}'] == 1
    assert found['mien_failures_total{code="other",stage="other"}'] == 1
    assert found['mien_stage_seconds_bucket{le="3.0",stage="faces"}'] == 1
    assert found['mien_stage_seconds_bucket{le="1.0",stage="faces"}'] == 0
    assert found["mien_queue_clips"] == 1
    assert found["mien_media_total_seconds"] == 30
    assert not [line for line in found for word in ("Anna", "Room") if word in line]
    keys = {pair.split("=")[0] for line in found if "{" in line for pair in line[line.index("{") + 1 : -1].split(",")}
    assert keys <= {*LABELS, "le"}


def test_metrics_without_their_package_say_what_to_install(monkeypatch):
    from mien.pipeline.watching.metrics import Metrics

    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MienError) as caught:
        Metrics(0)
    assert caught.value.hint == "pip install 'mien[metrics]'"
