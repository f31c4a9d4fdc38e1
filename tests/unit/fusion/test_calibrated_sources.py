"""Calibrated sources: the special cases, and that what is missing stays exactly neutral and deletions stay exact."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mien.fusion import (
    Calibration,
    FusionConfig,
    SourceEvidence,
    assess,
    calibrated,
    pool,
    pool_rows,
    smoothed,
    without,
)

SEEDS = st.integers(0, 10_000)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FLAT = (1 / 3,) * 3


def calibration(rng, k=3):
    prior, toward = (rng.dirichlet(np.full(k, 4.0)) * 0.9 + 0.1 / k for _ in range(2))
    return Calibration(
        matrix=tuple(map(tuple, (np.eye(k) + rng.normal(0, 0.4, (k, k))).tolist())),
        bias=tuple(rng.normal(0, 0.5, k).tolist()),
        train_prior=tuple((prior / prior.sum()).tolist()),
        toward=tuple((toward / toward.sum()).tolist()),
        concentration=float(rng.uniform(0.05, 5)),
    )


def source(rng, name, weight=0.7):
    return SourceEvidence(name, tuple(rng.dirichlet(np.ones(3)).tolist()), FLAT, weight)


def test_one_temperature_is_the_special_case():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    got = Calibration.of_temperature(3, 2.0)(p)
    np.testing.assert_allclose(got, np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(Calibration.of_temperature(3, 1.0)(p), p, atol=1e-12)


def test_against_the_formula_written_out():
    c, x = calibration(np.random.default_rng(1)), np.array([[4.0, 1.0, 0.0]])
    s = (x[0] + c.concentration * np.array(c.toward)) / (5 + c.concentration)
    logits = np.log(c.train_prior) + np.array(c.matrix) @ (np.log(s) - np.log(c.toward)) + c.bias
    np.testing.assert_allclose(c(x)[0], np.exp(logits) / np.exp(logits).sum(), atol=1e-12)


def test_few_votes_say_less_than_many():
    toward = np.full(3, 1 / 3)
    few, many = smoothed(np.array([[1.0, 0, 0], [10.0, 0, 0]]), toward, 3.0)
    assert toward[0] < few[0] < many[0] < 1
    np.testing.assert_allclose(few, [0.5, 0.25, 0.25])


@QUICK
@given(SEEDS)
def test_a_missing_source_is_neutral_to_the_last_bit_after_calibration(seed):
    rng = np.random.default_rng(seed)
    held = {n: calibration(rng) for n in ("face", "voice", "body")}
    config = FusionConfig(calibration=held)
    there = [source(rng, "face"), source(rng, "voice")]
    gone = SourceEvidence("body", FLAT, FLAT, 0.0)
    with_gone = assess(config, [calibrated(held, s) for s in (*there, gone)])
    assert with_gone == assess(config, [calibrated(held, s) for s in there])

    n, names = 5, ("face", "voice", "body")
    dists = np.stack([held[m](rng.dirichlet(np.ones(3), n)) for m in names], axis=1)
    trained, weights = np.array([held[m].train_prior for m in names]), rng.uniform(0.1, 1, (n, 3))
    for m in range(3):
        rest = [i for i in range(3) if i != m]
        off, broken = weights.copy(), dists.copy()
        off[:, m], broken[:, m] = 0, np.nan
        prior = np.array(trained[0])
        left, added = pool_rows(prior, broken, trained, off)
        alone, kept = pool_rows(prior, dists[:, rest], trained[rest], weights[:, rest])
        np.testing.assert_array_equal(left, alone)
        np.testing.assert_array_equal(added[:, rest], kept)
        assert (added[:, m] == 0).all()


@QUICK
@given(SEEDS)
def test_deletions_of_calibrated_sources_are_exact_and_order_changes_no_bit(seed):
    rng = np.random.default_rng(seed)
    held = {n: calibration(rng) for n in ("face", "voice")}
    sources = [calibrated(held, source(rng, n, w)) for n, w in (("face", 1.0), ("voice", 0.6), ("body", 0.2))]
    states, prior = ("a", "b", "c"), held["face"].train_prior
    whole = pool(states, prior, sources)
    assert pool(states, prior, sources[::-1]).posterior == whole.posterior
    for c in whole.contributions:
        left = pool(states, prior, without(sources, {c.source}))
        assert left == pool(states, prior, [s for s in sources if s.name != c.source])
        logs = np.log([p for _, p in whole.posterior]) - [v for _, v in c.log_odds]
        np.testing.assert_allclose(np.exp(logs) / np.exp(logs).sum(), [p for _, p in left.posterior], atol=1e-9)


@QUICK
@given(SEEDS)
def test_a_row_alone_equals_its_row_among_others_bit_by_bit(seed):
    rng = np.random.default_rng(seed)
    dists, trained = rng.dirichlet(np.ones(4), (7, 3)), rng.dirichlet(np.full(4, 5.0), 3) * 0.9 + 0.025
    weights, prior = rng.choice([0.0, 0.3, 1.0], (7, 3)), rng.dirichlet(np.full(4, 5.0))
    together, added = pool_rows(prior, dists, trained, weights)
    for i in range(7):
        one, mine = pool_rows(prior, dists[i : i + 1], trained, weights[i : i + 1])
        np.testing.assert_array_equal(one[0], together[i])
        np.testing.assert_array_equal(mine[0], added[i])


def test_the_calibration_counts_and_the_weight_stays():
    held = {"voice": Calibration.of_temperature(3, 4.0)}
    sharp = SourceEvidence("voice", (0.9, 0.05, 0.05), FLAT, 0.5, ("o1",), "note")
    flat = calibrated(held, sharp)
    assert max(flat.dist) < 0.6
    assert (flat.weight, flat.evidence_ids, flat.note) == (0.5, ("o1",), "note")
    assert calibrated({}, sharp) is sharp


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rows of 3"):
        Calibration(matrix=((1.0, 0.0),), train_prior=FLAT, toward=FLAT)
    with pytest.raises(ValueError, match="sum to 1"):
        Calibration(matrix=((1.0, 0.0), (0.0, 1.0)), train_prior=(0.5, 0.4), toward=(0.5, 0.5))
    with pytest.raises(ValueError, match="finite"):
        Calibration(matrix=((1.0, math.nan), (0.0, 1.0)), train_prior=(0.5, 0.5), toward=(0.5, 0.5))
    with pytest.raises(ValueError, match="answer for 3 states"):
        FusionConfig(calibration={"voice": Calibration.of_temperature(2, 1.0)})
    with pytest.raises(ValueError, match="not be negative"):
        Calibration.of_temperature(2, 1.0)(np.array([[-0.1, 1.1]]))
    for dists, weights, words in (
        (np.ones((2, 3)), np.ones((2, 3)), r"\[n m k\]"),
        (np.full((1, 1, 2), np.nan), np.ones((1, 1)), "distributions"),
        (np.full((1, 1, 2), 0.5), -np.ones((1, 1)), "not negative"),
    ):
        with pytest.raises(ValueError, match=words):
            pool_rows(np.full(2, 0.5), dists, np.full((1, 2), 0.5), weights)
