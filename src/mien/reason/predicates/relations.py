"""What can be said of two rows, and the two kinds of hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mien.core.records import ClaimKind
from mien.reason.predicates.base import Predicate
from mien.reason.vocabulary import event_words, is_affect


@dataclass(frozen=True, slots=True, kw_only=True)
class OfTwo(Predicate):
    """Base of what is said of two rows by their targets."""

    first: str
    second: str

    @property
    def first_words(self) -> str:
        return event_words(self.first)

    @property
    def second_words(self) -> str:
        return event_words(self.second)

    @property
    def said_as(self) -> ClaimKind:
        return "inference" if is_affect(self.first) or is_affect(self.second) else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(OfTwo):
    """The first starts before the second, by a lag."""

    notation: ClassVar[str] = "order({first} < {second}) = {lag_s} s"
    sentence: ClassVar[str] = (
        "For {track} between {start_us} and {end_us} the {first_words} starts {lag_s} s before the {second_words}."
    )
    lag_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Together(OfTwo):
    """Both at once, for some seconds."""

    notation: ClassVar[str] = "together({first}, {second}) = {overlap_s} s"
    sentence: ClassVar[str] = (
        "For {track} between {start_us} and {end_us} the {first_words} and the {second_words} overlap by {overlap_s} s."
    )
    overlap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause(OfTwo):
    """A hypothesis: the first may be a reason for the second. Only their order can be checked."""

    kind: ClassVar[ClaimKind] = "alternative"
    notation: ClassVar[str] = "cause({first} -> {second})"
    sentence: ClassVar[str] = (
        "For {track} between {start_us} and {end_us} the {first_words} may be a reason for the {second_words} after "
        "it; their order alone does not show that."
    )

    @property
    def said_as(self) -> ClaimKind:
        return "alternative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Predicate):
    """A hypothesis: what a movement may serve. Only the movement can be checked; people decide."""

    kind: ClassVar[ClaimKind] = "alternative"
    notation: ClassVar[str] = "intent({first}) = {intent}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the {first_words} of {track} may serve to {intent}; people who know "
        "the person decide."
    )
    first: str
    intent: str

    @property
    def first_words(self) -> str:
        return event_words(self.first)
