"""Irregular measurements with their own noise → one causal signal on a uniform grid, with sd and gaps.

An Ornstein-Uhlenbeck process seen through a Kalman filter. In a gap it only predicts: the mean goes back to the
process's mean and the sd grows to the stationary one; the last value is never held. Causal on purpose: the value at a
time knows nothing of later frames, so that what reads it for early warning cannot look ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OuProcess:
    """dx = −(x − mean)/tau dt + noise, with stationary sd; one entry per dimension.

    noise_tau_s: correlation time of the measurement errors. Two frames 0.2 s apart fool a model alike, so each
    measurement after the first counts with its variance × (1 + ρ)/(1 − ρ), ρ = exp(−Δt/noise_tau): the effective sample
    size under an AR(1) error. 0: independent errors. Defaults are stated, not fitted.
    """

    tau_s: tuple[float, ...] = (4.0, 4.0)
    mean: tuple[float, ...] = (0.0, 0.0)
    sd: tuple[float, ...] = (0.45, 0.45)
    noise_tau_s: float = 0.2

    def __post_init__(self) -> None:
        if not self.tau_s or not len(self.tau_s) == len(self.mean) == len(self.sd):
            raise ValueError("tau_s, mean and sd must have one entry per dimension")
        if min(self.tau_s) <= 0 or min(self.sd) <= 0 or self.noise_tau_s < 0:
            raise ValueError("tau_s and sd must be above 0 and noise_tau_s not below")

    @property
    def dims(self) -> int:
        return len(self.mean)


@dataclass(frozen=True, slots=True)
class Filtered:
    """mean float64 `[m d]`, cov float64 `[m d d]`, gap bool `[m]` (no measurement in the cell); cell i covers
    `[t0_us + i·step_us, t0_us + (i+1)·step_us)`."""

    mean: F64
    cov: F64
    gap: npt.NDArray[np.bool_]
    t0_us: int
    step_us: int

    @property
    def sd(self) -> F64:
        """float64 `[m d]`"""
        return np.sqrt(np.diagonal(self.cov, axis1=1, axis2=2))


def ou_filter(
    t_us: I64, value: F64, cov: F64, *, t0_us: int, step_us: int, cells: int, process: OuProcess | None = None
) -> Filtered:
    """Filter measurements onto `cells` cells of `step_us`.

    Exact discretisation: A = exp(−Δt/τ), Q = S − A S Aᵀ (for one dimension σ²(1 − A²)); Uhlenbeck & Ornstein 1930,
    Kalman 1960; covariance update in Joseph form. The state starts at the stationary distribution. A measurement counts
    at its cell; several in one cell are taken in order of time.

    Args:
        t_us: int64 `[n]`, non-decreasing; times outside the grid are ignored.
        value: float `[n d]`; a row with a NaN is no measurement. cov: float `[n d d]`, its error covariance.
        process: two dimensions (valence, arousal) by default.

    Raises:
        ValueError: shapes do not fit, times run backwards, or step or cells are out of range.
    """
    process = process or OuProcess()
    d, n = process.dims, len(t_us)
    value, cov = np.asarray(value, np.float64), np.asarray(cov, np.float64)
    if value.shape != (n, d) or cov.shape != (n, d, d):
        raise ValueError(
            f"value must be [{n} {d}] and cov [{n} {d} {d}], but got {list(value.shape)} and {list(cov.shape)}"
        )
    if step_us <= 0 or cells < 0:
        raise ValueError(f"step_us must be above 0 and cells not below, but got {step_us} and {cells}")
    if np.any(np.diff(t_us) < 0):
        raise ValueError("t_us must not run backwards")

    stationary, mean = np.diag(np.square(process.sd)), np.array(process.mean)
    decay = np.exp(-step_us / 1e6 / np.array(process.tau_s))
    spread = np.outer(decay, decay)
    noise = stationary - spread * stationary
    cell = (np.asarray(t_us, np.int64) - t0_us) // step_us
    usable = np.isfinite(value).all(axis=1) & np.isfinite(cov).all(axis=(1, 2)) & (cell >= 0) & (cell < cells)
    rows = np.flatnonzero(usable)
    bounds = np.searchsorted(cell[rows], np.arange(cells + 1))

    out = Filtered(np.empty((cells, d)), np.empty((cells, d, d)), np.diff(bounds) == 0, t0_us, step_us)
    x, P, last = mean.copy(), stationary.copy(), None
    identity = np.eye(d)
    for i in range(cells):
        if i:
            x, P = mean + decay * (x - mean), spread * P + noise
        for r in rows[bounds[i] : bounds[i + 1]]:
            R = cov[r] * _alike(None if last is None else int(t_us[r]) - last, process.noise_tau_s)
            last = int(t_us[r])
            if not np.isfinite(R).all():
                continue  # a second error at the very same instant adds nothing
            gain = np.linalg.solve(P + R, P).T
            keep = identity - gain
            x = x + gain @ (value[r] - x)
            P = keep @ P @ keep.T + gain @ R @ gain.T
            P = (P + P.T) / 2
        out.mean[i], out.cov[i] = x, P
    return out


def _alike(since_us: int | None, tau_s: float) -> float:
    """(1 + ρ)/(1 − ρ) = coth(Δt / 2τ): how many dependent measurements are worth one independent one."""
    if since_us is None or tau_s == 0:
        return 1.0
    return 1 / math.tanh(since_us / 2e6 / tau_s) if since_us else math.inf
