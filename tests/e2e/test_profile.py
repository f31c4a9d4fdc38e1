"""A real run with real weights, looked at: its trace, its table, and what another process sees meanwhile."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections import defaultdict

import pytest

from mien.pipeline import Project

# One worker, and few models: what is shown here is where time goes, not what the models say.
OFF = ("OBJECTS", "POSE", "LANDMARKS", "AGE", "SCENE", "PITCH", "VOICE_EMBEDDING")
FEW = {f"MIEN_STACK__{slot}": "off" for slot in OFF}
ENV = {**os.environ, **FEW, "MIEN_OPINIONS__EXPRESSION": "[]", "MIEN_RUN__RUNNER": "process", "MIEN_RUN__WORKERS": "1"}
EDGE_US = 0.002  # a µs has three decimals in the file


def mien(root, *args: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mien", "-C", str(root), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)


@pytest.fixture(scope="module")
def seen(short_real_clip, tmp_path_factory):
    """(project folder, JSON lines of the run, its talk, JSON lines of a watcher, its exit status)."""
    folder = tmp_path_factory.mktemp("seen")
    root, video = folder / "p", folder / "Anna Smith.mp4"
    video.write_bytes(short_real_clip.read_bytes())
    Project.init(root, "research").close()
    with mien(root, "status", "--watch", "--every", "0.25", "--json") as watching:
        first = watching.stdout.readline()
        with mien(root, "run", "--json", "--profile", str(video)) as run:
            out, talk = run.communicate()
            assert run.returncode == 0, talk
        watching.send_signal(signal.SIGINT)
        told = [first, *watching.communicate()[0].splitlines()]
    return root, [json.loads(x) for x in out.splitlines()], talk, [json.loads(x) for x in told], watching.returncode


@pytest.fixture(scope="module")
def trace(seen) -> list[dict]:
    return json.loads(gzip.decompress((seen[0] / "profile.json.gz").read_bytes()))["traceEvents"]


def tracks(events: list[dict]) -> dict[tuple[int, int], list[dict]]:
    found: dict[tuple[int, int], list[dict]] = defaultdict(list)
    for e in events:
        if e["ph"] == "X":
            found[e["pid"], e["tid"]].append(e)
    return found


def test_spans_nest_on_every_track(trace):
    assert len(tracks(trace)) >= 2
    for events in tracks(trace).values():
        open_: list[float] = []
        for e in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
            while open_ and open_[-1] <= e["ts"] + EDGE_US:
                open_.pop()
            end = e["ts"] + e["dur"]
            assert not open_ or end <= open_[-1] + EDGE_US, e
            open_.append(end)


def test_the_spans_explain_the_time_of_a_worker(trace):
    """Between the first and the last span of the worker, at least 90 % lies in what the table has a column for."""
    named = {e["pid"]: e["args"]["name"] for e in trace if e["name"] == "process_name"}
    (worker,) = [pid for pid, name in named.items() if name == "worker 1"]
    mine = [e for e in trace if e["ph"] == "X" and e["pid"] == worker]
    wall = max(e["ts"] + e["dur"] for e in mine) - min(e["ts"] for e in mine)
    parts = sorted((e["ts"], e["ts"] + e["dur"]) for e in mine if e["cat"] in ("stage", "decode", "load", "wait"))
    covered, reached = 0.0, 0.0
    for start, end in parts:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    assert covered >= 0.9 * wall
    inner = {e["cat"] for e in mine}
    assert inner >= {"clip", "stage", "model", "infer", "decode", "load", "preprocess", "post"}


def test_every_process_counts_its_memory_and_the_writer_its_speed(trace):
    counted = defaultdict(set)
    for e in trace:
        if e["ph"] == "C":
            counted[e["name"]].add(e["pid"])
            assert all(value >= 0 for value in e["args"].values())
    assert len(counted["resident MB"]) == 2
    assert len(counted["clips under way"]) == len(counted["× real time"]) == 1


def test_the_table_agrees_with_the_trace(seen, trace):
    (profile,) = [line for line in seen[1] if line["event"] == "profile"]
    rows = {row["stage"]: row for row in profile["stages"]}
    assert profile["dropped"] == 0
    inferring = sum(e["dur"] for e in trace if e["ph"] == "X" and e["cat"] == "infer") / 1000
    assert sum(row["infer"] for row in rows.values()) >= 0.99 * inferring > 0
    assert sum(row["calls"] for row in rows.values()) == sum(e["ph"] == "X" and e["cat"] == "infer" for e in trace)
    for stage in ("faces", "explicit", "expression"):
        assert rows[stage]["infer"] > 0
        assert rows[stage]["write"] > 0
    for rule in ("motion", "quality", "signals"):
        assert rows[rule]["calls"] == rows[rule]["infer"] == 0 < rows[rule]["post"]
    assert rows["pictures"]["decode"] > 0 < rows["scan"]["wait"]
    assert rows["faces"]["ms_per_media_s"] > 0


def test_the_trace_names_no_file_and_no_folder(seen, trace):
    text = json.dumps(trace)
    assert "Anna" not in text
    assert str(seen[0]) not in text
    assert "/" not in "".join(e["name"] for e in trace)


def test_another_process_sees_the_run_and_leaves_cleanly(seen):
    *_, told, code = seen
    assert code == 0
    assert told[0]["state"] == "idle"
    running = [t for t in told if t["state"] == "running"]
    assert running
    assert all(t["holder"]["command"].startswith("mien -C") for t in running)
    assert any(t["under_way"] and t["under_way"][0]["name"].startswith("Anna Smith.mp4") for t in running)
    assert any(t["memory_mb"]["processes"] >= 1 for t in running)
    assert told[-1]["state"] in ("idle", "running", "writing")
    assert not list(seen[0].glob(".mien.progress*"))


def test_a_table_for_people_and_no_file_unless_asked(short_real_clip, tmp_path):
    Project.init(tmp_path / "p", "research").close()
    off = {f"MIEN_STACK__{slot}": "off" for slot in ("FACES", "EXPLICIT", "VAD")}
    command = [sys.executable, "-m", "mien", "-C", str(tmp_path / "p"), "run", str(short_real_clip)]
    wanted = ["--profile-out", str(tmp_path / "t.json"), "--metrics-port", "0"]
    quick = {**ENV, **off, "MIEN_RUN__RUNNER": "inline"}
    looked = subprocess.run([*command, *wanted], capture_output=True, text=True, check=True, env=quick)
    assert looked.stdout == ""
    assert "metrics: http://127.0.0.1:" in looked.stderr
    (heads,) = [line for line in looked.stderr.splitlines() if line.startswith("stage ")]
    assert heads.split() == "stage wait decode load preprocess infer post write calls ms/s".split()  # noqa: SIM905
    assert [line for line in looked.stderr.splitlines() if line.startswith("motion ")]
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True, env=quick)
    assert "trace" not in plain.stderr
    assert not list((tmp_path / "p").glob("profile*"))
