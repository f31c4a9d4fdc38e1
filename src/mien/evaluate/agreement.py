"""How far two answers to the same question agree: figures of sums, so that a bootstrap over people or sources is exact.

Every measure is a function of sums over pairs. Sums are kept for each cluster (a person, or a source); an interval
draws clusters with replacement and adds their sums up again (cluster bootstrap; Field & Welsh, 2007), because windows
of one person are no independent draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Statistic = Callable[[F64], F64]
"""Sums `[m k]` → one figure for each row `[m]`."""
ROUNDS, SEED = 2000, 0
LIMIT_SD = 1.96
VALUE_SUMS = 8  # n, Σa, Σb, Σa², Σb², Σab, Σd, Σd²


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; `low` and `high` are None where there is only one cluster. NaN: not defined."""

    value: float
    low: float | None = None
    high: float | None = None


def estimate(sums: F64, statistic: Statistic) -> Estimate:
    """A figure of sums `[c k]`, one row for each cluster, with a percentile interval where there are two or more."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(sums.sum(0, keepdims=True))[0])
        clusters = len(sums)
        if clusters < 2 or not math.isfinite(value):
            return Estimate(value)
        drawn = np.random.default_rng(SEED).multinomial(clusters, np.full(clusters, 1 / clusters), ROUNDS)
        values = statistic(drawn.astype(np.float64) @ sums)
    values = values[np.isfinite(values)]
    if len(values) < ROUNDS / 2:  # mostly undefined: an interval of what is left would mean nothing
        return Estimate(value)
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


# ---------------------------------------------------------------- classes


def divergence(p: Mapping[str, float], q: Mapping[str, float]) -> float:
    """Jensen-Shannon divergence in nats, 0..ln 2 (Lin, 1991), over the labels of both; each is scaled to sum to 1."""
    names = [*p, *(name for name in q if name not in p)]
    a, b = (np.array([d.get(name, 0.0) for name in names]) for d in (p, q))
    a, b = a / a.sum(), b / b.sum()
    return max(0.0, _entropy((a + b) / 2) - (_entropy(a) + _entropy(b)) / 2)


def _entropy(p: F64) -> float:
    p = p[p > 0]
    return -float(p @ np.log(p))


def kappa(sums: F64) -> F64:
    """Cohen's κ (1960): agreement beyond chance; sums: confusion `[m k·k]`. NaN where both know one class alone."""
    table = _square(sums)
    n = table.sum((1, 2))
    seen = np.trace(table, axis1=1, axis2=2) / n
    chance = (table.sum(1) * table.sum(2)).sum(1) / n**2
    return (seen - chance) / (1 - chance)


def mean(sums: F64) -> F64:
    """Σx ÷ n; sums: n, Σx."""
    return sums[:, 1] / sums[:, 0]


def _square(sums: F64) -> F64:
    k = math.isqrt(sums.shape[1])
    return sums.reshape(-1, k, k)


# ---------------------------------------------------------------- values


def value_sums(pairs: F64, shift: float) -> F64:
    """Sums `[8]` of pairs of values `[n 2]`. `shift` is taken off first, the same for all: fewer digits lost."""
    x, y = (pairs - shift).T
    d = pairs[:, 1] - pairs[:, 0]
    return np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y, d.sum(), d @ d])


def bias(sums: F64) -> F64:
    """Mean of b - a."""
    return sums[:, 6] / sums[:, 0]


def spread(sums: F64) -> F64:
    """Standard deviation of b - a (n - 1); NaN below two pairs."""
    n = sums[:, 0]
    return np.sqrt(np.maximum(0, sums[:, 7] - sums[:, 6] ** 2 / n) / np.where(n > 1, n - 1, np.nan))


def lower(sums: F64) -> F64:
    """Lower limit of agreement: bias - 1.96 sd (Bland & Altman, 1986)."""
    return bias(sums) - LIMIT_SD * spread(sums)


def upper(sums: F64) -> F64:
    """Upper limit of agreement: bias + 1.96 sd (Bland & Altman, 1986)."""
    return bias(sums) + LIMIT_SD * spread(sums)


def concordance(sums: F64) -> F64:
    """Concordance correlation coefficient (Lin, 1989), with moments over n; NaN where nothing varies."""
    a, b, ab = _moments(sums)
    apart = (sums[:, 1] - sums[:, 2]) / sums[:, 0]
    return 2 * ab / (a + b + apart**2)


def correlation(sums: F64) -> F64:
    """Pearson's r; NaN where either does not vary."""
    a, b, ab = _moments(sums)
    return np.clip(ab / np.sqrt(a * b), -1, 1)


def _moments(sums: F64) -> tuple[F64, F64, F64]:
    n = sums[:, 0]
    a = np.maximum(0, sums[:, 3] / n - (sums[:, 1] / n) ** 2)
    b = np.maximum(0, sums[:, 4] / n - (sums[:, 2] / n) ** 2)
    return a, b, sums[:, 5] / n - sums[:, 1] * sums[:, 2] / n**2
