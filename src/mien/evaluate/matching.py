"""Which row of one result speaks of the same thing as a row of another: same source, spans that overlap, same place."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mien.core import Span

Box = tuple[float, float, float, float]
LEAST = 0.5  # intersection over union, of spans and of boxes


@dataclass(frozen=True, slots=True)
class Seen:
    """One row and where it lies within its source. `box`: median box of its track as a share of the frame."""

    span: Span
    track: str | None
    box: Box | None
    row: Any


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes xyxy; 0 for boxes without area."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (both - w * h)


def matched(a: Sequence[Seen], b: Sequence[Seen]) -> list[tuple[int, int]]:
    """Pairs of indices, each row in one pair at most: those that overlap most first.

    Rows fit when their spans have an intersection over union of 0.5, and so have their boxes; rows of one and the same
    track need no boxes, and rows of no track fit only each other. Which of the two is called a does not matter.
    """
    order = sorted(range(len(b)), key=lambda j: b[j].span)
    starts = [b[j].span.start_us for j in order]
    longest = max((s.span.duration_us for s in b), default=0)
    found: list[tuple[float, int, int, int]] = []
    for i, one in enumerate(a):
        first = bisect_left(starts, one.span.start_us - longest)
        for j in order[first:]:
            if b[j].span.start_us > one.span.end_us:
                break
            if (fit := _fit(one, b[j])) > 0:
                found.append((-fit, i + j, i, j))
    left, right, pairs = set[int](), set[int](), list[tuple[int, int]]()
    for *_, i, j in sorted(found):
        if i not in left and j not in right:
            left.add(i)
            right.add(j)
            pairs.append((i, j))
    return sorted(pairs)


def _fit(a: Seen, b: Seen) -> float:
    time = _shared(a.span, b.span)
    if time < LEAST or (a.track is None) != (b.track is None):
        return 0.0
    if a.track == b.track:
        return time
    place = iou(a.box, b.box) if a.box is not None and b.box is not None else 0.0
    return time * place if place >= LEAST else 0.0


def _shared(a: Span, b: Span) -> float:
    """Intersection over union of two spans; a moment fits the same moment."""
    if a == b:
        return 1.0
    both = a.overlap_us(b)
    return both / (a.duration_us + b.duration_us - both) if both else 0.0
