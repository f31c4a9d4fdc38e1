"""Where a clip stands in its source: what comes before and after, in which take, and in which phase of an episode."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from mien.core import Clip, Span
from mien.media.clips import CUT, LENGTH
from mien.pipeline import Project
from mien.signals.temporal import Episode, Phase

Border = Literal["shot change", "split of a take", "end of the source"]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The clip before or after: how the border came about, the gap in µs, and its id where it may be named."""

    border: Border
    gap_us: int | None
    clip_id: str | None


@dataclass(frozen=True, slots=True)
class Continuity:
    """previous, next; take: number of the take in the source, from 0 (a take runs from shot change to shot change);
    index and count: of the clip within its take; phases: of the leading episode of movement (of sound where there is
    none), in µs of the source's clock; axis: whose episode that is."""

    previous: Neighbour
    next: Neighbour
    take: int
    index: int
    count: int
    axis: str | None
    phases: tuple[tuple[Phase, int, int], ...]


def continuity(
    clip: Clip, project: Project, leading: tuple[str, Episode] | None, leaving: Container[str] | None
) -> Continuity:
    """Continuity of one clip. leaving: ids of clips that may be named; None: no other clip is named."""
    clips = sorted(project.store.all(Clip, "source_sha = ?", (clip.source_sha,)), key=lambda c: (c.span, c.id))
    at = next((i for i, c in enumerate(clips) if c.id == clip.id), 0)
    takes: list[list[str]] = []
    for c in clips:
        if not takes or c.starts != LENGTH:
            takes.append([])
        takes[-1].append(c.id)
    take = next((k for k, ids in enumerate(takes) if clip.id in ids), 0)
    mine = takes[take] if takes else [clip.id]

    def beside(step: int) -> Neighbour:
        border = _border(clip.starts if step < 0 else clip.ends)
        other = clips[at + step] if clips and 0 <= at + step < len(clips) else None
        if other is None:
            return Neighbour(border, None, None)
        gap = clip.span.start_us - other.span.end_us if step < 0 else other.span.start_us - clip.span.end_us
        named = other.id if leaving is not None and other.id in leaving else None
        return Neighbour(border, gap, named)

    span: Span = clip.span
    phases = leading[1].phases(span.start_us, span.end_us) if leading else ()
    index = mine.index(clip.id) if clip.id in mine else 0
    return Continuity(beside(-1), beside(1), take, index, len(mine), leading[0] if leading else None, phases)


def _border(reason: str) -> Border:
    return {CUT: "shot change", LENGTH: "split of a take"}.get(reason, "end of the source")  # pyright: ignore[reportReturnType]
