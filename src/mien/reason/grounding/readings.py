"""What is said of assessments, recomputed from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mien.core import Assessment
from mien.reason.deletion import without_sources
from mien.reason.grounding.base import Contradiction, Index, Truth, Uncheckable, extent
from mien.reason.ledger import mean, odds_for, says, top
from mien.reason.predicates import (
    Abstained,
    Against,
    Alternative,
    Conflict,
    Decide,
    Look,
    Missing,
    Predicate,
    Reading,
    Without,
)


def _windows(p: Predicate, held: Index, abstained: bool | None = None) -> list[Assessment]:
    rows = held.assessed(p)
    if not rows:
        raise Uncheckable("no assessment of this track lies there")
    if abstained is not None and any(a.abstained != abstained for a in rows):
        raise Contradiction(
            "a reading is given where the assessment abstains" if not abstained else "a reading is given there"
        )
    return rows


def _over(rows: Sequence[Assessment], **slots: Any) -> Truth:
    evidence = frozenset(i for a in rows for c in a.contributions for i in c.evidence_ids)
    return Truth(slots | extent([a.span for a in rows]), evidence)


def _reading(p: Reading, held: Index) -> Truth:
    rows = _windows(p, held, abstained=False)
    posterior = mean([a.posterior for a in rows])
    state = max(posterior, key=posterior.__getitem__)
    return _over(rows, state=state, p=posterior[state], says=says(rows))


def _alternative(p: Alternative, held: Index) -> Truth:
    rows = _windows(p, held, abstained=False)
    posterior = mean([a.posterior for a in rows])
    if p.state not in posterior:
        raise Contradiction(f"{p.state!r} is no state that was assessed")
    if p.state == max(posterior, key=posterior.__getitem__):
        raise Contradiction(f"{p.state!r} is the leading state, not another")
    return _over(rows, p=posterior[p.state])


def _against(p: Against, held: Index) -> Truth:
    rows = _windows(p, held, abstained=False)
    _named(p.source, rows)
    odds = odds_for(rows, p.source, p.state)
    if odds >= 0 or p.odds >= 0:
        raise Contradiction(f"the {p.source} adds {odds:+.2f} for {p.state}")
    state = max(m := mean([a.posterior for a in rows]), key=m.__getitem__)
    return _over(rows, state=state, odds=odds)


def _without(p: Without, held: Index) -> Truth:
    rows = _windows(p, held, abstained=False)
    _named(p.source, rows)
    rest = mean([without_sources(a, (p.source,)) for a in rows])
    state = max(rest, key=rest.__getitem__)
    return _over(rows, state=state, p=rest[state])


def _named(source: str, rows: Sequence[Assessment]) -> None:
    if all(c.source != source for a in rows for c in a.contributions):
        raise Contradiction(f"{source!r} is no source of these assessments")


def _conflict(p: Conflict, held: Index) -> Truth:
    rows = _windows(p, held, abstained=True)
    if any(a.reason != "conflict" for a in rows):
        raise Contradiction("the sources do not conflict there")
    return _over(rows, degree=max(a.conflict for a in rows), says=says(rows))


def _abstained(p: Abstained, held: Index) -> Truth:
    rows = _windows(p, held, abstained=True)
    if any(a.reason != p.reason for a in rows):
        raise Contradiction(f"the reason is {rows[0].reason!r}")
    return _over(rows, says=says(rows))


def _missing(p: Missing, held: Index) -> Truth:
    if p.what not in held.ledger.missing:
        raise Contradiction("the ledger does not say that this is missing")
    return Truth({})


def _look(p: Look, held: Index) -> Truth:
    rows = _windows(p, held)
    if any(a.abstained or top(a.posterior) != "distress" for a in rows):
        raise Contradiction("no reading of distress stands there")
    return _over(rows)


def _decide(p: Decide, held: Index) -> Truth:
    rows = _windows(p, held)
    if any(a.reason != "conflict" for a in rows):
        raise Contradiction("the sources do not conflict there")
    return _over(rows)


READINGS: dict[type[Predicate], Callable[[Any, Index], Truth]] = {
    Reading: _reading, Alternative: _alternative, Against: _against, Without: _without, Conflict: _conflict,
    Abstained: _abstained, Missing: _missing, Look: _look, Decide: _decide,
}  # fmt: skip
