import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.policy import CONTEXTS, MISSING_CONTEXT, WAITING_MESSAGE, affect_allowed, forbidden_words, may_show

YEARS = st.tuples(st.floats(0, 90), st.floats(0, 90)).map(lambda p: (min(p), max(p)))


def test_the_three_contexts_are_explained_in_three_lines():
    assert [line.split()[0] for line in MISSING_CONTEXT.splitlines()[1:]] == ["care", "research", "studio"]
    assert "consent" in WAITING_MESSAGE
    assert "pseudonym" in WAITING_MESSAGE


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("enrolled", [True, False])
def test_only_care_waits_for_a_person(context, enrolled):
    assert affect_allowed(context, enrolled) == (context != "care" or enrolled)


@given(score=st.floats(0, 1), ages=st.lists(YEARS, max_size=4), unknown=st.integers(0, 3))
def test_explicit_content_with_a_possible_minor_is_barred_for_good(score, ages, unknown):
    for context in CONTEXTS:
        decision = may_show(context, score, ages, unknown)
        if score >= 0.2:
            assert not decision.show
            assert decision.quarantine
            possible_minor = unknown > 0 or not ages or min(a[0] for a in ages) < 25
            assert decision.permanent == possible_minor
        if context == "care":
            assert not decision.show


def test_nothing_is_shown_before_the_gate_ran():
    for score, context in itertools.product((None, math.nan), CONTEXTS):
        assert not may_show(context, score, [(30, 40)], 0).show
    assert may_show("research", 0.01, [], 2).show


@pytest.mark.parametrize("text", ["She is angry", "he looks very sad", "this proves distress", "They were upset"])
def test_claims_that_say_too_much_are_found(text):
    assert forbidden_words(text)


@pytest.mark.parametrize(
    "text", ["Signals are consistent with distress.", "The sound is loud.", "Calm is less likely."]
)
def test_careful_sentences_pass(text):
    assert not forbidden_words(text)
