"""The pool of opinions: planted agreement and disagreement, missing members, weights that must find the better one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import Distribution
from mien.fusion import entropy
from mien.fusion.opinions import EXPRESSION_WEIGHTS, fit_weights, log_pool, pool_opinions

LABELS = tuple("abcdefg")


def rows(n, seed, sharp=2.0):
    logs = np.random.default_rng(seed).normal(size=(n, len(LABELS))) * sharp
    return dist(np.exp(logs))


def dist(weights):
    p = np.asarray(weights, np.float64)
    return Distribution((p / p.sum(1, keepdims=True)).astype(np.float32), LABELS)


def sure(label, p=0.94):
    rest = (1 - p) / (len(LABELS) - 1)
    return dist([[p if c == label else rest for c in LABELS]])


def test_identical_opinions_agree_and_pool_to_themselves():
    one = rows(20, 0)
    pooled = pool_opinions({"x": one, "y": one, "z": one}, {"x": 0.5, "y": 0.3, "z": 0.2})
    np.testing.assert_allclose(pooled.probs, one.probs, atol=1e-6)
    assert pooled.disagreement.max() < 1e-9
    assert pooled.dissent.max() == 0
    np.testing.assert_allclose(pooled.ambiguity, [entropy(p.tolist()) for p in one.probs], atol=1e-6)


def test_planted_disagreement_is_near_ln_2_and_kept_beside_the_pool():
    apart = pool_opinions({"x": sure("a"), "y": sure("b")}, {"x": 0.5, "y": 0.5})
    alike = pool_opinions({"x": sure("a"), "y": sure("a", 0.8)}, {"x": 0.5, "y": 0.5})
    assert 0.55 < apart.disagreement[0] <= math.log(2)
    assert alike.disagreement[0] < 0.05
    assert (apart.dissent[0], alike.dissent[0]) == (0.5, 0.0)
    np.testing.assert_allclose(apart.probs[0, :2], apart.probs[0, 0])


def test_ambiguity_and_disagreement_add_up_to_the_entropy_of_the_mean():
    x, y = rows(10, 1), rows(10, 2)
    pooled = pool_opinions({"x": x, "y": y}, {"x": 0.6, "y": 0.2})
    mean = 0.75 * x.probs.astype(float) + 0.25 * y.probs.astype(float)
    np.testing.assert_allclose(pooled.ambiguity + pooled.disagreement, [entropy(m.tolist()) for m in mean], atol=1e-6)


@given(st.integers(0, 10_000))
def test_the_order_of_members_changes_no_bit(seed):
    held = {name: rows(3, seed + i) for i, name in enumerate("wxyz")}
    weights = dict(zip("wxyz", np.random.default_rng(seed).uniform(0.1, 0.9, 4).tolist(), strict=True))
    first, *others = [
        pool_opinions({n: held[n] for n in order}, {n: weights[n] for n in order})
        for order in itertools.islice(itertools.permutations("wxyz"), 0, 24, 5)
    ]
    for other in others:
        for field in ("probs", "ambiguity", "disagreement", "dissent"):
            np.testing.assert_array_equal(getattr(first, field), getattr(other, field))
    renamed = pool_opinions(
        {f"{9 - i}": held[n] for i, n in enumerate("wxyz")}, {f"{9 - i}": weights[n] for i, n in enumerate("wxyz")}
    )
    np.testing.assert_array_equal(first.probs, renamed.probs)


def test_a_missing_row_hands_its_weight_on_and_nobody_gives_nan():
    x, y = rows(3, 3), rows(3, 4)
    gone = x.probs.copy()
    gone[1:] = np.nan
    lost = y.probs.copy()
    lost[2] = np.nan
    pooled = pool_opinions({"x": Distribution(gone, LABELS), "y": Distribution(lost, LABELS)}, {"x": 0.7, "y": 0.2})
    np.testing.assert_allclose(pooled.probs[1], y.probs[1], atol=0.15)
    alone = log_pool(y.probs[None].astype(float), np.full((1, 3), 0.9))
    np.testing.assert_allclose(pooled.probs[1], alone[1], atol=1e-6)
    assert pooled.count.tolist() == [2, 1, 0]
    assert np.isnan(pooled.probs[2]).all()
    assert np.isnan([pooled.disagreement[2], pooled.ambiguity[2], pooled.dissent[2]]).all()
    assert pooled.disagreement[1] == 0
    both = pool_opinions({"x": x, "y": y}, {"x": 0.7, "y": 0.2})
    np.testing.assert_array_equal(pooled.probs[0], both.probs[0])


def test_no_handed_on_weight_goes_above_one():
    y = rows(4, 5)
    pooled = pool_opinions({"geometry": y}, EXPRESSION_WEIGHTS)
    np.testing.assert_allclose(pooled.probs, y.probs, atol=1e-6)
    assert (np.isfinite(list(EXPRESSION_WEIGHTS.values()))).all()
    assert min(EXPRESSION_WEIGHTS.values()) > 0


def test_the_fit_finds_the_true_opinion_and_leaves_out_the_noise():
    rng = np.random.default_rng(0)
    true = rows(1500, 6).probs.astype(np.float64)
    y = np.array([rng.choice(len(LABELS), p=p / p.sum()) for p in true])
    noise = rows(1500, 7).probs.astype(np.float64)
    good, bad = fit_weights([true, noise], y)
    assert good == pytest.approx(1, abs=0.12)
    assert bad == pytest.approx(0, abs=0.06)
    blunt = true**0.5
    (doubled,) = fit_weights([blunt / blunt.sum(1, keepdims=True)], y)
    assert doubled == pytest.approx(2, abs=0.25)
    shuffled = fit_weights([true, noise], rng.permutation(y))
    assert max(shuffled) < 0.1


def test_what_does_not_fit_is_refused():
    x = rows(2, 8)
    with pytest.raises(ValueError, match="at least one"):
        pool_opinions({}, {})
    with pytest.raises(ValueError, match="no weight"):
        pool_opinions({"x": x}, {"y": 1.0})
    with pytest.raises(ValueError, match="another shape or labels"):
        pool_opinions({"x": x, "y": rows(3, 9)}, {"x": 1.0, "y": 1.0})
    with pytest.raises(ValueError, match="another shape or labels"):
        pool_opinions({"x": x, "y": Distribution(x.probs, LABELS[::-1])}, {"x": 1.0, "y": 1.0})
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="weights must be"):
            pool_opinions({"x": x}, {"x": weight})
    with pytest.raises(ValueError, match="NaN"):
        fit_weights([np.full((2, 7), np.nan)], np.array([0, 1]))
