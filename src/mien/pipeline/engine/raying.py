"""The Ray crew: workers that Ray places, on this machine or on a cluster's, for when one machine is outgrown.

One execution of Ray Data lasts as long as the run: a source that waits for tasks as the runner finds them, and
`map_batches` over a pool of actors that load their models once. A row is a clip's task: ids, paths and small tables,
never frames. Our ledger is the truth: what Ray does twice (an actor died, a node was lost) is committed once.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import pickle
import queue
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mien.core import MienError, probe
from mien.core.errors import missing_extra
from mien.pipeline.config import Config
from mien.pipeline.engine import elsewhere
from mien.pipeline.engine.desk import Answer, Desk, Hands
from mien.pipeline.engine.process import ONE_THREAD, TABLE
from mien.pipeline.engine.task import ClipTask, Finished
from mien.policy.egress import check_address, endpoint

_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")  # the line of a traceback that says what it was
log = logging.getLogger("mien")
ENDING_S = 20.0
STORE_BYTES = 256 << 20  # of rows between two processes of one machine; frames never pass through it
# Nothing is reported to Ray's makers, and a library that talks on stderr is told not to.
# Nor does it start a second Ray by itself when one of its threads comes too late.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ENABLE_AUTO_CONNECT": "0"}


def allowed(config: Config) -> None:
    """Whether the tasks of this project may go where `run.ray_address` says; "" is this machine.

    Tasks hold paths and results of earlier stages, results come back the same way: it is the rule for any endpoint
    (`[egress]`), and Ray's own encryption (RAY_USE_TLS) counts as https does.

    Raises:
        MienError: `install.missing-extra`, `egress.*`, `config.invalid`.
    """
    try:
        with _environment(QUIET):
            importlib.import_module("ray.data")
    except ImportError as error:
        raise missing_extra("ray", "ray") from error
    elsewhere.allowed(config)
    address = config.run.ray_address
    if not address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise MienError(
            "config.invalid", f"run.ray_address is {address!r}, not host:port", "what `ray start --head` printed"
        )
    tls = os.environ.get("RAY_USE_TLS", "0") == "1"
    to = endpoint(f"{'https' if tls else 'http'}://{address}", config.egress)
    terms = config.egress
    if config.context == "care" and not (terms.agreement.strip() and terms.approver.strip()):
        raise MienError(
            "egress.care-refused",
            f"in care nothing leaves this machine, and the cluster at {address} may have others",
            "leave run.ray_address empty, or record the agreement: egress.agreement, and egress.approver",
        )
    try:
        found = {str(a[4][0]) for a in socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise _unreachable(address, error) from error
    for ip in found:
        check_address(to, ip, terms, config.context)


class Rays:
    """Up to `workers` actors; 0: as many as the cluster at `run.ray_address` has processors (or cards).

    Raises:
        MienError: as `allowed`; `engine.ray-unreachable` where there is no cluster, or none can be started.
    """

    def __init__(self, config: Config, workers: int) -> None:
        allowed(config)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._cuda, self._folder = ray, config.analysis.device == "cuda", ""
        self._desk: Any = None
        self._closed = False
        self._ours = not ray.is_initialized()
        if self._ours:
            self._init(config.run.ray_address, workers)
        has = ray.cluster_resources().get("GPU" if self._cuda else "CPU", 0)
        self._most = workers or max(1, int(has))
        if has < self._most:
            self.close()  # Ray would wait for them for ever
            raise MienError(
                "engine.ray-unreachable",
                f"{self._most} worker(s) need as many {'cards' if self._cuda else 'processors'}; Ray has {has:g}",
                "run.workers = 0 takes what is there",
            )
        self._tasks: dict[int, ClipTask] = {}
        self._next = self._round = 0
        self._back: queue.SimpleQueue[tuple[int, bytes] | BaseException] = queue.SimpleQueue()
        self._broken: MienError | None = None
        self._lost: list[Finished] = []
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._desk: Any = ray.remote(Desk).options(num_cpus=0, max_concurrency=1000, scheduling_strategy=here).remote()
        self._collector = threading.Thread(
            target=self._collect, args=(self._dataset(config),), name="mien-ray", daemon=True
        )
        self._collector.start()

    # ------------------------------------------------------------ what a crew does

    @property
    def room(self) -> bool:
        return len(self._tasks) < TABLE * self._most

    @property
    def busy(self) -> bool:
        return bool(self._tasks or self._lost)

    def prepare(self) -> None:
        """Actors load their models when they start."""

    def give(self, task: ClipTask) -> None:
        if self._broken is not None:
            self._lost += _without(task, self._broken)
            return
        self._tasks[self._next] = task
        self._desk.lay.remote(self._next, task.clip.id, pickle.dumps((self._round, task)))
        self._next += 1

    def finished(self, *, wait: bool) -> list[Finished]:
        done, self._lost = self._lost, []
        while True:
            with contextlib.suppress(queue.Empty):
                while True:
                    came = self._back.get(block=wait and not done and bool(self._tasks))
                    done += self._failed(came) if isinstance(came, BaseException) else self._kept(*came)
            if done or not wait or not self.busy:
                return done

    def unload(self) -> None:
        """Each actor closes its models before its next task."""
        self._round += 1

    def close(self) -> None:
        """End the execution and, if we started it, Ray."""
        if self._closed:
            return
        self._closed = True
        if self._desk is not None:
            # Without a desk the source fails, and Ray Data ends the execution with its actors.
            self._desk.end.remote() if not self._tasks else self._ray.kill(self._desk)
            self._collector.join(ENDING_S)
        if self._ours:
            self._ray.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ------------------------------------------------------------ Ray

    def _init(self, address: str, workers: int) -> None:
        # What Ray writes beside its logs may hold results (rows that found no room in memory): it goes with the run.
        self._folder = "" if address else tempfile.mkdtemp(prefix="mien-ray-")
        own = {"num_cpus": max(1, workers), "include_dashboard": False, "object_store_memory": STORE_BYTES}
        for handler in logging.getLogger("ray.data").handlers:
            handler.setLevel(logging.CRITICAL)  # an error comes back to us; a level of the logger would be overridden
        # Ray tells of workers that died on stdout, which is ours for data; no public setting keeps it from that.
        vars(importlib.import_module("ray._private.worker"))["_worker_logs_enabled"] = False
        with _environment(QUIET):
            try:
                self._ray.init(
                    address=address or "local",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **({} if address else {**own, "_temp_dir": self._folder}),
                )
            except (OSError, RuntimeError, ValueError) as error:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise _unreachable(address or "this machine", error) from error

    def _dataset(self, config: Config) -> Any:
        from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask, read_datasource
        from ray.data.block import BlockMetadata

        desk = self._desk

        class Tasks(Datasource):
            """One reader that waits at the desk, on this machine."""

            @property
            def supports_distributed_reads(self) -> bool:
                return False

            def estimate_inmemory_data_size(self) -> None:
                return None

            def get_read_tasks(self, *args: Any, **kwargs: Any) -> list[ReadTask]:
                nothing_known = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
                return [ReadTask(lambda: _rows(desk), nothing_known)]

        context = DataContext.get_current().copy()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.target_max_block_size, context.target_min_block_size = 1, 0  # a row goes on when it is there
        context.execution_no_progress_timeout_s = -1  # a scan may find nothing for long, and a clip may be long
        with DataContext.current(context):
            return read_datasource(Tasks(), override_num_blocks=1, num_cpus=0).map_batches(
                Hands,
                fn_constructor_kwargs={"config": config, "desk": desk, "watched": probe.watcher is not None},
                batch_size=1,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(size=self._most, max_tasks_in_flight_per_actor=TABLE),
                num_cpus=1,
                num_gpus=1 if self._cuda else 0,
                runtime_env={"env_vars": ONE_THREAD},
            )

    def _collect(self, dataset: Any) -> None:
        """In a thread of its own: outcomes as they come."""
        try:
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in batch.to_pylist():
                    self._back.put((row["number"], row["answer"]))
            self._back.put(RuntimeError("the execution ended by itself"))
        except BaseException as error:  # noqa: BLE001 - whatever ends it must reach the run
            self._back.put(error)

    # ------------------------------------------------------------ what came back

    def _kept(self, number: int, packed: bytes) -> list[Finished]:
        task = self._tasks.pop(number, None)
        if task is None:
            return []  # done twice
        self._desk.clear.remote(number, min(self._tasks, default=self._next))
        said: tuple[Answer, probe.Taken | None] = pickle.loads(packed)  # noqa: S301 - from an actor that we started
        answer, spans = said
        probe.absorb(spans)
        if answer is None:
            for each in (replace(task, others=()), *task.others):
                self.give(each)
            return []
        return [Finished(t, outcomes) for t, outcomes in zip((task, *task.others), answer, strict=True)]

    def _failed(self, error: BaseException) -> list[Finished]:
        """Ray itself has gone: what is under way, and what comes yet, fails and can be retried."""
        if self._broken is None:
            log.warning("Ray ended", exc_info=error)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if _ERROR.match(line)), type(error).__name__)
        self._broken = MienError(
            "engine.ray-lost",
            f"Ray ended before this clip was done: {said[:200]}",
            "when the cluster is up again: mien retry",
            retryable=True,
        )
        lost = [each for task in self._tasks.values() for each in _without(task, self._broken)]
        self._tasks.clear()
        return lost


def _without(task: ClipTask, error: MienError) -> list[Finished]:
    return [Finished(each, dict.fromkeys(each.stages, error)) for each in (task, *task.others)]


def _rows(desk: Any) -> Iterator[Any]:
    """The tasks of a desk by their number, one table each. Asked again from 0 it gives the same, so Ray may replay."""
    import pyarrow as pa
    import ray

    for number in itertools.count():
        clip, task = ray.get(desk.take.remote(number))
        if clip is None:
            return
        yield pa.table({"number": [number], "clip": [clip], "task": pa.array([task], pa.binary())})


def _unreachable(address: str, error: Exception) -> MienError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return MienError(
        "engine.ray-unreachable",
        f"Ray at {address} does not answer: {said}",
        "see: ray status; RAY_AUTH_MODE=token where the cluster wants its token",
        retryable=True,
    )


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set for the processes that Ray starts meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
