"""Where the time of a run goes: spans that the places of work note of themselves, where somebody has asked for them.

One mechanism for the profile of a run, for metrics and for the bench. While nobody watches, `span` is one look at
`watcher` and an object that does nothing. Spans hold names of stages and models, ids of clips, and nothing of what was
analysed. Times are CLOCK_MONOTONIC in ns, which all processes of a machine share.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, ParamSpec, TypeVar, cast

A = TypeVar("A")
B = TypeVar("B")
P = ParamSpec("P")

Kind = Literal["clip", "stage", "model", "item", "infer", "load", "decode", "scan", "wait", "write"]
COLUMNS = ("wait", "decode", "load", "preprocess", "infer", "post", "write")
COLUMN: dict[str, str] = {"scan": "wait", "wait": "wait", "decode": "decode", "load": "load", "write": "write"}
ALONE = {"clip": "", "load": "models"}  # the rows of what belongs to no stage; else it is the name
SPLIT = ("stage", "model", "item")  # their own time is preprocess until the last call into the runtime, then post
LEAST_NS = 50_000  # a shorter stretch of preprocess or post is counted, and not drawn
ANOTHER_MACHINE_NS = 1_000_000_000  # clocks of one machine agree better than that
KEEP = 50_000  # events between two drains: about 10 MB

Note = tuple[str, str, int, int, int, str]
"""Kind, name, track, start and length in ns, clip; `count`: start, and the value in thousandths for a length."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process noted since the last drain.

    Attributes:
        threads: names of the tracks. sums: (row, column) → ns; the column `calls` counts calls into a runtime.
        dropped: notes that found no room; their time is in the sums all the same.
        zero_ns: the wall clock's time when the clock of the notes was 0; machines differ in it.
    """

    pid: int
    name: str
    threads: dict[int, str]
    notes: list[Note]
    sums: dict[tuple[str, str], int]
    dropped: int
    zero_ns: int = 0


@dataclass(slots=True)
class _Frame:
    """A span that is open on this thread."""

    kind: str
    name: str
    row: str
    clip: str
    start: int
    mark: int  # since when nothing inside it is under way
    inside: bool = False  # whether a call into the runtime (or into a model) has been made in it
    others: int = 0  # ns of spans inside it


def _zero_ns() -> int:
    return time.time_ns() - time.monotonic_ns()


class Watcher:
    """Collects the spans of one process. Safe to use from several threads.

    Args:
        name: of the process, for the trace. keep: notes held between two drains; 0 where only sums are wanted.
    """

    def __init__(self, name: str = "mien", keep: int = KEEP) -> None:
        self._name, self._keep = name, keep
        self._local, self._lock = threading.local(), threading.Lock()
        self._tracks: list[tuple[str, threading.Thread]] = []
        self._notes: list[Note] = []
        self._sums: dict[tuple[str, str], int] = {}
        self._dropped = 0
        self._others: list[Taken] = []

    def span(self, kind: Kind, name: str, clip: str = "", above: Any = None) -> AbstractContextManager[Any]:
        return _Span(self, kind, name, clip, above)

    def called(self, net: Any, inputs: tuple[Any, ...]) -> None:
        """A call into a runtime begins; for those that want its inputs."""

    def count(self, name: str, value: float) -> None:
        self._add([("count", name, 0, time.monotonic_ns(), round(1000 * value), "")])

    def absorb(self, taken: Taken | None) -> None:
        """Keep what another process drained until this one is drained; what came from another machine, in our time."""
        if taken is not None:
            apart = taken.zero_ns - _zero_ns()
            if taken.zero_ns and abs(apart) > ANOTHER_MACHINE_NS:
                notes = [(kind, name, track, start + apart, *rest) for kind, name, track, start, *rest in taken.notes]
                taken = replace(taken, notes=cast("list[Note]", notes))
            with self._lock:
                self._others.append(taken)

    def drain(self) -> Taken:
        """What this process noted since the last time."""
        with self._lock:
            tracks = {i: name for i, (name, _) in enumerate(self._tracks, 1)}
            made = Taken(os.getpid(), self._name, tracks, self._notes, self._sums, self._dropped, _zero_ns())
            self._notes, self._sums, self._dropped = [], {}, 0
        return made

    def drain_all(self) -> list[Taken]:
        """The same, with what was absorbed."""
        with self._lock:
            others, self._others = self._others, []
        return [self.drain(), *others]

    @property
    def full(self) -> bool:
        """Whether draining is due."""
        return len(self._notes) > self._keep // 4 or bool(self._others)

    # ------------------------------------------------------------ spans

    def frames(self) -> list[_Frame]:
        """The spans that are open on this thread, outermost first."""
        held: list[_Frame] | None = getattr(self._local, "frames", None)
        if held is None:
            held = self._local.frames = []
            with self._lock:
                self._local.track = self._track(threading.current_thread())
        return held

    def _track(self, thread: threading.Thread) -> int:
        """Every clip has threads of its own: one of the same name goes on where the last has ended."""
        for i, (name, before) in enumerate(self._tracks):
            if name == thread.name and not before.is_alive():
                self._tracks[i] = (name, thread)
                return i + 1
        self._tracks.append((thread.name, thread))
        return len(self._tracks)

    def opened(self, kind: str, name: str, clip: str, above: _Frame | None) -> None:
        frames, now = self.frames(), time.monotonic_ns()
        outer = frames[-1] if frames else above
        if frames and outer is not None and outer.kind in SPLIT:
            self._own(outer, now, "preprocess")
        row = outer.row if outer is not None and outer.row and kind != "stage" else ALONE.get(kind, name)
        frames.append(_Frame(kind, name, row, clip or (outer.clip if outer else ""), now, now))

    def closed(self) -> None:
        frames, now = self.frames(), time.monotonic_ns()
        frame = frames.pop()
        spent = now - frame.start
        made: list[Note] = [(frame.kind, frame.name, self._local.track, frame.start, spent, frame.clip)]
        if frame.kind in SPLIT:
            self._own(frame, now, self._last(frame))
        column = "infer" if frame.kind == "infer" else COLUMN.get(frame.kind)
        if column:
            self._sum(frame.row or frame.name, column, spent - frame.others)
        if frame.kind == "infer":
            self._sum(frame.row, "calls", 1)
        if frames:
            outer = frames[-1]
            outer.mark, outer.others = now, outer.others + spent
            outer.inside |= frame.inside or frame.kind in ("infer", "wait", "model")
        self._add(made)

    @staticmethod
    def _last(frame: _Frame) -> str:
        """What the time since the last thing inside a frame is."""
        if frame.inside:
            return "post"
        if frame.kind == "stage":  # rules alone
            return "preprocess" if frame.others else "post"
        return "infer"  # a model that is no network, or whose runtime is none of ours

    def _own(self, frame: _Frame, now: int, column: str) -> None:
        """The stretch of a frame's own work that ends now."""
        spent = now - frame.mark
        self._sum(frame.row, column, spent)
        if spent >= LEAST_NS and column != "infer" and (frame.inside or frame.others or column == "preprocess"):
            self._add([(column, frame.name, self._local.track, frame.mark, spent, frame.clip)])

    def _sum(self, row: str, column: str, amount: int) -> None:
        with self._lock:
            self._sums[row, column] = self._sums.get((row, column), 0) + amount

    def _add(self, notes: list[Note]) -> None:
        with self._lock:
            room = max(0, self._keep - len(self._notes))
            self._notes += notes[:room]
            self._dropped += max(0, len(notes) - room) if self._keep else 0


