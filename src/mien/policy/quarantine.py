"""Quarantine: gate scores, age intervals and anomaly rank into what may happen to a clip. Pure, and closed by default.

Three rules, the strictest wins:

1. Explicit content with an apparent or possible minor (an age interval that reaches below `adult_years`, an unknown
   age, or nobody whose age could be estimated) is never displayed, exported or trained on. No argument changes that.
2. Explicit content of known adults is quarantined until a person has cleared it; in `care` it stays quarantined.
3. A gate that did not answer for every frame (missing, NaN, outside 0..1) closes everything. A person's clearance does
   not stand in for a gate: it has to run.

An anomaly only asks for review: what is rare is not wrong, and a rule that dropped it would drop the rare people first.
`True` means that *this* rule does not object; consent, licences and the rules of the context are asked elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mien.core import Context, MienError, Observation

# Its authors read Open NSFW scores below 0.2 as safe and above 0.8 as explicit; everything from 0.2 on is withheld.
EXPLICIT_LIMIT = 0.2
# An age interval that reaches below this counts as an apparent minor (DESIGN §7).
ADULT_YEARS = 25.0
AGE_SDS = 2.0  # an age counts with this many standard deviations to both sides
SENTENCES = {
    "explicit-possible-minor": "explicit content with an apparent or possible minor, or age unknown: never shown, "
    "exported or trained on",
    "explicit": "explicit content: quarantined",
    "explicit-cleared": "explicit content of adults, cleared by a person",
    "explicit-gate-unknown": "the explicit-content gate has no answer for its picture",
    "care-pictures": "reports in care hold no pictures of people",
    "anomaly": "unlike the rest of the project: look at it",
    "anomaly-unknown": "its rank within the project is no rank",
}

Reason = Literal[
    "explicit-possible-minor", "explicit", "explicit-cleared", "explicit-gate-unknown", "care-pictures", "anomaly",
    "anomaly-unknown",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of the rules. They can be made stricter than the defaults, never looser.

    Attributes:
        explicit_limit: scores from here on are explicit; above 0, at most `EXPLICIT_LIMIT`.
        adult_years: an age interval that reaches below this is an apparent minor's; at least `ADULT_YEARS`.
        anomaly_percentile: ranks (0..1, `signals.neighbours`) from here on ask for review.

    Raises:
        MienError: `policy.looser-rule` when a limit would let more through than the default does.
    """

    explicit_limit: float = EXPLICIT_LIMIT
    adult_years: float = ADULT_YEARS
    anomaly_percentile: float = 0.98

    def __post_init__(self) -> None:
        # Written so that NaN is refused too.
        if not 0 < self.explicit_limit <= EXPLICIT_LIMIT:
            raise _looser("explicit_limit", self.explicit_limit, f"above 0 and at most {EXPLICIT_LIMIT}")
        if not ADULT_YEARS <= self.adult_years < math.inf:
            raise _looser("adult_years", self.adult_years, f"at least {ADULT_YEARS}")
        if not 0 < self.anomaly_percentile <= 1:
            raise _looser("anomaly_percentile", self.anomaly_percentile, "above 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The decision for one clip.

    Attributes:
        reasons: why, strictest first; empty when nothing was found.
        display, export, train: whether these rules allow it.
        permanent: no later decision can change it (rule 1).
        review: a person should look at it: at its figures where `display` is False.
    """

    reasons: tuple[Reason, ...]
    display: bool
    export: bool
    train: bool
    permanent: bool
    review: bool

    @property
    def held(self) -> bool:
        """Whether the clip is in quarantine: anything at all is closed to it."""
        return not (self.display and self.export and self.train)


def quarantine(
    context: Context,
    explicit_scores: Sequence[float | None],
    ages: Sequence[tuple[float, float]],
    people_without_age: int,
    anomaly_percentile: float | None = None,
    *,
    cleared_by_person: bool = False,
    rules: Rules | None = None,
) -> Quarantine:
    """Decide for one clip.

    Args:
        context: in `care` pictures are never displayed, and a clearance opens nothing.
        explicit_scores: the gate's score 0..1 of every frame it was asked about; None or NaN where it failed. Empty:
            it did not run.
        ages: (lower, upper) bound in years of every person whose age was estimated; bounds that are not finite, or in
            the wrong order, count as unknown.
        people_without_age: people in view whose age is unknown; a negative count, too, means "unknown".
        anomaly_percentile: rank 0..1 within the project, or None where it was not measured (never closes anything).
        cleared_by_person: a person's recorded decision on explicit content of known adults.
        rules: stricter limits.
    """
    limits = rules if rules is not None else Rules()
    anomaly, strange = _anomaly(anomaly_percentile, limits)
    measured = [s for s in explicit_scores if s is not None and 0 <= s <= 1]
    complete = bool(measured) and len(measured) == len(explicit_scores)
    if measured and max(measured) >= limits.explicit_limit:
        if not _all_adults(ages, people_without_age, limits):
            return Quarantine(("explicit-possible-minor", *anomaly), False, False, False, True, True)
        if not (complete and cleared_by_person) or context == "care":
            unknown: tuple[Reason, ...] = () if complete else ("explicit-gate-unknown",)
            return Quarantine(("explicit", *unknown, *anomaly), False, False, False, False, True)
        return Quarantine(("explicit-cleared", *anomaly), True, True, True, False, strange)
    if not complete:
        return Quarantine(("explicit-gate-unknown", *anomaly), False, False, False, False, True)
    if context == "care":
        return Quarantine(("care-pictures", *anomaly), False, True, True, False, strange)
    return Quarantine(anomaly, True, True, True, False, strange)


def quarantine_of(
    context: Context, observations: Sequence[Observation], explicit_score: float | None = None
) -> Quarantine:
    """Decide for a clip from what was observed of it; `explicit_score`: of one picture of it instead of the clip's.

    Everybody whose presence was observed counts as a person; those without an estimated age have an unknown one.
    """
    held = {o.target: o.value for o in observations if o.target in ("explicit.max", "scene.anomaly")}
    score = held.get("explicit.max") if explicit_score is None else explicit_score
    ages = [
        (o.value - AGE_SDS * (o.sd or 0), o.value + AGE_SDS * (o.sd or 0))
        for o in observations
        if o.target == "age" and o.value is not None
    ]
    people = sum(o.target == "presence" for o in observations)
    return quarantine(context, (score,), ages, max(0, people - len(ages)), held.get("scene.anomaly"))


def _all_adults(ages: Sequence[tuple[float, float]], people_without_age: int, rules: Rules) -> bool:
    """Whether everybody in view is surely grown up. Nobody seen is "age unknown"."""
    known = all(math.isfinite(low) and math.isfinite(high) and low <= high for low, high in ages)
    return bool(ages) and known and people_without_age == 0 and all(low >= rules.adult_years for low, _ in ages)


def _anomaly(percentile: float | None, rules: Rules) -> tuple[tuple[Reason, ...], bool]:
    """The anomaly's reason and whether it asks for review; a rank that is no rank asks, too."""
    if percentile is None:
        return (), False
    if not 0 <= percentile <= 1:
        return ("anomaly-unknown",), True
    return (("anomaly",), True) if percentile >= rules.anomaly_percentile else ((), False)


def _looser(name: str, value: float, allowed: str) -> MienError:
    return MienError(
        "policy.looser-rule", f"{name} must be {allowed}, but got {value}", "rules may be made stricter, never looser"
    )
