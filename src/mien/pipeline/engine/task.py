"""What is handed to those that do media stages, and what comes back: rows and paths, never frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mien.core import Clip, MienError, Source, probe
from mien.core.records import Observation
from mien.media import Spooled


@dataclass(frozen=True, slots=True)
class ClipTask:
    """Media stages to do on one clip.

    Attributes:
        stages: their names, in the order of the plan.
        tables: earlier results, as `STAGE` → table, of the stages that these read and that are up to date.
        rows: the clip's observations, where a stage reads those.
        others: tasks to do together with this one, so that models get their batches as one.
        spooled: where the clip's decoded media lie, if they do; else, or where that cannot be read, decode them.
        affect: the face tracks that affect models may see, on frames where all else is black; None: everybody.
    """

    clip: Clip
    source: Source
    stages: tuple[str, ...]
    tables: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Observation, ...] = ()
    others: tuple[ClipTask, ...] = ()
    spooled: Spooled | None = None
    affect: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A stage's records and tables, and the time it took (others may have shared the cores)."""

    records: list[Any]
    tables: dict[str, Any]
    ms: float


Outcome = Done | MienError
LOAD, UNLOAD = "load", "unload"  # what a worker may be told to do with its models


@dataclass(frozen=True, slots=True)
class Finished:
    """A task and the outcome of each of its stages. spans: what another process noted of its time, where asked for."""

    task: ClipTask
    outcomes: Mapping[str, Outcome]
    spans: probe.Taken | None = None
    others: tuple[Finished, ...] = ()


class Crew(Protocol):
    """Who does tasks. Called from one thread; nothing here touches the store."""

    @property
    def room(self) -> bool:
        """Whether another task may be given now: a bounded queue, so that planning does not run away."""
        ...

    def prepare(self) -> None:
        """Load the models that a new clip needs, beside whatever goes on."""
        ...

    def give(self, task: ClipTask) -> None:
        """Take a task; only where there is room."""
        ...

    def finished(self, *, wait: bool) -> list[Finished]:
        """What has come back since; with `wait`, at least one unless nothing is under way."""
        ...

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        ...

    def unload(self) -> None:
        """Close all models; asked for only when nothing is under way."""
        ...

    def close(self) -> None:
        """End now; what is under way is lost. May be called twice."""
        ...
