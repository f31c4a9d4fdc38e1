"""Several models' opinions on the same thing as one: the log-linear pool of calibrated rows, and how far they disagree.

Opinions look at the same pixels, so they are one source to the assessment (`fusion.pool` weighs sources, which do not).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import Distribution
from mien.fusion.pool import FLOOR
from mien.fusion.uncertainty import mixture

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

EXPRESSION_WEIGHTS = {
    "expression.faceapi": 0.85,
    "expression.facex": 0.55,
    "expression.minixception": 0.20,
    "geometry": 0.05,
}
"""λ of each opinion on facial expression after its own temperature: fitted by log-loss on 103 pictures of people whom
no figure is measured on (`python -m bench opinions`), rounded to 0.05."""


@dataclass(frozen=True, slots=True)
class Opinions:
    """Row by row over the classes; NaN where nobody had an opinion.

    probs float64 `[n c]`: the pool. ambiguity `[n]`: mean entropy of the opinions, nats. disagreement `[n]`: their
    weighted Jensen-Shannon divergence, nats. dissent `[n]`: share of the opinions whose leading class is not the
    pool's, 0..1. count int64 `[n]`: opinions that were there.
    """

    probs: F64
    ambiguity: F64
    disagreement: F64
    dissent: F64
    count: npt.NDArray[np.int64]


def pool_opinions(opinions: Mapping[str, Distribution], weights: Mapping[str, float]) -> Opinions:
    """p ∝ Π_m p_m^λ_m (logarithmic opinion pool, Genest & Zidek 1986), and what its members make of each other.

    Ambiguity and disagreement add up to the entropy of the weighted mean (Lin 1991); dissent is the committee's vote
    against the pool (after Seung, Opper & Sompolinsky 1992). An opinion whose row is NaN is left out there, and its
    weight goes in equal parts to those that are present, none above 1: they judge the same picture, so a missing member
    is no missing evidence. The order of the members changes no bit of the answer.

    Args:
        opinions: name → calibrated rows `[n c]` over the same labels.
        weights: name → λ ≥ 0; a name without weight is an error, a weight without opinion is a missing member.

    Raises:
        ValueError: no opinions, other labels or lengths, a weight that is missing, negative or not finite, or no member
            with a weight above 0.
    """
    names = sorted(opinions)
    lam, rows = _checked(names, opinions, weights)
    there: Mask = np.asarray(np.isfinite(rows).all(axis=2))  # [m n]
    share = np.where(there, lam[:, None], 0.0)
    left = np.sort(share, axis=0).sum(axis=0)
    gap = float(np.sort(list(weights.values())).sum()) - left
    more = share + gap / np.maximum((share > 0).sum(axis=0), 1)
    share = np.where(share > 0, np.minimum(more, np.maximum(1.0, lam)[:, None]), 0.0)
    probs = log_pool(rows, share)
    leading = np.where(there, np.nan_to_num(rows).argmax(axis=2), -1)
    against = ((leading != np.nan_to_num(probs).argmax(axis=1)) & there).sum(axis=0)
    count = there.sum(axis=0)
    known = left > 0
    parts = [
        mixture(rows[there[:, i], i].tolist(), share[there[:, i], i].tolist()) if known[i] else None
        for i in range(rows.shape[1])
    ]
    return Opinions(
        probs,
        np.array([np.nan if p is None else p.ambiguity for p in parts], np.float64),
        np.array([np.nan if p is None else p.conflict for p in parts], np.float64),
        np.where(known, against / np.maximum(count, 1), np.nan),
        count.astype(np.int64),
    )


def log_pool(rows: F64, weights: F64) -> F64:
    """Π p^λ, normalised. rows `[m n c]`, weights `[m n]`; rows of weight 0 do not count, NaN where all have it."""
    logs = np.log(np.clip(np.nan_to_num(rows), FLOOR, 1)) * weights[:, :, None]
    total = np.sort(logs, axis=0).sum(axis=0)  # sorted: a sum of floats depends on its order
    shares = np.exp(total - total.max(axis=1, keepdims=True))
    pooled = shares / shares.sum(axis=1, keepdims=True)
    return np.where(np.any(weights > 0, axis=0, keepdims=True).T, pooled, np.nan)


def fit_weights(opinions: Sequence[F64], labels: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """λ ≥ 0 of each opinion `[n c]` that minimise the pool's log-loss on the labels `[n]`: a convex problem.

    The gradient of a log-linear model: Σ (E_pool[log p_m] − log p_m[label]) / n.

    Raises:
        ValueError: a row is not finite.
    """
    from scipy.optimize import minimize

    rows = np.stack([np.asarray(o, np.float64) for o in opinions])
    if not np.isfinite(rows).all():
        raise ValueError("weights are fitted on rows that all members measured, but got NaN")
    logs = np.log(np.clip(rows, FLOOR, 1))
    own = logs[:, np.arange(len(labels)), labels]

    def loss(weights: F64) -> tuple[float, F64]:
        pooled = log_pool(rows, np.tile(weights[:, None] + 1e-300, rows.shape[1]))
        value = -np.log(np.clip(pooled[np.arange(len(labels)), labels], FLOOR, 1)).mean()
        return float(value), ((logs * pooled).sum(axis=2) - own).mean(axis=1)

    found = minimize(loss, np.full(len(rows), 1 / len(rows)), jac=True, bounds=[(0, None)] * len(rows))
    return tuple(float(w) for w in found.x)


def onto(given: Distribution, labels: tuple[str, ...]) -> Distribution:
    """The same opinion over `labels` alone: what it gave to other classes is left out, the rest sums to 1 again.

    A row that gave (almost) nothing to them has no opinion on them: NaN.

    Raises:
        ValueError: a label is not among those of the opinion.
    """
    if given.labels == labels:
        return given
    lacking = [name for name in labels if name not in given.labels]
    if lacking:
        raise ValueError(f"an opinion over {given.labels} says nothing of {lacking}")
    part = given.probs[:, [given.labels.index(name) for name in labels]].astype(np.float64)
    total = part.sum(axis=1, keepdims=True)
    return Distribution(np.where(total > FLOOR, part / np.maximum(total, FLOOR), np.nan).astype(np.float32), labels)


def _checked(
    names: Sequence[str], opinions: Mapping[str, Distribution], weights: Mapping[str, float]
) -> tuple[F64, F64]:
    if not names:
        raise ValueError("a pool needs at least one opinion")
    unknown = [name for name in names if name not in weights]
    if unknown:
        raise ValueError(f"these opinions have no weight: {unknown}")
    first = opinions[names[0]]
    for name in names:
        if opinions[name].labels != first.labels or len(opinions[name]) != len(first):
            raise ValueError(f"{name} must have {len(first)} rows over {first.labels}, but got another shape or labels")
    lam = np.array([weights[name] for name in names], np.float64)
    if not np.isfinite(lam).all() or min(weights.values()) < 0 or lam.max() == 0:
        raise ValueError(f"weights must be finite, not negative and not all 0, but got {dict(weights)}")
    return lam, np.stack([opinions[name].probs.astype(np.float64) for name in names])
