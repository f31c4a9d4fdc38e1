"""The inline runner: registers inputs, cuts clips, runs exactly the stages whose results are missing or changed.

Every result is committed on its own; a kill or Ctrl-C at any moment leaves a consistent project, and the next run goes
on from there. A failed item is a row, never an exception through the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mien.core import Clip, Item, MienError, Source, Track, clip_id, content_id, digest
from mien.core.records import Assessment, Observation
from mien.media import CUTTER, Decoder, cut, hash_file, judge
from mien.pipeline.config import Config
from mien.pipeline.derive import View, affect_stage, assess_stage, claims_stage, signals_stage
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.plan import STAGES, Stage, check_plan
from mien.pipeline.sound import segments_of, sound_pass, voice_pass
from mien.pipeline.stack import Stack
from mien.pipeline.vision import PASSES, FacesPass, StoredFaces
from mien.policy import WAITING_CODE, WAITING_MESSAGE, affect_allowed
from mien.store import StageResult, Store

log = logging.getLogger("mien")
ABSENT = "absent"
SILENT_DBFS = -90.0  # below the quantisation noise of 16 bits


def utc_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Runner:
    """One run over a project's store. `analysed` counts the stages it did (not those it found done)."""

    def __init__(self, store: Store, config: Config, *, run_id: str, listener: Listener = silent) -> None:
        check_plan()
        self._store, self._config, self._run_id, self._tell = store, config, run_id, listener
        self._stack = Stack(config)
        self._stack.register(store)
        self.done = self.failed = self.waiting = 0
        self._total_s = self._before_s = 0.0

    def require_weights(self) -> None:
        """Raise `weights.missing` before any decoding if a model of the stack is not on this machine."""
        absent = self._stack.missing_weights()
        if absent:
            raise MienError("weights.missing", f"weights are not here yet: {', '.join(absent)}", "mien models pull")

    # ------------------------------------------------------------ inputs

    def register(self, path: Path) -> str | None:
        """Hash and probe one input; its sha256, or None when it cannot be one (a failure row says why)."""
        unit, item = str(path), content_id("item", str(path))
        try:
            unit = hash_file(path)
            self._store.put([Item(item, str(path), (unit,))], unit=unit, stage="input")
            key = digest("register", 1, unit, self._config.context)
            held = self._store.stage(unit, "register")
            if held and held.key == key:
                self._moved(unit, path)
                return unit if held.state == "ok" else None
            with Decoder(path) as decoder:
                p = decoder.probe()
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
            self._store.drop_unit(str(path))  # what was said of the path while it could not be read
            return unit
        except MienError as error:
            self._store.put([Item(item, str(path), () if unit == str(path) else (unit,))], unit=unit, stage="input")
            self._fail(unit, "register", digest("register", 1, unit, self._config.context), error, name=path.name)
            return None

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
        for source in sources:
            self._tell(Event("source", source.sha256, text=Path(source.path).name))
            with contextlib.ExitStack() as closing:
                self._source(source, _Media(source, closing))
            self._before_s += source.duration_us / 1e6
        self._tell(Event("done", done_s=self._total_s, total_s=self._total_s))

    def close(self) -> None:
        self._stack.close()

    def _source(self, source: Source, media: _Media) -> None:
        key = digest("clips", CUTTER, source.sha256, self._config.analysis.max_clip_s, self._config.analysis.fps)
        held = self._store.stage(source.sha256, "clips")
        if held is None or held.key != key:
            self._cut(source, media, key)
        elif held.state != "ok":
            return
        for clip in sorted(self._store.all(Clip, "source_sha = ?", (source.sha256,)), key=lambda c: c.span):
            self._clip(clip, source, media)

    def _cut(self, source: Source, media: _Media, key: str) -> None:
        try:
            scan = media.decoder.scan()
        except MienError as error:
            status = judge(error)
            gone = dataclasses.replace(source, state=status.state, code=status.code)
            self._fail(source.sha256, "clips", key, error, name=Path(source.path).name, keep=[gone])
            return
        status = judge(scan)
        step = round(1e6 / self._config.analysis.fps)
        cuts = cut(scan.end_us, scan.cuts_us, max_us=round(self._config.analysis.max_clip_s * 1e6), grid_us=step)
        cutter = f"{CUTTER}+{scan.detector}"
        clips = [
            Clip(clip_id(source.sha256, c.span, cutter), source.sha256, c.span, c.starts, c.ends, cutter) for c in cuts
        ]
        seen = dataclasses.replace(
            source, duration_us=scan.end_us, coverage=scan.coverage, state=status.state, code=status.code
        )
        self._forget_clips(source.sha256, {c.id for c in clips})
        self._commit(StageResult(source.sha256, "clips", key, [seen, *clips], note=status.message or None))

    def _forget_clips(self, sha: str, kept: set[str]) -> None:
        """Withdraw the results of clips that a new cutting no longer has."""
        for clip in self._store.all(Clip, "source_sha = ?", (sha,)):
            if clip.id not in kept:
                self._store.drop_unit(clip.id)

    # ------------------------------------------------------------ one clip

    def _clip(self, clip: Clip, source: Source, media: _Media) -> None:
        keys: dict[str, str] = {}
        stale: list[Stage] = []
        for stage in STAGES:
            if not self._applies(stage, source):
                keys[stage.name] = ABSENT
                self._withdraw(clip, stage)
                continue
            keys[stage.name] = self._key(stage, clip, keys)
            held = self._store.stage(clip.id, stage.name)
            if held is None or held.key != keys[stage.name]:
                if stage.affect and not affect_allowed(self._config.context, subject_enrolled=False):
                    self._wait(clip, stage, keys[stage.name])
                else:
                    stale.append(stage)
        vision = [s for s in stale if s.kind == "vision"]
        if vision:
            self._vision(clip, vision, keys, media)
        sounds = [s for s in stale if s.kind == "sound"]
        if sounds:
            self._sound(clip, sounds, keys, media)
        for stage in stale:
            if stage.kind == "derived":
                self._try(clip, stage, keys[stage.name], lambda s=stage: self._derived(clip, s))
        self._progress(clip, clip.span.end_us)

    def _applies(self, stage: Stage, source: Source) -> bool:
        picture, sound = source.kind in ("video", "image"), source.audio_rate_hz is not None
        on = all(self._stack.has(slot) for slot in stage.slots)
        match stage.name:
            case "voice":
                return sound and on and self._stack.has("vad") and self._stack.has("pitch")
            case "sound":
                return sound
            case "landmarks" | "expression" | "age":
                return picture and on and self._stack.has("faces")
            case "affect":
                return picture and self._stack.has("faces") and self._stack.has("expression")
            case "assess":
                return (picture and self._stack.has("faces")) or (sound and self._stack.has("voice_affect"))
            case _:
                return (picture and on) if stage.kind == "vision" else True

    def _key(self, stage: Stage, clip: Clip, keys: dict[str, str]) -> str:
        analysis = self._config.analysis.model_dump(mode="json")
        params = {
            name: self._config.fusion.model_dump(mode="json") if name == "fusion" else analysis[name]
            for name in stage.params
        }
        adapters = [self._stack.label(slot) for slot in stage.slots]
        return digest(stage.name, stage.version, params, clip.id, [keys[n] for n in stage.needs], adapters)

    def _vision(self, clip: Clip, stages: list[Stage], keys: dict[str, str], media: _Media) -> None:
        """One decode for all stale vision stages; a stage that fails leaves the others at work."""
        started = time.perf_counter()
        spent: dict[str, float] = {}
        passes: dict[str, Any] = {}
        broken: dict[str, MienError] = {}
        analysis = self._config.analysis
        for stage in stages:
            with _caught(broken, stage.name):
                passes[stage.name] = PASSES[stage.name](clip, self._stack, analysis)
        need_faces = any("faces" in s.needs for s in stages)
        finder: Any = passes.get("faces")
        if finder is None and need_faces and "faces" not in broken:
            finder = StoredFaces(self._store.table(f"faces/{clip.id}"))
        try:
            for frames in media.decoder.frames(clip.span, analysis.fps, analysis.max_side_px):
                faces = None
                if finder is not None and "faces" not in broken:
                    with _caught(broken, "faces"), _timed(spent, "faces"):
                        faces = finder.find(frames)
                for name, work in passes.items():
                    if name not in broken and not isinstance(work, FacesPass):
                        with _caught(broken, name), _timed(spent, name):
                            work.feed(frames, faces)
                self._progress(clip, int(frames.t_us[-1]))
        except MienError as error:
            broken |= {s.name: error for s in stages if s.name not in broken}
        spent["decode and wait"] = time.perf_counter() - started - sum(spent.values())
        log.debug("vision %s %s", clip.id, spent)
        for stage in stages:
            error = broken.get(stage.name) or (broken.get("faces") if "faces" in stage.needs else None)
            if error:
                self._fail(clip.id, stage.name, keys[stage.name], error)
            else:
                ms = 1000 * spent.get(stage.name, 0.0)
                self._try(clip, stage, keys[stage.name], passes[stage.name].finish, ms)

    def _sound(self, clip: Clip, stages: list[Stage], keys: dict[str, str], media: _Media) -> None:
        try:
            sound = media.decoder.sound(clip.span)
        except MienError as error:
            for stage in stages:
                self._fail(clip.id, stage.name, keys[stage.name], error)
            return
        for stage in stages:
            if stage.name == "sound":
                self._try(clip, stage, keys[stage.name], lambda: sound_pass(clip, sound, self._stack))
            else:
                heard = segments_of(self._store.all(Observation, "clip_id = ?", (clip.id,)))
                self._try(clip, stage, keys[stage.name], lambda h=heard: voice_pass(clip, sound, h, self._stack))

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
        said.append("body: posture and gestures are not part of this stack")
        return tuple(said)

    def _silent(self, clip: Clip) -> bool:
        held = self._store.table(f"sound/{clip.id}")
        return held is not None and held.num_rows > 0 and max(held["energy_dbfs"].to_pylist()) < SILENT_DBFS

    # ------------------------------------------------------------ committing

    def _try(self, clip: Clip, stage: Stage, key: str, work: Any, ms: float = 0.0) -> None:
        started = time.perf_counter()
        try:
            records, tables = work()
        except MienError as error:
            self._fail(clip.id, stage.name, key, error)
            return
        except Exception as error:
            log.exception("stage %s of %s", stage.name, clip.id)
            self._fail(clip.id, stage.name, key, _bug(error))
            return
        ms += 1000 * (time.perf_counter() - started)
        self._commit(StageResult(clip.id, stage.name, key, records, tables, ms=round(ms, 3)))

    def _commit(self, result: StageResult) -> None:
        self._store.commit(result, run_id=self._run_id, at_utc=utc_now())
        self.done += result.state == "ok"
        self._tell(Event("stage", result.unit, result.stage, text=result.state))

    def _fail(
        self, unit: str, stage: str, key: str, error: MienError, *, name: str = "", keep: Sequence[Any] = ()
    ) -> None:
        self._store.fail(unit, stage, key, error, keep, run_id=self._run_id, at_utc=utc_now())
        self.failed += 1
        self._tell(Event("failed", unit, stage, text=f"{name + ': ' if name else ''}{error}"))

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

    def _progress(self, clip: Clip, t_us: int) -> None:
        self._tell(Event("progress", clip.id, done_s=self._before_s + t_us / 1e6, total_s=self._total_s))


class _Media:
    """The decoder of one source, opened when first needed."""

    def __init__(self, source: Source, closing: contextlib.ExitStack) -> None:
        self._source, self._closing, self._held = source, closing, None

    @property
    def decoder(self) -> Any:
        if self._held is None:
            path = Path(self._source.path)
            if not path.exists():
                raise MienError(
                    "media.not-found",
                    f"{path.name} is no longer where it was registered",
                    "bring it back, or run again with its new path",
                )
            self._held = self._closing.enter_context(Decoder(path))
        return self._held


@contextlib.contextmanager
def _caught(broken: dict[str, MienError], name: str) -> Iterator[None]:
    try:
        yield
    except MienError as error:
        broken[name] = error
    except Exception as error:
        log.exception("stage %s", name)
        broken[name] = _bug(error)


@contextlib.contextmanager
def _timed(spent: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started


def _bug(error: Exception) -> MienError:
    return MienError(
        "internal.error",
        f"{type(error).__name__}: {error}",
        "this is a defect in mien: run with --log-json and report it",
    )
