"""How alike several samples of one question are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mien.core import Claim

SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Stability:
    """claims: mean Jaccard index of the sets of claims over all pairs of samples; conclusions: share of pairs with the
    same one. Both NaN below two samples. A sample without a trace has no claims, and agrees with nobody."""

    samples: int
    claims: float
    conclusions: float


def stability(samples: Sequence[tuple[str, Sequence[Claim]] | None]) -> Stability:
    """samples: (conclusion, claims) of each attempt, None where it gave no trace.

    Claims are alike where track, predicate and times, to the second, are.
    """
    sets = [None if s is None else {_key(c) for c in s[1]} for s in samples]
    ends = [None if s is None else s[0] for s in samples]
    pairs = list(itertools.combinations(range(len(samples)), 2))
    if not pairs:
        return Stability(len(samples), math.nan, math.nan)
    likeness = [_jaccard(sets[i], sets[j]) for i, j in pairs]
    agreed = [ends[i] is not None and ends[i] == ends[j] for i, j in pairs]
    return Stability(len(samples), math.fsum(likeness) / len(pairs), sum(agreed) / len(pairs))


def _jaccard(a: set[object] | None, b: set[object] | None) -> float:
    if a is None or b is None:
        return 0.0
    return len(a & b) / len(a | b) if a | b else 1.0


def _key(claim: Claim) -> object:
    return claim.track_id, claim.predicate, round(claim.span.start_us / SECOND), round(claim.span.end_us / SECOND)
