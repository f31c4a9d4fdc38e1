"""Who does the work, and what becomes of clips when the worker or the model under them fails."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.core import Clip, Failure, MienError, Source, Span
from mien.pipeline import preflight
from mien.pipeline.config import load
from mien.pipeline.engine import crew, process, run
from mien.pipeline.engine.crew import crew_for
from mien.pipeline.engine.hand import Inline
from mien.pipeline.engine.order import by_stage, groups
from mien.pipeline.engine.process import Processes
from mien.pipeline.engine.run import Runner
from mien.pipeline.engine.task import ClipTask, Done, Finished
from mien.pipeline.plan import STAGES, cutting
from mien.pipeline.rows import table
from mien.pipeline.stack import Stack
from mien.store import StageResult, Store

AT = {"run_id": "run-1", "at_utc": "2026-01-01T00:00:00.000+00:00"}
SOURCE = Source("ab" * 32, "film.mp4", "video", 1000, 20_000_000, 640, 360, 25.0, 16000, 1, "research")


def config_of(**run_terms):
    return load(None, {"project": {"context": "research"}, "run": run_terms})[0]


def clips_of(n: int) -> list[Clip]:
    cutter, _, _ = cutting(SOURCE, 60.0)
    step = SOURCE.duration_us // n
    return [Clip(f"clip-{i}", SOURCE.sha256, Span(i * step, (i + 1) * step), "cut", "cut", cutter) for i in range(n)]


def ledger(n: int) -> Store:
    """A source that is cut into n clips already, and nothing more."""
    store = Store(None)
    store.put([SOURCE], unit=SOURCE.sha256, stage="register")
    _, key, _ = cutting(SOURCE, 60.0)
    store.commit(StageResult(SOURCE.sha256, "clips", key, [SOURCE, *clips_of(n)]), **AT)
    return store


class Scripted:
    """A crew that hands back canned results, the last given first; `broken` stages fail with what reads them."""

    def __init__(self, broken: tuple[str, ...] = (), most: int = 3) -> None:
        self.broken, self.most = broken, most
        self.asked: list[ClipTask] = []
        self.held: list[ClipTask] = []
        self.deepest = 0

    @property
    def room(self) -> bool:
        return len(self.held) < self.most

    @property
    def busy(self) -> bool:
        return bool(self.held)

    def prepare(self) -> None:
        pass

    unload = close = prepare

    def give(self, task: ClipTask) -> None:
        self.asked.append(task)
        self.held.append(task)
        self.deepest = max(self.deepest, len(self.held))

    def finished(self, *, wait: bool) -> list[Finished]:
        if not self.held or not (wait or len(self.held) == self.most):
            return []
        task = self.held.pop()
        return [Finished(task, {stage: self.outcome(stage, task) for stage in task.stages})]

    def outcome(self, stage: str, task: ClipTask):
        needs = {s.name: s.needs for s in STAGES}
        if stage in self.broken or any(n in self.broken for n in needs[stage]):
            return MienError("model.broken", "the network answers nonsense", retryable=True)
        rows = {"t_us": np.zeros(1, np.int64), "energy": np.zeros(1, np.float32)}
        return Done([], {f"{stage}/{task.clip.id}": table(rows)} if stage == "motion" else {}, 1.0)


def ran(store: Store, crew, monkeypatch, **terms) -> Runner:
    monkeypatch.setattr(run, "crew_for", lambda *_: crew)
    runner = Runner(store, config_of(**terms), run_id="run-2")
    runner.run()
    runner.close()
    return runner


def media_rows(store: Store) -> dict[tuple[str, str], tuple[str, str, int]]:
    derived = {s.name for s in STAGES if s.kind == "derived"} | {"clips", "register", "compare"}
    return {(r.unit, r.stage): (r.key, r.state, r.attempt) for r in store.stages() if r.stage not in derived}


def test_every_clip_is_given_once_the_queue_is_bounded_and_order_of_return_does_not_matter(monkeypatch):
    store, crew = ledger(10), Scripted()
    ran(store, crew, monkeypatch)
    assert sorted(t.clip.id for t in crew.asked) == sorted(c.id for c in clips_of(10))
    assert crew.deepest == 3
    one, alone = ledger(10), Scripted(most=1)
    ran(one, alone, monkeypatch)
    assert media_rows(one) == media_rows(store)
    again = Scripted()
    assert ran(store, again, monkeypatch).counts[1] == 0
    assert again.asked == []


def test_what_reads_a_failed_stage_fails_with_it_once_and_retry_asks_for_both(monkeypatch):
    store = ledger(2)
    ran(store, Scripted(broken=("faces",)), monkeypatch)
    failed = {f.stage: f.code for f in store.all(Failure, "unit = 'clip-0'")}
    assert {"faces", "landmarks", "expression", "age", "scene"} <= set(failed)
    assert set(failed.values()) == {"model.broken"}
    before, again = media_rows(store), Scripted(broken=("faces",))
    ran(store, again, monkeypatch)
    assert again.asked == [], "a second run does not ask for what has failed"
    assert media_rows(store) == before
    store.forget_stages((f.unit, f.stage) for f in store.all(Failure))  # what retry does
    healthy = Scripted()
    ran(store, healthy, monkeypatch)
    assert {s for t in healthy.asked for s in t.stages} == set(failed) & {s.name for s in STAGES if s.kind != "derived"}
    assert store.all(Failure) == []


def test_stage_by_stage_asks_for_one_model_at_a_time_and_comes_to_the_same(monkeypatch):
    store, crew = ledger(3), Scripted()
    ran(store, crew, monkeypatch, order="stage")
    whole = ledger(3)
    ran(whole, Scripted(), monkeypatch, order="clip")
    assert media_rows(store) == media_rows(whole)
    stack = Stack(config_of())
    heavy = [g for g in groups(stack) for t in crew.asked if set(t.stages) <= g]
    assert len(crew.asked) == len(heavy) == 3 * len(groups(stack)), "no task mixes two groups"
    order = [next(i for i, g in enumerate(groups(stack)) if set(t.stages) <= g) for t in crew.asked]
    assert order == sorted(order), "a model is loaded once"


def test_stage_by_stage_a_failure_is_the_same_failure(monkeypatch):
    by_clip, by_stage = ledger(2), ledger(2)
    ran(by_clip, Scripted(broken=("faces",)), monkeypatch, order="clip")
    ran(by_stage, Scripted(broken=("faces",)), monkeypatch, order="stage")
    assert media_rows(by_clip) == media_rows(by_stage)


def test_auto_takes_processes_only_where_they_are_worth_their_start():
    stack = Stack(config_of())
    assert isinstance(crew_for(config_of(), stack, 10.0, print), Inline)
    assert isinstance(crew_for(config_of(workers=2), stack, 3600.0, print), Processes)
    assert isinstance(crew_for(config_of(workers=1), stack, 3600.0, print), Inline)
    assert isinstance(crew_for(config_of(runner="inline", workers=2), stack, 3600.0, print), Inline)
    assert isinstance(crew_for(config_of(runner="process"), stack, 1.0, print), Processes)


def test_memory_decides_how_many_work_and_in_which_order(monkeypatch):
    config, stack = config_of(), Stack(config_of())
    needed, _ = preflight.expected(stack, stack.slots())
    monkeypatch.setattr(crew, "_cores", lambda: 4)
    monkeypatch.setattr(crew, "measure", lambda _: None)  # that of this machine is not the question
    found = {}
    for share in (0.7, 1.1, 2.1, 100.0):
        monkeypatch.setattr(crew, "free_mb", lambda share=share: share * needed.together_mb)
        found[share] = (by_stage(config, stack), crew.workers_of(config, stack))
    assert found == {0.7: (True, 1), 1.1: (False, 1), 2.1: (False, 2), 100.0: (False, 4)}
    assert by_stage(config_of(order="stage"), stack)


WORKER = """
import os, sys, time
from multiprocessing.connection import Connection
from mien.pipeline.engine.task import Done, Finished
line = Connection(int(sys.argv[1]))
config = line.recv()
while True:
    task = line.recv()
    ids = {{t.clip.id for t in (task, *task.others)}}
    if ids & {poison!r}:
        os.kill(os.getpid(), 9)
    if task.clip.id in {once!r} and not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        os.kill(os.getpid(), 9)
    line.send(("progress", task.clip.span.end_us))
    line.send(("finished", Finished(task, {{s: Done([os.getpid()], {{}}, 1.0) for s in task.stages}})))
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch):
    """Real processes with scripted hands: `poison` clips kill whoever gets them, `once` clips the first who does."""

    def start(poison=(), once=(), most=2) -> Processes:
        script = tmp_path / "worker.py"
        script.write_text(WORKER.format(poison=set(poison), once=set(once), mark=str(tmp_path / "mark")))
        monkeypatch.setattr(process, "COMMAND", (sys.executable, str(script)))
        return Processes(config_of(), most, lambda task, t_us: told.append((task.clip.id, t_us)))

    told: list[tuple[str, int]] = []
    return start, told


