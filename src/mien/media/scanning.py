"""Clips as the scan finds them: a decoding child and a thread of their own, beside whatever analyses the clips."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from mien.media.clips import Cut, Cutter, Found
from mien.media.decoder import Decoder
from mien.media.records import Limits, Scan


class Scanning:
    """`with Scanning(path) as s: for cut in s: ...`; after its end `s.result` is the `Scan` (None if it failed).

    Raises:
        MienError: while iterating, whatever `Decoder` raises; clips that came before it were of a damaged source.
    """

    def __init__(self, path: Path, max_us: int, limits: Limits | None = None) -> None:
        self._decoder = Decoder(path, limits)
        self._cutter = Cutter(max_us=max_us)
        self._news: queue.SimpleQueue[Cut | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mien-scan", daemon=True)
        self.result: Scan | None = None

    def _work(self) -> None:
        try:
            self.result = self._decoder.scan(self._tell)
            for cut in self._cutter.finish(self.result.end_us):
                self._news.put(cut)
            self._news.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that iterates
            self._news.put(error)

    def _tell(self, found: Found) -> None:
        for cut in self._cutter.feed(found):
            self._news.put(cut)

    def __iter__(self) -> Iterator[Cut]:
        while (news := self._news.get()) is not None:
            if isinstance(news, BaseException):
                raise news
            yield news

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.stop()
        self._thread.join()
        self._decoder.close()
