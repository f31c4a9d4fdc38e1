"""From the claims of an answer to claims of the ledger's kind: nothing is mended, nothing is dropped.

A claim that cannot be read stays, with a predicate outside the grammar: the audit then counts it against its engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mien.core import Claim, Span, content_id
from mien.reason.grammar import RECORDING, notation, read, render
from mien.reason.ledger import Ledger
from mien.reason.vlm.quoting import neutral

Withheld = Callable[[str], Sequence[str]]
WITHHELD = "(withheld: words that may not be kept here)"


@dataclass(frozen=True, slots=True)
class Parsed:
    """Claims in the order of the answer, and sentences on what could not be read."""

    claims: tuple[Claim, ...]
    errors: tuple[str, ...]


def clock_us(text: str) -> int:
    """`0:07.40` in µs. Raises ValueError."""
    minutes, _, seconds = text.partition(":")
    return round((60 * int(minutes) + float(seconds)) * 1e6)


def read_claims(given: Sequence[Any], ledger: Ledger, trace_id: str, withheld: Withheld) -> Parsed:
    """The claims of an answer that met its schema.

    Args:
        withheld: phrases that may not be kept; a claim with one is stored without its words.
    """
    ids = {name: track for track, name in ledger.names.items()} | {RECORDING: None}
    rows = {o.id for o in ledger.observations}
    claims: list[Claim] = []
    errors: list[str] = []
    for number, one in enumerate(given):
        start, end = clock_us(one["from"]), clock_us(one["to"])
        said, text = neutral(one["predicate"], 400), neutral(one["text"] or "", 600)
        cites = tuple(dict.fromkeys(neutral(c, 40) for c in one["cites"]))
        track = ids[one["who"]]
        unknown = [c for c in cites if c not in rows]
        if unknown:
            errors.append(f"claim {number}: no row has the id {', '.join(unknown[:5])}")
        if end < start:
            errors.append(f"claim {number}: it ends before it starts")
            start, end = end, start
            said = f"unreadable({said})"
        if withheld(said) or withheld(text):
            errors.append(f"claim {number}: it uses words for feelings or says too much")
            said, text = "withheld", WITHHELD
        span = Span(start, end)
        predicate = read(said, span, track, cites)
        if predicate is None:
            errors.append(f"claim {number}: {said[:80]!r} is none of the forms")
            claims.append(_claim(trace_id, number, "observation", said, text or said, span, track, cites))
        else:
            words = text or render(predicate, ledger.names)
            form = notation(predicate)
            claims.append(_claim(trace_id, number, predicate.said_as, form, words, span, track, cites))
    return Parsed(tuple(claims), tuple(errors))


def _claim(trace: str, number: int, kind: Any, predicate: str, text: str, *place: Any) -> Claim:
    """A claim; its place in the answer is part of its id, so that one said twice is two."""
    return Claim(content_id("claim", trace, number, kind, predicate, *place), trace, kind, predicate, text, *place)
