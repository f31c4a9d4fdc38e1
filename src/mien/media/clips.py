"""Cutting a source into clips: at shots, long takes split, over-split shots joined. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mien.core import US, Span

CUTTER = "shots-1"

START, CUT, LENGTH, END = "start of source", "cut", "length", "end of source"


class Cut(NamedTuple):
    """One clip-to-be and why it starts and ends where it does."""

    span: Span
    starts: str
    ends: str


def cut(
    duration_us: int,
    cuts_us: Sequence[int],
    *,
    min_us: int = 400_000,
    max_us: int = 60 * US,
    grid_us: int = 200_000,
) -> list[Cut]:
    """Clips that cover `[0, duration_us)` without gap or overlap, in order.

    Shots shorter than `min_us` are joined to the next one (the last to the one before). Takes longer than `max_us` are
    split into equal parts whose ends lie on the grid of analysed frames (multiples of `grid_us`), so that the frames
    analysed do not depend on the splitting. A still image (duration 0) is one clip of 1 µs: it holds its frame at 0.

    Raises:
        ValueError: negative duration, or `max_us` smaller than two grid steps.
    """
    if duration_us < 0 or max_us < 2 * grid_us:
        raise ValueError(f"duration must be ≥ 0 and max_us ≥ 2·grid_us, but got {duration_us}, {max_us}, {grid_us}")
    bounds = [0]
    for at in sorted(cuts_us):
        if at - bounds[-1] >= min_us and at < duration_us:
            bounds.append(at)
    if len(bounds) > 1 and duration_us - bounds[-1] < min_us:
        bounds.pop()
    bounds.append(max(duration_us, 1))
    edges = [(bounds[0], START)]
    for start, end in pairwise(bounds):
        edges += [(at, LENGTH) for at in _split(start, end, max_us, grid_us)]
        edges.append((end, CUT))
    edges[-1] = (edges[-1][0], END)
    return [Cut(Span(a, b), starts, ends) for (a, starts), (b, ends) in pairwise(edges)]


def _split(start: int, end: int, max_us: int, grid_us: int) -> list[int]:
    """Inner bounds on the grid that split `[start, end)` evenly into parts of at most `max_us`."""
    parts = -(-(end - start) // max_us)
    while True:
        inner = [round((start + (end - start) * i / parts) / grid_us) * grid_us for i in range(1, parts)]
        if all(b - a <= max_us for a, b in pairwise([start, *inner, end])):
            return inner
        parts += 1
