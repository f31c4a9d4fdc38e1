"""Where time is said to go is where it went: a clock that only the scripted work moves, and exact sums."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import Clip, Frames, Span, probe
from mien.pipeline.config import Analysis
from mien.pipeline.engine.task import ClipTask
from mien.pipeline.engine.work import media_work
from mien.pipeline.plan import STAGES
from mien.pipeline.watching import Profile

MS = 1_000_000


class Clock:
    """Stands still unless somebody works."""

    def __init__(self) -> None:
        self.now = 5_000_000_000

    def monotonic_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1e9

    def time_ns(self) -> int:
        return self.now

    def work(self, ms: float) -> None:
        self.now += round(ms * MS)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(probe, "time", made)
    return made


@pytest.fixture
def watcher() -> Iterator[probe.Watcher]:
    made = probe.Watcher("test")
    probe.watch(made)
    yield made
    probe.watch(None)


class Gate:
    """A model that prepares 1 ms, asks its runtime 10 ms, and looks at the answer for 2 ms, frame by frame."""

    before, inside, after = 1.0, 10.0, 2.0

    def __init__(self, clock: Clock, pool: ThreadPoolExecutor | None = None) -> None:
        self._clock, self._pool = clock, pool

    def run(self, frames: Frames) -> Any:
        return SimpleNamespace(value=np.array(probe.mapped(self._pool, self._one, range(len(frames))), np.float32))

    def _one(self, item: int) -> float:
        self._clock.work(self.before)
        with probe.infer(self):
            self._clock.work(self.inside)
        self._clock.work(self.after)
        return 0.0


class Decoding:
    """Four seconds of grey at 2 frames/s; each batch of 4 takes 7 ms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def frames(self, *_: Any) -> Iterator[Frames]:
        for first in (0, 4):
            self._clock.work(7)
            t_us = np.arange(first, first + 4, dtype=np.int64) * 500_000
            yield Frames(np.full((4, 40, 60, 3), 90, np.uint8), t_us)


def done(clock: Clock, gate: Gate) -> dict[tuple[str, str], float]:
    """Cell of the table → ms, of the real passes over one clip with a scripted model."""
    stack: Any = SimpleNamespace(
        get=lambda slot: gate, label=lambda slot: f"{slot}@1", has=lambda slot: slot == "explicit"
    )
    clip = Clip("c", "s", Span(0, 4_000_000), "start", "end", "cut")
    task = ClipTask(clip, SimpleNamespace(sha256="s"), ("motion", "explicit"))  # pyright: ignore[reportArgumentType]
    analysis = Analysis()  # pyright: ignore[reportCallIssue]
    with probe.span("clip", "c", "c"):
        outcomes = media_work(task, lambda: Decoding(clock), stack, analysis, lambda _: None, side_by_side=False)
    assert set(outcomes) == {"motion", "explicit"}
    taken = probe.drained()
    assert taken is not None
    return {key: ns / MS for key, ns in taken.sums.items() if ns and key[1] != "calls"}


def test_time_is_where_it_was_spent_and_nowhere_else(clock, watcher):
    found = done(clock, probe.watched(Gate(clock), "explicit.test"))
    assert found == {
        ("pictures", "decode"): 14,
        ("explicit", "preprocess"): 4 * 1,  # the gate looks at one frame a second
        ("explicit", "infer"): 4 * 10,
        ("explicit", "post"): 4 * 2,
    }


@pytest.mark.parametrize(("where", "column"), [("before", "preprocess"), ("inside", "infer"), ("after", "post")])
def test_a_planted_slow_part_shows_up_in_its_own_cell(clock, watcher, monkeypatch, where, column):
    usual = done(clock, probe.watched(Gate(clock), "explicit.test"))
    monkeypatch.setattr(Gate, where, getattr(Gate, where) + 100)
    slow = done(clock, probe.watched(Gate(clock), "explicit.test"))
    assert {key: slow[key] - usual[key] for key in usual if slow[key] != usual[key]} == {("explicit", column): 400}


