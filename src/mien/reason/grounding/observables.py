"""What is said of measurements, recomputed from the rows that are cited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mien.core import Observation
from mien.reason.grounding.base import Contradiction, Index, Truth, Uncheckable, extent, rows_of, used_rows
from mien.reason.ledger import top
from mien.reason.predicates import (
    Baseline,
    Cause,
    Change,
    Gap,
    Intent,
    Level,
    MoreVocal,
    Movement,
    OfQuantity,
    Onset,
    Order,
    Peak,
    Predicate,
    Presence,
    Together,
    Vocal,
)
from mien.reason.vocabulary import INTENTS, leading, movement


def _vocal(p: Vocal, held: Index) -> Truth:
    (row, *_), more = rows_of(p, held, "vocal.kind"), held.cited(p)
    slots: dict[str, Any] = {"voice": top(row.dist), "seconds": row.span.duration_s} | extent([row.span])
    used = [row]
    for slot, target in (("level", "vocal.level_dbfs"), ("pitch", "vocal.f0_hz")):
        found = [o for o in more if o.target == target and o.span == row.span]
        slots[slot] = found[0].value if found else None
        used += found[:1]
    return Truth(slots, used_rows(*used))


def _more_vocal(p: MoreVocal, held: Index) -> Truth:
    rows = rows_of(p, held, "vocal.kind")
    return Truth({"count": len(rows)} | extent([o.span for o in rows]), used_rows(*rows))


def _presence(p: Presence, held: Index) -> Truth:
    (row, *_) = rows_of(p, held, "presence")
    return Truth({"share": row.value} | extent([row.span]), used_rows(row))


def _movement(p: Movement, held: Index) -> Truth:
    rows = [o for o in rows_of(p, held, p.target) if movement(o)]
    if p.target.startswith("interaction."):
        rows = [o for o in rows if leading(o) == p.detail]
    if not rows:
        raise Uncheckable(f"no cited row holds {p.target} ({p.detail})")
    row = max(rows, key=lambda o: (o.span.duration_us, -o.span.start_us))
    slots = {"value": row.value, "detail": leading(row), "count": len(rows), "target": p.target}
    slots |= {"longest_start_us": row.span.start_us, "longest_end_us": row.span.end_us}
    return Truth(slots | extent([o.span for o in rows]), used_rows(*rows))


def _level(p: Level, held: Index) -> Truth:
    rows = [o for o in rows_of(p, held, p.target) if o.value is not None]
    weight = sum(o.span.duration_us for o in rows)
    if not weight:
        raise Uncheckable(f"no cited row has a value of {p.target}")
    value = sum((o.value or 0.0) * o.span.duration_us for o in rows) / weight
    return Truth({"value": value} | extent([o.span for o in rows]), used_rows(*rows))


def _change(p: Change, held: Index) -> Truth:
    rows = [o for o in rows_of(p, held, f"rise.{p.target}", f"fall.{p.target}", p.target) if o.value is not None]
    event = next((o for o in rows if o.target != p.target), None)
    if event is not None:
        amount, used = event.value or 0.0, [event]
    elif len(rows) >= 2:
        amount, used = (rows[-1].value or 0.0) - (rows[0].value or 0.0), [rows[0], rows[-1]]
    else:
        raise Uncheckable(f"a change of {p.target} needs two values or an event")
    direction = "rise" if amount > 0 else "fall"
    return Truth({"direction": direction, "amount": abs(amount)} | extent([o.span for o in used]), used_rows(*used))


def _event(kind: str, slot: str | None) -> Callable[[Any, Index], Truth]:
    def rule(p: OfQuantity, held: Index) -> Truth:
        (row, *_) = rows_of(p, held, f"{kind}.{p.target}")
        return Truth(({slot: row.value} if slot else {}) | extent([row.span]), used_rows(row))

    return rule


def _baseline(p: Baseline, held: Index) -> Truth:
    (base, *_) = rows_of(p, held, f"baseline.{p.target}")
    rows = [o for o in rows_of(p, held, p.target) if o.value is not None]
    if base.value is None or not base.sd or not rows:
        raise Uncheckable("the baseline is not established")
    value = sum(o.value or 0.0 for o in rows) / len(rows)
    return Truth({"sds": (value - base.value) / base.sd} | extent([o.span for o in rows]), used_rows(base, *rows))


def _two(p: Any, held: Index) -> tuple[Observation, Observation]:
    (first, *_), seconds = rows_of(p, held, p.first), rows_of(p, held, p.second)
    others = [o for o in seconds if o.id != first.id]
    if not others:
        raise Uncheckable(f"no second cited row holds {p.second}")
    return first, others[0]


def _order(p: Order, held: Index) -> Truth:
    first, second = _two(p, held)
    lag = (second.span.start_us - first.span.start_us) / 1e6
    if lag <= 0:
        raise Contradiction(f"the {p.first} does not start before the {p.second}")
    spans = [first.span, second.span]
    return Truth({"lag_s": lag} | extent(spans), used_rows(first, second))


def _together(p: Together, held: Index) -> Truth:
    first, second = _two(p, held)
    both = first.span.overlap_us(second.span)
    if not both:
        raise Contradiction("the two do not overlap")
    return Truth({"overlap_s": both / 1e6} | extent([first.span, second.span]), used_rows(first, second))


def _cause(p: Cause, held: Index) -> Truth:
    first, second = _two(p, held)
    if first.span.start_us >= second.span.start_us:
        raise Contradiction("what is called a reason does not come first")
    return Truth(extent([first.span, second.span]), used_rows(first, second))


def _intent(p: Intent, held: Index) -> Truth:
    if p.intent not in INTENTS.get(p.first, ()):
        raise Contradiction(f"{p.intent!r} is no hypothesis about {p.first}")
    rows = rows_of(p, held, p.first)
    return Truth(extent([o.span for o in rows]), used_rows(*rows))


OBSERVABLES: dict[type[Predicate], Callable[[Any, Index], Truth]] = {
    Vocal: _vocal, MoreVocal: _more_vocal, Presence: _presence, Movement: _movement, Level: _level, Change: _change,
    Peak: _event("peak", "value"), Onset: _event("onset", "amount"), Gap: _event("gap", None), Baseline: _baseline,
    Order: _order, Together: _together, Cause: _cause, Intent: _intent,
}  # fmt: skip
