"""The same sound in several clips: what it is taken for in each context, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.core import Assessment, Contribution, Dist
from mien.export.report.steps import HEARD, alone
from mien.export.report.views import ClipPage, Moment

SAME = 1e-6  # the largest difference between two answers to the same samples
APART = 0.05  # posteriors closer than this are no comparison worth a section


@dataclass(frozen=True, slots=True)
class InContext:
    """One clip in which the sound was heard, and the moment it belongs to."""

    page: ClipPage
    moment: Moment


@dataclass(frozen=True, slots=True)
class SameSound:
    """`voice`: what the sound says by itself at full weight; `members`: two at least, those with most sources first."""

    voice: Dist
    members: tuple[InContext, ...]


def voice_of(a: Assessment) -> Contribution | None:
    """What was heard, where it had weight."""
    return next((c for c in a.contributions if c.source == HEARD and c.weight > 0 and c.dist), None)


def same_sounds(pages: Sequence[ClipPage]) -> list[SameSound]:
    """Groups of moments of different clips in which the voice says the same to 1e-6 and the outcome differs.

    Answers of a network to two recordings are practically never this close: the samples were the same.
    """
    groups: list[list[InContext]] = []
    for page in pages:
        for moment in page.moments:
            if (heard := voice_of(moment.assessment)) is None:
                continue
            for group in groups:
                first = voice_of(group[0].moment.assessment)
                if first and distance(first.dist, heard.dist) < SAME:
                    if all(member.page is not page for member in group):
                        group.append(InContext(page, moment))
                    break
            else:
                groups.append([InContext(page, moment)])
    found: list[SameSound] = []
    for group in groups:
        ends = [m.moment.assessment.posterior for m in group]
        first = group[0].moment.assessment
        heard = voice_of(first)
        if heard and max(distance(ends[0], end) for end in ends) > APART:
            group.sort(key=lambda m: (-len(m.moment.columns), m.page.title))
            found.append(SameSound(alone(first, heard), tuple(group)))
    return found


def distance(p: Dist, q: Dist) -> float:
    """Largest difference of one state, 0..1; 1 where the states differ."""
    there = dict(q)
    if set(there) != {s for s, _ in p}:
        return 1.0
    return max((abs(x - there[s]) for s, x in p), default=0.0)
