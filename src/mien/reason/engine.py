"""The `ledger` engine: claims derived from the real computation, so each cites exactly what moved the posterior.

Readings cite the fewest observations that carry at least 80 % of the absolute log-odds the sources added (AFFECT:
coverage), and always the contrary ones; what spoke against them and what would change them is said by itself, from
exact deletions. Numbers decide; the sentences only report them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from mien.core import Assessment, Claim, Span, Trace, content_id
from mien.reason.deletion import without_sources
from mien.reason.grammar import claim_of
from mien.reason.ledger import Ledger, episodes, mean, observables, odds_for, says, span_of
from mien.reason.observed import bodies, changes, pairs, people, sounds
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

ENGINE = "ledger@3"
COVERAGE = 0.8
ALTERNATIVE_FROM = 0.15
AGAINST_FROM = 0.25  # log-odds: what is within its own tolerance of nothing is not worth a sentence
CHANGE_FROM = 0.1  # a deletion that moves the leading state by less is not worth a sentence
NO_READING = "No reading is given: the evidence is too little, too ambiguous or in conflict."
NO_AFFECT = "Observables only: no affect reading was made."


def reason(ledger: Ledger, *, observables_only: bool = False) -> tuple[Trace, list[Claim]]:
    """Claims about one clip in the order a reader wants them: readings, doubts, advice, then what was observed.

    Args:
        observables_only: leave out every inference about feeling: movement, loudness and kinds of sound remain.

    Raises:
        ValueError: an assessment rests on rows that are not in the ledger.
    """
    if observables_only:
        ledger = observables(ledger)
    trace_id = content_id("trace", ledger.clip.id, ENGINE, sorted(a.id for a in ledger.assessments), ledger.missing)
    known, names = {o.id for o in ledger.observations}, ledger.names
    claims: list[Claim] = []
    said = chain(_readings(ledger), sounds(ledger), people(ledger), bodies(ledger), changes(ledger), pairs(ledger))
    for predicate in chain(said, (Missing(span=ledger.clip.span, track=None, what=m) for m in ledger.missing)):
        unknown = [i for i in predicate.cites if i not in known]
        if unknown:
            raise ValueError(f"a claim cites rows that are not in the ledger: {unknown}")
        claims.append(claim_of(predicate, trace_id, names))
    return Trace(trace_id, ledger.clip.id, ENGINE, conclusion(ledger, claims), ledger.missing), claims


def conclusion(ledger: Ledger, claims: Sequence[Claim]) -> str:
    """The longest reading, or why there is none; and how many conflicts there are."""
    readings = [c for c in claims if c.predicate.startswith("posterior.top")]
    if not ledger.assessments:
        return NO_AFFECT
    if not readings:
        return NO_READING
    longest = max(readings, key=lambda c: c.span.duration_us)
    doubts = sum(c.predicate.startswith("conflict") for c in claims)
    return longest.text + (f" {doubts} span(s) with disagreeing sources." if doubts else "")


# ---------------------------------------------------------------- readings


def _readings(ledger: Ledger) -> Iterator[Predicate]:
    for rows in episodes(ledger.assessments):
        span, track, cites = span_of(rows), rows[0].track_id, _moving_evidence(rows)
        if rows[0].abstained:
            if rows[0].reason == "conflict":
                degree = max(a.conflict for a in rows)
                yield Conflict(span=span, track=track, cites=cites, degree=degree, says=says(rows))
                yield Decide(span=span, track=track, cites=cites)
            else:
                yield Abstained(span=span, track=track, cites=cites, reason=rows[0].reason, says=says(rows))
            continue
        posterior = mean([a.posterior for a in rows])
        state = max(posterior, key=posterior.__getitem__)
        yield Reading(span=span, track=track, cites=cites, state=state, p=posterior[state], says=says(rows))
        others = sorted(((q, s) for s, q in posterior.items() if s != state), reverse=True)
        if others and others[0][0] >= ALTERNATIVE_FROM:
            q, other = others[0]
            yield Alternative(span=span, track=track, cites=_supporting(rows, other) or cites, state=other, p=q)
        yield from _counter(rows, span, track, state, posterior[state])
        if state == "distress":
            yield Look(span=span, track=track, cites=cites)


def _counter(rows: Sequence[Assessment], span: Span, track: str | None, state: str, p: float) -> Iterator[Predicate]:
    """What spoke against a reading, and which single deletion would change it."""
    sources = sorted({c.source for a in rows for c in a.contributions if c.weight > 0})
    for source in sources:
        ids = _rows_of(rows, source)
        odds = odds_for(rows, source, state)
        if odds <= -AGAINST_FROM:
            yield Against(span=span, track=track, cites=ids, source=source, state=state, odds=odds)
        rest = mean([without_sources(a, (source,)) for a in rows])
        lead = max(rest, key=rest.__getitem__)
        if len(sources) > 1 and (lead != state or abs(rest[state] - p) >= CHANGE_FROM):
            yield Without(span=span, track=track, cites=ids, source=source, state=lead, p=rest[lead])


def _rows_of(rows: Sequence[Assessment], source: str) -> tuple[str, ...]:
    ids = [i for a in rows for c in a.contributions if c.source == source and c.weight > 0 for i in c.evidence_ids]
    return tuple(dict.fromkeys(ids))


def _moving_evidence(rows: Sequence[Assessment]) -> tuple[str, ...]:
    """The fewest contributions that carry `COVERAGE` of the absolute log-odds, plus every contrary one."""
    lead = mean([a.posterior for a in rows])
    outcome = max(lead, key=lead.__getitem__)
    held = [
        (sum(abs(v) for _, v in c.log_odds), dict(c.log_odds).get(outcome, 0.0), c.evidence_ids)
        for a in rows
        for c in a.contributions
        if c.weight > 0
    ]
    total = sum(mass for mass, _, _ in held)
    chosen: list[str] = []
    covered = 0.0
    for mass, toward, ids in sorted(held, key=lambda h: -h[0]):
        if covered < COVERAGE * total or toward < 0:
            chosen += [i for i in ids if i not in chosen]
            covered += mass
    return tuple(chosen)


def _supporting(rows: Sequence[Assessment], state: str) -> tuple[str, ...]:
    ids = [i for a in rows for c in a.contributions if dict(c.log_odds).get(state, 0.0) > 0 for i in c.evidence_ids]
    return tuple(dict.fromkeys(ids))
