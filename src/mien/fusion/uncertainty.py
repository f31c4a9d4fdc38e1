"""Why an assessment is unsure: ambiguity inside sources, conflict between them, evidence that is missing. In nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mixture:
    """total = ambiguity + conflict, all in nats (NaN without any source)."""

    total: float
    ambiguity: float
    conflict: float


@dataclass(frozen=True, slots=True)
class PairConflict:
    """Degree of conflict between two sources, 0..1."""

    first: str
    second: str
    degree: float


def entropy(p: Sequence[float]) -> float:
    """Shannon entropy in nats; 0 log 0 = 0."""
    return -math.fsum(x * math.log(x) for x in p if x > 0)


def mixture(dists: Sequence[Sequence[float]], weights: Sequence[float]) -> Mixture:
    """H(Σ w p) = Σ w H(p) + JSD_w: total = ambiguity + conflict (Lin 1991, generalised Jensen-Shannon divergence).

    Args:
        dists: one distribution per source, equal lengths.
        weights: λ per source, not negative; normalised here. Sources of weight 0 do not count.
    """
    rows = [(w, p) for w, p in zip(weights, dists, strict=True) if w > 0]
    if not rows:
        return Mixture(math.nan, math.nan, math.nan)
    scale = math.fsum(w for w, _ in rows)
    mean = [math.fsum(w / scale * p[c] for w, p in rows) for c in range(len(rows[0][1]))]
    total = entropy(mean)
    conflict = math.fsum(
        w / scale * x * math.log(x / m) for w, p in rows for x, m in zip(p, mean, strict=True) if x > 0 and m > 0
    )
    # each part by its own formula: that they add up is then a check, not a definition
    ambiguity = math.fsum(w / scale * entropy(p) for w, p in rows)
    return Mixture(total, ambiguity, max(0.0, conflict))


def vacuity(weights: Sequence[float], most: float) -> float:
    """1 − Σλ / λ_max in 0..1: the share of the expected evidence that is missing."""
    if most <= 0:
        raise ValueError(f"the largest possible weight must be above 0, but got {most}")
    return min(1.0, max(0.0, 1 - math.fsum(weights) / most))


def pair_conflicts(names: Sequence[str], dists: Sequence[Sequence[float]]) -> tuple[PairConflict, ...]:
    """½‖p_i − p_j‖₁ (1 − u_i)(1 − u_j) for each pair, with u = H / log K the vagueness of a source.

    The projected-distance × certainty form of subjective logic (Jøsang 2016; Xu et al., AAAI 2024), with normalised
    entropy as each source's own uncertainty: a flat source conflicts with nothing.
    """
    sure = [1 - min(1.0, entropy(p) / math.log(len(p))) for p in dists]
    return tuple(
        PairConflict(names[i], names[j], _distance(dists[i], dists[j]) * sure[i] * sure[j])
        for i in range(len(names))
        for j in range(i + 1, len(names))
    )


def _distance(p: Sequence[float], q: Sequence[float]) -> float:
    return 0.5 * math.fsum(abs(a - b) for a, b in zip(p, q, strict=True))