def test_items_on_a_pool_belong_to_the_stage_that_waits_for_them(clock, watcher):
    with ThreadPoolExecutor(1) as pool:
        found = done(clock, probe.watched(Gate(clock, pool), "explicit.test"))
    assert found["explicit", "infer"] == 40
    assert found["explicit", "preprocess"] == 4
    assert found["explicit", "post"] == 8
    assert found["explicit", "wait"] == 52, "of the thread that called, and counted apart"


def test_a_model_without_a_runtime_is_all_inference_and_a_rule_is_all_post(clock, watcher):
    class Rule:
        def run(self, batch: int) -> int:
            clock.work(3)
            return batch

    model = probe.watched(Rule(), "rule.test")
    with probe.span("stage", "voice"):
        clock.work(1)
        assert model.run(4) == 4
        clock.work(2)
    with probe.span("stage", "signals"):
        clock.work(5)
    sums = watcher.drain().sums
    assert sums["voice", "preprocess"] == MS
    assert sums["voice", "infer"] == 3 * MS
    assert sums["voice", "post"] == 2 * MS
    assert sums["signals", "post"] == 5 * MS


def test_spans_nest_and_add_up(clock, watcher):
    done(clock, probe.watched(Gate(clock), "explicit.test"))
    done_again = [("stage", "x"), ("model", "y"), ("infer", "z")]
    for kind, name in done_again:
        probe.span(kind, name).__enter__()  # pyright: ignore[reportArgumentType]
        clock.work(1)
    for _ in done_again:
        watcher.closed()
    notes = [(kind, start, start + length) for kind, _, _, start, length, _ in watcher.drain().notes]
    for kind, start, end in notes:
        for other, first, last in notes:
            apart = end <= first or last <= start
            inside = (first <= start and end <= last) or (start <= first and last <= end)
            assert apart or inside, (kind, other)


def test_nobody_watching_costs_one_look_and_makes_nothing(monkeypatch):
    assert probe.watcher is None
    monkeypatch.setattr(probe, "Watcher", None)
    monkeypatch.setattr(probe, "_Span", None)
    first, second = probe.span("stage", "faces"), probe.infer(object(), 1, 2)
    assert first is second is probe._OFF
    model = SimpleNamespace(run=len)
    assert probe.watched(model, "m").run is len
    assert list(probe.each("wait", "x", iter([1, 2]))) == [1, 2]
    assert probe.mapped(None, str, [1, 2]) == ["1", "2"]
    assert probe.drained() is None


def test_memory_is_bounded_and_what_found_no_room_is_counted(clock):
    watcher = probe.Watcher("test", keep=10)
    probe.watch(watcher)
    try:
        for _ in range(50):
            with probe.span("stage", "faces"):
                clock.work(1)
    finally:
        probe.watch(None)
    taken = watcher.drain()
    assert len(taken.notes) == 10
    assert taken.dropped == 40
    assert taken.sums["faces", "post"] == 50 * MS, "the table is exact all the same"
    assert watcher.drain().notes == []


def test_threads_of_one_name_share_a_track_unless_they_live_at_once(clock, watcher):
    def short() -> None:
        with probe.span("stage", "faces"):
            clock.work(1)

    def both() -> None:
        short()
        meeting.wait()

    meeting = threading.Barrier(2)
    for target, n in ((short, 1), (short, 1), (both, 2), (short, 1)):
        threads = [threading.Thread(target=target, name="mien-faces") for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    taken = watcher.drain()
    assert taken.threads == {1: "mien-faces", 2: "mien-faces"}
    assert sorted(note[2] for note in taken.notes) == [1, 1, 1, 1, 2]


def test_an_error_closes_its_spans(clock, watcher):
    with pytest.raises(ValueError, match="x"), probe.span("stage", "faces"):
        raise ValueError("x")
    assert watcher.frames() == []


def test_rows_come_in_the_order_of_the_plan(clock):
    with Profile(None) as profile:
        for stage in ("claims", "faces", "motion"):
            with probe.span("stage", stage):
                clock.work(2)
        with probe.span("scan", "scan"):
            clock.work(1)
    named = [row.stage for row in profile.rows()]
    assert named[0] == "scan"
    assert named[1:] == [s.name for s in STAGES if s.name in ("claims", "faces", "motion")]
    assert probe.watcher is None
