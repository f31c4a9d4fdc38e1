"""The runner: registers inputs, cuts clips, gives out exactly the stages whose results are missing or changed.

One process plans and commits; who does the media stages is a crew's business (`mien.pipeline.engine.task`). Every
result is committed on its own; a kill or Ctrl-C at any moment leaves a consistent project, and the next run goes on
from there. A failed item is a row, never an exception through the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mien.core import Clip, MienError, Source, digest, probe
from mien.core.records import Failure, Observation
from mien.pipeline.config import Config
from mien.pipeline.engine.books import Books, utc_now
from mien.pipeline.engine.crew import check_crew, crew_for, together
from mien.pipeline.engine.derived import derived
from mien.pipeline.engine.heap import one_heap
from mien.pipeline.engine.order import by_stage, groups
from mien.pipeline.engine.sources import Sources
from mien.pipeline.engine.task import ClipTask, Crew, Finished, Outcome
from mien.pipeline.engine.work import bug, reads
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.inputs import Entry, Refused
from mien.pipeline.people import CLOSED, Cast, Marks, now
from mien.pipeline.plan import STAGES, Stage, applies, check_plan
from mien.pipeline.rows import table
from mien.pipeline.stack import AFFECT, Stack
from mien.pipeline.stages.compare import STAGE, compared
from mien.pipeline.stale import ABSENT, stage_key, values_of
from mien.policy.identity import identity_permit
from mien.store import StageResult, Store

log = logging.getLogger("mien")
STORED = ("sound", "objects", "faces")  # whose tables other media stages read


class Runner:
    """One run over a project's store."""

    def __init__(self, store: Store, config: Config, *, run_id: str, listener: Listener = silent) -> None:
        check_plan()
        one_heap()
        self._store, self._config, self._run_id, self._tell = store, config, run_id, listener
        self._permit = identity_permit(config.context, config.identity)
        self._stack = Stack(config, threads=1 if config.run.workers == 1 else None)
        self._values = values_of(config)
        self._stack.register(store)
        self._total_s = self._done_s = 0.0
        self._crew: Crew | None = None
        self._under_way: dict[str, _Open] = {}
        self._closed: set[str] = set()  # clips in which affect models may look no longer
        self._books = Books(store, run_id, listener)
        self._sources = Sources(store, config, self._books, run_id, self._prepare, self._settle_all)
        self._group: list[ClipTask] = []
        self._groups: list[tuple[str, ...]] = []
        self._marks = Marks(store, config.context, now())
        self._share = (0, 1)  # which pass over all clips this is, of how many

    def require_weights(self) -> None:
        """Raise `weights.missing` before any decoding if a model of the stack is not on this machine."""
        absent = self._stack.missing_weights()
        if absent:
            raise MienError("weights.missing", f"weights are not here yet: {', '.join(absent)}", "mien models pull")
        check_crew(self._config)

    def take(
        self, entries: Iterable[Entry | Refused], given: Sequence[str], only: frozenset[str] | None
    ) -> tuple[str, ...]:
        """Keep what discovery found; the names of items that these inputs have no longer."""
        return self._sources.take(entries, given, only)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Stages done, failed and waiting in this run (not those that were found done)."""
        return self._books.done, self._books.failed, self._books.waiting

    # ------------------------------------------------------------ the run

    def run(self) -> None:
        """Bring every registered source up to date."""
        sources = self._store.all(Source)
        self._total_s = sum(s.duration_us for s in sources) / 1e6
        self._tell(Event("plan", total_s=self._total_s, text=f"{len(sources)} source(s)"))
        self._marks = Marks(self._store, self._config.context, now())
        if by_stage(self._config, self._stack):
            passes = groups(self._stack)
            for at, only in enumerate(passes):
                self._share = (at, len(passes) + 1)
                sources = self._pass(sources, only)
                self._working().unload()
            self._share = (len(passes), len(passes) + 1)
        elif self._config.context == "care" and self._marks.anybody:  # whose a face is, is known once it was tracked
            sources = self._pass(sources, frozenset(s.name for s in STAGES if s.kind != "derived" and not s.affect))
        self._pass(sources, None)
        self._compare()
        self._note_batches()
        self._tell(Event("done", done_s=self._total_s, total_s=self._total_s))

    def _note_batches(self) -> None:
        """The batch plan: which clips went to the models together, in order. With it, results repeat to the bit."""
        if any(len(group) > 1 for group in self._groups):
            rows = [(i, clip) for i, group in enumerate(self._groups) for clip in group]
            held = table({"group": np.array([i for i, _ in rows]), "clip": np.array([c for _, c in rows])})
            name = f"batches/{self._run_id}"
            self._books.commit(
                StageResult(self._run_id, "batches", digest("batches", self._groups), tables={name: held})
            )

    def _pass(self, sources: Sequence[Source], only: frozenset[str] | None) -> list[Source]:
        """Go over all clips of the sources once; the sources whose clips could be found."""
        self._done_s = 0.0
        found: list[Source] = []
        for source in sources:
            self._tell(Event("source", source.sha256, text=Path(source.path).name))
            reached_s = self._done_s
            with self._guarded(source):
                with contextlib.closing(self._sources.clips(source)) as clips:
                    for clip in clips:
                        self._clip(clip, source, only)
                found.append(source)
            if not any(o.source is source for o in self._under_way.values()):
                self._done_s = max(self._done_s, reached_s + source.duration_us / 1e6)
        self._settle_all()
        return found

    @contextlib.contextmanager
    def _guarded(self, source: Source) -> Iterator[None]:
        """What goes wrong with a source is a failure of that source."""
        try:
            yield
        except MienError as error:
            if error.code.startswith(("store.", "engine.ray-")):
                raise  # the project cannot be written, or nobody does the work: no later source would fare better
            self._books.fail(source.sha256, "clips", "", error, keep=[source])
        except Exception as error:
            log.exception("source %s", source.sha256)
            self._books.fail(source.sha256, "clips", "", bug(error), keep=[source])

    def _compare(self) -> None:
        """Hold every clip against the others; the whole project in one commit."""
        try:
            with probe.span("stage", STAGE):
                results = compared(self._store)
        except MienError as error:
            if error.code == "store.write-failed":
                raise
            self._books.fail("project", STAGE, "", error)
            return
        except Exception as error:
            log.exception("comparing clips")
            self._books.fail("project", STAGE, "", bug(error))
            return
        self._store.commit_all(results, run_id=self._run_id, at_utc=utc_now())

    def close(self) -> None:
        if self._crew is not None:
            self._crew.close()
        self._stack.close()
        self._sources.close()

    # ------------------------------------------------------------ one clip

    def _clip(self, clip: Clip, source: Source, only: frozenset[str] | None = None) -> None:
        """Give out the media stages that are missing; the derived ones follow when those are committed.

        `only`: give out no others, and derive nothing yet.
        """
        care = self._config.context == "care"
        cast = self._marks.cast(clip) if care and only is None else CLOSED if care else Cast()
        opened = _Open(clip, source, {}, derive=only is None, cast=cast)
        stale: list[Stage] = []
        for stage in STAGES:
            if not applies(stage, source, self._stack.has):
                opened.keys[stage.name] = ABSENT
                held = self._store.stage(clip.id, stage.name) if stage.affect and not self._stack.has(AFFECT) else None
                if held is not None and held.state == "ok":
                    self._closed.add(clip.id)  # observables only, from now on: nor does the past keep readings
                self._books.withdraw(clip, stage)
            elif stage.kind == "derived" or (care and stage.affect and only is not None):
                continue
            elif self._stale(stage, opened, {s.name for s in stale}):
                if (error := self._broken(stage, clip, {s.name for s in stale})) is not None:
                    self._books.fail(clip.id, stage.name, opened.keys[stage.name], error)
                else:
                    stale.append(stage)
        given = tuple(s.name for s in stale if only is None or s.name in only)
        if given:
            self._give(opened, given)
        else:
            self._sources.release(clip)
            self._through(opened)

    def _broken(self, stage: Stage, clip: Clip, pending: set[str]) -> MienError | None:
        """Why a stage cannot be done: one that it reads has failed."""
        for need in stage.needs:
            if need not in pending:
                for failed in self._store.all(Failure, "unit = ? AND stage = ?", (clip.id, need)):
                    return MienError(failed.code, failed.message, failed.hint, retryable=failed.retryable)
        return None

    def _give(self, opened: _Open, stages: tuple[str, ...]) -> None:
        try:
            task = self._task(opened, stages)
        except MienError as error:  # a stored table is damaged
            self._sources.release(opened.clip)
            self._keep(opened, dict.fromkeys(stages, error))
            return
        self._under_way[opened.clip.id] = opened
        length_s = opened.clip.span.duration_us / 1e6
        self._tell(Event("begun", opened.clip.id, ",".join(stages), clip_s=length_s))
        self._group.append(task)
        if len(self._group) >= together(self._config):
            self._send()

    def _send(self) -> None:
        """Give out the group that was gathered: tasks that are done together."""
        if not self._group:
            return
        (first, *others), self._group = self._group, []
        self._groups.append((first.clip.id, *(t.clip.id for t in others)))
        crew = self._working()
        while not crew.room:
            self._settle()
        crew.give(dataclasses.replace(first, others=tuple(others)))
        self._take(crew.finished(wait=False))

    def _task(self, opened: _Open, stages: tuple[str, ...]) -> ClipTask:
        read = reads(stages)
        held = {name: self._store.table(f"{name}/{opened.clip.id}") for name in STORED if name in read}
        rows = self._store.all(Observation, "clip_id = ?", (opened.clip.id,)) if "sound" in read else ()
        spooled = self._sources.spooled(opened.clip)
        affect = opened.cast.affect
        if affect is not None and "expression" in stages:  # the bodies of others are made black
            held["objects"] = self._store.table(f"objects/{opened.clip.id}")
        return ClipTask(opened.clip, opened.source, stages, held, tuple(rows), spooled=spooled, affect=affect)

    def _working(self) -> Crew:
        """The crew, called together when there is first something to do: by how much is left."""
        if self._crew is None:
            self._crew = crew_for(self._config, self._stack, self._left_s(), self._reached)
        return self._crew

    def _prepare(self) -> None:
        self._working().prepare()

    def _left_s(self) -> float:
        return self._total_s - self._done_s

    def _settle(self) -> None:
        """Wait until something has come back, and commit it."""
        if self._crew is not None and self._crew.busy:
            with probe.span("wait", "workers"):
                finished = self._crew.finished(wait=True)
            self._take(finished)

    def _settle_all(self) -> None:
        self._send()
        while self._crew is not None and self._crew.busy:
            self._settle()

    def _take(self, finished: Iterable[Finished]) -> None:
        for done in (each for first in finished for each in (first, *first.others)):
            probe.absorb(done.spans)
            opened = self._under_way.pop(done.task.clip.id)
            self._sources.release(opened.clip)
            with self._guarded(opened.source):
                self._keep(opened, done.outcomes)

    def _keep(self, opened: _Open, outcomes: Mapping[str, Outcome]) -> None:
        """Commit each media stage by itself; one that failed leaves the others' results."""
        clip, keys = opened.clip, opened.keys
        for stage in (s for s in STAGES if s.name in outcomes):
            done = outcomes[stage.name]
            if isinstance(done, MienError):
                keys[stage.name] = self._key(stage, opened, set())  # what it read may have failed, too
                self._books.fail(clip.id, stage.name, keys[stage.name], done)
            else:
                result = StageResult(clip.id, stage.name, keys[stage.name], done.records, done.tables)
                note = self._permit if stage.name == "faces" else None
                self._books.commit(dataclasses.replace(result, ms=round(done.ms, 3), note=note))
        self._through(opened)

    def _through(self, opened: _Open) -> None:
        """The media stages of a clip that were asked for are settled."""
        if opened.derive:
            self._derive(opened)
        length_s = opened.clip.span.duration_us / 1e6
        self._done_s += length_s
        self._progress(opened.clip, self._done_s)
        again = "" if opened.derive else "again"  # there is another pass to come
        self._tell(Event("ended", opened.clip.id, text=again, clip_s=length_s / self._share[1]))

    def _derive(self, opened: _Open) -> None:
        clip, keys = opened.clip, opened.keys
        opened = dataclasses.replace(opened, cast=self._marks.cast(clip))
        for stage in STAGES:
            if stage.kind == "derived" and stage.name not in keys and self._stale(stage, opened, set()):
                self._try(opened, stage, keys[stage.name])
        if clip.id in self._closed:
            self._store.erase_readings(clip.id)
            self._closed.discard(clip.id)

    def _stale(self, stage: Stage, opened: _Open, pending: set[str]) -> bool:
        """Note the stage's key; True when its result is missing or was made of something else.

        `pending`: stages that are about to run, and are expected to work.
        """
        clip = opened.clip
        key = opened.keys[stage.name] = self._key(stage, opened, pending)
        held = self._store.stage(clip.id, stage.name)
        if held is not None and held.key == key:
            return False
        care = self._config.context == "care"
        if stage.affect and care and (not opened.cast.allows(stage.name) or pending.intersection(stage.needs)):
            if held is not None and held.state == "ok":
                self._closed.add(clip.id)  # somebody withdrew, or is not in view as they were
            self._books.wait(clip, stage, key)
            return False
        return True

    def _key(self, stage: Stage, opened: _Open, pending: set[str]) -> str:
        clip, who = opened.clip, opened.cast.key_of(stage.name)
        rows = {need: self._store.stage(clip.id, need) for need in stage.needs if need not in pending}
        states = {need: row.state for need, row in rows.items() if row is not None}
        return stage_key(stage, clip.id, opened.keys, states, self._values, self._stack.label, who)

    def _try(self, opened: _Open, stage: Stage, key: str) -> None:
        clip = opened.clip
        started = time.perf_counter()
        try:
            with probe.span("stage", stage.name, clip.id):
                records, tables = derived(stage, clip, self._store, self._stack, self._config, opened.cast)
        except MienError as error:
            self._books.fail(clip.id, stage.name, key, error)
            return
        except Exception as error:
            log.exception("stage %s of %s", stage.name, clip.id)
            self._books.fail(clip.id, stage.name, key, bug(error))
            return
        ms = 1000 * (time.perf_counter() - started)
        self._books.commit(StageResult(clip.id, stage.name, key, records, tables, ms=round(ms, 3)))

    def _reached(self, task: ClipTask, t_us: int) -> None:
        self._progress(task.clip, self._done_s + (t_us - task.clip.span.start_us) / 1e6)

    def _progress(self, clip: Clip, done_s: float) -> None:
        at, passes = self._share
        self._tell(Event("progress", clip.id, done_s=(at * self._total_s + done_s) / passes, total_s=self._total_s))


@dataclasses.dataclass(frozen=True, slots=True)
class _Open:
    """A clip under way and the keys of its stages."""

    clip: Clip
    source: Source
    keys: dict[str, str]
    derive: bool
    cast: Cast
