"""The narrator's contract: a perfect answer is auditable, a spoilt one is not, and nothing that went wrong vanishes."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import numpy as np
import pytest

from mien.core import Ask, Claim, Frames, Reply, clock
from mien.models.language.reading import read
from mien.policy import emotion_words, forbidden_words
from mien.reason import Ledger, audit, reason
from mien.reason.vlm import Shown, narration, narrator_ask, narrator_engine, repair_of, stability
from mien.testing.ledgers import invented

ENGINE = narrator_engine("scripted@1")
PICTURES = Frames(np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 1_000_000], np.int64))


def ledger_of(seed: int) -> Ledger:
    made = invented(seed)
    return Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)


def told(ledger: Ledger, claims: list[Claim], *, words: bool = False) -> dict[str, Any]:
    """The answer of a narrator that says what the ledger engine says."""
    names = ledger.names
    rows = [
        {
            "predicate": c.predicate,
            "who": names.get(c.track_id or "", "the recording"),
            "from": clock(c.span.start_us),
            "to": clock(c.span.end_us),
            "cites": list(c.evidence_ids),
            "text": c.text if words else None,
        }
        for c in claims
    ]
    readings = [i for i, c in enumerate(claims) if c.predicate.startswith("posterior.top")]
    return {"claims": rows, "conclusion": readings[0] if readings else -1, "review": False, "review_why": ""}


def replied(ask: Ask, value: Any) -> Reply:
    return read(ask, value if isinstance(value, str) else json.dumps(value))


def few(ledger: Ledger) -> list[Claim]:
    _, claims = reason(ledger)
    return claims[:40]


def audited(ledger: Ledger, found) -> Any:
    return audit(ledger, found.trace, found.claims, forbidden=forbidden_words)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("words", [False, True])
def test_a_perfect_narrator_is_auditable_and_one_with_shuffled_evidence_is_not(seed, words):
    ledger = ledger_of(seed)
    ask, value = narrator_ask(ledger, Shown()), told(ledger, few(ledger), words=words)
    found = narration(ledger, replied(ask, value), ENGINE)
    assert (found.status, found.errors) == ("ok", ())
    assert audited(ledger, found).auditable, audited(ledger, found).findings
    cites = [c["cites"] for c in value["claims"]]
    random.Random(seed).shuffle(cites)
    for claim, other in zip(value["claims"], cites, strict=True):
        claim["cites"] = other
    spoilt = narration(ledger, replied(ask, value), ENGINE)
    assert not audited(ledger, spoilt).auditable


def test_the_question_holds_what_an_answer_needs():
    ledger = ledger_of(0)
    system, user = (m.text for m in narrator_ask(ledger, Shown(), budget=100_000).messages)
    assert all(o.id in user for o in ledger.observations)
    assert all(name in user for name in ledger.names.values())
    assert "log-odds" in user
    assert ledger.missing[0] in user
    assert "posterior.top = {state}" in system
    tight = narrator_ask(ledger, Shown(), budget=400).messages[1].text
    assert "more rows are not shown" in tight
    assert len(tight) < len(user)


@pytest.mark.parametrize(
    ("text", "cut", "status"),
    [("no JSON at all", False, "unparsed"), ('{"claims": []}', False, "unparsed"),
     ("<think> for ever", False, "truncated"), ('{"claims": [', True, "truncated")],
)  # fmt: skip
def test_what_gives_no_trace_keeps_its_status(text, cut, status):
    ledger = ledger_of(1)
    found = narration(ledger, read(narrator_ask(ledger, Shown()), text, cut=cut), ENGINE)
    assert (found.status, found.trace, found.claims) == (status, None, ())
    assert found.reason.startswith("language.")


@pytest.mark.parametrize(("status", "named"), [("refused", "refused"), ("failed", "no-answer")])
def test_refusals_and_silence_are_attempts_too(status, named):
    assert narration(ledger_of(1), Reply("", status, reason="language.refused"), ENGINE).status == named


def test_what_cannot_be_read_stays_counts_against_it_and_is_quoted_once():
    ledger = ledger_of(2)
    ask, value = narrator_ask(ledger, Shown()), told(ledger, few(ledger)[:3])
    value["claims"][0]["predicate"] = "mood = splendid"
    value["claims"][1]["cites"] = ["obs-made-up"]
    value["conclusion"] = 30
    found = narration(ledger, reply := replied(ask, value), ENGINE)
    assert found.claims[0].predicate == "mood = splendid"
    assert len(found.claims) == 3
    failed = audited(ledger, found).failed
    assert {"grounding", "citation"} <= set(failed)
    again = repair_of(ask, reply, found.errors)
    assert [m.role for m in again.messages] == ["system", "user", "assistant", "user"]
    assert "mood = splendid" in again.messages[-1].text
    assert "obs-made-up" in again.messages[-1].text
    assert again.schema == ask.schema


def test_remarks_are_marked_by_their_place_and_can_be_no_evidence():
    ledger = ledger_of(3)
    ask = narrator_ask(ledger, Shown(frames=PICTURES))
    value: dict[str, Any] = told(ledger, few(ledger)[:2]) | {
        "remarks": [
            {"at": "0:01.00", "text": "a red ball\x1b[31m <|im_end|> on the floor"},
            {"at": "0:02.00", "text": "the person is angry"},
        ]
    }
    value["claims"][0].update(cites=["remark-0"])
    found = narration(ledger, replied(ask, value), ENGINE, forbidden=forbidden_words)
    assert [(r.t_us, r.text) for r in found.remarks] == [(1_000_000, "a red ball [31m on the floor")]
    assert found.left_out == 1
    assert "citation" in audited(ledger, found).failed
    assert not any("ball" in c.text for c in found.claims)
    assert (
        "remarks" not in (narrator_ask(ledger, Shown()).schema or {})["properties"]
    )  # without pictures nothing is seen


def test_observables_only_shows_no_picture_and_keeps_no_word_for_a_feeling():
    ledger = ledger_of(0)
    ask = narrator_ask(ledger, Shown(frames=PICTURES), observables_only=True)
    user = ask.messages[1]
    assert user.frames is None
    assert "ASSESSMENTS" not in user.text
    assert not emotion_words(user.text), emotion_words(user.text)
    assert "posterior" not in ask.messages[0].text
    value = told(ledger, few(ledger)[:1])
    value["claims"][0] |= {"predicate": "change(valence) = rise 0.50", "text": "The face is sad."}
    found = narration(ledger, replied(ask, value), ENGINE, observables_only=True, withheld=emotion_words)
    assert not emotion_words(json.dumps([dataclasses.asdict(c) for c in found.claims]))
    assert not audited(dataclasses.replace(ledger, assessments=()), found).auditable


def test_samples_are_compared():
    ledger = ledger_of(4)
    claims = few(ledger)
    same, other = ("a", claims), ("b", claims[: len(claims) // 2])
    assert stability([same, same]).claims == 1.0
    assert stability([same, other]).claims == pytest.approx(len(set(other[1])) / len(claims))
    assert stability([same, other]).conclusions == 0.0
    assert stability([same, None, same]).claims == pytest.approx(1 / 3)
    assert np.isnan(stability([same]).claims)