def through(crew: Processes, clips: list[Clip]) -> dict[str, Finished]:
    done: list[Finished] = []
    for clip in clips:
        while not crew.room:
            done += crew.finished(wait=True)
        crew.give(ClipTask(clip, SOURCE, ("motion", "objects")))
    while crew.busy:
        done += crew.finished(wait=True)
    crew.close()
    assert len(done) == len(clips), "each comes back exactly once"
    return {f.task.clip.id: f for f in done}


def test_a_worker_that_dies_loses_nothing_and_only_a_clip_that_kills_two_fails(workers):
    clips = clips_of(12)
    start, told = workers
    found = through(start(poison=["clip-4"], once=["clip-7"]), clips)
    assert set(found) == {c.id for c in clips}
    for name, finished in found.items():
        errors = [o for o in finished.outcomes.values() if isinstance(o, MienError)]
        assert bool(errors) == (name == "clip-4"), name
        assert all(e.code == "engine.worker-died" and e.retryable for e in errors)
    assert {name for name, _ in told} == set(found) - {"clip-4"}


def test_the_clip_that_kills_may_be_the_last(workers):
    found = through(workers[0](poison=["clip-0"], most=1), clips_of(1))
    assert {o.code for o in found["clip-0"].outcomes.values() if isinstance(o, MienError)} == {"engine.worker-died"}


