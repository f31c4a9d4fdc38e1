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
from collections.abc import Iterator
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


class Run:
    """A `mien` command under way."""

    def __init__(self, server: subprocess.Popen[str], out: Path, arguments: list[str], environment: dict[str, str]):
        assert server.stdin is not None and server.stdout is not None  # noqa: PT018
        self._server, self._out, self._code = server, out, None
        print(json.dumps([arguments, environment, str(out)]), file=server.stdin, flush=True)
        self.pid = int(server.stdout.readline())

    @property
    def over(self) -> bool:
        """Whether it has ended, or is about to be told so."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    @property
    def lines(self) -> int:
        """How many events it has told of."""
        return self._out.read_bytes().count(b"\n") if self._out.exists() else 0

    def kill(self) -> bool:
        """Whether it was still there to be killed."""
        there = not self.over
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return there

    def ended(self) -> tuple[int, set[tuple[str, str]]]:
        """Exit code (negative: killed), and what it acknowledged (the last line may be torn)."""
        assert self._server.stdout is not None
        code = int(self._server.stdout.readline())
        events = [json.loads(line) for line in self._out.read_text().splitlines() if line.endswith("}")]
        return code, {(e["unit"], e["stage"]) for e in events if e["event"] == "stage"}


class Killing:
    """A project, its inputs (one of them is no media), and what an uninterrupted run makes of them."""

    def __init__(self, folder: Path, crew: str, seconds: float = 3.0) -> None:
        self._folder, self._crew, self._count = folder, crew, 0
        self.inputs = [make(folder / "clip.mp4", Recipe(seconds=seconds, fps=10)).path, folder / "bad.mp4"]
        self.inputs[1].write_bytes(b"this is no film\n" * 200)
        command = [sys.executable, Path(__file__).with_name("kill_server.py"), folder / "modules"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start(self.project("first"), "run").ended()
        whole, began = self.project("whole"), time.monotonic()
        run = self.start(whole, "run")
        code, self.everything = run.ended()
        self.lines = run.lines
        assert (code, len(self.everything) > 10) == (1, True)  # 1: the bad one failed
        self.whole_s, self.expected = time.monotonic() - began, self.dump(whole)

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()

    def project(self, name: str) -> Path:
        root = self._folder / name
        Project.init(root, "research").close()
        text = (root / "mien.toml").read_text().split("[analysis]")[0]
        off = "".join(f'{slot} = "off"\n' for slot in Stack.model_fields)
        (root / "mien.toml").write_text(f"{text}[analysis]\nmax_clip_s = 2.0\n[stack]\n{off}")
        return root

    def start(self, root: Path, command: str) -> Run:
        self._count += 1
        inputs = map(str, self.inputs if command == "run" else ())
        arguments = ["-C", str(root), command, "--json", *inputs]
        return Run(self._server, self._folder / f"{self._count}.out", arguments, {**CREWS[self._crew], MARK: str(root)})

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


@pytest.fixture
def killing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Killing]:
    crew, seconds = request.param
    made = Killing(tmp_path, crew, seconds)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("killing", "wanted"), [(("inline", 3.0), 150), (("process", 3.0), 50)], indirect=["killing"])
def test_two_hundred_kills_of_run_and_retry_lose_nothing(killing: Killing, wanted: int) -> None:
    draw = random.Random(20261122)
    kills = rounds = 0
    waits: list[float] = []
    while kills < wanted:
        rounds += 1
        root, known = killing.project(f"round-{rounds}"), set[tuple[str, str]]()
        for command in ("run", "retry"):
            for attempt in range(50):
                run = killing.start(root, command)
                if kills < wanted and attempt < 6:
                    after = draw.randrange(killing.lines)  # events, as the speed of a busy machine changes
                    while run.lines < after and not run.over:
                        time.sleep(0.002)
                    time.sleep(draw.uniform(0, 0.05))
                    kills += run.kill()
                code, acknowledged = run.ended()
                waits.append(gone_after(root))
                known |= acknowledged
                killing.check(root, known)
                if code >= 0:
                    break
            assert killing.dump(root) == killing.expected
        with Store(root) as store:
            assert killing.everything <= {(s.unit, s.stage) for s in store.stages()}
    late = sum(w > 2 for w in waits)
    print(f"{kills} kills in {rounds} rounds, 0 lost; children gone after {max(waits):.2f} s at most, {late} after 2 s")


def killed_child(killing: Killing, root: Path, kind: str, draw: random.Random) -> int:
    """A run of which one child of a kind is killed at a random moment; how many were."""
    run, kills, at = killing.start(root, "run"), 0, time.monotonic() + draw.uniform(0, 0.8) * killing.whole_s
    while not run.over:
        time.sleep(0.01)
        children = alive(root, kind)
        if children and not kills and time.monotonic() > at:
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(children), signal.SIGKILL)
                kills += 1
    run.ended()
    gone_after(root)
    return kills


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("killing", "wanted"),
    [(("inline", 3.0), 1), pytest.param(("inline", 3.0), 25, marks=pytest.mark.slow)],
    indirect=["killing"],
)
def test_a_decoder_that_is_killed_costs_at_most_a_retry(killing: Killing, wanted: int) -> None:
    draw = random.Random(7)
    kills = rounds = mended = 0
    while kills < wanted:
        rounds += 1
        root = killing.project(f"round-{rounds}")
        kills += killed_child(killing, root, "mien.media", draw)
        with Store(root) as store:
            codes = {s.code for s in store.stages() if s.state == "failed"} - {"media.unknown-format"}
        assert codes <= {"media.decoder-died"}
        if killing.dump(root) != killing.expected:
            assert codes
            mended += 1
            killing.start(root, "retry").ended()
        assert killing.dump(root) == killing.expected
    print(f"{kills} decoders killed in {rounds} runs: {rounds - mended} were whole, {mended} after a retry")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("killing", [("process", 6.0)], indirect=True)
def test_a_worker_that_is_killed_changes_nothing(killing: Killing) -> None:
    draw = random.Random(7)
    kills = rounds = 0
    while kills < 25:
        rounds += 1
        root = killing.project(f"round-{rounds}")
        kills += killed_child(killing, root, "engine.worker", draw)
        assert killing.dump(root) == killing.expected
    print(f"{kills} workers killed in {rounds} runs: every run was whole")
