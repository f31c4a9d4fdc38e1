"""One assessment: weigh, pool, explain the uncertainty, and abstain where it is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mien.core import Contribution, Dist
from mien.fusion.config import FusionConfig
from mien.fusion.evidence import SourceEvidence
from mien.fusion.pool import pool, reading, weigh
from mien.fusion.uncertainty import PairConflict, mixture, pair_conflicts, vacuity


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
    ""; `abstained` is true for each of the three.
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


def assess(config: FusionConfig, sources: Sequence[SourceEvidence]) -> Assessed:
    """Pool the sources and say how sure the answer is, and why not.

    The decision is the log-linear pool; the diagnosis is on the linear mixture of readings, weighted like the pool.
    A conflict needs three things: divergence above the threshold, and two readings that lead to different states, each
    committed to its own. It outranks "little evidence", because two contrary readings must be seen even when weak.

    Raises:
        ValueError: a source does not fit the configured states, or two share a name.
    """
    weighed = weigh(config, sources)
    prior, t = config.prior_or_uniform, config.thresholds
    pooled = pool(config.names, prior, weighed)
    present = [s for s in weighed if s.weight > 0]
    dists = [reading(prior, s) for s in present]
    parts = mixture(dists, [s.weight for s in present])
    leads = [max(range(len(d)), key=d.__getitem__) for d in dists]
    missing = vacuity([s.weight for s in present if s.name in config.weights.expected], config.weights.total)

    committed = {lead for lead, d in zip(leads, dists, strict=True) if d[lead] >= t.commit}
    reason = ""
    if len(committed) > 1 and parts.conflict > t.conflict:
        reason = "conflict"
    elif missing > t.vacuity or not present:
        reason = "little evidence"
    elif max(p for _, p in pooled.posterior) < t.top:
        reason = "ambiguous"
    names = [s.name for s in present]
    readings = tuple(
        Reading(name, config.names[lead], tuple(zip(config.names, d, strict=True)))
        for name, lead, d in zip(names, leads, dists, strict=True)
    )
    return Assessed(
        prior=pooled.prior,
        posterior=pooled.posterior,
        contributions=pooled.contributions,
        readings=readings,
        pairs=pair_conflicts(names, dists),
        total=parts.total,
        ambiguity=parts.ambiguity,
        conflict=parts.conflict,
        vacuity=missing,
        abstained=bool(reason),
        reason=reason,
    )
