"""States over time against every path written out; gaps go back to the prior."""

import itertools

import numpy as np
import pytest

from mien.fusion import Dynamics, forward, smooth
from mien.fusion.dynamics import transition

PRIOR = np.array([0.5, 0.3, 0.2])
SLOW = Dynamics(dwell_s=4.0)
TIMES = np.array([0, 2, 4, 10, 11], np.int64) * 1_000_000
RATIOS = np.random.default_rng(0).normal(0, 1.5, (5, 3))


def every_path(ratios, upto):
    """p(c_t | x) for each t by summing over all paths of states up to `upto`: the definition."""
    total = np.zeros((upto, 3))
    for path in itertools.product(range(3), repeat=upto):
        p = PRIOR[path[0]] * np.exp(ratios[0, path[0]])
        for t in range(1, upto):
            step = transition(PRIOR, 4e6, int(TIMES[t] - TIMES[t - 1]))
            p *= step[path[t - 1], path[t]] * np.exp(ratios[t, path[t]])
        for t, c in enumerate(path):
            total[t, c] += p
    return total / total.sum(axis=1, keepdims=True)


def test_smoothing_and_filtering_equal_the_sum_over_all_paths():
    np.testing.assert_allclose(smooth(RATIOS, TIMES, PRIOR, SLOW), every_path(RATIOS, 5), atol=1e-12)
    for t in range(1, 6):
        np.testing.assert_allclose(forward(RATIOS, TIMES, PRIOR, SLOW)[t - 1], every_path(RATIOS, t)[-1], atol=1e-12)


def test_the_filter_does_not_see_the_future_and_the_smoother_does():
    changed = RATIOS.copy()
    changed[4] = [9, 0, 0]
    np.testing.assert_array_equal(forward(changed, TIMES, PRIOR, SLOW)[:4], forward(RATIOS, TIMES, PRIOR, SLOW)[:4])
    assert np.abs(smooth(changed, TIMES, PRIOR, SLOW)[3] - smooth(RATIOS, TIMES, PRIOR, SLOW)[3]).max() > 0.01
    mixed = RATIOS[[2, 0, 1, 3, 4]]  # the order of evidence counts
    assert np.abs(smooth(mixed, TIMES, PRIOR, SLOW)[4] - smooth(RATIOS, TIMES, PRIOR, SLOW)[4]).max() > 1e-4


def test_time_may_be_cut_anywhere_and_the_prior_is_stationary():
    whole = transition(PRIOR, 4e6, 5_000_000)
    np.testing.assert_allclose(transition(PRIOR, 4e6, 2_000_000) @ transition(PRIOR, 4e6, 3_000_000), whole, atol=1e-12)
    np.testing.assert_allclose(PRIOR @ whole, PRIOR, atol=1e-12)


def test_without_evidence_it_goes_back_to_the_prior_and_never_holds_the_last_value():
    ratios = np.zeros((6, 3))
    ratios[0] = [0, 5, 0]
    away = np.abs(forward(ratios, np.arange(6, dtype=np.int64) * 4_000_000, PRIOR, SLOW) - PRIOR).sum(axis=1)
    assert (np.diff(away) < 0).all()
    assert away[-1] < 0.02


def test_one_odd_window_does_not_flip_a_long_stay():
    ratios = np.tile([2.0, 0.0, 0.0], (9, 1))
    ratios[4] = [0.0, 1.5, 0.0]
    p = smooth(ratios, np.arange(9, dtype=np.int64) * 2_000_000, PRIOR, Dynamics(dwell_s=20))
    assert p.argmax(axis=1).tolist() == [0] * 9


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must be"):
        forward(np.zeros((2, 2)), np.array([0, 1]), PRIOR, SLOW)
    with pytest.raises(ValueError, match="follow"):
        forward(np.zeros((2, 3)), np.array([1, 1]), PRIOR, SLOW)
    with pytest.raises(ValueError, match="finite"):
        smooth(np.full((1, 3), np.nan), np.array([0]), PRIOR, SLOW)
    assert forward(np.zeros((0, 3)), np.zeros(0, np.int64), PRIOR, SLOW).shape == (0, 3)
