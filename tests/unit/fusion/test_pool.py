"""The pool: Bayes' rule on planted worlds, exact neutrality of what is missing, exact additivity and deletion."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.fusion import FusionConfig, SourceEvidence, pool, weigh, without

STATES = ("distress", "pleasure", "calm")


def simplex(k: int = 3, least: float = 0.0) -> st.SearchStrategy[tuple[float, ...]]:
    return st.lists(st.floats(least, 1), min_size=k, max_size=k).filter(lambda v: sum(v) > 1e-3).map(_normal)


def _normal(values: list[float]) -> tuple[float, ...]:
    total = math.fsum(values)
    return tuple(v / total for v in values)


@st.composite
def sources(draw: st.DrawFn) -> list[SourceEvidence]:
    n = draw(st.integers(0, 4))
    return [
        SourceEvidence(f"s{i}", draw(simplex()), draw(simplex(least=0.01)), draw(st.sampled_from([0.0, 0.2, 0.7, 1.0])))
        for i in range(n)
    ]


PRIOR = simplex(least=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_planted_posterior_is_recovered(seed: int) -> None:
    """Two sources, independent given the state, trained under their own class shares: λ = 1 must give Bayes' rule."""
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(3) * 3)
    likelihoods = [rng.dirichlet(np.ones(6), size=3) for _ in range(2)]  # p(symbol | state)
    trained = [rng.dirichlet(np.ones(3) * 3) + 0.02 for _ in range(2)]
    trained = [t / t.sum() for t in trained]
    state = rng.choice(3, p=prior)
    truth, given_sources = prior.copy(), []
    for m in range(2):
        symbol = rng.choice(6, p=likelihoods[m][state])
        truth = truth * likelihoods[m][:, symbol]
        answer = trained[m] * likelihoods[m][:, symbol]
        given_sources.append(
            SourceEvidence(f"s{m}", tuple((answer / answer.sum()).tolist()), tuple(trained[m].tolist()), 1.0)
        )
    got = [p for _, p in pool(STATES, tuple(prior.tolist()), given_sources).posterior]
    np.testing.assert_allclose(got, truth / truth.sum(), atol=1e-6)
    # the same pool that forgets the training priors must miss: the test can tell the difference
    naive = [SourceEvidence(s.name, s.dist, (1 / 3,) * 3, 1.0) for s in given_sources]
    assert np.abs(np.array([p for _, p in pool(STATES, tuple(prior.tolist()), naive).posterior]) - got).max() > 1e-4


@given(PRIOR, sources())
def test_missing_is_exactly_weight_zero(prior: tuple[float, ...], given_sources: list[SourceEvidence]) -> None:
    absent = [s for s in given_sources if s.weight > 0]
    assert pool(STATES, prior, given_sources) == pool(STATES, prior, absent)
    if not absent:
        np.testing.assert_allclose([p for _, p in pool(STATES, prior, []).posterior], prior, atol=1e-12)


@given(PRIOR, sources(), st.randoms())
def test_order_does_not_matter(prior: tuple[float, ...], given_sources: list[SourceEvidence], random) -> None:
    shuffled = list(given_sources)
    random.shuffle(shuffled)
    assert pool(STATES, prior, given_sources).posterior == pool(STATES, prior, shuffled).posterior


@given(PRIOR, sources())
def test_contributions_add_up_to_the_posterior(prior: tuple[float, ...], given_sources: list[SourceEvidence]) -> None:
    pooled = pool(STATES, prior, given_sources)
    logs = np.log(prior)
    for c in pooled.contributions:
        added = np.array([v for _, v in c.log_odds])
        assert abs(added.sum()) < 1e-9
        logs = logs + added
    shares = np.exp(logs - logs.max())
    np.testing.assert_allclose([p for _, p in pooled.posterior], shares / shares.sum(), atol=1e-9)


@given(PRIOR, sources())
def test_a_zero_never_makes_a_nan(prior: tuple[float, ...], given_sources: list[SourceEvidence]) -> None:
    certain = SourceEvidence("certain", (1.0, 0.0, 0.0), (0.3, 0.3, 0.4), 1.0)
    other = SourceEvidence("other", (0.0, 1.0, 0.0), (0.3, 0.3, 0.4), 1.0)
    p = [v for _, v in pool(STATES, prior, [*given_sources, certain, other]).posterior]
    assert all(0 <= v <= 1 for v in p)
    assert math.isclose(math.fsum(p), 1, abs_tol=1e-12)


@given(PRIOR, sources())
def test_deletion_is_the_pool_of_the_rest(prior: tuple[float, ...], given_sources: list[SourceEvidence]) -> None:
    for s in given_sources:
        rest = [o for o in given_sources if o.name != s.name]
        assert pool(STATES, prior, without(given_sources, {s.name})) == pool(STATES, prior, rest)


def test_deleting_what_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="body"):
        without([SourceEvidence("voice", (0.5, 0.5), (0.5, 0.5), 1.0)], {"body"})


def test_face_and_body_share_a_cap() -> None:
    flat = (1 / 3,) * 3
    given_sources = [SourceEvidence(n, flat, flat, 1.0) for n in ("face", "voice", "body")]
    face, voice, body = weigh(FusionConfig(), given_sources)
    assert (face.weight, voice.weight, body.weight) == pytest.approx((0.65, 1.0, 0.65))
    assert "share frames" in face.note
    assert weigh(FusionConfig(), given_sources[:2]) == tuple(given_sources[:2])


@pytest.mark.parametrize(
    ("dist", "prior", "weight", "words"),
    [
        ((0.5, 0.6), (0.5, 0.5), 1.0, "sum to 1"),
        ((0.5, math.nan), (0.5, 0.5), 1.0, "sum to 1"),
        ((0.5, 0.5), (1.0, 0.0), 1.0, "above 0"),
        ((0.5, 0.5), (0.5, 0.5), -0.1, "not negative"),
        ((1.0,), (0.5, 0.5), 1.0, "must match"),
    ],
)
def test_bad_evidence_is_refused(dist, prior, weight, words) -> None:
    with pytest.raises(ValueError, match=words):
        SourceEvidence("x", dist, prior, weight)


def test_two_sources_of_one_name_are_refused() -> None:
    s = SourceEvidence("face", (0.5, 0.5), (0.5, 0.5), 1.0)
    with pytest.raises(ValueError, match="different names"):
        pool(("a", "b"), (0.5, 0.5), [s, s])
