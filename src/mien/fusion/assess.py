"""One assessment: weigh, pool, explain the uncertainty, and abstain where it is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.core import Contribution, Dist
from mien.fusion.config import FusionConfig
from mien.fusion.conformal import sets
from mien.fusion.evidence import SourceEvidence
from mien.fusion.pool import cap_factor, checked, pool_rows, readings, stacked, weigh
from mien.fusion.uncertainty import PairConflict, mixture_rows, pair_conflicts, vacuity_rows

F64 = npt.NDArray[np.float64]
PLAIN = 0.2
"""A state beyond ±0.2 on the axis of valence counts as pleasant or unpleasant; between, it is neither."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source alone would say under the project's prior: its leading state and the whole distribution."""

    source: str
    state: str
    dist: Dist


@dataclass(frozen=True, slots=True)
class Assessed:
    """Fusion's answer for one track and span; the fields of `core.Assessment` that are not identity or place.

    `total` = `ambiguity` + `conflict` (nats, over readings; NaN without sources); `vacuity` in 0..1. `readings` hold
    every source's own answer, so that a conflict keeps both. `reason`: "conflict", "little evidence", "ambiguous" or
    ""; `abstained` is true for each of the three. `credible`: the conformal set, likeliest first; empty where the
    project has no conformal calibration.
    """

    prior: Dist
    posterior: Dist
    contributions: tuple[Contribution, ...]
    readings: tuple[Reading, ...]
    pairs: tuple[PairConflict, ...]
    total: float
    ambiguity: float
    conflict: float
    vacuity: float
    abstained: bool
    reason: str
    credible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssessedRows:
    """Many assessments at once: posterior `[n k]`, log_odds and readings `[n m k]` (NaN where a source is missing),
    weights after the cap `[n m]`, total, ambiguity, conflict, vacuity `[n]`, reason `[n]` (text), credible bool
    `[n k]` (all false without a conformal calibration)."""

    posterior: F64
    log_odds: F64
    readings: F64
    weights: F64
    total: F64
    ambiguity: F64
    conflict: F64
    vacuity: F64
    reason: npt.NDArray[np.str_]
    credible: npt.NDArray[np.bool_]


def assess_rows(
    config: FusionConfig, names: Sequence[str], dists: F64, train_priors: F64, weights: F64
) -> AssessedRows:
    """Pool the sources of every row and say how sure the answer is, and why not.

    The decision is the log-linear pool; the diagnosis is on the linear mixture of readings, weighted like the pool.
    A conflict needs three things: divergence above the threshold, and two readings that lead to different states, each
    committed to its own. It outranks "little evidence", because two contrary readings must be seen even when weak. With
    a conformal calibration, a set of more than two states, or of pleasant and unpleasant ones, is "ambiguous", too.

    Args:
        names: m sources. dists: `[n m k]`, calibrated. train_priors: `[m k]` or `[n m k]`. weights: `[n m]`, 0 where
            a source is missing.

    Raises:
        ValueError: shapes do not fit the sources or the configured states.
    """
    prior, t, k = np.array(config.prior_or_uniform), config.thresholds, len(config.states)
    if np.ndim(dists) != 3 or np.shape(dists)[1:] != (len(names), k):
        raise ValueError(f"dists must be [n {len(names)} {k}], but got {list(np.shape(dists))}")
    weights = np.array(weights, np.float64)
    shared = [i for i, name in enumerate(names) if name in ("face", "body")]
    weights[:, shared] *= cap_factor(config, names, weights)[:, None]
    posterior, log_odds = pool_rows(prior, dists, train_priors, weights)
    present = weights > 0
    alone = readings(prior, dists, train_priors, present)
    parts = mixture_rows(alone, weights)
    expected = [i for i, name in enumerate(names) if name in config.weights.expected]
    missing = vacuity_rows(weights[:, expected], config.weights.total)

    known = np.where(present[:, :, None], alone, -1.0)
    committed = np.where(known.max(axis=2, initial=-1.0) >= t.commit, known.argmax(axis=2), -1)
    ways = np.stack([(committed == c).any(axis=1) for c in range(k)], axis=1).sum(axis=1)
    in_set = np.zeros(posterior.shape, np.bool_)
    if config.conformal:
        in_set = sets(config.conformal, posterior, [kind_of(np.array(names)[row].tolist()) for row in present])
    reason = np.select(
        [
            (ways > 1) & (parts.conflict > t.conflict),
            (missing > t.vacuity) | ~present.any(axis=1),
            (posterior.max(axis=1) < t.top) | _undecided(config, in_set),
        ],
        ["conflict", "little evidence", "ambiguous"],
        "",
    )
    return AssessedRows(
        posterior, np.where(present[:, :, None], log_odds, np.nan), alone, weights, parts.total, parts.ambiguity,
        parts.conflict, missing, reason, in_set,
    )  # fmt: skip


def kind_of(sources: Sequence[str]) -> str:
    """What conformal thresholds of their own go by: the sources that a window has, `face+voice`."""
    return "+".join(sorted(sources))


def _undecided(config: FusionConfig, in_set: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    valence = np.array([s.valence for s in config.states])
    both = in_set[:, valence > PLAIN].any(axis=1) & in_set[:, valence < -PLAIN].any(axis=1)
    return (in_set.sum(axis=1) > 2) | both


def assess(config: FusionConfig, sources: Sequence[SourceEvidence]) -> Assessed:
    """`assess_rows` for one row, with names and contributions.

    Raises:
        ValueError: a source does not fit the configured states, or two share a name.
    """
    present = [s for s in weigh(config, checked(config.names, sources)) if s.weight > 0]
    names = [s.name for s in present]
    rows = assess_rows(config, names, *stacked(present, len(config.states)))
    alone = rows.readings[0].tolist()
    told = tuple(
        Reading(name, config.names[d.index(max(d))], _dist(config, d)) for name, d in zip(names, alone, strict=True)
    )
    contributions = tuple(
        Contribution(s.name, s.weight, _dist(config, s.dist), _dist(config, added), s.evidence_ids, s.note)
        for s, added in zip(present, rows.log_odds[0].tolist(), strict=True)
    )
    by_rank = np.argsort(-rows.posterior[0], kind="stable")
    return Assessed(
        prior=_dist(config, config.prior_or_uniform),
        posterior=_dist(config, rows.posterior[0].tolist()),
        contributions=contributions,
        readings=told,
        pairs=pair_conflicts(names, alone),
        total=float(rows.total[0]),
        ambiguity=float(rows.ambiguity[0]),
        conflict=float(rows.conflict[0]),
        vacuity=float(rows.vacuity[0]),
        abstained=bool(rows.reason[0]),
        reason=str(rows.reason[0]),
        credible=tuple(config.names[i] for i in by_rank if rows.credible[0, i]),
    )


def _dist(config: FusionConfig, values: Sequence[float]) -> Dist:
    return tuple(zip(config.names, values, strict=True))