def test_of_clips_that_were_done_together_only_the_one_that_kills_fails(workers):
    crew, clips = workers[0](poison=["clip-1"]), clips_of(3)
    first, *others = (ClipTask(clip, SOURCE, ("motion",)) for clip in clips)
    crew.give(dataclasses.replace(first, others=tuple(others)))
    done: list[Finished] = []
    while crew.busy:
        done += crew.finished(wait=True)
    crew.close()
    errors = {f.task.clip.id: isinstance(f.outcomes["motion"], MienError) for f in done}
    assert errors == {"clip-0": False, "clip-1": True, "clip-2": False}


def test_a_worker_that_is_killed_before_it_reads_a_word_costs_nothing(workers, monkeypatch):
    began, popen = [], subprocess.Popen

    def started(*args, **terms):
        began.append(popen(*args, **terms))
        if len(began) == 1:
            began[0].kill()
            began[0].wait()
        return began[-1]

    crew = workers[0]()
    monkeypatch.setattr(subprocess, "Popen", started)
    found = through(crew, clips_of(4))
    assert not [o for f in found.values() for o in f.outcomes.values() if isinstance(o, MienError)]
    assert len(began) == 3


def test_both_workers_work(workers):
    found = through(workers[0](), clips_of(20))
    by = {o.records[0] for f in found.values() for o in f.outcomes.values() if isinstance(o, Done)}
    assert len(by) == 2


def test_closing_ends_the_processes_at_once(workers):
    crew = workers[0]()
    crew.give(ClipTask(clips_of(1)[0], SOURCE, ("motion",)))
    running = [w.process for w in crew._workers]
    crew.close()
    crew.close()
    assert all(p.returncode is not None for p in running)
    assert not crew.busy


def test_a_task_holds_rows_and_paths_and_never_frames():
    kinds = {f.name: str(f.type) for f in dataclasses.fields(ClipTask)}
    assert not any("Frames" in kind or "ndarray" in kind for kind in kinds.values())
