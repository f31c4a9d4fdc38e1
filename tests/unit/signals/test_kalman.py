"""The OU/Kalman filter against the Gaussian conditional written out, and what it does in gaps."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.signals.kalman import OuProcess, ou_filter

STEP = 200_000
INDEPENDENT = OuProcess(tau_s=(3.0, 5.0), mean=(0.1, -0.2), sd=(0.4, 0.5), noise_tau_s=0)


def _measured(seed: int, n: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.choice(cells * STEP, n, replace=False)).astype(np.int64)
    root = rng.normal(size=(n, 2, 2)) * 0.3
    return t, rng.normal(size=(n, 2)) * 0.5, root @ root.transpose(0, 2, 1) + 0.01 * np.eye(2)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_against_the_gaussian_conditional(seed: int, n: int) -> None:
    """All cells and measurements as one joint normal; cell i conditioned on what was measured up to it."""
    cells, p = 15, INDEPENDENT
    t, value, cov = _measured(seed, n, cells)
    got = ou_filter(t, value, cov, t0_us=0, step_us=STEP, cells=cells, process=p)
    lag = np.abs(np.subtract.outer(np.arange(cells), np.arange(cells))) * STEP / 1e6
    joint = np.zeros((cells, 2, cells, 2))
    for d in range(2):
        joint[:, d, :, d] = p.sd[d] ** 2 * np.exp(-lag / p.tau_s[d])
    cell = t // STEP
    for i in range(cells):
        rows = np.flatnonzero(cell <= i)
        seen = joint[cell[rows]][:, :, cell[rows]].reshape(2 * len(rows), 2 * len(rows)).copy()
        for k, r in enumerate(rows):
            seen[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] += cov[r]
        cross = joint[i][:, cell[rows]].reshape(2, 2 * len(rows))
        gain = cross @ np.linalg.inv(seen) if len(rows) else np.zeros((2, 0))
        mean = np.array(p.mean) + gain @ (value[rows] - p.mean).ravel()
        np.testing.assert_allclose(got.mean[i], mean, atol=1e-8)
        np.testing.assert_allclose(got.cov[i], joint[i, :, i] - gain @ cross.T, atol=1e-8)


def test_in_a_gap_sd_grows_to_stationary_and_the_mean_returns() -> None:
    p = OuProcess()
    t = np.arange(5, dtype=np.int64) * STEP
    f = ou_filter(t, np.full((5, 2), 0.8), np.tile(0.01 * np.eye(2), (5, 1, 1)), t0_us=0, step_us=STEP, cells=300)
    assert f.gap.tolist() == [False] * 5 + [True] * 295
    growing = f.sd[4:105]
    assert (np.diff(growing, axis=0) > 0).all()
    np.testing.assert_allclose(f.sd[-1], p.sd, rtol=1e-6)
    assert (np.diff(f.mean[4:105], axis=0) < 0).all()
    np.testing.assert_allclose(f.mean[-1], 0, atol=1e-5)
    assert f.mean[14, 0] < 0.75 * f.mean[4, 0]  # two seconds on, the last value is not held
    assert (f.sd <= np.array(p.sd) + 1e-12).all()


def test_it_never_looks_ahead() -> None:
    t, value, cov = _measured(3, 20, 40)
    whole = ou_filter(t, value, cov, t0_us=0, step_us=STEP, cells=40)
    early = t < 20 * STEP
    half = ou_filter(t[early], value[early], cov[early], t0_us=0, step_us=STEP, cells=20)
    assert np.array_equal(whole.mean[:20], half.mean)


def test_poor_measurements_move_it_less() -> None:
    t, value = np.zeros(1, np.int64), np.array([[0.8, 0.8]])
    sharp, poor = (
        ou_filter(t, value, s * np.eye(2)[None], t0_us=0, step_us=STEP, cells=1).mean[0, 0] for s in (0.01, 1.0)
    )
    assert 0 < poor < 0.2
    assert 0.7 < sharp < 0.8


def test_alike_errors_count_as_the_effective_sample() -> None:
    """A frozen truth seen n times with AR(1) errors: the sd must be that of generalised least squares, not σ/√n."""
    n, tau, sigma = 30, 0.5, 0.3
    process = OuProcess(tau_s=(1e13,), mean=(0.0,), sd=(1e3,), noise_tau_s=tau)
    t = np.arange(n, dtype=np.int64) * STEP
    f = ou_filter(t, np.zeros((n, 1)), np.full((n, 1, 1), sigma**2), t0_us=0, step_us=STEP, cells=n, process=process)
    lag = np.abs(np.subtract.outer(t, t)) / 1e6
    precision = np.linalg.inv(sigma**2 * np.exp(-lag / tau)).sum()
    assert f.sd[-1, 0] == pytest.approx(1 / math.sqrt(precision), rel=1e-3)
    assert f.sd[-1, 0] > 1.5 * sigma / math.sqrt(n)


def test_nan_is_no_measurement_and_times_outside_are_ignored() -> None:
    t = np.array([-5, 100, 300_000, 10_000_000], np.int64)
    value = np.array([[1, 1], [np.nan, 0], [0.5, 0.5], [1, 1]])
    f = ou_filter(t, value, np.tile(np.eye(2) * 0.1, (4, 1, 1)), t0_us=0, step_us=STEP, cells=3)
    assert f.gap.tolist() == [True, False, True]
    assert f.mean[0].tolist() == [0, 0]
    empty = ou_filter(t[:0], value[:0], np.zeros((0, 2, 2)), t0_us=0, step_us=STEP, cells=2)
    assert empty.gap.all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        ou_filter(np.zeros(1, np.int64), np.zeros((1, 3)), np.zeros((1, 2, 2)), t0_us=0, step_us=1, cells=1)
    with pytest.raises(ValueError, match="backwards"):
        ou_filter(np.array([5, 1]), np.zeros((2, 2)), np.zeros((2, 2, 2)), t0_us=0, step_us=1, cells=1)
    with pytest.raises(ValueError, match="above 0"):
        OuProcess(sd=(0.0, 1.0))
