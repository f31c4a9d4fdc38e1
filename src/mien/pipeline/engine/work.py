"""Doing the media stages of one clip. Computes; commits nothing.

Side by side: three lines of passes (objects and bodies · faces and what needs them · motion and the gate) each take
batches from a short queue of their own, and the sound is analysed meanwhile. So both cores stay busy with one clip
although every network call has one thread. One after another: all in the caller's thread, where other processes do
other clips. Results do not depend on it: a pass sees the same batches in the same order.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from mien.core import Clip, FacePeople, Frames, MienError, Sound, probe
from mien.core.records import Observation
from mien.pipeline.config import Analysis
from mien.pipeline.engine.task import ClipTask, Done, Outcome
from mien.pipeline.plan import BY_NAME
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import FacesPass, Finder, StoredBoxes, Tracked
from mien.pipeline.stages.hearing import descriptors_pass, events_pass
from mien.pipeline.stages.masking import Shield
from mien.pipeline.stages.sound import segments_of, sound_pass, voice_pass, words_pass
from mien.pipeline.stages.vision import PASSES, AgePass

log = logging.getLogger("mien")
LINES = (
    ("objects", "pose"),
    ("faces", "landmarks", "expression", "age", "scene"),
    ("motion", "explicit", "quality", "actions"),
)
SOUNDS = ("sound", "voice", "words", "events", "descriptors")
FINDERS = ("objects", "faces")
HEARD = {"events": events_pass, "descriptors": descriptors_pass}  # they need nothing but the sound
AHEAD = 2  # batches a line may lag behind the decoder


class _Line(threading.Thread):
    """Passes that take each batch one after another, in a thread of their own.

    Some passes find boxes, which those that need them then get; `stored` finds them where such a pass is up to date.
    """

    def __init__(
        self,
        names: list[str],
        stored: dict[str, Finder],
        clip: Clip,
        stack: Stack,
        analysis: Analysis,
        shield: Shield | None = None,
    ) -> None:
        super().__init__(name=f"mien-{names[0]}", daemon=True)
        self.names, self._clip, self._shield = names, clip.id, shield
        self.inbox: queue.Queue[Frames | None] = queue.Queue(AHEAD)
        self.broken: dict[str, MienError] = {}
        self.spent = dict.fromkeys(names, 0.0)
        self.passes: dict[str, Any] = {}
        for name in names:
            with self._guarded(name):
                self.passes[name] = PASSES[name](clip, stack, analysis)
        self._finders = {n: w for n, w in self.passes.items() if n in FINDERS} | stored

    def run(self) -> None:
        self.work(probe.each("wait", self.names[0], iter(self.inbox.get, None)))

    def work(self, batches: Iterable[Frames]) -> None:
        """Take every batch, then close the identity window."""
        try:
            for frames in batches:
                self._feed(frames)
            self._rejoin()
        finally:
            if isinstance(faces := self._finders.get("faces"), FacesPass):
                faces.wipe()

    def _rejoin(self) -> None:
        """Close the identity window, on the thread that filled it, and hand on which tracks were one person."""
        faces = self._finders.get("faces")
        if isinstance(faces, FacesPass) and "faces" not in self.broken:
            with self._guarded("faces"):
                joined = faces.rejoined()
                for work in self.passes.values() if joined else ():
                    if hasattr(work, "renumber"):
                        work.renumber(joined)

    def _feed(self, frames: Frames) -> None:
        found: dict[str, Tracked] = {}
        for name, finder in self._finders.items():
            if name not in self.broken:
                with self._guarded(name):
                    found[name] = finder.find(frames)
        for name, work in self.passes.items():
            if name not in self.broken:
                with self._guarded(name):
                    if isinstance(work, AgePass):
                        work.beside(frames, found.get("objects"))
                    needed = (name, *BY_NAME[name].needs)
                    seen = next((found[n] for n in needed if n in found), None)
                    if self._shield is not None and BY_NAME[name].affect:
                        seen = self._shield.over(frames, seen)
                        work.feed(seen.frames, seen)
                    else:
                        work.feed(frames, seen)

    def outcome(self, name: str) -> Outcome:
        needs = BY_NAME[name].needs
        error = self.broken.get(name) or next((self.broken[n] for n in needs if n in self.broken), None)
        if error:
            return error
        with self._guarded(name):
            records, tables = self.passes[name].finish()
            return Done(records, tables, 1000 * self.spent[name])
        return self.broken[name]

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            with probe.span("stage", name, self._clip):
                yield
        except MienError as error:
            self.broken[name] = error
        except Exception as error:
            log.exception("stage %s", name)
            self.broken[name] = bug(error)
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - started


def lines_of(stack: Stack) -> tuple[tuple[str, ...], ...]:
    """Which passes share a thread. A model that judges faces by their bodies needs the boxes of both."""
    people, faces, rest = LINES
    if stack.has("age") and stack.has("objects") and stack.spec("age").takes is FacePeople:
        return (*people, *faces), rest
    return LINES


def reads(stages: Sequence[str]) -> set[str]:
    """The stages whose stored results these read."""
    wanted = {n for s in stages for n in BY_NAME[s].needs} | ({"objects"} if "age" in stages else set())
    return wanted - set(stages)


def media_work(
    task: ClipTask,
    decoder: Callable[[], Any],
    stack: Stack,
    analysis: Analysis,
    progress: Callable[[int], None],
    *,
    side_by_side: bool = True,
) -> dict[str, Outcome]:
    """Outcome of each media stage of a task.

    Args:
        decoder: opens or returns the source's decoder. progress: gets the time reached, in µs.
        side_by_side: passes and sound share the cores by threads of this process.
    """
    heard: dict[str, Outcome] = {}
    threads: list[threading.Thread] = []
    lines: list[_Line] = []
    try:
        with probe.span("decode", "opening"):
            opened = decoder()
        listening = _listening(task, opened, stack, heard)
        lines += _lines(task, stack, analysis, side_by_side)
        batches = opened.frames(task.clip.span, analysis.fps, analysis.max_side_px) if lines else ()
        if side_by_side:
            threads += [threading.Thread(target=work, name="mien-sound", daemon=True) for work in listening]
            threads += lines
            for thread in threads:
                thread.start()
            for frames in _told(batches, progress):
                with probe.span("wait", "room"):
                    for line in lines:
                        line.inbox.put(frames)
        else:
            for work in listening:
                work()
            for line in lines:  # one at most
                line.work(_told(batches, progress))
    except MienError as error:
        return dict.fromkeys(task.stages, error)
    except Exception as error:
        log.exception("media of %s", task.clip.id)
        return dict.fromkeys(task.stages, bug(error))
    finally:
        _end(threads, lines)
    return heard | {name: line.outcome(name) for line in lines for name in line.names}


def _listening(task: ClipTask, opened: Any, stack: Stack, heard: dict[str, Outcome]) -> list[Callable[[], None]]:
    """The work on the sound, or none."""
    names = [n for n in SOUNDS if n in task.stages]
    if not names:
        return []
    rows, grid = (None, None) if "sound" in names else (list(task.rows), task.tables.get("sound"))
    with probe.span("decode", "samples"):
        sound = opened.sound(task.clip.span)
    return [partial(_listen, task.clip, names, sound, stack, rows, grid, heard)]


def _lines(task: ClipTask, stack: Stack, analysis: Analysis, side_by_side: bool) -> list[_Line]:
    """The passes over pictures, by line; in one line where they run one after another."""
    members = lines_of(stack)
    lines: list[_Line] = []
    for names in members if side_by_side else (tuple(chain(*members)),):
        mine = [n for n in names if n in task.stages]
        if mine:
            held = reads(mine) & set(names)
            finders: dict[str, Finder] = {f: StoredBoxes(task.tables.get(f)) for f in FINDERS if f in held}
            shield = None
            if task.affect is not None and any(BY_NAME[n].affect for n in mine):
                shield = Shield(task.clip, task.affect, task.tables.get("objects"))
            lines.append(_Line(mine, finders, task.clip, stack, analysis, shield))
    return lines


def _told(batches: Iterable[Frames], progress: Callable[[int], None]) -> Iterator[Frames]:
    for frames in probe.each("decode", "pictures", batches):
        yield frames
        progress(int(frames.t_us[-1]))


def _end(threads: list[threading.Thread], lines: list[_Line]) -> None:
    """Let every started thread finish what it holds."""
    for line in lines:
        if line.is_alive():
            line.inbox.put(None)
    with probe.span("wait", "lines"):
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _listen(
    clip: Clip,
    names: list[str],
    sound: Sound,
    stack: Stack,
    rows: list[Observation] | None,
    grid: Any,
    out: dict[str, Outcome],
) -> None:
    for name in names:
        started = time.perf_counter()
        try:
            with probe.span("stage", name, clip.id):
                if name == "sound":
                    records, tables = sound_pass(clip, sound, stack)
                    rows, grid = records, tables[f"sound/{clip.id}"]
                elif name == "voice":
                    records, tables = voice_pass(clip, sound, segments_of(rows or []), stack)
                elif name == "words":
                    records, tables = words_pass(clip, sound, segments_of(rows or []), grid, stack)
                else:
                    records, tables = HEARD[name](clip, sound, stack)
            out[name] = Done(records, tables, 1000 * (time.perf_counter() - started))
        except MienError as error:
            out[name] = error
        except Exception as error:
            log.exception("stage %s of %s", name, clip.id)
            out[name] = bug(error)
        if isinstance(out[name], MienError) and name == "sound":
            out.update({n: out[name] for n in names if n not in HEARD})
            names = [n for n in names if n in HEARD]


def bug(error: Exception) -> MienError:
    """An unexpected exception as a coded failure, so that one clip never stops a batch."""
    return MienError(
        "internal.error",
        f"{type(error).__name__}: {error}",
        "this is a defect in mien: run with --log-json and report it",
    )
