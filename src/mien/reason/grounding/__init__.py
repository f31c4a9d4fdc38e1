"""Each predicate recomputed from the ledger: supported, contradicted, or not checkable. No judge model.

Only the rows that a claim cites count for what it observes; assessments are found by track and span. A recomputation
knows nothing of how the claim was made: it gives the value that each slot should have (`Truth`), and the grammar says
how far the claim is from it.
"""

from __future__ import annotations

import math

from mien.reason.grammar import difference, slots_of, values
from mien.reason.grounding.base import Checked, Contradiction, Found, Index, Truth, Uncheckable, index
from mien.reason.grounding.observables import OBSERVABLES
from mien.reason.grounding.readings import READINGS
from mien.reason.predicates import Predicate

_RULES = READINGS | OBSERVABLES
__all__ = ["Checked", "Found", "Index", "Truth", "check", "index"]


def check(p: Predicate, held: Index) -> Checked:
    """Recompute a predicate from the ledger and say how far the claim is from it."""
    if p.track is not None and p.track not in held.names:
        return Checked("not checkable", math.inf, "it speaks of nobody in this clip", frozenset())
    try:
        truth = _RULES[type(p)](p, held)
    except Contradiction as error:
        return Checked("contradicted", math.inf, str(error), frozenset(p.cites))
    except Uncheckable as error:
        return Checked("not checkable", math.inf, str(error), frozenset())
    claimed = values(p, (*slots_of(p.notation), "start_us", "end_us"), held.names)
    off, where = difference(getattr(p, "target", None), claimed, truth.slots)
    if off > 1:
        why = f"{where} is {truth.slots[where]!r} in the ledger, not {claimed[where]!r}"
        return Checked("contradicted", off, why, truth.used)
    return Checked("supported", off, "", truth.used)
