"""What one source says, ready for the pool."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

FLOOR = 1e-12
"""A source's probability of 0 counts as this: no single source may veto a state for ever."""


@dataclass(frozen=True, slots=True)
class SourceEvidence:
    """One source's calibrated distribution over the states, and how much it counts.

    Args:
        name: `face`, `voice`, `body` or another; unique within one assessment.
        dist: p(c | x) per state, sums to 1; zeros are allowed.
        train_prior: π_train(c), the class shares the source was trained or calibrated under; all above 0.
        weight: λ ≥ 0. 0 means "not there": exactly as if the source were absent.
        evidence_ids: observations this rests on.
        note: one short remark for readers (e.g. "gated by arousal").

    Raises:
        ValueError: lengths differ, a distribution does not sum to 1 within 1e-6, the weight is negative, or a value is
            not finite.
    """

    name: str
    dist: tuple[float, ...]
    train_prior: tuple[float, ...]
    weight: float
    evidence_ids: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.dist) != len(self.train_prior):
            raise ValueError(f"dist and train_prior must match, but got {len(self.dist)} and {len(self.train_prior)}")
        for what, values in (("dist", self.dist), ("train_prior", self.train_prior)):
            if not all(math.isfinite(p) and p >= 0 for p in values) or abs(math.fsum(values) - 1) > 1e-6:
                raise ValueError(f"{what} of {self.name!r} must be probabilities that sum to 1, but got {values}")
        if min(self.train_prior) <= 0:
            raise ValueError(f"train_prior of {self.name!r} must be above 0 everywhere, but got {self.train_prior}")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight of {self.name!r} must be finite and not negative, but got {self.weight}")

    def weighing(self, weight: float, note: str = "") -> SourceEvidence:
        """The same answer with another weight; a note is added to the one there."""
        return replace(self, weight=weight, note="; ".join(n for n in (self.note, note) if n))