@dataclass(slots=True)
class _Span(AbstractContextManager[None]):
    watcher: Watcher
    kind: str
    name: str
    clip: str
    above: _Frame | None = field(default=None)

    def __enter__(self) -> None:
        self.watcher.opened(self.kind, self.name, self.clip, self.above)

    def __exit__(self, *_: object) -> None:
        self.watcher.closed()


# ---------------------------------------------------------------- where work is done

watcher: Watcher | None = None
_OFF = nullcontext()


def watch(wanted: Watcher | None) -> None:
    """From now on spans of this process go to `wanted`; None: to nobody."""
    global watcher  # noqa: PLW0603 - one process has one watcher, as it has one clock
    watcher = wanted


def absorb(taken: Taken | None) -> None:
    """What came from another process goes to whoever watches this one."""
    if watcher is not None:
        watcher.absorb(taken)


def drained() -> Taken | None:
    """What this process noted, to be sent to the one that asked for it; None where nobody watches."""
    return None if watcher is None else watcher.drain()


def span(kind: Kind, name: str, clip: str = "") -> AbstractContextManager[Any]:
    """`with span("stage", "faces"): ...`; spans on one thread nest."""
    return _OFF if watcher is None else watcher.span(kind, name, clip)


def infer(net: Any, *inputs: Any) -> AbstractContextManager[Any]:
    """Around a runtime's own call."""
    if watcher is None:
        return _OFF
    watcher.called(net, inputs)
    return watcher.span("infer", type(net).__name__)


def timed(kind: Kind, name: str) -> Callable[[Callable[P, A]], Callable[P, A]]:
    """The decorator for a function that is one span."""

    def decorated(function: Callable[P, A]) -> Callable[P, A]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> A:
            with span(kind, name):
                return function(*args, **kwargs)

        return called

    return decorated


def each(kind: Kind, name: str, items: Iterable[A]) -> Iterator[A]:
    """The items; what it takes to get the next one is a span."""
    held = iter(items)
    while True:
        with span(kind, name):
            try:
                item = next(held)
            except StopIteration:
                return
        yield item


def mapped(pool: Executor | None, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
    """`function` over items, several at once where there is a pool, results in order; one span for each item."""
    held = watcher
    if held is None:
        return list(pool.map(function, items)) if pool else [function(item) for item in items]
    frames = held.frames()
    above = frames[-1] if frames else None

    def work(item: A) -> B:
        with held.span("item", above.name if above else "", above=above):
            return function(item)

    if pool is None:
        return [work(item) for item in items]
    with held.span("wait", "pool"):
        return list(pool.map(work, items))


def watched(model: Any, name: str) -> Any:
    """The same model; where somebody watches, its calls are spans from now on."""
    for method in ("run", "embed", "states", "regions") if watcher else ():
        if hasattr(model, method):
            with suppress(AttributeError):  # one with slots stays as it is
                setattr(model, method, timed("model", name)(getattr(model, method)))
    return model
