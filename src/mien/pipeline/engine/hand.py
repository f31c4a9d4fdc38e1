"""One pair of hands: does tasks in this process, with a stack of models and the decoder of the last source."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mien.core import Frames, MienError, Sound, Source, Span, probe
from mien.media import Decoder, Limits, Spooled, SpoolLostError
from mien.pipeline.config import Analysis
from mien.pipeline.engine.task import ClipTask, Finished, Outcome
from mien.pipeline.engine.threads import one_blas_thread
from mien.pipeline.engine.together import side_by_side
from mien.pipeline.engine.work import media_work
from mien.pipeline.stack import Stack

log = logging.getLogger("mien")
DIED = "media.decoder-died"


class Hand:
    """Does one task at a time.

    `side_by_side`: with threads of this process, so that one clip keeps several cores busy. `where`: path of a source.
    """

    def __init__(
        self, stack: Stack, analysis: Analysis, *, side_by_side: bool, where: Callable[[Source], Path] | None = None
    ) -> None:
        one_blas_thread()
        self._stack, self._analysis, self._side_by_side = stack, analysis, side_by_side
        self._where = where or present
        self._sha = ""
        self._decoder: Decoder | None = None

    def prepare(self) -> None:
        """Open the models that any clip needs."""
        self._stack.preload()

    def unload(self) -> None:
        """Close the models; the next task opens those that it needs."""
        self._stack.close()

    def do(self, task: ClipTask, progress: Callable[[int], None]) -> Finished:
        """The outcome of each stage; never raises for a bad clip."""
        if task.others:
            return self._together((task, *task.others), progress)
        outcomes, codes = self._done(task, progress)
        if DIED in codes:  # whatever killed the decoder, it may not have been the file: once more
            outcomes, _ = self._done(task, progress)
        return Finished(task, outcomes)

    def _done(self, task: ClipTask, progress: Callable[[int], None]) -> tuple[dict[str, Outcome], set[str]]:
        """Outcomes, and the codes of failures; after a failure of its media, the next clip gets a new decoder."""
        with probe.span("clip", task.clip.id, task.clip.id):
            outcomes = media_work(
                task,
                partial(self._media, task),
                self._stack,
                self._analysis,
                progress,
                side_by_side=self._side_by_side,
            )
        codes = {o.code for o in outcomes.values() if isinstance(o, MienError)}
        if any(code.startswith("media.") for code in codes):
            self.close()
        return outcomes, codes

    def _together(self, tasks: tuple[ClipTask, ...], progress: Callable[[int], None]) -> Finished:
        """Each clip has its own decoder and thread; calls of models are made for all at once."""

        def one(task: ClipTask, view: Any) -> Finished:
            hand = Hand(view, self._analysis, side_by_side=False, where=self._where)
            try:
                return hand.do(replace(task, others=()), progress if task is tasks[0] else lambda _: None)
            finally:
                hand.close()

        (first, *others), _ = side_by_side([partial(one, task) for task in tasks], self._stack)
        return replace(first, task=tasks[0], others=tuple(others))

    def _media(self, task: ClipTask) -> Any:
        if self._sha != task.source.sha256:
            self.close()
        if task.spooled is None:
            return self._opened(task.source)
        return _Media(task.spooled, partial(self._opened, task.source))

    def _opened(self, source: Source) -> Decoder:
        if self._decoder is None or self._sha != source.sha256:
            self.close()
            self._decoder, self._sha = Decoder(self._where(source), limits_of(self._analysis)), source.sha256
        return self._decoder

    def close(self) -> None:
        """Close the decoder; the stack belongs to whoever gave it."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None


class _Media:
    """Frames and sound of a clip as `Decoder` gives them: from the spool, and decoded again where that is lost."""

    def __init__(self, spooled: Spooled, decoder: Callable[[], Decoder]) -> None:
        self._spooled, self._decoder = spooled, decoder

    def frames(self, span: Span, fps: float, max_side_px: int) -> Iterator[Frames]:
        held = self._spooled
        reached_us = span.start_us
        if held.pictures is not None and (held.span, held.fps, held.max_side_px) == (span, fps, max_side_px):
            try:
                for frames in held.frames():
                    yield frames
                    reached_us = int(frames.t_us[-1]) + 1
                return
            except SpoolLostError:
                log.info("spooled frames cannot be read: decoding %s again", span)
        if reached_us < span.end_us:
            yield from self._decoder().frames(Span(reached_us, span.end_us), fps, max_side_px)

    def sound(self, span: Span) -> Sound:
        held = self._spooled
        if held.sound is not None and held.span == span:
            try:
                return held.samples()
            except SpoolLostError:
                log.info("spooled sound cannot be read: decoding %s again", span)
        return self._decoder().sound(span)


def present(source: Source) -> Path:
    """Where a source lies. Raises `media.not-found` when it is there no longer."""
    path = Path(source.path)
    if not path.exists():
        raise MienError(
            "media.not-found",
            f"{path.name} is no longer where it was registered",
            "bring it back, or run again with its new path",
        )
    return path


def limits_of(analysis: Analysis) -> Limits:
    """What a decoding child may use."""
    return Limits(hwaccel="" if analysis.hwaccel == "off" else analysis.hwaccel)


class Inline:
    """A crew of one, in this process: a task is done when it is given."""

    def __init__(self, hand: Hand, progress: Callable[[ClipTask, int], None]) -> None:
        self._hand, self._progress = hand, progress
        self._done: list[Finished] = []

    room, busy = True, False

    def prepare(self) -> None:
        threading.Thread(target=self._hand.prepare, daemon=True).start()

    def give(self, task: ClipTask) -> None:
        self._done.append(self._hand.do(task, lambda t_us: self._progress(task, t_us)))

    def finished(self, *, wait: bool) -> list[Finished]:
        done, self._done = self._done, []
        return done

    def unload(self) -> None:
        self._hand.unload()

    def close(self) -> None:
        self._hand.close()
