"""The audit of a trace, without a judge model (DESIGN §6): is every claim grounded, and does what it cites decide?

Hard checks, each a share in 0..1 that must be 1 (coverage: at least `COVERAGE`):

| check | what |
|---|---|
| citation | every cited id exists, overlaps the claim, is of its track or the recording (ALCE, Gao et al. 2023) |
| relevance | every cited row bears on what the claim says |
| grounding | each predicate, recomputed from the ledger, is supported (atomic facts: FActScore, Min et al. 2023) |
| sentence | each sentence, parsed, says what its predicate says |
| wording | no sentence claims more than signals carry |
| coverage | least share of the absolute log-odds of a reading that is cited |
| contrary | share of what spoke against a reading that it cites |
| doubt | share of conflicts, and of second states that are well possible, that are said |
| conclusion | the conclusion is a reading of the trace, and holds |

Of its track is also what assessments of that track rest on, as those of a face may on a body.
`Moved` figures (comprehensiveness, sufficiency, placebo) are reported beside, not demanded. All this shows that claims
are grounded in sensor readings and relevant to the decision; it cannot show that the readings are right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mien.core import Assessment, Claim, Contribution, Span, Trace
from mien.reason.deletion import Moved, Repool, moved, without_rows
from mien.reason.engine import ALTERNATIVE_FROM, COVERAGE, NO_AFFECT, NO_READING
from mien.reason.grammar import difference, parse, predicate_of, slots_of, track_name, values
from mien.reason.grounding import Index, check, index
from mien.reason.ledger import Ledger, mean
from mien.reason.paraphrase import faithful
from mien.reason.predicates import Alternative, Conflict, Predicate, Reading

Status = Literal["ok", "unparsed", "truncated"]
Forbidden = Callable[[str], Sequence[str]]
CHECKS = ("citation", "relevance", "grounding", "sentence", "wording", "coverage", "contrary", "doubt", "conclusion")
CONTRARY_FROM = 0.02  # log-odds against the leading state: less than this is no voice against it
_DOUBTS = re.compile(r"^(.*\.) \d+ span\(s\) with disagreeing sources\.$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the check, the claim ("" for the trace as a whole), and a sentence."""

    check: str
    claim_id: str
    why: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What the audit says of one attempt of an engine.

    `shares`: check → share in 0..1; NaN where nothing was there to check (that passes). `off`: the largest difference
    of a number or time from the ledger or from its predicate, in units of its tolerance. `moved`: means over the
    readings, None without any.
    """

    trace_id: str
    clip_id: str
    engine: str
    status: Status
    claims: int = 0
    shares: dict[str, float] = field(default_factory=dict[str, float])
    findings: tuple[Finding, ...] = ()
    off: float = 0.0
    moved: Moved | None = None

    @property
    def failed(self) -> tuple[str, ...]:
        """The hard checks that do not pass; an attempt without a trace fails by its status."""
        if self.status != "ok":
            return (self.status,)
        return tuple(c for c in CHECKS if self.shares[c] < (COVERAGE - 1e-9 if c == "coverage" else 1))

    @property
    def auditable(self) -> bool:
        return not self.failed


def attempt_without_trace(clip_id: str, engine: str, status: Literal["unparsed", "truncated"]) -> Audit:
    """The audit of an attempt that gave no claims: it counts in the denominator of the auditable share."""
    return Audit("", clip_id, engine, status, findings=(Finding(status, "", f"the answer was {status}"),))


def audit(
    ledger: Ledger,
    trace: Trace,
    claims: Sequence[Claim],
    *,
    forbidden: Forbidden = lambda _: (),
    repool: Repool = without_rows,
    deletions: bool = True,
) -> Audit:
    """Check a trace against its ledger.

    Args:
        forbidden: phrases of a sentence that claim too much (`policy.forbidden_words`).
        repool: the posterior without rows; the default leaves out whole sources.
        deletions: also measure comprehensiveness, sufficiency and placebo.
    """
    held = index(ledger)
    tally = _Tally()
    read: list[tuple[Claim, Predicate]] = []
    supported: list[Predicate] = []
    for claim in claims:
        _citation(claim, held, tally)
        tally.add("wording", not (said := forbidden(claim.text)), claim, f"it says {', '.join(map(repr, said))}")
        predicate = predicate_of(claim)
        if predicate is None or predicate.said_as != claim.kind:
            why = "its predicate is outside the grammar" if predicate is None else f"it is no {claim.kind}"
            tally.add("grounding", False, claim, why)
            tally.add("sentence", False, claim, "there is no predicate to hold it against")
            tally.off = math.inf
            continue
        read.append((claim, predicate))
        if _grounding(claim, predicate, held, tally):
            supported.append(predicate)
        _sentence(claim, predicate, held, tally)
    readings = [(c, p) for c, p in read if isinstance(p, Reading)]
    for claim, reading in readings:
        _coverage(claim, reading, held, tally)
    _doubt([p for _, p in read], held, tally)
    tally.add("wording", not forbidden(trace.conclusion), None, "the conclusion says too much")
    _conclusion(trace, [p for p in supported if isinstance(p, Reading)], held, tally)
    shares = {name: tally.share(name) for name in CHECKS}
    found = _moved([p for _, p in readings], held, trace.id, repool) if deletions else None
    return Audit(
        trace.id, trace.clip_id, trace.engine, "ok", len(claims), shares, tuple(tally.findings), tally.off, found
    )


class _Tally:
    """Counts per check; a coverage keeps its least."""

    def __init__(self) -> None:
        self._good: dict[str, float] = {}
        self._all: dict[str, float] = {}
        self.findings: list[Finding] = []
        self.off = 0.0
        self.least = math.nan

    def add(self, name: str, good: bool, claim: Claim | None, why: str) -> None:
        self._all[name] = self._all.get(name, 0) + 1
        self._good[name] = self._good.get(name, 0) + good
        if not good:
            self.findings.append(Finding(name, claim.id if claim else "", why))

    def share(self, name: str) -> float:
        if name == "coverage":
            return self.least
        return self._good[name] / self._all[name] if name in self._all else math.nan


def opposing(predicate: Predicate, ledger: Ledger) -> list[tuple[Contribution, float, tuple[str, ...]]]:
    """What speaks against the state a claim names: contribution, its log-odds for that state, its rows. For people."""
    state = getattr(predicate, "state", None)
    rows = index(ledger).assessed(predicate) if state is not None else []
    parts = ((c, dict(c.log_odds).get(state or "", 0.0)) for a in rows for c in a.contributions if c.weight > 0)
    return [(c, odds, c.evidence_ids) for c, odds in parts if odds <= -CONTRARY_FROM]


# ---------------------------------------------------------------- single claims


def _citation(claim: Claim, held: Index, tally: _Tally) -> None:
    for i in claim.evidence_ids:
        row = held.rows.get(i)
        why = ""
        if row is None:
            why = f"{i} is not in the ledger"
        elif not _meet(row.span, claim.span):
            why = f"{i} lies at {row.span}, the claim at {claim.span}"
        elif row.track_id not in (claim.track_id, None) and i not in held.evidence(claim.track_id):
            theirs, ours = (track_name(t, held.names) for t in (row.track_id, claim.track_id))
            why = f"{i} is of {theirs}, the claim of {ours}"
        tally.add("citation", not why, claim, why)
    if not claim.evidence_ids and not claim.predicate.startswith("missing") and not _of_prior(claim, held):
        tally.add("citation", False, claim, "it cites nothing")


def _of_prior(claim: Claim, held: Index) -> bool:
    """Whether the claim is about assessments that no source took part in: then there is nothing to cite."""
    rows = [a for a in held.by_track.get(claim.track_id, ()) if a.span.overlap_us(claim.span)]
    return bool(rows) and claim.kind != "observation" and not any(c.evidence_ids for a in rows for c in a.contributions)


def _meet(a: Span, b: Span) -> bool:
    """Whether two spans overlap; a moment without length must lie inside."""
    return a.overlap_us(b) > 0 or (a.duration_us == 0 and b.start_us <= a.start_us <= b.end_us)


def _grounding(claim: Claim, predicate: Predicate, held: Index, tally: _Tally) -> bool:
    found = check(predicate, held)
    tally.off = max(tally.off, found.off)
    tally.add("grounding", found.found == "supported", claim, f"{found.found}: {found.why}")
    for i in claim.evidence_ids:
        if i in held.rows:
            tally.add("relevance", i in found.used, claim, f"{i} ({held.rows[i].target}) does not bear on it")
    return found.found == "supported"


def _sentence(claim: Claim, predicate: Predicate, held: Index, tally: _Tally) -> None:
    said = parse(claim.text)
    off, where = math.inf, ""
    if said is not None and said.type is type(predicate):
        meant = values(predicate, slots_of(predicate.sentence), held.names)
        off, where = difference(getattr(predicate, "target", None), said.values, meant)
    if off > 1 and faithful(claim.text, predicate, held.names):
        off = 0.0
    why = f"another {where} than its predicate" if where else "something else, or what nothing can be held against"
    tally.off = max(tally.off, off)
    tally.add("sentence", off <= 1, claim, f"the sentence says {why}")


# ---------------------------------------------------------------- readings


def _coverage(claim: Claim, reading: Reading, held: Index, tally: _Tally) -> None:
    rows, cited = held.assessed(reading), set(claim.evidence_ids)
    parts = [(c, dict(c.log_odds)) for a in rows for c in a.contributions if c.weight > 0]
    mass = sum(abs(v) for _, odds in parts for v in odds.values())
    named = sum(abs(v) for c, odds in parts for v in odds.values() if cited & set(c.evidence_ids))
    if mass:
        share = named / mass
        tally.least = share if math.isnan(tally.least) else min(tally.least, share)
        if share < COVERAGE - 1e-9:
            tally.findings.append(Finding("coverage", claim.id, f"it cites {share:.2f} of the absolute log-odds"))
    for c, odds in parts:
        if odds.get(reading.state, 0.0) <= -CONTRARY_FROM:
            there = bool(cited & set(c.evidence_ids))
            tally.add("contrary", there, claim, f"the {c.source} speaks against {reading.state} and is not cited")


def _doubt(said: Sequence[Predicate], held: Index, tally: _Tally) -> None:
    """Every conflict of the ledger, and every second state that is well possible beside a reading, must be said."""
    conflicts = [p for p in said if isinstance(p, Conflict)]
    others = [p for p in said if isinstance(p, Alternative)]
    for a in held.ledger.assessments:
        if a.reason == "conflict":
            there = any(p.track == a.track_id and _covers(p.span, a) for p in conflicts)
            tally.add("doubt", there, None, f"the conflict at {a.span} is not said")
    for p in (p for p in said if isinstance(p, Reading)):
        rows = held.assessed(p)
        posterior = mean([a.posterior for a in rows]) if rows else {}
        rest = [(q, state) for state, q in posterior.items() if state != p.state]
        if rest and max(rest)[0] >= ALTERNATIVE_FROM:
            state = max(rest)[1]
            there = any(o.track == p.track and o.span.overlap_us(p.span) and o.state == state for o in others)
            tally.add("doubt", there, None, f"that {state} is possible, too, at {p.span} is not said")


def _covers(span: Span, a: Assessment) -> bool:
    return 2 * span.overlap_us(a.span) > a.span.duration_us


def _conclusion(trace: Trace, readings: Sequence[Reading], held: Index, tally: _Tally) -> None:
    rows = held.ledger.assessments
    if trace.conclusion == NO_AFFECT:
        tally.add("conclusion", not rows, None, "it says that no affect reading was made, but there are assessments")
        return
    if trace.conclusion == NO_READING:
        tally.add("conclusion", not readings and bool(rows), None, "it says that there is no reading, but there is one")
        return
    with_doubts = _DOUBTS.match(trace.conclusion)
    said = parse(with_doubts[1] if with_doubts else trace.conclusion)
    if said is None or said.type is not Reading:
        tally.add("conclusion", False, None, "it is no reading")
        return
    meant = (values(p, slots_of(Reading.sentence), held.names) for p in readings)
    tally.add(
        "conclusion", any(difference(None, said.values, m)[0] <= 1 for m in meant), None, "no supported claim says it"
    )


def _moved(readings: Iterable[Reading], held: Index, seed: str, repool: Repool) -> Moved | None:
    found: list[Moved] = []
    for p in readings:
        rows = held.assessed(p)
        others = [
            o
            for o in held.ledger.observations
            if o.id not in p.cites and o.track_id in (p.track, None) and o.span.overlap_us(p.span)
        ]
        if rows:
            found.append(moved(rows, p.state, p.cites, others, f"{seed}/{p.span}", repool))
    if not found:
        return None
    placebos = [m.placebo for m in found if not math.isnan(m.placebo)]
    return Moved(
        sum(m.comprehensiveness for m in found) / len(found),
        sum(m.sufficiency for m in found) / len(found),
        sum(placebos) / len(placebos) if placebos else math.nan,
    )
