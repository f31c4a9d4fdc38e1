"""Exact deletions: what the posterior would have been without rows; comprehensiveness, sufficiency, placebo.

A contribution holds λ[log p − log π_train], centred over the states, so that prior and contributions give the posterior
back: p(c) ∝ π(c) exp Σ_m a_m(c), and leaving a source out is leaving its term out (`fusion.pool`, whose `without` gives
the same figures; a test holds the two together). Rows are deleted by the source that rests on them: a source goes when
any of its rows does. A caller that can pool single rows anew passes its own `Repool`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mien.core import Assessment, Contribution, Dist, Observation

Repool = Callable[[Assessment, Collection[str]], Dist]
"""(assessment, ids of rows) → its posterior had those rows not been there."""
DRAWS = 8


@dataclass(frozen=True, slots=True)
class Moved:
    """What deleting rows does to the probability of the state that a reading names (DeYoung et al. 2020, ERASER).

    comprehensiveness: p(all) − p(without the cited rows): large where they carried it. sufficiency: p(cited rows only)
    − p(no rows): as large where they are enough (after the null difference of Carton, Rathore & Tan 2020; the plain
    p(all) − p(cited only) is near 0 for rows that move nothing, too, did not fall under shuffled ledgers and was left
    out). Both are 0 where nothing was moved.
    placebo: the fall of p on deleting as many uncited rows, mean over draws; NaN where there is no uncited row.
    """

    comprehensiveness: float
    sufficiency: float
    placebo: float


def without_sources(row: Assessment, sources: Collection[str]) -> Dist:
    """The posterior without the named sources."""
    return pooled(row.prior, [c for c in row.contributions if c.source not in sources])


def without_rows(row: Assessment, ids: Collection[str]) -> Dist:
    """The posterior without every source that rests on one of these rows."""
    return pooled(row.prior, [c for c in row.contributions if not set(c.evidence_ids) & set(ids)])


def pooled(prior: Dist, contributions: Sequence[Contribution]) -> Dist:
    """p(c) ∝ π(c) exp Σ_m a_m(c)."""
    added = [dict(c.log_odds) for c in contributions if c.weight > 0]
    logs = [math.log(p) + math.fsum(a[state] for a in added) for state, p in prior]
    most = max(logs)
    shares = [math.exp(x - most) for x in logs]
    total = math.fsum(shares)
    return tuple((state, s / total) for (state, _), s in zip(prior, shares, strict=True))


def moved(
    rows: Sequence[Assessment],
    state: str,
    cited: Collection[str],
    others: Sequence[Observation],
    seed: str,
    repool: Repool = without_rows,
) -> Moved:
    """How far cited and uncited rows move the mean probability of a state over consecutive assessments.

    Args:
        others: rows of the ledger that are not cited and overlap the span: the placebos are drawn from them.
        seed: what the draws depend on, so that a second audit gives the same figure.

    Raises:
        ValueError: no assessments.
    """
    if not rows:
        raise ValueError("deletions need at least one assessment, but got none")

    def mean(gone: Collection[str]) -> float:
        return math.fsum(dict(repool(a, gone)).get(state, 0.0) for a in rows) / len(rows)

    def fall(gone: Collection[str]) -> float:
        return full - mean(gone) if evidence.intersection(gone) else 0.0

    evidence = {i for a in rows for c in a.contributions for i in c.evidence_ids}
    full = mean(())
    chance = random.Random(seed)  # noqa: S311 - a placebo, no secret
    ids = [o.id for o in others]
    size = min(len(set(cited)), len(ids))
    falls = [fall(chance.sample(ids, size)) for _ in range(DRAWS)] if size else []
    return Moved(
        fall(cited),
        mean(_uncited_only(rows, evidence, cited)) - mean(evidence),
        sum(falls) / len(falls) if falls else math.nan,
    )


def _uncited_only(rows: Sequence[Assessment], rest: Collection[str], cited: Collection[str]) -> set[str]:
    """Uncited rows of sources that have no cited row: a source of which one row is cited stays whole."""
    held = {i for a in rows for c in a.contributions if set(c.evidence_ids) & set(cited) for i in c.evidence_ids}
    return set(rest) - held
