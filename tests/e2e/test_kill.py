"""kill -9 at random moments: nothing acknowledged is lost, and the end result is that of an uninterrupted run."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

import mien
from mien.pipeline import Project
from mien.store import Store, canonical_dump


def start(root, *inputs) -> subprocess.Popen:
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", *map(str, inputs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def acknowledged(text: str) -> set[tuple[str, str]]:
    """(unit, stage) of every result the run reported as durable. The last line may be torn by the kill."""
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {(e["unit"], e["stage"]) for e in events if e["event"] == "stage"}


def make(root):
    """A project that cuts the short clip into several, so that kills fall into many different states."""
    Project.init(root, "research").close()
    config = root / "mien.toml"
    config.write_text(config.read_text().replace("[analysis]\n", "[analysis]\nmax_clip_s = 2.0\nfps = 3.0\n"))
    return root


def dump(root) -> str:
    with Store(root) as store:
        assert store.integrity() == []
        return canonical_dump(store)


@pytest.mark.timeout(900)
def test_kills_lose_nothing(tmp_path, short_real_clip):
    kills_wanted = 10
    started = time.monotonic()
    reference = start(make(tmp_path / "whole"), short_real_clip)
    everything = acknowledged(reference.communicate()[0])
    assert reference.returncode == 0
    whole_s = time.monotonic() - started
    expected = dump(tmp_path / "whole")
    assert len(everything) > 20

    draw = random.Random(20261122)
    kills = finished = rounds = 0
    while kills < kills_wanted:
        rounds += 1
        root = make(tmp_path / f"round-{rounds}")
        known: set[tuple[str, str]] = set()
        while True:
            run = start(root, short_real_clip)
            if kills < kills_wanted:
                try:
                    out, _ = run.communicate(timeout=draw.uniform(0.2, 1.0) * whole_s)
                except subprocess.TimeoutExpired:
                    run.kill()
                    kills += 1
                    out, _ = run.communicate()
            else:
                out, _ = run.communicate()
            known |= acknowledged(out)
            with Store(root) as store:
                assert store.integrity() == []
                held = {(s.unit, s.stage) for s in store.stages() if s.key}
            assert known <= held, f"acknowledged and lost: {known - held}"
            if run.returncode == 0:
                finished += 1
                # A commit whose acknowledgement died with the process is there, too: held, not said again.
                assert everything <= held
                assert dump(root) == expected
                break
    assert finished == rounds


def test_a_second_run_does_nothing_and_a_changed_setting_does_only_what_it_touches(tmp_path, short_real_clip):
    root = make(tmp_path / "project")
    first = acknowledged(start(root, short_real_clip).communicate()[0])
    assert acknowledged(start(root).communicate()[0]) == set()
    config = root / "mien.toml"
    config.write_text(config.read_text() + '\n[adapters."expression.minixception"]\ntemperature = 1.7\n')
    again = {stage for _, stage in acknowledged(start(root).communicate()[0])}
    assert again == {"expression", "affect", "assess", "claims"}
    assert {stage for _, stage in first} > again


def test_ctrl_c_says_how_to_go_on_and_leaves_a_consistent_project(tmp_path, short_real_clip):
    root = make(tmp_path / "project")
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", str(short_real_clip)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if json.loads(line)["event"] == "stage":
            break
    run.send_signal(signal.SIGINT)
    _, talk = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "the project is consistent" in talk
    assert "Traceback" not in talk
    with Store(root) as store:
        assert store.integrity() == []
    again = start(root)
    again.communicate()
    assert again.returncode == 0
    with mien.open(root) as project:
        assert project.status()["failures"] == []
