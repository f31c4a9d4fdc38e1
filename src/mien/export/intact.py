"""Whether a file is still the one that was analysed: what the gate never saw must not leave in its place."""

from __future__ import annotations

from pathlib import Path

from mien.core import MienError, Source
from mien.media import hash_file


class Intact:
    """Asks each source once as long as its clips come one after another."""

    def __init__(self) -> None:
        self._last: tuple[str, MienError | None] = ("", None)

    def wrong(self, source: Source) -> MienError | None:
        """Why nothing of a source's file may leave, `media.changed` or that it cannot be read; None where it may."""
        if self._last[0] != source.sha256:
            why: MienError | None = None
            try:
                if hash_file(Path(source.path)) != source.sha256:
                    why = MienError("media.changed", "the file is not the one that was analysed", "mien run it again")
            except MienError as error:
                why = error
            self._last = source.sha256, why
        return self._last[1]
