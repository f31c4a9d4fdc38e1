"""Traces as texts to learn from: every sentence is a claim's, every claim is supported, and what failed is refused."""

from __future__ import annotations

import dataclasses
import re

import pytest

from mien.core import MienError
from mien.policy import forbidden_words
from mien.reason import Ledger, audit, check, index, parse, predicate_of, reason
from mien.reason.training_text import LENGTHS, training_text
from mien.testing.ledgers import invented


def made(seed: int):
    given = invented(seed)
    ledger = Ledger(given.clip, given.tracks, given.observations, given.assessments, given.missing)
    trace, claims = reason(ledger)
    return ledger, trace, claims, audit(ledger, trace, claims, forbidden=forbidden_words)


@pytest.mark.parametrize("seed", range(6))
def test_every_sentence_is_of_a_supported_claim_and_nothing_stands_between(seed):
    ledger, trace, claims, found = made(seed)
    by_id, held = {c.id: c for c in claims}, index(ledger)
    for target in training_text(trace, claims, found).values():
        text, rest, at = target.text, [], 0
        for s in target.sentences:
            said = text[s.start : s.end]
            claim = by_id[s.claim_id]
            assert said == claim.text
            assert s.evidence_ids == claim.evidence_ids
            assert parse(said) is not None
            predicate = predicate_of(claim)
            assert predicate is not None
            assert check(predicate, held).found == "supported"
            assert s.thought == (s.start < text.index("</think>"))
            rest.append(text[at : s.start])
            at = s.end
        between = re.sub(r"</?think>|\[[\w, -]+\]|\s", "", "".join([*rest, text[at:]]))
        assert between == ""  # no sentence without its row in the table
        assert text.startswith("<think>\n")
        assert not forbidden_words(text)


def test_lengths_nest_and_the_long_one_says_everything():
    _, trace, claims, found = made(1)
    targets = training_text(trace, claims, found)
    said = [{s.claim_id for s in targets[length].sentences} for length in LENGTHS]
    assert said[0] < said[1] < said[2]
    assert said[2] == {c.id for c in claims}
    assert len({len(targets[length].text) for length in LENGTHS}) == 3
    for target in targets.values():
        assert len({s.claim_id for s in target.sentences}) == len(target.sentences)


def test_failed_or_foreign_traces_are_refused():
    ledger, trace, claims, found = made(2)
    bad = [dataclasses.replace(claims[0], text=claims[0].text.replace("0:0", "3:0")), *claims[1:]]
    failed = audit(ledger, trace, bad)
    assert not failed.auditable
    for given, verdict in ((bad, failed), (claims[:-1], found), (claims, made(3)[3])):
        with pytest.raises(MienError) as caught:
            training_text(trace, given, verdict)
        assert caught.value.code == "reason.not-auditable"
