"""Cutting a source into clips while it is being scanned: at shots, long takes at their quietest moment. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mien.core import US, Span

CUTTER = "shots-2"
CELL_US = 200_000  # one value of activity

START, CUT, LENGTH, END = "start of source", "cut", "quietest moment of a long take", "end of source"


class Cut(NamedTuple):
    """One clip-to-be and why it starts and ends where it does."""

    span: Span
    starts: str
    ends: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan has newly found, in order.

    Attributes:
        settled_us: every cut and all activity before this time is known now.
        cuts_us: first frames of new shots.
        activity: one value per `CELL_US` of the source's clock: mean change of lightness from frame to frame plus the
            root mean square of the sound, both 0..1.
        damaged: something of the source, so far, could not be decoded or had to be mended.
    """

    settled_us: int
    cuts_us: tuple[int, ...] = ()
    activity: tuple[float, ...] = ()
    damaged: bool = False


@dataclass(slots=True)
class Cutter:
    """Clips that cover a source without gap or overlap; each comes as soon as nothing later can change it.

    A shot shorter than `min_us` is joined to the next one (the last to the one before). A take longer than `max_us` is
    split where picture and sound are quietest, in the second half of what one clip may hold. How the findings were
    cut into portions changes nothing. A still image (duration 0) is one clip of 1 µs: it holds its frame at 0.

    Raises:
        ValueError: `max_us` is too small for a choice of where to split.
    """

    min_us: int = 400_000
    max_us: int = 60 * US
    _from: tuple[int, str] = (0, START)
    _settled_us: int = 0
    _cuts: list[int] = field(default_factory=list)
    _activity: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.max_us < 2 * (self.min_us + CELL_US):
            raise ValueError(f"max_us must be at least {2 * (self.min_us + CELL_US)}, but got {self.max_us}")

    def feed(self, found: Found) -> list[Cut]:
        """The clips that are certain now."""
        self._settled_us = max(self._settled_us, found.settled_us)
        self._cuts += found.cuts_us
        self._activity += found.activity
        clips: list[Cut] = []
        while (clip := self._next(self._settled_us)) is not None:
            clips.append(clip)
        return clips

    def finish(self, duration_us: int) -> list[Cut]:
        """The clips that were still open when the source ended."""
        self._cuts = [at for at in self._cuts if at <= duration_us - self.min_us]
        clips: list[Cut] = []
        while (clip := self._next(duration_us)) is not None:
            clips.append(clip)
        start, why = self._from
        return [*clips, Cut(Span(start, max(duration_us, start + 1)), why, END)]

    def _next(self, known_us: int) -> Cut | None:
        start = self._from[0]
        while self._cuts and self._cuts[0] - start < self.min_us:
            self._cuts.pop(0)
        limit = start + self.max_us
        if self._cuts and self._cuts[0] <= limit:
            if known_us < self._cuts[0] + self.min_us:
                return None
            return self._end(self._cuts.pop(0), CUT)
        return (
            self._end(self._quietest(start + self.max_us // 2, limit - self.min_us), LENGTH)
            if known_us > limit
            else None
        )

    def _end(self, at: int, why: str) -> Cut:
        clip = Cut(Span(self._from[0], at), self._from[1], why)
        self._from = (at, why)
        return clip

    def _quietest(self, first_us: int, last_us: int) -> int:
        """The bound of two cells in `[first_us, last_us]` with the least activity in the 0.4 s around; the latest of
        equals."""
        bounds = np.arange(-(-first_us // CELL_US), last_us // CELL_US + 1)
        cells = np.zeros(int(bounds[-1]) + 2)
        held = self._activity[: len(cells)]
        cells[: len(held)] = held
        around = np.round(cells[bounds - 1] + cells[bounds], 6)
        return int(bounds[::-1][np.argmin(around[::-1])]) * CELL_US


def cut(
    duration_us: int,
    cuts_us: Sequence[int],
    activity: Sequence[float] = (),
    *,
    min_us: int = 400_000,
    max_us: int = 60 * US,
) -> list[Cut]:
    """The clips of a source that has been scanned to its end.

    Raises:
        ValueError: negative duration, or `max_us` too small.
    """
    if duration_us < 0:
        raise ValueError(f"duration must be ≥ 0, but got {duration_us}")
    cutter = Cutter(min_us, max_us)
    found = Found(duration_us, tuple(sorted(at for at in cuts_us if at <= duration_us - min_us)), tuple(activity))
    return [*cutter.feed(found), *cutter.finish(duration_us)]
