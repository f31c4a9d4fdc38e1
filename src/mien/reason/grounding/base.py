"""What recomputing a claim needs: a ledger that is quick to ask, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mien.core import Assessment, Observation, Span
from mien.reason.grammar import Names
from mien.reason.ledger import Ledger
from mien.reason.predicates import Predicate
from mien.reason.vocabulary import TIME_US

Found = Literal["supported", "contradicted", "not checkable"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the ledger says of a claim. `off`: largest difference in units of tolerance (inf: not a matter of degree).

    `used`: cited rows that the recomputation rests on; a cited row that is not among them is beside the point.
    """

    found: Found
    off: float
    why: str
    used: frozenset[str]


@dataclass(frozen=True, slots=True)
class Index:
    """A ledger made quick to ask."""

    ledger: Ledger
    rows: dict[str, Observation]
    names: Names
    by_track: dict[str | None, tuple[Assessment, ...]]
    _evidence: dict[str | None, frozenset[str]] = field(default_factory=dict[Any, Any], repr=False)
    _known: dict[tuple[str | None, Span], list[Assessment]] = field(default_factory=dict[Any, Any], repr=False)

    def cited(self, p: Predicate) -> list[Observation]:
        """The cited rows of the claim's track or of the recording, by time."""
        held = (self.rows[i] for i in p.cites if i in self.rows)
        return sorted((o for o in held if o.track_id in (p.track, None)), key=lambda o: (o.span, o.id))

    def evidence(self, track: str | None) -> frozenset[str]:
        """All rows that assessments of a track rest on."""
        if track not in self._evidence:
            rows = self.by_track.get(track, ())
            self._evidence[track] = frozenset(i for a in rows for c in a.contributions for i in c.evidence_ids)
        return self._evidence[track]

    def assessed(self, p: Predicate) -> list[Assessment]:
        """The assessments of the claim's track that lie in its span by more than half; else a short one beside it."""
        key = (p.track, p.span)
        if key not in self._known:
            rows = self.by_track.get(p.track, ())
            inside = [a for a in rows if 2 * a.span.overlap_us(p.span) > a.span.duration_us]
            # Of an assessment shorter than a second, half may be lost within the tolerance of time.
            self._known[key] = inside or [a for a in rows if a.span.overlap_us(p.span) and _near(a.span, p.span)]
        return self._known[key]


def _near(a: Span, b: Span) -> bool:
    return abs(a.start_us - b.start_us) <= TIME_US and abs(a.end_us - b.end_us) <= TIME_US


def index(ledger: Ledger) -> Index:
    by: dict[str | None, list[Assessment]] = {}
    for a in sorted(ledger.assessments, key=lambda a: a.span):
        by.setdefault(a.track_id, []).append(a)
    return Index(ledger, {o.id: o for o in ledger.observations}, ledger.names, {k: tuple(v) for k, v in by.items()})


@dataclass(frozen=True, slots=True)
class Truth:
    """What the slots should be, and the cited rows this rests on."""

    slots: dict[str, Any]
    used: frozenset[str] = field(default_factory=frozenset[str])


class Contradiction(Exception):  # noqa: N818 - a finding, no fault
    """The ledger says otherwise, and not by a margin."""


class Uncheckable(Exception):  # noqa: N818 - a finding, no fault
    """The cited rows do not bear on the claim."""


def extent(spans: Sequence[Span]) -> dict[str, Any]:
    return {"start_us": min(s.start_us for s in spans), "end_us": max(s.end_us for s in spans)}


def rows_of(p: Predicate, held: Index, *targets: str) -> list[Observation]:
    rows = [o for o in held.cited(p) if o.target in targets and o.reason is None]
    if not rows:
        raise Uncheckable(f"no cited row holds {' or '.join(targets)}")
    return rows


def used_rows(*rows: Observation) -> frozenset[str]:
    return frozenset(o.id for o in rows)
