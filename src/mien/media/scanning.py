"""Clips as the scan finds them: a decoding child and a thread of their own, beside whatever analyses the clips."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from mien.core import Span
from mien.media.clips import Cut, Cutter, Found
from mien.media.decoder import Decoder
from mien.media.records import Limits, Scan
from mien.media.spool import Shelf, Spooled


class Scanning:
    """`with Scanning(path) as s: for cut in s: ...`; after its end `s.result` is the `Scan` (None if it failed).

    Args:
        shelf: keeps what is decoded, for `spooled`.

    Raises:
        MienError: while iterating, whatever `Decoder` raises; clips that came before it were of a damaged source.
    """

    def __init__(self, path: Path, max_us: int, limits: Limits | None = None, shelf: Shelf | None = None) -> None:
        self._decoder = Decoder(path, limits)
        self._cutter = Cutter(max_us=max_us)
        self._shelf, self._damaged = shelf, False
        self._kept: dict[Span, Spooled | None] = {}
        self._news: queue.SimpleQueue[Cut | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mien-scan", daemon=True)
        self.result: Scan | None = None

    def spooled(self, span: Span) -> Spooled | None:
        """Where the decoded media of a clip lie, once; whoever takes them releases them."""
        kept = self._kept.pop(span, None)
        return kept if self._shelf is None else self._shelf.fetched(kept)

    def _work(self) -> None:
        try:
            self.result = self._decoder.scan(self._tell, self._shelf)
            for cut in self._cutter.finish(self.result.end_us):
                whole = cut.span == Span(0, self.result.end_us)
                self._found(cut, sound=whole and self.result.sound_kept)
            self._news.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that iterates
            self._news.put(error)

    def _tell(self, found: Found) -> None:
        self._damaged |= found.damaged
        for cut in self._cutter.feed(found):
            self._found(cut, sound=False)

    def _found(self, cut: Cut, *, sound: bool) -> None:
        """Frames from the beginning on are what decoding them again gives; those further in only where nothing was
        damaged, since a decoder that begins at a later keyframe has not met the damage."""
        if self._shelf is not None:
            pictures = not self._damaged or cut.span.start_us == 0
            self._kept[cut.span] = self._shelf.take(cut.span, pictures=pictures, sound=sound)
        self._news.put(cut)

    def __iter__(self) -> Iterator[Cut]:
        while (news := self._next()) is not None:
            if isinstance(news, BaseException):
                raise news
            yield news

    def _next(self) -> Cut | BaseException | None:
        if self._shelf is None:
            return self._news.get()
        self._shelf.wake(hungry=True)
        try:
            return self._news.get()
        finally:
            self._shelf.wake(hungry=False)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shelf is not None:
            self._shelf.close()  # the scan may be waiting for room
        self._decoder.stop()
        self._thread.join()
        self._decoder.close()
        if self._shelf is not None:
            self._shelf.close()
            for kept in self._kept.values():
                self._shelf.release(kept)
