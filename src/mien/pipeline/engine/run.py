"""The runner: registers inputs, cuts clips, gives out exactly the stages whose results are missing or changed.

One process plans and commits; who does the media stages is a crew's business (`mien.pipeline.engine.task`). Every
result is committed on its own; a kill or Ctrl-C at any moment leaves a consistent project, and the next run goes on
from there. A failed item is a row, never an exception through the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Clip, MienError, Source, Track, clip_id, digest, probe
from mien.core.records import Assessment, Failure, Observation
from mien.media import Cut, Scan, Scanning, Shelf, Spool, Spooled, hash_file, judge
from mien.media import probe as probe_file
from mien.pipeline.config import Config
from mien.pipeline.engine.crew import check_crew, crew_for, together
from mien.pipeline.engine.hand import DIED, present
from mien.pipeline.engine.heap import one_heap
from mien.pipeline.engine.order import by_stage, groups
from mien.pipeline.engine.task import ClipTask, Crew, Finished, Outcome
from mien.pipeline.engine.work import bug, reads
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.inputs import Entry, Keeper, Pseudonyms, Refused
from mien.pipeline.plan import STAGES, Stage, applies, check_plan, cutting
from mien.pipeline.rows import table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.assess import assess_stage
from mien.pipeline.stages.body import body_stage
from mien.pipeline.stages.compare import STAGE, compared
from mien.pipeline.stages.derive import View, affect_stage, claims_stage, signals_stage
from mien.pipeline.stages.sources import sources_stage
from mien.pipeline.stale import ABSENT, stage_key, values_of
from mien.policy import WAITING_CODE, WAITING_MESSAGE, affect_allowed
from mien.policy.identity import identity_permit
from mien.store import StageResult, Store

log = logging.getLogger("mien")
STORED = ("sound", "objects", "faces")  # whose tables other media stages read
SILENT_DBFS = -90.0  # below the quantisation noise of 16 bits


class _DecoderLostError(Exception):
    """The decoding child of a scan was killed, by the file or by something else."""


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Runner:
    """One run over a project's store. `analysed` counts the stages it did (not those it found done)."""

    def __init__(self, store: Store, config: Config, *, run_id: str, listener: Listener = silent) -> None:
        check_plan()
        one_heap()
        self._store, self._config, self._run_id, self._tell = store, config, run_id, listener
        self._permit = identity_permit(config.context, config.identity)
        self._stack, self._values = Stack(config), values_of(config)
        self._stack.register(store)
        self.done = self.failed = self.waiting = 0
        self._total_s = self._done_s = 0.0
        self._crew: Crew | None = None
        self._under_way: dict[str, _Open] = {}
        self._spool = Spool(store.root, config.run.spool_mb << 20)
        self._spooled: dict[str, Spooled | None] = {}
        self._group: list[ClipTask] = []
        self._groups: list[tuple[str, ...]] = []
        self._share = (0, 1)  # which pass over all clips this is, of how many

    def require_weights(self) -> None:
        """Raise `weights.missing` before any decoding if a model of the stack is not on this machine."""
        absent = self._stack.missing_weights()
        if absent:
            raise MienError("weights.missing", f"weights are not here yet: {', '.join(absent)}", "mien models pull")
        check_crew(self._config)

    # ------------------------------------------------------------ inputs

    def take(
        self, entries: Iterable[Entry | Refused], given: Sequence[str], only: frozenset[str] | None
    ) -> tuple[str, ...]:
        """Keep what discovery found; the names of items that these inputs have no longer."""

        def fail(unit: str, stage: str, key: str, error: MienError, keep: Sequence[Any]) -> None:
            self._fail(unit, stage, key, error, name=Path(unit).name if stage == "register" else "", keep=keep)

        people = Pseudonyms(self._store.root)
        times = {"run_id": self._run_id, "at_utc": utc_now()}
        return Keeper(self._store, people, self.register, fail, only=only, **times).keep(entries, given)

    @probe.timed("decode", "register")
    def register(self, path: Path) -> str:
        """Hash and probe one file; its sha256. One that cannot be decoded is a failure row of its own.

        Raises:
            MienError: `media.*` when it cannot even be read.
        """
        unit = hash_file(path)
        key = digest("register", 1, unit, self._config.context)
        held = self._store.stage(unit, "register")
        if held and held.key == key:
            self._moved(unit, path)
            return unit
        try:
            try:
                p = probe_file(path)
            except MienError as error:
                if error.code != DIED:
                    raise
                p = probe_file(path)  # whatever killed its decoder, it may not have been the file
        except MienError as error:
            self._fail(unit, "register", key, error, name=path.name)
            return unit
        source = Source(
            unit,
            str(path),
            p.kind,
            path.stat().st_size,
            p.duration_us or 0,
            p.width_px,
            p.height_px,
            p.fps,
            p.audio_rate_hz,
            p.audio_channels,
            self._config.context,
        )
        self._commit(StageResult(unit, "register", key, [source]))
        return unit

    def _moved(self, sha: str, path: Path) -> None:
        for source in self._store.all(Source, "sha256 = ?", (sha,)):
            if source.path != str(path) and not Path(source.path).exists():
                stage = "clips" if self._store.stage(sha, "clips") else "register"
                self._store.put([dataclasses.replace(source, path=str(path))], unit=sha, stage=stage)

    # ------------------------------------------------------------ the run

    def run(self) -> None:
        """Bring every registered source up to date."""
        sources = self._store.all(Source)
        self._total_s = sum(s.duration_us for s in sources) / 1e6
        self._tell(Event("plan", total_s=self._total_s, text=f"{len(sources)} source(s)"))
        if by_stage(self._config, self._stack):
            passes = groups(self._stack)
            for at, only in enumerate(passes):
                self._share = (at, len(passes) + 1)
                sources = self._pass(sources, only)
                self._working().unload()
            self._share = (len(passes), len(passes) + 1)
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
            self._commit(StageResult(self._run_id, "batches", digest("batches", self._groups), tables={name: held}))

    def _pass(self, sources: Sequence[Source], only: frozenset[str] | None) -> list[Source]:
        """Go over all clips of the sources once; the sources whose clips could be found."""
        self._done_s = 0.0
        found: list[Source] = []
        for source in sources:
            self._tell(Event("source", source.sha256, text=Path(source.path).name))
            reached_s = self._done_s
            with self._guarded(source):
                with contextlib.closing(self._clips(source)) as clips:
                    for clip in clips:
                        self._clip(clip, source, only)
                found.append(source)
            if not any(o.source is source for o in self._under_way.values()):
                self._done_s = max(self._done_s, reached_s + source.duration_us / 1e6)
        self._settle(wait_for_all=True)
        return found

    @contextlib.contextmanager
    def _guarded(self, source: Source) -> Iterator[None]:
        """What goes wrong with a source is a failure of that source."""
        try:
            yield
        except MienError as error:
            if error.code.startswith(("store.", "engine.ray-")):
                raise  # the project cannot be written, or nobody does the work: no later source would fare better
            self._fail(source.sha256, "clips", "", error, keep=[source])
        except Exception as error:
            log.exception("source %s", source.sha256)
            self._fail(source.sha256, "clips", "", bug(error), keep=[source])

    def _compare(self) -> None:
        """Hold every clip against the others; the whole project in one commit."""
        try:
            with probe.span("stage", STAGE):
                results = compared(self._store)
        except MienError as error:
            if error.code == "store.write-failed":
                raise
            self._fail("project", STAGE, "", error)
            return
        except Exception as error:
            log.exception("comparing clips")
            self._fail("project", STAGE, "", bug(error))
            return
        self._store.commit_all(results, run_id=self._run_id, at_utc=utc_now())

    def close(self) -> None:
        if self._crew is not None:
            self._crew.close()
        self._stack.close()
        self._spool.close()

    def _clips(self, source: Source) -> Generator[Clip]:
        """The clips of a source: the stored ones, or new ones as its scan finds them.

        The scan runs beside the analysis, and only its end commits the cutting. A run that was stopped before scans
        again, finds the same clips, and so finds what was already done for them.
        """
        sha = source.sha256
        cutter, key, max_us = cutting(source, self._config.analysis.max_clip_s)
        held = self._store.stage(sha, "clips")
        if held is not None and held.key == key:
            if held.state == "ok":
                yield from sorted(self._store.all(Clip, "source_sha = ?", (sha,)), key=lambda c: c.span)
            return
        self._working().prepare()  # while the first clip is being found
        given: set[str] = set()
        for last in (False, True):
            try:
                found = yield from self._scan(source, cutter, key, max_us, given, last=last)
                break
            except _DecoderLostError:
                log.warning("the decoder of %s was killed: scanning again", sha)
        else:
            return
        if found is None:
            return
        scan, clips = found
        status = judge(scan)
        seen = dataclasses.replace(
            source, duration_us=scan.end_us, coverage=scan.coverage, state=status.state, code=status.code
        )
        self._forget_clips(sha, {c.id for c in clips})
        self._commit(StageResult(sha, "clips", key, [seen, *clips], note=status.message or None))

    def _scan(
        self, source: Source, cutter: str, key: str, max_us: int, given: set[str], *, last: bool
    ) -> Generator[Clip, None, tuple[Scan, list[Clip]] | None]:
        """Clips as they are found, but for those that were `given` before; in the end the scan, or None: it failed."""
        sha, clips = source.sha256, list[Clip]()
        with Scanning(present(source), max_us, shelf=self._shelf(max_us)) as scanning:
            found = iter(scanning)
            while (cut := self._scanned(found, source, key, last=last)) is not None:
                clips.append(clip := Clip(clip_id(sha, cut.span, cutter), sha, *cut, cutter))
                if clip.id in given:
                    continue
                given.add(clip.id)
                self._store.put([clip], unit=sha, stage="clips")
                self._spooled[clip.id] = scanning.spooled(cut.span)
                yield clip
            return (scanning.result, clips) if scanning.result is not None else None

    def _shelf(self, longest_us: int) -> Shelf | None:
        """Where the scan leaves what the analysis needs; nowhere when the workers are on other machines."""
        wanted = self._config.analysis
        return None if self._config.run.ray_address else self._spool.shelf(wanted.fps, wanted.max_side_px, longest_us)

    def _release(self, clip: Clip) -> None:
        """Nobody needs the clip's decoded media any more."""
        self._spool.release(self._spooled.pop(clip.id, None))

    def _scanned(self, found: Iterator[Cut], source: Source, key: str, *, last: bool) -> Cut | None:
        """The next clip of a scan; None at its end, also when it failed: then the source is rejected."""
        try:
            with probe.span("scan", "scan"):
                return next(found, None)
        except MienError as error:
            if error.code == DIED and not last:
                raise _DecoderLostError from error
            self._settle(wait_for_all=True)
            status = judge(error)
            gone = dataclasses.replace(source, state=status.state, code=status.code)
            self._forget_clips(source.sha256, set())
            self._fail(source.sha256, "clips", key, error, name=Path(source.path).name, keep=[gone])
            return None

    def _forget_clips(self, sha: str, kept: set[str]) -> None:
        """Withdraw the results of clips that a new cutting no longer has."""
        for clip in self._store.all(Clip, "source_sha = ?", (sha,)):
            if clip.id not in kept:
                self._store.withdraw_unit(clip.id, run_id=self._run_id)

    # ------------------------------------------------------------ one clip

    def _clip(self, clip: Clip, source: Source, only: frozenset[str] | None = None) -> None:
        """Give out the media stages that are missing; the derived ones follow when those are committed.

        `only`: give out no others, and derive nothing yet.
        """
        opened = _Open(clip, source, {}, derive=only is None)
        stale: list[Stage] = []
        for stage in STAGES:
            if not applies(stage, source, self._stack.has):
                opened.keys[stage.name] = ABSENT
                self._withdraw(clip, stage)
            elif stage.kind == "derived":
                continue
            elif self._stale(stage, clip, opened.keys, {s.name for s in stale}):
                if (error := self._broken(stage, clip, {s.name for s in stale})) is not None:
                    self._fail(clip.id, stage.name, opened.keys[stage.name], error)
                else:
                    stale.append(stage)
        given = tuple(s.name for s in stale if only is None or s.name in only)
        if given:
            self._give(opened, given)
        else:
            self._release(clip)
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
            self._release(opened.clip)
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
        spooled = self._spooled.get(opened.clip.id)
        return ClipTask(opened.clip, opened.source, stages, held, tuple(rows), spooled=spooled)

    def _working(self) -> Crew:
        """The crew, called together when there is first something to do: by how much is left."""
        if self._crew is None:
            self._crew = crew_for(self._config, self._stack, self._left_s(), self._reached)
        return self._crew

    def _left_s(self) -> float:
        return self._total_s - self._done_s

    def _settle(self, *, wait_for_all: bool = False) -> None:
        """Wait until something has come back (or everything) and commit it."""
        if wait_for_all:
            self._send()
        while self._crew is not None and self._crew.busy:
            with probe.span("wait", "workers"):
                finished = self._crew.finished(wait=True)
            self._take(finished)
            if not wait_for_all:
                return

    def _take(self, finished: Iterable[Finished]) -> None:
        for done in (each for first in finished for each in (first, *first.others)):
            probe.absorb(done.spans)
            opened = self._under_way.pop(done.task.clip.id)
            self._release(opened.clip)
            with self._guarded(opened.source):
                self._keep(opened, done.outcomes)

    def _keep(self, opened: _Open, outcomes: Mapping[str, Outcome]) -> None:
        """Commit each media stage by itself; one that failed leaves the others' results."""
        clip, keys = opened.clip, opened.keys
        for stage in (s for s in STAGES if s.name in outcomes):
            done = outcomes[stage.name]
            if isinstance(done, MienError):
                keys[stage.name] = self._key(stage, clip, keys, set())  # what it read may have failed, too
                self._fail(clip.id, stage.name, keys[stage.name], done)
            else:
                result = StageResult(clip.id, stage.name, keys[stage.name], done.records, done.tables)
                note = self._permit if stage.name == "faces" else None
                self._commit(dataclasses.replace(result, ms=round(done.ms, 3), note=note))
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
        for stage in STAGES:
            if stage.kind == "derived" and stage.name not in keys and self._stale(stage, clip, keys, set()):
                self._try(clip, stage, keys[stage.name], lambda s=stage: self._derived(clip, s))

    def _stale(self, stage: Stage, clip: Clip, keys: dict[str, str], pending: set[str]) -> bool:
        """Note the stage's key; True when its result is missing or was made of something else.

        `pending`: stages that are about to run, and are expected to work.
        """
        key = keys[stage.name] = self._key(stage, clip, keys, pending)
        held = self._store.stage(clip.id, stage.name)
        if held is not None and held.key == key:
            return False
        if stage.affect and not affect_allowed(self._config.context, subject_enrolled=False):
            self._wait(clip, stage, key)
            return False
        return True

    def _key(self, stage: Stage, clip: Clip, keys: dict[str, str], pending: set[str]) -> str:
        rows = {need: self._store.stage(clip.id, need) for need in stage.needs if need not in pending}
        states = {need: row.state for need, row in rows.items() if row is not None}
        return stage_key(stage, clip.id, keys, states, self._values, self._stack.label)

    def _derived(self, clip: Clip, stage: Stage) -> tuple[list[Any], dict[str, Any]]:
        where = ("clip_id = ?", (clip.id,))
        view = View(
            clip,
            self._store.all(Track, *where),
            self._store.all(Observation, *where),
            self._store,
            self._stack,
            self._config,
        )
        match stage.name:
            case "signals":
                return signals_stage(view)
            case "body":
                return body_stage(view)
            case "sources":
                return sources_stage(view)
            case "affect":
                return affect_stage(view)
            case "assess":
                return assess_stage(view)
            case _:
                return claims_stage(view, self._store.all(Assessment, *where), self._missing(clip))

    def _missing(self, clip: Clip) -> tuple[str, ...]:
        """What the reader must know was not looked at, in words."""
        said: list[str] = []
        rows = {r.stage: r for r in self._store.stages_of(clip.id)}
        if any(r.state == WAITING_CODE for r in rows.values()):
            said.append("affect: no person is enrolled, so no affect model ran")
        said += [f"{r.stage}: failed ({r.code})" for r in rows.values() if r.state == "failed"]
        if "sound" not in rows or rows["sound"].state == "off":
            said.append("sound: there is none, or it was not analysed")
        elif self._silent(clip):
            said.append("sound: the sound track is digital silence")
        if "faces" not in rows or rows["faces"].state == "off":
            said.append("faces: there is no picture, or it was not analysed")
        if "body" not in rows or rows["body"].state == "off":
            said.append("body: posture and movement were not looked at")
        elif not self._store.all(Observation, "clip_id = ? AND target = 'body.motion_body'", (clip.id,)):
            said.append("body: too little of anybody was in view to measure posture or movement")
        return tuple(said)

    def _silent(self, clip: Clip) -> bool:
        held = self._store.table(f"sound/{clip.id}")
        return held is not None and held.num_rows > 0 and max(held["energy_dbfs"].to_pylist()) < SILENT_DBFS

    # ------------------------------------------------------------ committing

    def _try(self, clip: Clip, stage: Stage, key: str, work: Any) -> None:
        started = time.perf_counter()
        try:
            with probe.span("stage", stage.name, clip.id):
                records, tables = work()
        except MienError as error:
            self._fail(clip.id, stage.name, key, error)
            return
        except Exception as error:
            log.exception("stage %s of %s", stage.name, clip.id)
            self._fail(clip.id, stage.name, key, bug(error))
            return
        ms = 1000 * (time.perf_counter() - started)
        self._commit(StageResult(clip.id, stage.name, key, records, tables, ms=round(ms, 3)))

    def _commit(self, result: StageResult) -> None:
        self._store.commit(result, run_id=self._run_id, at_utc=utc_now())
        self.done += result.state == "ok"
        self._tell(Event("stage", result.unit, result.stage, text=result.state, ms=result.ms))

    def _fail(
        self, unit: str, stage: str, key: str, error: MienError, *, name: str = "", keep: Sequence[Any] = ()
    ) -> None:
        self._store.fail(unit, stage, key, error, keep, run_id=self._run_id, at_utc=utc_now())
        self.failed += 1
        self._tell(Event("failed", unit, stage, text=f"{name + ': ' if name else ''}{error}", code=error.code))

    def _wait(self, clip: Clip, stage: Stage, key: str) -> None:
        self._store.commit(
            StageResult(clip.id, stage.name, key, state=WAITING_CODE, code=WAITING_CODE, note=WAITING_MESSAGE),
            run_id=self._run_id,
            at_utc=utc_now(),
        )
        self.waiting += 1
        self._tell(Event("waiting", clip.id, stage.name, text=WAITING_MESSAGE))

    def _withdraw(self, clip: Clip, stage: Stage) -> None:
        """A stage that no longer applies (its slot is off) keeps no results."""
        held = self._store.stage(clip.id, stage.name)
        if held is not None and held.state != "off":
            self._commit(StageResult(clip.id, stage.name, ABSENT, state="off"))

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
