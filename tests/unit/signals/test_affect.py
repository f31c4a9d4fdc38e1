"""Valence and arousal from expression: planted classes, the mixture's variance against sampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.signals.affect import COORDINATES, WITHIN_SD, affect_of

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_one_sure_class_is_its_place_and_within_spread() -> None:
    a = affect_of(np.eye(7, dtype=np.float32), LABELS)
    assert a.derived
    assert a.mean[3].tolist() == pytest.approx(COORDINATES["happiness"])
    assert a.mean[6].tolist() == [0, 0]
    np.testing.assert_allclose(a.sd, np.tile(WITHIN_SD, (7, 1)), atol=1e-9)


def test_variance_of_the_mixture_against_sampling() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(7))
    places = np.array([affect_of(np.eye(7)[[k]], LABELS).mean[0] for k in range(7)])
    draws = places[rng.choice(7, 400_000, p=p)] + rng.normal(size=(400_000, 2)) * WITHIN_SD
    a = affect_of(p[None], LABELS)
    np.testing.assert_allclose(a.mean[0], draws.mean(axis=0), atol=5e-3)
    np.testing.assert_allclose(a.cov[0], np.cov(draws.T), atol=5e-3)


@given(st.lists(st.floats(0.001, 1), min_size=7, max_size=7), st.permutations(range(7)))
def test_class_order_does_not_matter(weights: list[float], order: list[int]) -> None:
    p = np.array([weights]) / sum(weights)
    a, b = affect_of(p, LABELS), affect_of(p[:, order], tuple(LABELS[i] for i in order))
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-12)
    np.testing.assert_allclose(a.cov, b.cov, atol=1e-12)
    assert np.linalg.eigvalsh(a.cov[0]).min() > 0


def test_more_joy_is_more_valence_and_doubt_is_more_sd() -> None:
    p = np.zeros((3, 7))
    p[:, 3], p[:, 6] = [0, 0.5, 1], [1, 0.5, 0]
    a = affect_of(p, LABELS)
    assert (np.diff(a.mean[:, 0]) > 0).all()
    assert a.sd[1, 0] > a.sd[0, 0]


def test_not_measured_stays_nan() -> None:
    a = affect_of(np.full((2, 7), np.nan), LABELS)
    assert np.isnan(a.mean).all()
    assert np.isnan(a.cov).all()
    assert affect_of(np.zeros((0, 7)), LABELS).mean.shape == (0, 2)


def test_unknown_classes_and_bad_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="contempt"):
        affect_of(np.array([[1.0]]), ("contempt",))
    with pytest.raises(ValueError, match="shape"):
        affect_of(np.ones((1, 3)), LABELS)
    with pytest.raises(ValueError, match="sum to 1"):
        affect_of(np.ones((1, 7)), LABELS)
