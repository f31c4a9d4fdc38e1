"""The audit finds what was planted by code that shares nothing with it, and leaves alone what is right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mien.core import Claim, Contribution, Span
from mien.fusion import SourceEvidence, pool, without
from mien.policy import emotion_words, forbidden_words
from mien.reason import (
    Ledger,
    attempt_without_trace,
    audit,
    check,
    index,
    moved,
    observables,
    predicate_of,
    reason,
    rendered,
    without_rows,
    without_sources,
)
from mien.reason.ledger import rough_tokens
from mien.testing.ledgers import Invented, invented, shuffled
from mien.testing.planter import GROSS, Subject, honest, off_by, plant

COUNT = 12


def ledger_of(made: Invented) -> Ledger:
    return Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)


MADE = [invented(n, 1 + n % 3, 8 + n % 5) for n in range(COUNT)]
LEDGERS = [ledger_of(m) for m in MADE]
TRACES = [reason(held) for held in LEDGERS]
SUBJECTS = [
    Subject(t, tuple(c), m.tracks, m.observations, m.assessments) for m, (t, c) in zip(MADE, TRACES, strict=True)
]


def judged(n: int, trace, claims, ledger: Ledger | None = None):
    return audit(ledger or LEDGERS[n], trace, claims, forbidden=forbidden_words)


@pytest.mark.parametrize("n", range(COUNT))
def test_what_the_ledger_engine_writes_passes_every_hard_check(n):
    found = judged(n, *TRACES[n])
    assert found.findings == ()
    assert found.auditable
    assert found.off < 0.5  # what rounding leaves
    assert found.moved is not None
    assert found.moved.comprehensiveness > found.moved.placebo + 0.1


@pytest.mark.parametrize("error", GROSS)
def test_every_planted_error_is_found(error):
    there = 0
    for n, subject in enumerate(SUBJECTS):
        made = plant(error, subject, n)
        if made is not None:
            there += 1
            assert not judged(n, *made).auditable, (error, n)
    assert there >= 2


def test_an_honest_writer_who_is_a_little_off_raises_no_alarm_and_beyond_the_tolerance_one_does():
    for n, subject in enumerate(SUBJECTS):
        found = judged(n, *honest(subject, n))
        assert found.auditable, found.findings
        assert found.off > 0.3
        made = off_by(subject, 1.5, n)
        assert made is not None
        assert not judged(n, *made).auditable


def test_figures_that_need_the_ledger_fall_when_it_is_shuffled():
    own = [judged(n, *TRACES[n]) for n in range(COUNT)]
    others = [ledger_of(shuffled(MADE[n], MADE[(n + 1) % COUNT], n)) for n in range(COUNT)]
    apart = [judged(n, *TRACES[n], others[n]) for n in range(COUNT)]
    for name in ("citation", "relevance", "grounding", "coverage", "contrary", "doubt", "conclusion"):
        a, b = ([x.shares[name] for x in held if not math.isnan(x.shares[name])] for held in (own, apart))
        assert sum(a) / len(a) > 1.3 * sum(b) / len(b), name
    for figure in ("comprehensiveness", "sufficiency"):
        a, b = ([getattr(x.moved, figure) for x in held if x.moved] for held in (own, apart))
        assert sum(a) / len(a) > 0.2 + sum(b) / len(b), figure


def test_an_attempt_without_a_trace_is_not_auditable():
    for status in ("unparsed", "truncated"):
        found = attempt_without_trace("clip-1", "vlm@1", status)
        assert (found.auditable, found.failed, found.claims) == (False, (status,), 0)


def test_a_claim_outside_the_grammar_of_another_kind_or_without_a_row_fails():
    trace, claims = TRACES[0]
    first = claims[0]
    for bad in (
        replace(first, predicate="the face smiles"),
        replace(first, kind="observation"),
        replace(first, evidence_ids=()),
        replace(first, text="Something else entirely."),
    ):
        assert not judged(0, trace, [bad, *claims[1:]]).auditable
    assert not judged(0, replace(trace, conclusion="All is well."), claims).auditable


def test_a_conflict_that_is_not_said_is_a_finding():
    for n, (trace, claims) in enumerate(TRACES):
        kept = [c for c in claims if not c.predicate.startswith("conflict")]
        if len(kept) < len(claims):
            plain = replace(trace, conclusion=trace.conclusion.split(" span(s)")[0])
            assert "doubt" in judged(n, plain, kept).failed


def test_a_cause_and_an_intent_are_hypotheses_whose_parts_are_checked():
    held = next(h for h in LEDGERS if any(o.target == "body.hand_at_ear" for o in h.observations))
    row = next(o for o in held.observations if o.target == "body.hand_at_ear")
    trace, claims = reason(held)
    at = f"Between 0:{row.span.start_us / 1e6:05.2f} and 0:{row.span.end_us / 1e6:05.2f}"
    text = f"{at} the hand at the ear of {{}} may serve to shut out sound; people who know the person decide."
    who = held.names[row.track_id or ""]
    good = Claim(
        "claim-x", trace.id, "alternative", "intent(body.hand_at_ear) = shut out sound", text.format(who), row.span,
        row.track_id, (row.id,),
    )  # fmt: skip
    assert audit(held, trace, [*claims, good]).auditable
    other = replace(good, predicate=good.predicate.replace("shut out sound", "annoy people"))
    assert not audit(held, trace, [*claims, other]).auditable


# ---------------------------------------------------------------- deletions


def test_deletions_from_contributions_are_those_of_the_pool():
    states, prior = ("a", "b", "c"), (0.5, 0.3, 0.2)
    sources = (
        SourceEvidence("face", (0.7, 0.2, 0.1), (0.4, 0.3, 0.3), 0.9, ("f",)),
        SourceEvidence("voice", (0.1, 0.3, 0.6), (1 / 3, 1 / 3, 1 / 3), 0.5, ("v",)),
    )
    whole = pool(states, prior, sources)
    row = replace(
        MADE[0].assessments[0], prior=whole.prior, posterior=whole.posterior, contributions=whole.contributions
    )
    assert dict(without_sources(row, ())) == pytest.approx(dict(whole.posterior))
    for name, ids in (("face", ("f",)), ("voice", ("v",))):
        truth = dict(pool(states, prior, without(sources, (name,))).posterior)
        assert dict(without_sources(row, (name,))) == pytest.approx(truth)
        assert dict(without_rows(row, ids)) == pytest.approx(truth)


def test_rows_that_nothing_rests_on_move_nothing():
    row = MADE[0].assessments[0]
    others = [o for o in MADE[0].observations if o.target == "face.lip_gap"]
    ids = [i for c in row.contributions for i in c.evidence_ids]
    state = max(row.posterior, key=lambda p: p[1])[0]
    found = moved([row], state, ids, others, "seed")
    assert found.placebo == 0
    assert found.comprehensiveness > 0
    assert found.sufficiency == pytest.approx(found.comprehensiveness)
    nothing = moved([row], state, [o.id for o in others], [], "seed")
    assert (nothing.comprehensiveness, nothing.sufficiency) == (0, 0)
    assert math.isnan(nothing.placebo)


# ---------------------------------------------------------------- the ledger


def test_a_tight_budget_keeps_contrary_rows_first_and_says_what_is_left_out():
    held = LEDGERS[0]
    whole = rendered(held, 10**6)
    assert len(whole.splitlines()) == len(held.observations)
    a = held.assessments[0]
    lead = max(a.posterior, key=lambda p: p[1])[0]
    odds = tuple((s, -1.0 if s == lead else 0.5) for s, _ in a.posterior)
    row = next(o for o in held.observations if o.target == "face.lip_gap")
    against = replace(
        held, assessments=(replace(a, contributions=(*a.contributions, Contribution("x", 0.1, (), odds, (row.id,)))),)
    )
    text = rendered(against, 150)
    assert row.id in text
    assert row.id not in rendered(held, 150)
    assert "more rows are not shown" in text.splitlines()[-1]
    assert sum(rough_tokens(line + "\n") for line in text.splitlines()) <= 150


def test_observables_alone_hold_no_feeling_and_no_emotion_word():
    for held in LEDGERS:
        trace, claims = reason(held, observables_only=True)
        assert claims
        assert {c.kind for c in claims} <= {"observation", "uncertainty"}
        assert [w for c in claims for w in emotion_words(c.text)] == []
        assert emotion_words(trace.conclusion) == []
        plain = observables(held)
        assert audit(plain, trace, claims, forbidden=emotion_words).auditable
        assert any(emotion_words(c.text) for c in reason(held)[1])


def test_a_window_shorter_than_the_tolerance_of_time_is_still_found():
    """An end off by less than the tolerance may cut off more than half of a short window: that is no other window."""
    made = MADE[0]
    a = next(a for a in made.assessments if not a.abstained)
    short = replace(a, span=Span(a.span.start_us, a.span.start_us + 400_000))
    held = replace(LEDGERS[0], assessments=(short,))
    trace, claims = reason(held)
    off = [c for c in claims if c.span == short.span and c.kind == "alternative"]
    reading = next(c for c in claims if c.predicate.startswith("posterior.top"))
    assert reading.span == short.span
    end = reading.span.start_us + 100_000
    for c in (reading, *off):
        p = predicate_of(c)
        assert p is not None
        assert check(replace(p, span=Span(c.span.start_us, end)), index(held)).found == "supported"
        later = Span(c.span.start_us + 2_000_000, c.span.end_us + 2_000_000)
        assert check(replace(p, span=later), index(held)).found == "not checkable"
    assert trace.conclusion.startswith(reading.text)
