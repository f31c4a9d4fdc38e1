"""What the Ray crew starts in processes of Ray's: the desk that tasks are laid on, and the hands that do them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import platform
from typing import Any

from mien.core import MienError, probe
from mien.pipeline.config import Config
from mien.pipeline.engine.process import TRIES
from mien.pipeline.engine.task import ClipTask, Outcome
from mien.pipeline.engine.work import bug

log = logging.getLogger("mien")
DONE = ("", b"")
# Outcomes of a task and of the others that are done with it; None: one of these killed a worker, give each by itself.
Answer = list[dict[str, Outcome]] | None


class Desk:
    """An actor beside the runner: tasks by number, and how often one was begun.

    It outlives the actors that do tasks, so it knows what killed them.
    """

    def __init__(self) -> None:
        self._laid: dict[int, tuple[str, bytes]] = {}
        self._begun: dict[int, int] = {}
        self._below = 0
        self._ended = False
        self._news = asyncio.Condition()

    async def lay(self, number: int, clip: str, task: bytes) -> None:
        async with self._news:
            self._laid[number] = clip, task
            self._news.notify_all()

    async def take(self, number: int) -> tuple[str | None, bytes]:
        """Clip and task of a number, as soon as it is there; an empty task when it is done, no clip when all are."""
        async with self._news:
            await self._news.wait_for(lambda: number in self._laid or number < self._below or self._ended)
        return (None, b"") if self._ended else self._laid.get(number, DONE)

    async def end(self) -> None:
        """Nothing more comes."""
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def begin(self, number: int) -> int:
        """How often it has been begun, this time included."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    async def clear(self, number: int, below: int) -> None:
        """Forget a task that is done; all `below` are."""
        self._laid[number] = DONE
        self._begun.pop(number, None)
        while self._below < below:
            self._laid.pop(self._below, None)
            self._below += 1


class Hands:
    """An actor that does one task at a time, with the same hand as a worker of the process crew."""

    def __init__(self, config: Config, desk: Any, *, watched: bool = False) -> None:
        from mien.pipeline.engine.hand import Hand
        from mien.pipeline.engine.heap import one_heap
        from mien.pipeline.stack import Stack

        one_heap()
        if watched:
            probe.watch(probe.Watcher(f"actor {os.getpid()} on {platform.node()}"))
        self._desk, self._round = desk, 0
        where = None
        if config.run.media_url:
            from mien.pipeline.engine.crew import together
            from mien.pipeline.engine.elsewhere import Elsewhere

            where = Elsewhere(config.run.media_root, config.run.media_url, held=together(config) + 1).path
        self._hand = Hand(Stack(config, threads=1), config.analysis, side_by_side=False, where=where)
        with contextlib.suppress(MienError):  # said again by the first task that needs the model
            self._hand.prepare()

    def __call__(self, batch: Any) -> Any:
        """In: a table with one row (number, clip, task). Out: number and, pickled, `Answer` and its spans."""
        import pyarrow as pa
        import ray

        (number,), (packed,) = batch["number"].to_pylist(), batch["task"].to_pylist()
        answer: Answer = []
        if packed:  # else it was done before, and is asked for again
            round_, task = pickle.loads(packed)  # noqa: S301 - from the runner that started this actor
            answer = self._answer(round_, task, ray.get(self._desk.begin.remote(number)))
        return pa.table(
            {"number": [number], "answer": pa.array([pickle.dumps((answer, probe.drained()))], pa.binary())}
        )

    def _answer(self, round_: int, task: ClipTask, time: int) -> Answer:
        tasks = (task, *task.others)
        if time > 1 and task.others:
            return None
        if time > TRIES:
            said = "analysing this clip ended two workers: out of memory, or a defect in a native library"
            error = MienError("engine.worker-died", said, "mien retry with run.workers = 1", retryable=True)
            return [dict.fromkeys(task.stages, error)]
        if round_ != self._round:
            self._hand.unload()
            self._round = round_
        try:
            first = self._hand.do(task, lambda _: None)
            return [dict(done.outcomes) for done in (first, *first.others)]
        except Exception as error:  # an exception here would end the execution, and with it the run
            log.exception("clip %s", task.clip.id)
            return [dict.fromkeys(each.stages, bug(error)) for each in tasks]
