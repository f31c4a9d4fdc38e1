"""Hundreds of kill -9 over `run` and `retry`, of the run itself, of its workers and of its decoders.

No models, so that a kill costs little: what is killed is the same command, engine, store and decoder as ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.pipeline import Project
from mien.pipeline.config import Stack
from mien.store import Store, canonical_dump
from mien.testing.media import Recipe, make

MARK = "MIEN_TEST_OF_KILLS"  # in the environment of a run and of whatever it starts
CREWS = {
    "inline": {"MIEN_RUN__RUNNER": "inline"},
    "process": {"MIEN_RUN__RUNNER": "process", "MIEN_RUN__WORKERS": "2"},
}


class Killing:
    """A project, its inputs (one of them is no media), and what an uninterrupted run makes of them."""

    def __init__(self, folder: Path, crew: str, seconds: float = 3.0) -> None:
        self._folder, self._crew = folder, crew
        self.inputs = [make(folder / "clip.mp4", Recipe(seconds=seconds, fps=10)).path, folder / "bad.mp4"]
        self.inputs[1].write_bytes(b"this is no film\n" * 200)
        whole, began = self.project("whole"), time.monotonic()
        _, talk, self.everything = self.ended(self.start(whole, "run"))
        assert '"done"' in talk
        self.whole_s, self.expected = time.monotonic() - began, self.dump(whole)

    def project(self, name: str) -> Path:
        root = self._folder / name
        Project.init(root, "research").close()
        text = (root / "mien.toml").read_text().split("[analysis]")[0]
        off = "".join(f'{slot} = "off"\n' for slot in Stack.model_fields)
        (root / "mien.toml").write_text(f"{text}[analysis]\nmax_clip_s = 2.0\n[stack]\n{off}")
        return root

    def start(self, root: Path, command: str) -> subprocess.Popen[str]:
        inputs = map(str, self.inputs if command == "run" else ())
        mark = {MARK: str(root)}
        return subprocess.Popen(
            [sys.executable, "-m", "mien", "-C", str(root), command, "--json", *inputs],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **CREWS[self._crew], **mark},
        )

    @staticmethod
    def ended(run: subprocess.Popen[str]) -> tuple[int, str, set[tuple[str, str]]]:
        """Exit code, what it said, and what it acknowledged (the last line may be torn)."""
        talk, _ = run.communicate(timeout=300)
        events = [json.loads(line) for line in talk.splitlines() if line.endswith("}")]
        return run.returncode, talk, {(e["unit"], e["stage"]) for e in events if e["event"] == "stage"}

    @staticmethod
    def dump(root: Path) -> str:
        with Store(root) as store:
            assert store.integrity() == []
            return canonical_dump(store)

    def check(self, root: Path, known: set[tuple[str, str]]) -> None:
        with Store(root) as store:
            assert store.integrity() == []
            lost = known - {(s.unit, s.stage) for s in store.stages() if s.key}
        assert not lost


def alive(root: Path, *kinds: str) -> list[int]:
    """Processes that a run of this project started, of these kinds (parts of their command lines), or all."""
    mark, found = f"{MARK}={root}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().decode(errors="replace")
                if command and (not kinds or any(k in command for k in kinds)):
                    found.append(int(folder.name))
    return found


def gone_after(root: Path) -> float:
    """How many seconds it takes until nothing that a run started is left; fails after 30."""
    began = time.monotonic()
    while alive(root):
        assert time.monotonic() < began + 30
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("crew", CREWS)
def test_a_hundred_kills_of_run_and_retry_lose_nothing(tmp_path: Path, crew: str) -> None:
    """100 for each crew."""
    killing, draw = Killing(tmp_path, crew), random.Random(20261122)
    kills = rounds = 0
    waits: list[float] = []
    while kills < 100:
        rounds += 1
        root, known = killing.project(f"round-{rounds}"), set[tuple[str, str]]()
        for command in ("run", "retry"):
            for attempt in range(50):
                run = killing.start(root, command)
                if kills < 100 and attempt < 6:
                    time.sleep(draw.uniform(0.3, 1.0) * killing.whole_s)
                    kills += run.poll() is None
                    run.kill()
                code, _, acknowledged = killing.ended(run)
                waits.append(gone_after(root))
                known |= acknowledged
                killing.check(root, known)
                if code >= 0:
                    break
            assert killing.dump(root) == killing.expected
        with Store(root) as store:
            assert killing.everything <= {(s.unit, s.stage) for s in store.stages()}
    print(f"{crew}: {kills} kills in {rounds} rounds, 0 lost; all children gone {max(waits):.2f} s after at most")


def killed_children(killing: Killing, root: Path, kind: str, draw: random.Random, most: int) -> int:
    """A run of which children of a kind are killed at random moments; how many were."""
    run, kills = killing.start(root, "run"), 0
    while run.poll() is None:
        time.sleep(draw.uniform(0.02, 0.3))
        children = [pid for pid in alive(root, kind) if pid != run.pid]
        if children and kills < most and draw.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(children), signal.SIGKILL)
                kills += 1
    killing.ended(run)
    assert gone_after(root) < 30
    return kills


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("wanted", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_a_decoder_that_is_killed_costs_at_most_a_retry(tmp_path: Path, wanted: int) -> None:
    killing, draw = Killing(tmp_path, "inline"), random.Random(7)
    kills = rounds = mended = 0
    while kills < wanted:
        rounds += 1
        root = killing.project(f"round-{rounds}")
        kills += killed_children(killing, root, "mien.media", draw, 1)
        with Store(root) as store:
            codes = {s.code for s in store.stages() if s.state == "failed"} - {"media.unknown-format"}
        assert codes <= {"media.decoder-died"}
        if killing.dump(root) != killing.expected:
            assert codes
            mended += 1
            killing.ended(killing.start(root, "retry"))
        assert killing.dump(root) == killing.expected
    print(f"{kills} decoders killed in {rounds} runs: {rounds - mended} were whole, {mended} after a retry")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    killing, draw = Killing(tmp_path, "process", seconds=6.0), random.Random(7)
    kills = rounds = 0
    while kills < 25:
        rounds += 1
        root = killing.project(f"round-{rounds}")
        kills += killed_children(killing, root, "engine.worker", draw, 1)
        assert killing.dump(root) == killing.expected
    print(f"{kills} workers killed in {rounds} runs: every run was whole")
