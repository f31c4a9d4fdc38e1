"""The profile of a run: a table of where the time went, and a trace of it.

The sums are exact however long the run; the trace has room for so many events (`mien.pipeline.watching.trace`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mien.core import probe
from mien.pipeline.engine.resident import note_memory
from mien.pipeline.events import Event
from mien.pipeline.plan import STAGES
from mien.pipeline.watching.trace import TraceFile

SAMPLE_S = 0.25
LEAST_MS = 5.0  # what two decimals of a second show
AROUND = (
    *("input", "register", "scan", "clips", "models", "opening", "pictures", "samples"),
    *("task", "workers", "room", "lines"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Thread time of one stage (or of what all stages share) in ms, added up over threads and processes.

    Attributes:
        wait: for a batch, for other threads, for a task, for the clips that a scan finds. decode: until the decoder had
            the next pictures or sound. load: opening models. infer: inside the runtimes. preprocess, post: the rest of
            the stage until the last call into a runtime for an item, and after it; of rules alone it is all `post`.
        calls: into a runtime. ms_per_media_s: all but `wait` ÷ seconds of the clips that were analysed; None without.
    """

    stage: str
    wait: float
    decode: float
    load: float
    preprocess: float
    infer: float
    post: float
    write: float
    calls: int
    ms_per_media_s: float | None


class Profile:
    """`with Profile(path) as p: project.run(..., listener=p.listen)`; afterwards `p.rows()`, `p.dropped`.

    Args:
        path: of the trace; None where only the table is wanted.

    Raises:
        MienError: `profile.*`, when entered.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._trace = path, None
        self._sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._watcher = probe.Watcher("mien run", probe.KEEP if path else 0)
        self._under_way: set[str] = set()
        self._media_s = self._sampled = 0.0
        self.processes: set[int] = set()
        self.dropped, self.broken = 0, ""
        """Spans that found no room in the trace; why it ends early, where it does."""

    def __enter__(self) -> Self:
        self._trace = TraceFile(self._path) if self._path else None
        self._started = time.monotonic()
        probe.watch(self._watcher)
        return self

    def __exit__(self, *_: object) -> None:
        probe.watch(None)
        self._flush()
        if self._trace:
            with self._writing(self._trace) as trace:
                trace.close()
            self.dropped = self._trace.dropped

    def listen(self, event: Event) -> None:
        if event.kind == "begun":
            self._under_way.add(event.unit)
        elif event.kind == "ended" and event.unit in self._under_way:
            self._under_way.remove(event.unit)
            self._media_s += event.clip_s
        now = time.monotonic()
        if now >= self._sampled + SAMPLE_S or event.kind == "done":
            self._sampled = now
            self._watcher.count("clips under way", len(self._under_way))
            self._watcher.count("× real time", self._media_s / max(1e-9, now - self._started))
            note_memory()
        if self._watcher.full:
            self._flush()

    def _flush(self) -> None:
        for taken in self._watcher.drain_all():
            self.processes.add(taken.pid)
            for key, amount in taken.sums.items():
                self._sums[key] += amount
            if self._trace and not self.broken:
                with self._writing(self._trace) as trace:
                    trace.add(taken)

    @contextmanager
    def _writing(self, trace: TraceFile) -> Iterator[TraceFile]:
        """A disk that is full ends the trace, and never the run."""
        try:
            yield trace
        except OSError as error:
            self.broken = self.broken or error.strerror or str(error)

    def rows(self) -> list[Row]:
        """What is shared first, then the stages in the order of the plan."""
        order = {name: i for i, name in enumerate((*AROUND, *(s.name for s in STAGES)))}
        names = sorted({row for row, _ in self._sums}, key=lambda row: (order.get(row, len(order)), row))
        return [self._row(name) for name in names]

    def _row(self, name: str) -> Row:
        ms = {column: self._sums[name, column] / 1e6 for column in probe.COLUMNS}
        work = sum(ms.values()) - ms["wait"]
        return Row(name, **ms, calls=self._sums[name, "calls"], ms_per_media_s=_per(work, self._media_s))


def _per(amount: float, of: float) -> float | None:
    return amount / of if of > 0 else None


def cells(rows: Iterable[Row]) -> list[list[str]]:
    """Rows as words: seconds, and ms per media second; nothing where it rounds to nothing."""
    made: list[list[str]] = []
    for r in rows:
        seconds = (r.wait, r.decode, r.load, r.preprocess, r.infer, r.post, r.write)
        per = "" if r.ms_per_media_s is None else f"{r.ms_per_media_s:.1f}"
        if max(seconds) >= LEAST_MS:
            shown = (f"{s / 1000:.2f}" if s >= LEAST_MS else "" for s in seconds)
            made.append([r.stage, *shown, str(r.calls or ""), per])
    return made
