"""The prior-corrected log-linear pool, its additive contributions and its exact deletions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mien.core import Contribution, Dist
from mien.fusion.config import FusionConfig
from mien.fusion.evidence import SourceEvidence

FLOOR = 1e-12
"""A source's probability of 0 counts as this: no single source may veto a state for ever."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """Prior and posterior over the states, and what each source of weight above 0 added."""

    prior: Dist
    posterior: Dist
    contributions: tuple[Contribution, ...]


def weigh(config: FusionConfig, sources: Sequence[SourceEvidence]) -> tuple[SourceEvidence, ...]:
    """The sources with λ_face + λ_body held under their cap (they share frames); both shrink by one factor.

    Deletions are made after this step, so that removing one source leaves the weight of the others as it was.
    """
    shared = sum(s.weight for s in sources if s.name in ("face", "body"))
    cap = config.weights.face_and_body_cap
    if shared <= cap:
        return tuple(sources)
    share, note = cap / shared, f"face and body share frames: weight × {cap / shared:.2f}"
    return tuple(s.weighing(s.weight * share, note) if s.name in ("face", "body") else s for s in sources)


def pool(
    states: tuple[str, ...], prior: tuple[float, ...], sources: Sequence[SourceEvidence], *, floor: float = FLOOR
) -> Pooled:
    """log p(c|x) = log π(c) + Σ_m λ_m [log p_m(c|x_m) − log π_m,train(c)] − log Z.

    Logarithmic opinion pool (Genest & Zidek 1986; with λ = 1 the product of experts, Hinton 2002), each source divided
    by the prior it was trained under so that no prior counts twice. With λ = 1, sources that are independent given the
    state, and exact p_m, this is Bayes' rule. A source of weight 0 is left out before any arithmetic, so "missing" and
    "λ = 0" are the same to the last bit; sums are exactly rounded (`math.fsum`), so the order of sources cannot matter.

    `log_odds` of a contribution is λ[log p − log π_train], centred over the states: the difference between two states
    is the log-odds that the source added between them, and contributions add up (centred log-ratio, Aitchison 1982).

    Raises:
        ValueError: a source has another number of states, two sources share a name, or the prior is not above 0.
    """
    if len(prior) != len(states) or min(prior) <= 0:
        raise ValueError(f"prior must have {len(states)} entries above 0, but got {prior}")
    names = [s.name for s in sources]
    if len(set(names)) != len(names):
        raise ValueError(f"sources must have different names, but got {names}")
    for s in sources:
        if len(s.dist) != len(states):
            raise ValueError(f"source {s.name!r} must have {len(states)} states, but got {len(s.dist)}")
    present = [s for s in sources if s.weight > 0]
    added = [_added(s, floor) for s in present]
    logs = [math.fsum([math.log(p), *(a[c] for a in added)]) for c, p in enumerate(prior)]
    contributions = tuple(
        Contribution(s.name, s.weight, _dist(states, s.dist), _dist(states, _centred(a)), s.evidence_ids, s.note)
        for s, a in zip(present, added, strict=True)
    )
    return Pooled(_dist(states, prior), _dist(states, _softmax(logs)), contributions)


def without(sources: Sequence[SourceEvidence], names: Collection[str]) -> tuple[SourceEvidence, ...]:
    """The sources less those named: pooling the rest is the exact counterfactual "had this not been there".

    Raises:
        KeyError: a name is not among the sources (a deletion that deletes nothing would look like no effect).
    """
    unknown = set(names) - {s.name for s in sources}
    if unknown:
        raise KeyError(f"no such source: {sorted(unknown)}")
    return tuple(s for s in sources if s.name not in names)


def reading(prior: tuple[float, ...], source: SourceEvidence) -> tuple[float, ...]:
    """What this source alone would say at full weight under the project's prior: p ∝ π p_m / π_m,train.

    Sources trained under different class shares become comparable only so.
    """
    return _softmax([math.log(p) + a for p, a in zip(prior, _added(source, FLOOR, 1.0), strict=True)])


def _added(source: SourceEvidence, floor: float, weight: float | None = None) -> list[float]:
    w = source.weight if weight is None else weight
    return [w * (math.log(max(p, floor)) - math.log(t)) for p, t in zip(source.dist, source.train_prior, strict=True)]


def _centred(values: Sequence[float]) -> tuple[float, ...]:
    mean = math.fsum(values) / len(values)
    return tuple(v - mean for v in values)


def _softmax(logs: Sequence[float]) -> tuple[float, ...]:
    top = max(logs)
    shares = [math.exp(x - top) for x in logs]
    total = math.fsum(shares)
    return tuple(s / total for s in shares)


def _dist(states: tuple[str, ...], values: Sequence[float]) -> Dist:
    return tuple(zip(states, values, strict=True))
