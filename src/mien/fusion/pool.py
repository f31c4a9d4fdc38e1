"""The prior-corrected log-linear pool, its additive contributions and its exact deletions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import Contribution, Dist
from mien.fusion.config import FusionConfig
from mien.fusion.evidence import FLOOR, SourceEvidence

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pooled:
    """Prior and posterior over the states, and what each source of weight above 0 added."""

    prior: Dist
    posterior: Dist
    contributions: tuple[Contribution, ...]


def pool_rows(prior: F64, dists: F64, train_priors: F64, weights: F64, *, floor: float = FLOOR) -> tuple[F64, F64]:
    """log p(c|x) = log π(c) + Σ_m λ_m [log p_m(c|x_m) − log π_m,train(c)] − log Z, row by row.

    Logarithmic opinion pool (Genest & Zidek 1986; with λ = 1 the product of experts, Hinton 2002), each source divided
    by the prior it was trained under so that no prior counts twice. With λ = 1, sources that are independent given the
    state, and exact p_m, this is Bayes' rule. A weight of 0 adds exactly 0 whatever the source says, and sums are made
    in the order of their values: neither a missing source nor the order of sources changes a bit of the answer.

    Args:
        prior: `[k]` above 0. dists: `[n m k]`. train_priors: `[m k]` or `[n m k]`, above 0. weights: λ ≥ 0 `[n m]`.

    Returns:
        posterior float64 `[n k]`, and log-odds `[n m k]`: λ[log p − log π_train], centred over the states. Differences
        between states are the log-odds that the source added between them; they add up (Aitchison 1982).

    Raises:
        ValueError: shapes do not fit, a prior is not above 0, or what has a weight is no distribution.
    """
    added = log_ratios(dists, train_priors, weights, floor)
    if np.shape(prior) != added.shape[2:] or np.min(prior) <= 0:
        raise ValueError(f"prior must have {added.shape[2]} entries above 0, but got {prior}")
    ordered, total = np.sort(added, axis=1), np.zeros((len(added), added.shape[2]))
    for m in range(ordered.shape[1]):  # one by one: adding a 0 changes no bit, another grouping might
        total += ordered[:, m]
    return softmax(total + np.log(prior)), added - added.mean(axis=2, keepdims=True)


def log_ratios(dists: F64, train_priors: F64, weights: F64, floor: float = FLOOR) -> F64:
    """λ[log p − log π_train] `[n m k]`, exactly 0 where λ = 0. Arguments and errors as `pool_rows`."""
    p, w = np.asarray(dists, np.float64), np.asarray(weights, np.float64)
    if p.ndim != 3 or w.shape != p.shape[:2]:
        raise ValueError(f"dists must be [n m k] and weights [n m], but got {list(p.shape)} and {list(w.shape)}")
    try:
        trained = np.broadcast_to(np.asarray(train_priors, np.float64), p.shape)
    except ValueError:
        raise ValueError(f"train_priors must fit {list(p.shape)}, but got {list(np.shape(train_priors))}") from None
    if not np.isfinite(w).all() or np.any(w < 0):
        raise ValueError("weights must be finite and not negative")
    there = w > 0
    said = p[there]
    if np.any(trained[there] <= 0) or not np.all(np.abs(said.sum(axis=-1) - 1) <= 1e-5) or np.any(said < 0):
        raise ValueError("a source with a weight must give distributions, and its training prior must be above 0")
    safe = np.where(there[:, :, None], p, 1.0)
    logs = np.log(np.maximum(safe, floor)) - np.log(np.where(there[:, :, None], trained, 1.0))
    return np.where(there[:, :, None], w[:, :, None] * logs, 0.0)


def readings(prior: F64, dists: F64, train_priors: F64, present: npt.NDArray[np.bool_]) -> F64:
    """What each source alone would say at full weight under the project's prior `[n m k]`: p ∝ π p_m / π_m,train.

    Sources trained under different class shares become comparable only so. NaN where it is not `present` `[n m]`.
    """
    alone = softmax(log_ratios(dists, train_priors, present.astype(np.float64)) + np.log(prior))
    return np.where(present[:, :, None], alone, np.nan)


def cap_factor(config: FusionConfig, names: Sequence[str], weights: F64) -> F64:
    """The factor `[n]`, at most 1, that holds λ_face + λ_body under their cap. weights `[n m]`."""
    shared = weights[:, [i for i, name in enumerate(names) if name in SHARED]].sum(axis=1)
    cap = config.weights.face_and_body_cap
    return np.where(shared > cap * (1 + 1e-12), cap / np.maximum(shared, cap), 1.0)  # capped twice is capped once


SHARED = ("face", "body")
"""Sources that look at the same frames."""


def weigh(config: FusionConfig, sources: Sequence[SourceEvidence]) -> tuple[SourceEvidence, ...]:
    """The sources with λ_face + λ_body held under their cap (they share frames); both shrink by one factor.

    Deletions are made after this step, so that removing one source leaves the weight of the others as it was.
    """
    factor = float(cap_factor(config, [s.name for s in sources], np.array([[s.weight for s in sources]]))[0])
    if factor == 1:
        return tuple(sources)
    note = f"face and body share frames: weight × {factor:.2f}"
    return tuple(s.weighing(s.weight * factor, note) if s.name in SHARED else s for s in sources)


def pool(
    states: tuple[str, ...], prior: tuple[float, ...], sources: Sequence[SourceEvidence], *, floor: float = FLOOR
) -> Pooled:
    """`pool_rows` for one row, with names. A source of weight 0 is left out before any arithmetic.

    Raises:
        ValueError: a source has another number of states, two sources share a name, or the prior is not above 0.
    """
    if len(prior) != len(states) or min(prior) <= 0:
        raise ValueError(f"prior must have {len(states)} entries above 0, but got {prior}")
    present = [s for s in checked(states, sources) if s.weight > 0]
    dists, trained, weights = stacked(present, len(states))
    posterior, added = pool_rows(np.array(prior), dists, trained, weights, floor=floor)
    contributions = tuple(
        Contribution(s.name, s.weight, _dist(states, s.dist), _dist(states, a.tolist()), s.evidence_ids, s.note)
        for s, a in zip(present, added[0], strict=True)
    )
    return Pooled(_dist(states, prior), _dist(states, posterior[0].tolist()), contributions)


def checked(states: tuple[str, ...], sources: Sequence[SourceEvidence]) -> Sequence[SourceEvidence]:
    """The sources, if their names differ and they know the states. Raises ValueError."""
    names = [s.name for s in sources]
    if len(set(names)) != len(names):
        raise ValueError(f"sources must have different names, but got {names}")
    for s in sources:
        if len(s.dist) != len(states):
            raise ValueError(f"source {s.name!r} must have {len(states)} states, but got {len(s.dist)}")
    return sources


def stacked(sources: Sequence[SourceEvidence], states: int) -> tuple[F64, F64, F64]:
    """dists `[1 m k]`, training priors `[m k]`, weights `[1 m]` of one row's sources; m may be 0."""
    m = len(sources)
    dists = np.array([s.dist for s in sources], np.float64).reshape(1, m, states)
    trained = np.array([s.train_prior for s in sources], np.float64).reshape(m, states)
    return dists, trained, np.array([s.weight for s in sources], np.float64).reshape(1, m)


def without(sources: Sequence[SourceEvidence], names: Collection[str]) -> tuple[SourceEvidence, ...]:
    """The sources less those named: pooling the rest is the exact counterfactual "had this not been there".

    Raises:
        KeyError: a name is not among the sources (a deletion that deletes nothing would look like no effect).
    """
    unknown = set(names) - {s.name for s in sources}
    if unknown:
        raise KeyError(f"no such source: {sorted(unknown)}")
    return tuple(s for s in sources if s.name not in names)


def softmax(logs: F64) -> F64:
    """Over the last axis."""
    shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def _dist(states: tuple[str, ...], values: Sequence[float]) -> Dist:
    return tuple(zip(states, values, strict=True))
