"""States over time: a sticky hidden Markov model over the windows of one track. Forward online, smoothed offline."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Gt

from mien.core import Strict

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Dynamics(Strict):
    """How long a state stays. dwell_s: after this time without evidence a state is kept with probability 1/e (plus its
    share of the prior). A stated default, not a fit."""

    dwell_s: Annotated[float, Gt(0)] = 8.0


def transition(prior: F64, dwell_us: float, passed_us: int) -> F64:
    """A = e^(−Δt/τ) I + (1 − e^(−Δt/τ)) 1 πᵀ `[k k]`: a continuous-time chain that resets to π at rate 1/τ.

    π is its stationary distribution, and A(s) A(t) = A(s + t): windows may be missing or of any length.
    """
    stay = float(np.exp(-passed_us / dwell_us))
    return stay * np.eye(len(prior)) + (1 - stay) * np.tile(prior, (len(prior), 1))


def forward(ratios: F64, middle_us: I64, prior: F64, dynamics: Dynamics) -> F64:
    """p(c_t | x_1..t) `[t k]`: the filter, for use while time passes (Rabiner, Proc. IEEE 1989).

    Args:
        ratios: `[t k]` log-odds the evidence added in each window (posterior over prior, any constant per row). A row
            of 0 is a window without evidence: the answer then moves towards the prior, and never holds the last value.
        middle_us: int64 `[t]` middle of each window, rising. prior: `[k]`, above 0.

    Raises:
        ValueError: shapes do not fit, times do not rise, or a value is not finite.
    """
    likelihood = _likelihood(ratios, middle_us, prior)
    out = np.empty_like(likelihood)
    belief = np.asarray(prior, np.float64)
    for t, row in enumerate(likelihood):
        if t:
            belief = belief @ transition(prior, 1e6 * dynamics.dwell_s, int(middle_us[t] - middle_us[t - 1]))
        belief = belief * row
        belief = out[t] = belief / belief.sum()
    return out


def smooth(ratios: F64, middle_us: I64, prior: F64, dynamics: Dynamics) -> F64:
    """p(c_t | x_1..T) `[t k]`: forward and backward, for use when the recording is complete. Arguments as `forward`."""
    likelihood = _likelihood(ratios, middle_us, prior)
    out = forward(ratios, middle_us, prior, dynamics)
    after = np.ones(len(prior))
    for t in range(len(out) - 2, -1, -1):
        step = transition(prior, 1e6 * dynamics.dwell_s, int(middle_us[t + 1] - middle_us[t]))
        after = step @ (likelihood[t + 1] * after)
        after = after / after.max()
        both = out[t] * after
        out[t] = both / both.sum()
    return out


def _likelihood(ratios: F64, middle_us: I64, prior: F64) -> F64:
    ratios = np.asarray(ratios, np.float64)
    if ratios.ndim != 2 or ratios.shape[1] != len(prior) or len(middle_us) != len(ratios):
        raise ValueError(f"ratios must be [{len(middle_us)} {len(prior)}], but got {list(ratios.shape)}")
    if np.any(np.diff(middle_us) <= 0):
        raise ValueError("windows must follow each other in time")
    if not np.isfinite(ratios).all() or np.min(prior) <= 0:
        raise ValueError("ratios must be finite and the prior above 0")
    return np.exp(ratios - ratios.max(axis=1, keepdims=True)) if len(ratios) else ratios
