"""The one grammar of claims: `render` and `parse` for sentences, `notation` and `read` for what a claim stores.

Both directions come from the same template of the predicate, so they cannot drift apart. A number is printed with the
digits that its tolerance needs; `difference` says how far two sayings lie apart, in units of their tolerance.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from mien.core import Claim, Span, clock, content_id
from mien.reason.predicates import PREDICATES, Predicate
from mien.reason.vocabulary import QUANTITIES, TOLERANCES

Names = Mapping[str, str]
"""Track id → its name in sentences (`face 1`)."""
RECORDING = "the recording"
SOMEBODY = "a person"
NOBODY = "no source"


@dataclass(frozen=True, slots=True)
class Slot:
    """How a value is written and read back."""

    pattern: str
    show: Callable[[Any], str]
    read: Callable[[str], Any]


def _number(digits: int, sign: str = "") -> Slot:
    return Slot(rf"[+-]?\d+(?:\.\d{{{digits}}})" if digits else r"[+-]?\d+", lambda v: f"{v:{sign}.{digits}f}", float)


def _optional(before: str, after: str) -> Slot:
    """A number with words around it, or nothing at all (None)."""
    return Slot(
        rf"(?:{re.escape(before)}-?\d+{re.escape(after)})?",
        lambda v: "" if v is None else f"{before}{v:.0f}{after}",
        lambda text: float(text.removeprefix(before).removesuffix(after)) if text else None,
    )


def _clock(text: str) -> int:
    minutes, seconds = text.split(":")
    return round((60 * int(minutes) + float(seconds)) * 1e6)


def _says(value: Any) -> str:
    return ", ".join(f"{source} → {state} {p:.2f} (λ {weight:.2f})" for source, state, p, weight in value) or NOBODY


_SAID = re.compile(r"([\w.-]+) → ([\w -]+?) (\d+\.\d\d) \(λ (\d+\.\d\d)\)")


def _read_says(text: str) -> tuple[tuple[str, str, float, float], ...]:
    return tuple((s, c, float(p), float(w)) for s, c, p, w in _SAID.findall(text))


_ONE = _SAID.pattern.replace("(", "(?:").replace("\\(?:", "\\(")
WORDS = Slot(r"[\w .,'()-]+?", str, str)
NAME = Slot(r"[\w.-]+", str, str)
ANY = Slot(r".+?", str, str)
VERB = Slot("[a-z]+", str, str)
CLOCK = Slot(r"\d+:\d\d\.\d\d", clock, _clock)
WHO = Slot(rf"(?:{RECORDING}|{SOMEBODY}|face \d+|person \d+)", str, str)
SLOTS: dict[str, Slot] = {
    "start_us": CLOCK, "end_us": CLOCK, "longest_start_us": CLOCK, "longest_end_us": CLOCK,
    "track": WHO, "Track": Slot(WHO.pattern.replace("the ", "The ").replace("a p", "A p").replace("face", "Face")
                                .replace("|person", "|Person"), str.capitalize, str.lower),
    "says": Slot(rf"(?:{NOBODY}|{_ONE}(?:, {_ONE})*)", _says, _read_says),
    "p": _number(2), "share": _number(2), "degree": _number(2), "odds": _number(2, "+"), "amount": _number(2),
    "value": _number(2), "seconds": _number(1), "lag_s": _number(2), "overlap_s": _number(2), "sds": _number(1, "+"),
    "percent": _number(0), "count": Slot(r"\d+", str, int),
    "level": _optional(", level ", " dBFS"), "pitch": _optional(", median pitch ", " Hz"),
    "target": NAME, "first": NAME, "second": NAME, "direction": Slot("rise|fall", str, str),
    "unit": Slot(r"(?: [A-Za-z]+)*?", str, str), "more": Slot(r"(?:; \d+ more such stretch\(es\))?", str, str),
    "doing": ANY, "what": ANY, "detail": Slot(r"[^()]*", str, str), "state": WORDS, "source": NAME, "reason": WORDS,
    "intent": WORDS, "voice": NAME, "voice_words": WORDS, "quantity": WORDS, "first_words": WORDS,
    "second_words": WORDS, "verb": VERB, "peaks": VERB, "stands": VERB, "averages": VERB,
    "differs": VERB,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Said:
    """What a sentence says: which predicate, and the value of each slot (a track by its name)."""

    type: type[Predicate]
    values: dict[str, Any]


def track_name(track: str | None, names: Names) -> str:
    """`face 1` for a track with a name, "a person" for one without, "the recording" for none."""
    return RECORDING if track is None else names.get(track, SOMEBODY)


def values(predicate: Predicate, slots: tuple[str, ...], names: Names) -> dict[str, Any]:
    """The value of each slot of a predicate."""
    out: dict[str, Any] = {}
    for slot in slots:
        match slot:
            case "start_us" | "end_us":
                out[slot] = getattr(predicate.span, slot)
            case "track" | "Track":
                out["track"] = track_name(predicate.track, names)
            case _:
                out[slot] = getattr(predicate, slot)
    return out


def render(predicate: Predicate, names: Names) -> str:
    """The sentence of a predicate."""
    return _fill(predicate.sentence, predicate, names)


def parse(text: str) -> Said | None:
    """What a sentence says, or None where it is outside the grammar."""
    for kind in PREDICATES:
        if not text.startswith(_opening(kind.sentence)):
            continue
        held = _match(kind.sentence, text)
        if held is not None:
            return Said(kind, held)
    return None


def notation(predicate: Predicate) -> str:
    """What a claim stores of a predicate besides its span, track and citations."""
    return _fill(predicate.notation, predicate, {})


def read(text: str, span: Span, track: str | None, cites: tuple[str, ...]) -> Predicate | None:
    """The predicate that a notation stands for, or None where it is outside the grammar."""
    for kind in PREDICATES:
        if not text.startswith(_opening(kind.notation)):
            continue
        held = _match(kind.notation, text)
        if held is None:
            continue
        if "longest_start_us" in held:
            start, end = held.pop("longest_start_us"), held.pop("longest_end_us")
            if end < start:
                return None
            held["longest"] = Span(start, end)
        given = {f.name for f in fields(kind)} - {"span", "track", "cites"}
        return kind(span=span, track=track, cites=cites, **held) if given == held.keys() else None
    return None


def predicate_of(claim: Claim) -> Predicate | None:
    """The predicate of a stored claim."""
    return read(claim.predicate, claim.span, claim.track_id, claim.evidence_ids)


def claim_of(predicate: Predicate, trace_id: str, names: Names) -> Claim:
    """The claim that says a predicate, in the words of the grammar."""
    said, kind = notation(predicate), predicate.said_as
    given = (predicate.span, predicate.track, predicate.cites)
    return Claim(
        content_id("claim", trace_id, kind, said, *given), trace_id, kind, said, render(predicate, names), *given
    )


def difference(target: str | None, said: Mapping[str, Any], true: Mapping[str, Any]) -> tuple[float, str]:
    """(largest difference in units of tolerance, the slot it is in); inf where words differ or one is not there."""
    worst, where = 0.0, ""
    for slot, claimed in said.items():
        if slot in true:
            far = _far(slot, claimed, true[slot], target)
            if far > worst:
                worst, where = far, slot
    return worst, where


def tolerance(slot: str, target: str | None, true: float) -> float:
    """By how much a number may be off: fixed per slot; for a quantity half its least change, else a tenth of it."""
    if slot in TOLERANCES:
        return TOLERANCES[slot]
    held = QUANTITIES.get(target or "")
    return held.tolerance if held else max(0.1, 0.1 * abs(true))


@cache
def slots_of(template: str) -> tuple[str, ...]:
    """The slots of a template, in order."""
    return tuple(name for _, name, _, _ in string.Formatter().parse(template) if name)


def _far(slot: str, claimed: Any, true: Any, target: str | None) -> float:
    if slot == "says":
        if [s[:2] for s in claimed] != [s[:2] for s in true]:
            return math.inf
        pairs = zip(claimed, true, strict=True)
        return max((max(_far("p", c[2], t[2], None), _far("weight", c[3], t[3], None)) for c, t in pairs), default=0.0)
    if isinstance(claimed, (int, float)) and isinstance(true, (int, float)):
        return abs(claimed - true) / tolerance(slot, target, float(true))
    return 0.0 if claimed == true else math.inf


def _fill(template: str, predicate: Predicate, names: Names) -> str:
    held = values(predicate, slots_of(template), names)
    if "track" in held:
        held["Track"] = held["track"]
    return template.format(**{slot: SLOTS[slot].show(held[slot]) for slot in slots_of(template)})


def _match(template: str, text: str) -> dict[str, Any] | None:
    found = _pattern(template).fullmatch(text)
    if found is None:
        return None
    held = {slot: SLOTS[slot].read(found[slot]) for slot in slots_of(template)}
    if "Track" in held:
        held["track"] = held.pop("Track")
    return held


@cache
def _opening(template: str) -> str:
    """The words before the first slot: what does not begin so need not be matched."""
    return template.partition("{")[0]


@cache
def _pattern(template: str) -> re.Pattern[str]:
    parts: list[str] = []
    for literal, slot, _, _ in string.Formatter().parse(template):
        parts.append(re.escape(literal))
        if slot:
            parts.append(f"(?P<{slot}>{SLOTS[slot].pattern})")
    return re.compile("".join(parts), re.DOTALL)
