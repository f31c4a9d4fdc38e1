"""Doing the media stages of one clip: picture passes side by side, sound beside them. Computes; commits nothing.

The decoding child works ahead; three lines of passes (objects and bodies · faces and what needs them · motion and the
gate) each take batches from a short queue of their own, and the sound is analysed meanwhile. So both cores stay busy
although every network call has one thread. Results do not depend on the interleaving: a pass sees its batches in order.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mien.core import Clip, FacePeople, Frames, MienError, Sound
from mien.core.records import Observation
from mien.pipeline.config import Analysis
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import FacesPass, Finder, StoredBoxes, Tracked
from mien.pipeline.stages.hearing import descriptors_pass, events_pass
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


@dataclass(frozen=True, slots=True)
class Done:
    """A stage's records and tables, and the time it took (its line may have shared the cores)."""

    records: list[Any]
    tables: dict[str, Any]
    ms: float


Outcome = Done | MienError


class _Line(threading.Thread):
    """Passes that take each batch one after another, in a thread of their own.

    Some passes find boxes, which those that need them then get; `stored` finds them where such a pass is up to date.
    """

    def __init__(
        self, names: list[str], needs: dict[str, tuple[str, ...]], stored: dict[str, Finder], clip: Clip, stack: Stack,
        analysis: Analysis,
    ) -> None:  # fmt: skip
        super().__init__(name=f"mien-{names[0]}", daemon=True)
        self.names, self._needs = names, needs
        self.inbox: queue.Queue[Frames | None] = queue.Queue(AHEAD)
        self.broken: dict[str, MienError] = {}
        self.spent = dict.fromkeys(names, 0.0)
        self.passes: dict[str, Any] = {}
        for name in names:
            with self._guarded(name):
                self.passes[name] = PASSES[name](clip, stack, analysis)
        self._finders = {n: w for n, w in self.passes.items() if n in FINDERS} | stored

    def run(self) -> None:
        try:
            self._feed()
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

    def _feed(self) -> None:
        while (frames := self.inbox.get()) is not None:
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
                        work.feed(frames, next((found[n] for n in (name, *self._needs[name]) if n in found), None))

    def outcome(self, name: str, needs: tuple[str, ...]) -> Outcome:
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


def media_work(
    clip: Clip,
    names: list[str],
    needs: dict[str, tuple[str, ...]],
    decoder: Callable[[], Any],
    stack: Stack,
    analysis: Analysis,
    stored: Callable[[str], Any],
    stored_rows: Callable[[], list[Observation]],
    progress: Callable[[int], None],
) -> dict[str, Outcome]:
    """Outcome of each named media stage of a clip.

    Args:
        needs: stage → stages it reads. decoder: opens or returns the source's decoder.
        stored, stored_rows: earlier results (tables by stage), asked for only where the stage that makes them is
            not among `names`.
        progress: gets the time reached, in µs.
    """
    heard: dict[str, Outcome] = {}
    sounds = [n for n in SOUNDS if n in names]
    threads: list[threading.Thread] = []
    lines: list[_Line] = []
    try:
        opened = decoder()
        if sounds:
            grid = None if "sound" in names else stored("sound")
            rows = None if "sound" in names else stored_rows()
            args = (clip, sounds, opened.sound(clip.span), stack, rows, grid, heard)
            threads.append(threading.Thread(target=_listen, args=args, name="mien-sound", daemon=True))
        for members in lines_of(stack):
            mine = [n for n in members if n in names]
            if mine:
                asked = {f for n in mine for f in (*needs[n], *(("objects",) if n == "age" else ())) if f in members}
                held: dict[str, Finder] = {f: StoredBoxes(stored(f)) for f in FINDERS if f in asked and f not in mine}
                lines.append(_Line(mine, needs, held, clip, stack, analysis))
        threads += lines
        for thread in threads:
            thread.start()
        for frames in opened.frames(clip.span, analysis.fps, analysis.max_side_px) if lines else ():
            for line in lines:
                line.inbox.put(frames)
            progress(int(frames.t_us[-1]))
    except MienError as error:
        return dict.fromkeys(names, error)
    except Exception as error:
        log.exception("media of %s", clip.id)
        return dict.fromkeys(names, bug(error))
    finally:
        _end(threads, lines)
    return heard | {name: line.outcome(name, needs[name]) for line in lines for name in line.names}


def _end(threads: list[threading.Thread], lines: list[_Line]) -> None:
    """Let every started thread finish what it holds."""
    for line in lines:
        if line.is_alive():
            line.inbox.put(None)
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
