"""What can be said of what was measured: sounds, presence, movement, and the events of a signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mien.core import Span
from mien.core.records import ClaimKind
from mien.reason.predicates.base import Predicate
from mien.reason.vocabulary import QUANTITIES, is_affect, movement_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocal(Predicate):
    """One vocal segment: speech-like or not, seconds, level in dBFS and median pitch in Hz where measured."""

    notation: ClassVar[str] = "vocal.kind = {voice}, {seconds} s{level}{pitch}"
    sentence: ClassVar[str] = "At {start_us} a {voice_words} ({seconds} s{level}{pitch})."
    voice: str
    seconds: float
    level: float | None
    pitch: float | None

    @property
    def voice_words(self) -> str:
        return "speech-like sound" if self.voice == "speech" else "vocal sound that is not clearly speech"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreVocal(Predicate):
    """Shorter vocal segments that no claim speaks of one by one."""

    notation: ClassVar[str] = "count(vocal) = {count}"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} {count} shorter vocal sound(s) of {track} are in the ledger."
    )
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(Predicate):
    """Somebody is in view, for a share of the analysed frames."""

    notation: ClassVar[str] = "presence = {share}"
    sentence: ClassVar[str] = "{Track} is in view from {start_us} to {end_us} ({percent} % of the analysed frames)."
    share: float

    @property
    def percent(self) -> float:
        return 100 * self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement(Predicate):
    """Stretches of one pose event or interaction: the longest, and how many there are."""

    notation: ClassVar[str] = "{target} count = {count}; {value} ({detail}) at {longest_start_us}-{longest_end_us}"
    sentence: ClassVar[str] = "{Track} {doing} from {longest_start_us} to {longest_end_us}{more}."
    target: str
    value: float
    detail: str
    count: int
    longest: Span

    @property
    def doing(self) -> str:
        return movement_words(self.target, self.value, self.detail)

    @property
    def more(self) -> str:
        return f"; {self.count - 1} more such stretch(es)" if self.count > 1 else ""

    @property
    def longest_start_us(self) -> int:
        return self.longest.start_us

    @property
    def longest_end_us(self) -> int:
        return self.longest.end_us


@dataclass(frozen=True, slots=True, kw_only=True)
class OfQuantity(Predicate):
    """Base of what is said of one signal."""

    target: str

    @property
    def quantity(self) -> str:
        held = QUANTITIES.get(self.target)
        return held.words if held else self.target

    @property
    def unit(self) -> str:
        held = QUANTITIES.get(self.target)
        return f" {held.unit}" if held and held.unit else ""

    @property
    def said_as(self) -> ClaimKind:
        return "inference" if is_affect(self.target) else "observation"

    def _verb(self, verb: str) -> str:
        held = QUANTITIES.get(self.target)
        return verb if held and held.plural else f"{verb}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level(OfQuantity):
    """The mean of a quantity over a span."""

    notation: ClassVar[str] = "level({target}) = {value}"
    sentence: ClassVar[str] = "Between {start_us} and {end_us} the {quantity} of {track} {averages} {value}{unit}."
    value: float

    @property
    def averages(self) -> str:
        return self._verb("average")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(OfQuantity):
    """A rise or a fall by an amount."""

    notation: ClassVar[str] = "change({target}) = {direction} {amount}"
    sentence: ClassVar[str] = "The {quantity} of {track} {verb} by {amount}{unit} between {start_us} and {end_us}."
    direction: str
    amount: float

    @property
    def verb(self) -> str:
        return self._verb(self.direction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak(OfQuantity):
    """A highest point between a rise and a fall."""

    notation: ClassVar[str] = "peak({target}) = {value}"
    sentence: ClassVar[str] = "The {quantity} of {track} {peaks} at {value}{unit} between {start_us} and {end_us}."
    value: float

    @property
    def peaks(self) -> str:
        return self._verb("peak")


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset(OfQuantity):
    """A stretch in which a quantity stands above what it is otherwise, by an amount at most."""

    notation: ClassVar[str] = "onset({target}) = {amount}"
    sentence: ClassVar[str] = (
        "The {quantity} of {track} {stands} out by up to {amount}{unit} between {start_us} and {end_us}."
    )
    amount: float

    @property
    def stands(self) -> str:
        return self._verb("stand")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(OfQuantity):
    """A stretch in which a quantity was not measured."""

    notation: ClassVar[str] = "gap({target})"
    sentence: ClassVar[str] = "The {quantity} of {track} could not be measured between {start_us} and {end_us}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(OfQuantity):
    """How far a quantity lies from the person's own baseline, in its standard deviations."""

    notation: ClassVar[str] = "baseline({target}) = {sds} sd"
    sentence: ClassVar[str] = (
        "Between {start_us} and {end_us} the {quantity} of {track} {differs} from the own baseline by {sds} sd."
    )
    sds: float

    @property
    def differs(self) -> str:
        return self._verb("differ")
