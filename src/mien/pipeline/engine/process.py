"""The process crew: single-threaded workers, each in a process of its own, each with at most a few tasks on its table.

A worker that dies (out of memory, a native crash) takes nothing with it: its task is given to a new worker once more,
alone, and only a clip that kills two becomes a failure. What waited on its table goes to the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from mien.core import MienError, probe
from mien.pipeline.config import Config
from mien.pipeline.engine.task import LOAD, UNLOAD, ClipTask, Finished

log = logging.getLogger("mien")
TABLE = 2  # tasks a worker has: the one it does, and the next, so that it never waits for the parent
TRIES = 2
COMMAND = (sys.executable, "-P", "-m", "mien.pipeline.engine.worker")
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Worker:
    """One process and the line to it."""

    def __init__(self, config: Config, index: int, gpu: str | None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})},
            )
        self.index = index
        self.line: Connection[Any, Any] = Connection(ours.detach())
        self.tasks: deque[ClipTask] = deque()
        with contextlib.suppress(
            BrokenPipeError, ConnectionResetError
        ):  # dead already: noticed when it is given a task
            self.line.send((config, f"worker {index + 1}" if probe.watcher else ""))

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.line.close()


class Processes:
    """Up to `workers` processes; each starts when there is a task that no other is free for.

    Args:
        gpus: names for CUDA_VISIBLE_DEVICES, one worker each; none: workers on the processor.
    """

    def __init__(
        self,
        config: Config,
        workers: int,
        progress: Callable[[ClipTask, int], None],
        gpus: tuple[str, ...] = (),
    ) -> None:
        self._config, self._most, self._progress, self._gpus = config, len(gpus) or workers, progress, gpus
        self._workers: list[_Worker] = []
        self._tried: dict[str, int] = {}
        self._lost: list[Finished] = []

    @property
    def room(self) -> bool:
        return len(self._workers) < self._most or any(len(w.tasks) < TABLE for w in self._workers)

    @property
    def busy(self) -> bool:
        return bool(self._lost) or any(w.tasks for w in self._workers)

    def prepare(self) -> None:
        if not self._workers:
            for _ in range(self._most):
                self._start()
            self._order(LOAD)

    def unload(self) -> None:
        self._order(UNLOAD)

    def _order(self, what: str) -> None:
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # noticed when it is given a task
                worker.line.send(what)

    def give(self, task: ClipTask) -> None:
        free = min(self._workers, key=lambda w: len(w.tasks), default=None)
        if (free is None or free.tasks) and len(self._workers) < self._most:
            free = self._start()
        assert free is not None  # noqa: S101 - at least one worker is allowed
        self._send(free, task)

    def finished(self, *, wait: bool) -> list[Finished]:
        done: list[Finished] = []
        while True:
            done += self._received(None if wait and not (done or self._lost) else 0)
            lost, self._lost = self._lost, []
            done += lost
            if done or not wait or not self.busy:
                return done

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    # ------------------------------------------------------------ lines

    def _start(self) -> _Worker:
        taken = {w.index for w in self._workers}
        index = next(i for i in range(self._most) if i not in taken)
        worker = _Worker(self._config, index, self._gpus[index] if self._gpus else None)
        self._workers.append(worker)
        return worker

    def _send(self, worker: _Worker, task: ClipTask) -> None:
        worker.tasks.append(task)
        try:
            worker.line.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self._buried(worker)

    def _received(self, timeout_s: float | None) -> list[Finished]:
        done: list[Finished] = []
        lines = {w.line: w for w in self._workers if w.tasks}
        for line in wait(list(lines), timeout_s) if lines else ():
            worker = lines[line]  # pyright: ignore[reportArgumentType]
            try:
                kind, value = worker.line.recv()
            except (EOFError, ConnectionResetError):
                self._buried(worker)
                continue
            if kind == "progress":
                self._progress(worker.tasks[0], value)
            else:
                self._tried.pop(worker.tasks.popleft().clip.id, None)
                done.append(value)
        return done

    def _buried(self, worker: _Worker) -> None:
        """A worker is gone: its task is tried once more, what it had not begun goes to the next free one."""
        worker.end()
        self._workers.remove(worker)
        killer, *others = worker.tasks
        if killer.others:  # one of these: each by itself, to find out which
            for task in (replace(killer, others=()), *killer.others, *others):
                self.give(task)
            return
        tried = self._tried[killer.clip.id] = self._tried.get(killer.clip.id, 0) + 1
        how = worker.process.returncode
        log.warning("a worker ended (%s) while it analysed clip %s", how, killer.clip.id)
        if tried < TRIES:
            others.insert(0, killer)
        else:
            said = f"analysing this clip ended two workers (exit {how}): out of memory, or a defect in a native library"
            error = MienError("engine.worker-died", said, "mien retry with run.workers = 1", retryable=True)
            self._lost.append(Finished(killer, dict.fromkeys(killer.stages, error)))
        for task in others:
            self.give(task)
