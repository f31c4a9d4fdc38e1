"""Quarantine rules: no argument opens the forbidden case, and what is not known stays closed."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import MienError
from mien.policy.quarantine import ADULT_YEARS, EXPLICIT_LIMIT, Quarantine, Rules, quarantine

CONTEXTS = ("care", "research", "studio")
ADULT = [(30.0, 50.0)]

contexts = st.sampled_from(CONTEXTS)
any_float = st.floats(allow_nan=True, allow_infinity=True)
scores = st.one_of(st.none(), any_float, st.floats(0, 1))
ages = st.lists(st.tuples(st.one_of(any_float, st.floats(0, 100)), st.one_of(any_float, st.floats(0, 100))), max_size=4)
rules = st.one_of(
    st.none(),
    st.builds(
        Rules,
        explicit_limit=st.floats(0, EXPLICIT_LIMIT, exclude_min=True),
        adult_years=st.floats(ADULT_YEARS, 200),
        anomaly_percentile=st.floats(0, 1, exclude_min=True),
    ),
)
percentiles = st.one_of(st.none(), any_float, st.floats(0, 1))
everything = {
    "context": contexts,
    "explicit_scores": st.lists(scores, max_size=5),
    "ages": ages,
    "people_without_age": st.integers(-1, 3),
    "anomaly_percentile": percentiles,
    "cleared_by_person": st.booleans(),
    "rules": rules,
}
two_thousand = settings(max_examples=2_000, deadline=None)
a_thousand = settings(max_examples=1_000, deadline=None)


def closed(q: Quarantine) -> bool:
    return not (q.display or q.export or q.train)


def possible_minor(ages, people_without_age) -> bool:
    """Said again in other words than the rule, so that a slip in one shows."""
    if people_without_age != 0 or len(ages) == 0:
        return True
    return not all(25 <= low <= high < math.inf for low, high in ages)


@two_thousand
@given(explicit=st.floats(EXPLICIT_LIMIT, 1), at=st.integers(0, 5), **everything)
def test_nothing_opens_explicit_content_with_a_possible_minor(explicit, at, explicit_scores, **rest):
    """2,000 clips under every context, with and without a person's clearance: 12,000 decisions."""
    given_scores = [*explicit_scores[:at], explicit, *explicit_scores[at:]]
    for context, cleared in itertools.product(CONTEXTS, (False, True)):
        case = {**rest, "context": context, "cleared_by_person": cleared}
        q = quarantine(explicit_scores=given_scores, **case)
        if possible_minor(rest["ages"], rest["people_without_age"]):
            assert closed(q)
            assert q.permanent
            assert q.reasons[0] == "explicit-possible-minor"
        elif not cleared or context == "care":
            assert closed(q)


@a_thousand
@given(hole=st.sampled_from([None, math.nan, math.inf, -math.inf, -0.01, 1.01]), at=st.integers(0, 5), **everything)
def test_a_gate_that_did_not_answer_closes_everything(hole, at, explicit_scores, **rest):
    assert closed(quarantine(explicit_scores=[*explicit_scores[:at], hole, *explicit_scores[at:]], **rest))
    assert closed(quarantine(explicit_scores=[], **rest))


@a_thousand
@given(**everything)
def test_stricter_inputs_never_open_anything(**args):
    """Adding a frame, a person without an age or a stricter limit may close, never open; the anomaly does neither."""
    q = quarantine(**args)
    limits = args["rules"] or Rules()
    stricter = [
        {**args, "people_without_age": 1},
        {**args, "ages": [*args["ages"], (10.0, 40.0)]},
        {**args, "cleared_by_person": False},
        {**args, "rules": Rules(min(limits.explicit_limit, 1e-6), max(limits.adult_years, 150.0), 1e-6)},
        {**args, "context": "care"},
    ]
    for other in stricter:
        r = quarantine(**other)
        assert r.display <= q.display
        assert r.export <= q.export
        assert r.train <= q.train
    bare = quarantine(**{**args, "anomaly_percentile": None})
    assert (bare.display, bare.export, bare.train, bare.permanent) == (q.display, q.export, q.train, q.permanent)


@pytest.mark.parametrize(
    "limits",
    [
        {"explicit_limit": 0.21}, {"explicit_limit": 1.0}, {"explicit_limit": math.inf}, {"explicit_limit": math.nan},
        {"explicit_limit": 0.0}, {"adult_years": 24.9}, {"adult_years": 0.0}, {"adult_years": math.nan},
        {"adult_years": math.inf}, {"anomaly_percentile": math.nan}, {"anomaly_percentile": 1.1},
    ],
)  # fmt: skip
def test_rules_cannot_be_made_looser(limits):
    with pytest.raises(MienError) as error:
        Rules(**limits)
    assert error.value.code == "policy.looser-rule"
    assert error.value.hint


def test_rules_cannot_be_changed_afterwards():
    with pytest.raises(AttributeError):
        Rules().explicit_limit = 0.9  # type: ignore[misc]


def test_known_adults_open_only_by_a_person_and_never_in_care():
    for context, cleared in itertools.product(CONTEXTS, (False, True)):
        q = quarantine(context, [0.1, 0.95], ADULT, 0, cleared_by_person=cleared)
        assert closed(q) is not (cleared and context != "care")
        assert not q.permanent
        assert q.reasons == (("explicit-cleared",) if cleared and context != "care" else ("explicit",))


def test_the_interval_counts_not_its_middle():
    assert quarantine("studio", [0.9], [(24.9, 60.0)], 0, cleared_by_person=True).permanent
    assert not quarantine("studio", [0.9], [(25.0, 60.0)], 0).permanent
    assert quarantine("studio", [0.9], [(40.0, 60.0), (24.0, 30.0)], 0).permanent
    assert quarantine("studio", [0.9], [(60.0, 40.0)], 0).permanent, "bounds in the wrong order are no interval"
    assert quarantine("studio", [0.9], [(40.0, 60.0)], 1).permanent
    assert quarantine("studio", [0.9], [], 0).permanent, "nobody seen is age unknown"


def test_clean_content_passes_and_an_anomaly_only_asks_for_a_look():
    clean = quarantine("research", [0.0, 0.19], [(5.0, 12.0)], 2, 0.5)
    assert clean == Quarantine((), True, True, True, False, False)
    assert not clean.held
    strange = quarantine("research", [0.0, 0.19], [], 0, 0.99)
    assert strange == Quarantine(("anomaly",), True, True, True, False, True)
    assert not strange.held
    assert quarantine("research", [0.0], [], 0, math.nan).reasons == ("anomaly-unknown",)
    assert quarantine("care", [0.0], [], 0) == Quarantine(("care-pictures",), False, True, True, False, False)


def test_explicit_frames_outweigh_frames_that_failed():
    assert quarantine("studio", [None, 0.9], [], 0).permanent
    mixed = quarantine("studio", [None, 0.9], ADULT, 0, cleared_by_person=True)
    assert closed(mixed)
    assert mixed.reasons == ("explicit", "explicit-gate-unknown")
