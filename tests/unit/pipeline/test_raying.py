"""The Ray crew: its desk by itself, and real actors of Ray's with scripted hands, some of which die of a task."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import os
import signal
import sys
from pathlib import Path

import pytest

from mien.core import Clip, MienError, Source, Span, probe
from mien.pipeline.config import load
from mien.pipeline.engine import raying
from mien.pipeline.engine.desk import Desk, Hands
from mien.pipeline.engine.task import ClipTask, Done, Finished

SOURCE = Source("ab" * 32, "film.mp4", "video", 1000, 20_000_000, 640, 360, 25.0, 16000, 1, "research")


def config_of(context="research", egress=None, **run):
    return load(None, {"project": {"context": context}, "run": {"runner": "ray"} | run, "egress": egress or {}})[0]


def tasks_of(n: int) -> list[ClipTask]:
    clips = [Clip(f"clip-{i}", SOURCE.sha256, Span(i * 1000, (i + 1) * 1000), "cut", "cut", "cutter") for i in range(n)]
    return [ClipTask(clip, SOURCE, ("motion", "objects")) for clip in clips]


# ---------------------------------------------------------------- the desk


def test_a_desk_waits_for_tasks_and_gives_the_same_when_it_is_asked_again():
    async def story() -> None:
        desk = Desk()
        waiting = asyncio.create_task(desk.take(0))
        await asyncio.sleep(0)
        assert not waiting.done()
        for n in range(4):
            await desk.lay(n, f"clip-{n}", b"%d" % n)
        assert await waiting == ("clip-0", b"0")
        assert [await desk.begin(2), await desk.begin(2), await desk.begin(1)] == [1, 2, 1]
        await desk.clear(1, 0)
        await desk.clear(0, 2)
        assert [(await desk.take(n))[1] for n in range(4)] == [b"", b"", b"2", b"3"]
        assert len(desk._laid) == 2, "what is done is forgotten"
        later = asyncio.create_task(desk.take(4))
        await asyncio.sleep(0)
        assert not later.done()
        await desk.end()
        assert await later == (None, b"")

    asyncio.run(story())


def test_the_third_who_begins_a_task_says_that_it_killed_two():
    hands = Hands.__new__(Hands)
    (task,) = tasks_of(1)
    (outcomes,) = hands._answer(0, task, 3) or ()
    assert set(outcomes) == {"motion", "objects"}
    assert {(o.code, o.retryable) for o in outcomes.values()} == {("engine.worker-died", True)}


# ---------------------------------------------------------------- where tasks may go


def test_tasks_go_only_where_the_project_lets_them(monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: None)
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    agreed = {"allow": ["192.0.2.7:6379"], "agreement": "2026-11-01", "approver": "A. Nurse"}
    raying.allowed(config_of())
    raying.allowed(config_of("care"))
    for config, code in (
        (config_of(ray_address="auto"), "config.invalid"),
        (config_of(ray_address="192.0.2.7:6379"), "egress.refused"),
        (config_of("care", {"allow": ["127.0.0.1:6379"]}, ray_address="127.0.0.1:6379"), "egress.care-refused"),
        (config_of("care", {"allow": ["8.8.8.8:6379"]} | agreed, ray_address="192.0.2.8:6379"), "egress.refused"),
        (config_of(egress={"allow": ["8.8.8.8:6379"]}, ray_address="8.8.8.8:6379"), "egress.plain-http"),
    ):
        with pytest.raises(MienError) as refused:
            raying.allowed(config)
        assert refused.value.code == code
        assert refused.value.hint
    raying.allowed(config_of("care", agreed, ray_address="192.0.2.7:6379"))
    monkeypatch.setenv("RAY_USE_TLS", "1")
    raying.allowed(config_of(egress={"allow": ["8.8.8.8:6379"]}, ray_address="8.8.8.8:6379"))


def test_without_ray_the_install_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MienError, match="package 'ray'") as missing:
        raying.allowed(config_of())
    assert missing.value.hint == "pip install 'mien[ray]'"


# ---------------------------------------------------------------- real actors


class Scripted(Hands):
    """`poison` kills whoever begins it, `once` the first who does; the rest say who they are."""

    def __init__(self, config, desk, *, watched) -> None:
        if watched:
            probe.watch(probe.Watcher("actor"))
        self._desk = desk
        self._folder = Path(config.project.name)

    def _answer(self, round_, task, time):
        if time > 2 or (time > 1 and task.others):
            return super()._answer(round_, task, time)
        names = {t.clip.id for t in (task, *task.others)}
        if "clip-4" in names or ("clip-7" in names and not (self._folder / "mark").exists()):
            if "clip-7" in names:
                (self._folder / "mark").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with probe.span("clip", task.clip.id):
            return [{s: Done([os.getpid(), round_], {}, 1.0) for s in t.stages} for t in (task, *task.others)]


@pytest.fixture
def crew(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra: pip install 'mien[ray]'")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(raying, "Hands", Scripted)
    config, _ = load(None, {"project": {"context": "research", "name": str(tmp_path)}, "run": {"runner": "ray"}})
    probe.watch(probe.Watcher())
    crew = raying.Rays(config, 2)
    yield crew
    crew.close()
    probe.watch(None)


def through(crew, tasks: list[ClipTask]) -> dict[str, Finished]:
    done: list[Finished] = []
    for task in tasks:
        while not crew.room:
            done += crew.finished(wait=True)
        crew.give(task)
    while crew.busy:
        done += crew.finished(wait=True)
    assert len(done) == len(tasks), "each comes back exactly once"
    return {f.task.clip.id: f for f in done}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray, about its own defaults
def test_deaths_of_actors_lose_nothing_and_the_end_of_ray_is_a_failure_that_can_be_retried(crew):
    tasks = tasks_of(24)
    found = through(crew, tasks)
    assert set(found) == {t.clip.id for t in tasks}
    for name, finished in found.items():
        errors = [o for o in finished.outcomes.values() if isinstance(o, MienError)]
        assert bool(errors) == (name == "clip-4"), name
        assert all(e.code == "engine.worker-died" and e.retryable for e in errors)
    assert probe.watcher is not None
    noted = [(t.name, note) for t in probe.watcher.drain_all() for note in t.notes if note[0] == "clip"]
    assert {name for name, _ in noted} == {"actor"}, "the time of actors comes back with what they did"
    assert {note[1] for _, note in noted} == set(found) - {"clip-4"}
    whole = [f.outcomes["motion"].records for n, f in found.items() if n != "clip-4"]
    assert len({pid for pid, _ in whole}) > 2, "two workers, and those that took the place of the dead"
    assert {round_ for _, round_ in whole} == {0}

    first, *others = tasks[:6]  # together: when one of them kills, each is done by itself
    crew.give(dataclasses.replace(first, others=tuple(others)))
    alone = {}
    while crew.busy:
        alone |= {f.task.clip.id: f for f in crew.finished(wait=True)}
    assert {n for n, f in alone.items() if isinstance(f.outcomes["motion"], MienError)} == {"clip-4"}
    assert len(alone) == 6

    crew.unload()  # models are closed between two rounds: each task says which it belongs to
    assert {f.outcomes["motion"].records[1] for f in through(crew, tasks[:3]).values()} == {1}

    crew._ray.kill(crew._desk)
    lost = through(crew, tasks[:8])
    assert {o.code for f in lost.values() for o in f.outcomes.values()} == {"engine.ray-lost"}
    assert all(o.retryable for f in lost.values() for o in f.outcomes.values())
    folder = Path(crew._folder)
    assert folder.is_dir()
    crew.close()
    crew.close()
    assert not folder.exists(), "rows that Ray put aside go with the run"
