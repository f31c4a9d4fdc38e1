"""The closed set of things a claim can say. Each predicate is a record with one notation and one sentence.

The notation is what a claim stores and an audit recomputes; the sentence is what people read. Names in braces are
slots (`reason.grammar`): fields of the record, or properties that put a field into words.
"""

from mien.reason.predicates.base import Predicate, Says
from mien.reason.predicates.observables import (
    Baseline,
    Change,
    Gap,
    Level,
    MoreVocal,
    Movement,
    OfQuantity,
    Onset,
    Peak,
    Presence,
    Vocal,
)
from mien.reason.predicates.readings import (
    Abstained,
    Against,
    Alternative,
    Conflict,
    Decide,
    Look,
    Missing,
    Reading,
    Without,
)
from mien.reason.predicates.relations import Cause, Intent, OfTwo, Order, Together

PREDICATES: tuple[type[Predicate], ...] = (
    Reading, Alternative, Against, Without, Conflict, Abstained, Missing, Look, Decide, Vocal, MoreVocal, Presence,
    Movement, Level, Change, Peak, Onset, Gap, Baseline, Order, Together, Cause, Intent,
)  # fmt: skip
HYPOTHESES = (Cause, Intent)


__all__ = [
    "HYPOTHESES",
    "PREDICATES",
    "Abstained",
    "Against",
    "Alternative",
    "Baseline",
    "Cause",
    "Change",
    "Conflict",
    "Decide",
    "Gap",
    "Intent",
    "Level",
    "Look",
    "Missing",
    "MoreVocal",
    "Movement",
    "OfQuantity",
    "OfTwo",
    "Onset",
    "Order",
    "Peak",
    "Predicate",
    "Presence",
    "Reading",
    "Says",
    "Together",
    "Vocal",
    "Without",
]
