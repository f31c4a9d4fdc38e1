import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import Observation, Span
from mien.policy import CONTEXTS, MISSING_CONTEXT, WAITING_MESSAGE, affect_allowed, forbidden_words, quarantine_of


def test_the_three_contexts_are_explained_in_three_lines():
    assert [line.split()[0] for line in MISSING_CONTEXT.splitlines()[1:]] == ["care", "research", "studio"]
    assert "consent" in WAITING_MESSAGE
    assert "pseudonym" in WAITING_MESSAGE


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("enrolled", [True, False])
def test_only_care_waits_for_a_person(context, enrolled):
    assert affect_allowed(context, enrolled) == (context != "care" or enrolled)


def _seen(target: str, value: float | None, sd: float | None = None) -> Observation:
    return Observation(target, "c", None, Span(0, 1), target, value, sd, "", (), None, 1, "a")


@given(
    score=st.floats(0, 1), ages=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 20)), max_size=4), n=st.integers(0, 6)
)
def test_what_was_observed_decides_and_a_possible_minor_bars_for_good(score, ages, n):
    rows = [
        _seen("explicit.max", score),
        *(_seen("age", a, sd) for a, sd in ages),
        *(_seen("presence", 1.0) for _ in range(n)),
    ]
    for context in CONTEXTS:
        decision = quarantine_of(context, rows)
        if score >= 0.2:
            assert decision.held
            assert not decision.display
            minor = n > len(ages) or not ages or min(a - 2 * sd for a, sd in ages) < 25
            assert decision.permanent == minor
        if context == "care":
            assert not decision.display


def test_nothing_is_shown_before_the_gate_ran():
    for context in CONTEXTS:
        assert not quarantine_of(context, [_seen("age", 40.0, 1.0)]).display
        assert not quarantine_of(context, [_seen("explicit.max", None)]).display
        assert not quarantine_of(context, [_seen("explicit.max", 0.01)], math.nan).display
    assert quarantine_of("research", [_seen("explicit.max", 0.01)]).display
    assert not quarantine_of("research", [_seen("explicit.max", 0.01)], 0.5).display


def test_an_outlier_is_flagged_and_not_closed():
    rare = quarantine_of("research", [_seen("explicit.max", 0.01), _seen("scene.anomaly", 0.99)])
    assert (rare.review, rare.export, rare.reasons) == (True, True, ("anomaly",))


@pytest.mark.parametrize("text", ["She is angry", "he looks very sad", "this proves distress", "They were upset"])
def test_claims_that_say_too_much_are_found(text):
    assert forbidden_words(text)


@pytest.mark.parametrize(
    "text", ["Signals are consistent with distress.", "The sound is loud.", "Calm is less likely."]
)
def test_careful_sentences_pass(text):
    assert not forbidden_words(text)
