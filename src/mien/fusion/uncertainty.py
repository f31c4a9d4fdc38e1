"""Why an assessment is unsure: ambiguity inside sources, conflict between them, evidence that is missing. In nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mixture:
    """total = ambiguity + conflict, all in nats (NaN without any source)."""

    total: float
    ambiguity: float
    conflict: float


@dataclass(frozen=True, slots=True)
class MixtureRows:
    """The same, row by row: float64 `[n]` each."""

    total: F64
    ambiguity: F64
    conflict: F64


@dataclass(frozen=True, slots=True)
class PairConflict:
    """Degree of conflict between two sources, 0..1."""

    first: str
    second: str
    degree: float


def entropies(p: F64) -> F64:
    """Shannon entropy in nats over the last axis; 0 log 0 = 0, NaN rows stay NaN."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def entropy(p: Sequence[float]) -> float:
    """Shannon entropy of one distribution in nats."""
    return float(entropies(np.asarray(p, np.float64)))


def mixture_rows(dists: F64, weights: F64) -> MixtureRows:
    """H(Σ w p) = Σ w H(p) + JSD_w: total = ambiguity + conflict (Lin 1991, generalised Jensen-Shannon divergence).

    Each part by its own formula: that they add up is a check, not a definition.

    Args:
        dists: `[n m k]`; rows whose weight is 0 may be NaN. weights: λ ≥ 0 `[n m]`, normalised here.

    Raises:
        ValueError: shapes do not fit or a weight is negative.
    """
    p, w = np.asarray(dists, np.float64), np.asarray(weights, np.float64)
    if p.ndim != 3 or w.shape != p.shape[:2] or np.any(w < 0):
        raise ValueError(f"dists must be [n m k] and weights >= 0 [n m], but got {list(p.shape)}, {list(w.shape)}")
    there = w > 0
    p = np.where(there[:, :, None], p, 0.0)
    known = there.any(axis=1)
    share = (w / np.where(known, w.sum(axis=1), 1.0)[:, None])[:, :, None]
    mean = (share * p).sum(axis=1)
    both = (p > 0) & (mean[:, None] > 0)
    ratio = np.log(np.where(both, p, 1.0)) - np.log(np.where(both, mean[:, None], 1.0))
    conflict = np.maximum(0.0, (share * p * ratio).sum(axis=(1, 2)))
    ambiguity = (share[:, :, 0] * entropies(p)).sum(axis=1)
    gone = np.where(known, 0.0, np.nan)
    return MixtureRows(entropies(mean) + gone, ambiguity + gone, conflict + gone)


def mixture(dists: Sequence[Sequence[float]], weights: Sequence[float]) -> Mixture:
    """`mixture_rows` for one row: one distribution and weight per source."""
    if not dists:
        return Mixture(math.nan, math.nan, math.nan)
    rows = mixture_rows(np.array([dists], np.float64), np.array([weights], np.float64))
    return Mixture(float(rows.total[0]), float(rows.ambiguity[0]), float(rows.conflict[0]))


def vacuity_rows(weights: F64, most: float) -> F64:
    """1 − Σλ / λ_max in 0..1 `[n]`: the share of the expected evidence that is missing. weights `[n m]`."""
    if most <= 0:
        raise ValueError(f"the largest possible weight must be above 0, but got {most}")
    return np.clip(1 - np.asarray(weights, np.float64).sum(axis=1) / most, 0.0, 1.0)


def vacuity(weights: Sequence[float], most: float) -> float:
    """`vacuity_rows` for one row."""
    return float(vacuity_rows(np.array([weights], np.float64).reshape(1, -1), most)[0])


def conflict_degrees(dists: F64) -> F64:
    """½‖p_i − p_j‖₁ (1 − u_i)(1 − u_j) `[n m m]`, with u = H / log K the vagueness of a source. dists `[n m k]`.

    The projected-distance × certainty form of subjective logic (Jøsang 2016; Xu et al., AAAI 2024), with normalised
    entropy as each source's own uncertainty: a flat source conflicts with nothing.
    """
    p = np.asarray(dists, np.float64)
    sure = 1 - np.minimum(1.0, entropies(p) / math.log(p.shape[2]))
    apart = 0.5 * np.abs(p[:, :, None] - p[:, None]).sum(axis=-1)
    return apart * sure[:, :, None] * sure[:, None]


def pair_conflicts(names: Sequence[str], dists: Sequence[Sequence[float]]) -> tuple[PairConflict, ...]:
    """`conflict_degrees` of each pair of one row's sources."""
    if len(names) < 2:
        return ()
    degree = conflict_degrees(np.array([dists], np.float64))[0]
    return tuple(
        PairConflict(names[i], names[j], float(degree[i, j]))
        for i in range(len(names))
        for j in range(i + 1, len(names))
    )
