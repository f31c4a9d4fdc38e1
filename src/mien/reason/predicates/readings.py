"""What can be said of assessments: readings, what speaks against them, what would change them, and doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mien.core.records import ClaimKind
from mien.reason.predicates.base import Predicate, Says


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Predicate):
    """The leading state of consecutive assessments, with its mean probability."""

    kind: ClassVar[ClaimKind] = "inference"
    notation: ClassVar[str] = "posterior.top = {state}, p = {p}; {says}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the signals of {track} are consistent with {state} "
        "(p = {p} on average; {says})."
    )
    state: str
    p: float
    says: Says


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative(Predicate):
    """Another state that the same evidence leaves room for."""

    kind: ClassVar[ClaimKind] = "alternative"
    notation: ClassVar[str] = "posterior({state}) = {p}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the same signals of {track} leave room for {state} (p = {p})."
    )
    state: str
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Against(Predicate):
    """A source that speaks against the leading state: its mean centred log-odds for it, below 0."""

    kind: ClassVar[ClaimKind] = "uncertainty"
    notation: ClassVar[str] = "against({source}, {state}) = {odds}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the {source} speaks against {state} for {track} (log-odds {odds})."
    )
    source: str
    state: str
    odds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Without(Predicate):
    """What would change the reading: the leading state had one source not been there (an exact deletion)."""

    kind: ClassVar[ClaimKind] = "uncertainty"
    notation: ClassVar[str] = "without({source}).top = {state}, p = {p}"
    sentence: ClassVar[str] = (
        "Without the {source} the signals of {track} between {start_us} and {end_us} would be consistent with {state} "
        "(p = {p})."
    )
    source: str
    state: str
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict(Predicate):
    """Sources that lead to different states; `degree`: the largest divergence, nats."""

    kind: ClassVar[ClaimKind] = "uncertainty"
    notation: ClassVar[str] = "conflict >= {degree}; {says}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the sources for {track} disagree by {degree} nats: {says}. "
        "Both readings stand."
    )
    degree: float
    says: Says


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstained(Predicate):
    """No reading is given, and why."""

    kind: ClassVar[ClaimKind] = "uncertainty"
    notation: ClassVar[str] = "abstained({reason}); {says}"
    sentence: ClassVar[str] = "Between {start_us} and {end_us} no reading is given for {track}: {reason} ({says})."
    reason: str
    says: Says


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing(Predicate):
    """What was not looked at, or could not be."""

    kind: ClassVar[ClaimKind] = "uncertainty"
    notation: ClassVar[str] = "missing({what})"
    sentence: ClassVar[str] = "Not known: {what}."
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(Predicate):
    """A person should look before anybody acts on a reading of distress."""

    kind: ClassVar[ClaimKind] = "recommendation"
    notation: ClassVar[str] = "recommend(look)"
    sentence: ClassVar[str] = (
        "Look at and listen to {track} from {start_us} to {end_us} yourself before acting on this reading."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decide(Predicate):
    """A person should say which of two readings fits."""

    kind: ClassVar[ClaimKind] = "recommendation"
    notation: ClassVar[str] = "recommend(decide)"
    sentence: ClassVar[str] = (
        "Context decides here: look at {track} from {start_us} to {end_us} and say which reading fits."
    )
