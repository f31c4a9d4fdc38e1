"""The worth of a blind opinion is learnt from labels: on planted tasks the weight and the gain are right."""

from __future__ import annotations

import numpy as np
import pytest

from mien.core import Assessment, Span
from mien.fusion import FusionConfig, SourceEvidence, SourceWeights
from mien.fusion.pool import pool
from mien.pipeline.answers import both_ways, opinion_source
from mien.reason.vlm import TARGET, opinion_engine
from mien.train.calibrating import Fit, Recipe, fit

STATES = ("distress", "pleasure", "calm")
N, S = 3000, 1_000_000


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def planted(seed: int, sharpness: float, power: float):
    """Truth `[n k]`, a face's shares, and an opinion of known quality.

    Its evidence is a Gaussian around the truth; the exact posterior of it is what a calibrated opinion would say. The
    scripted one says that to the power `power`, so that its right weight is 1 / power.
    """
    rng = np.random.default_rng(seed)
    truth = np.eye(3)[rng.integers(0, 3, N)]

    def exact(sharp: float):
        return softmax(sharp * (sharp * truth + rng.standard_normal(truth.shape)))

    face, said = exact(1.0), exact(sharpness) ** power
    return truth, face, said / said.sum(axis=1, keepdims=True)


def learnt(sources, truth) -> Fit:
    return fit({n: x[: N // 2] for n, x in sources.items()}, truth[: N // 2], Recipe("weight", 0.0))


def loss(held: Fit, sources, truth) -> float:
    p = held({n: x[N // 2 :] for n, x in sources.items()})
    return float(-(truth[N // 2 :] * np.log(p)).sum(axis=1).mean())


def weight(held: Fit) -> float:
    return held.calibrations[TARGET].matrix[0][0]


@pytest.mark.parametrize(("power", "right"), [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
def test_the_weight_of_an_opinion_of_known_quality_is_found_and_it_helps(power, right):
    truth, face, said = planted(1, 1.2, power)
    both, alone = {"face": face, TARGET: said}, {"face": face}
    held = learnt(both, truth)
    assert weight(held) == pytest.approx(right, rel=0.2)
    gain = loss(learnt(alone, truth), alone, truth) - loss(held, both, truth)
    exact = np.log(face) + np.log(said) / power
    best = float(-(truth * np.log(softmax(exact)))[N // 2 :].sum(axis=1).mean())
    assert gain > 0.15
    assert loss(held, both, truth) == pytest.approx(best, abs=0.02)


@pytest.mark.parametrize("how", ["random", "shuffled", "flat"])
def test_a_useless_opinion_weighs_nothing(how):
    truth, face, said = planted(2, 1.2, 1.0)
    rng = np.random.default_rng(3)
    if how == "flat":
        said = np.full_like(said, 1 / 3)
    else:
        said = rng.dirichlet(np.ones(3), N) if how == "random" else said[rng.permutation(N)]
    both, alone = {"face": face, TARGET: said}, {"face": face}
    held = learnt(both, truth)
    ratios = held.calibrations[TARGET].ratios(said[N // 2 :])
    moved = np.abs(ratios - ratios.mean(axis=1, keepdims=True)).mean()
    assert moved < 0.05  # log-odds that it adds
    assert loss(held, both, truth) == pytest.approx(loss(learnt(alone, truth), alone, truth), abs=0.01)


# ---------------------------------------------------------------- with and without

ENGINE = opinion_engine("scripted@1")
SPAN = Span(0, 2 * S)
FACE = SourceEvidence("face", (0.7, 0.2, 0.1), (1 / 3,) * 3, 0.9, ("obs-1",))


def assessment() -> Assessment:
    made = pool(STATES, (1 / 3,) * 3, [FACE])
    place = ("assess-1", "clip-1", "track-1", SPAN)
    return Assessment(*place, made.prior, made.posterior, made.contributions, 0.1, 0.0, 0.1, False, "", "fusion@2")


def rows(dist=(("distress", 0.1), ("pleasure", 0.8), ("calm", 0.1))):
    from mien.core import Observation

    return [Observation("o", "clip-1", "track-1", SPAN, TARGET, None, None, "", dist, None, 1, ENGINE)]


def config(weight: float) -> FusionConfig:
    return FusionConfig(weights=SourceWeights(others={TARGET: weight}))


def test_until_a_weight_is_learnt_with_and_without_are_the_same_to_the_last_bit():
    for held in (FusionConfig(), config(0.0)):
        found = both_ways(held, assessment(), rows())
        assert found.with_opinion == found.without == assessment().posterior
        assert dict(found.opinion)["pleasure"] == 0.8
        assert found.weight == 0


def test_with_a_weight_it_is_the_pool_of_all_sources():
    held = config(0.6)
    found = both_ways(held, assessment(), rows())
    source = opinion_source(held, rows(), "track-1", SPAN)
    assert source is not None
    whole = dict(pool(STATES, (1 / 3,) * 3, [FACE, source]).posterior)
    assert dict(found.with_opinion) == pytest.approx(whole, abs=1e-12)
    assert found.without == assessment().posterior
    assert dict(found.with_opinion)["pleasure"] > dict(found.without)["pleasure"]


def test_an_opinion_over_other_states_or_elsewhere_adds_nothing():
    other = both_ways(config(0.6), assessment(), rows((("glad", 0.5), ("sad", 0.5))))
    assert (other.opinion, other.with_opinion) == ((), other.without)
    elsewhere = both_ways(config(0.6), assessment(), [])
    assert (elsewhere.opinion, elsewhere.with_opinion) == ((), elsewhere.without)
