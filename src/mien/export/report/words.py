"""The page's wording: restrained, and the same everywhere. "Signals consistent with …", never what a person is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mien.core import UNASSIGNED, Assessment, Context, Contribution, Observation, Span, Track, clock

CONTEXTS: dict[Context, tuple[str, str]] = {
    "care": (
        "care",
        "Decision support for people who look after others. Nothing here decides: read it beside what you know of the "
        "person, and act on your own judgement. A pattern in the signals is not a feeling.",
    ),
    "research": (
        "research",
        "Made for research. The figures describe signals, not persons; read the accuracy beside each before use.",
    ),
    "studio": ("studio", "Made for a studio. The figures say how material looks and sounds, not what people feel."),
}
SIGNAL_NAMES = {
    "f0": "Pitch (f0)",
    "f0_hz": "Pitch (f0)",
    "pitch": "Pitch (f0)",
    "energy": "Loudness",
    "energy_db": "Loudness",
    "loudness_db": "Loudness",
}
ORDER = ("valence", "arousal", "conflict", "tension", "motion", "pitch", "loudness", "speech")
KINDS = {
    "observation": "Observed",
    "inference": "Inferred",
    "alternative": "Other reading",
    "uncertainty": "Uncertain",
    "recommendation": "To consider",
}
REASONS = {
    "conflict": "the sources disagree too much for one reading",
    "little evidence": "too little of the evidence could be measured",
    "ambiguous": "the evidence leaves more than one state open",
}
CHECKS = {
    "supported": "✓ recomputed from the record",
    "contradicted": "✗ the record says otherwise",
    "not checkable": "? cannot be recomputed",
}
AUDITS = {
    "citation": "cited rows exist, at that time and of that person",
    "relevance": "cited rows have to do with what is said",
    "grounding": "each claim agrees with the record",
    "coverage": "what moved the result is cited",
    "contrary": "what spoke against it is cited",
    "doubt": "doubts of the record are told",
    "conclusion": "the conclusion is the record's",
    "sentence": "each sentence says what its notation says",
    "wording": "nothing is said that may not be said",
}
LARGE = 0.15  # a share of the bar from which a part is worth a sentence


def number(x: float | None, digits: int = 2) -> str:
    """`−0.21`; "not measured" for None and NaN."""
    if x is None or not math.isfinite(x):
        return "not measured"
    if abs(x) >= 100:
        digits = 0
    elif abs(x) >= 10:
        digits = min(digits, 1)
    text = f"{x:.{digits}f}"
    return (text[1:] if float(text) == 0 and text[0] == "-" else text).replace("-", "−")


def percent(x: float | None) -> str:
    return "not measured" if x is None or not math.isfinite(x) else f"{100 * x:.0f} %"


def signed(x: float) -> str:
    return ("+" if x > 0 else "") + number(x)


def nats(x: float) -> str:
    return f"{number(x)} nats" if math.isfinite(x) else "not measured"


def between(span: Span) -> str:
    return f"{clock(span.start_us)} – {clock(span.end_us)}"


def title(name: str) -> str:
    """A signal's or a target's name for people."""
    return SIGNAL_NAMES.get(name) or name.replace("_", " ").replace(".", " · ").strip().capitalize()


def order(name: str) -> tuple[int, str]:
    shown = title(name).lower()
    return next((i for i, word in enumerate(ORDER) if shown.startswith(word)), len(ORDER)), shown


def people(tracks: Sequence[Track]) -> dict[str, str]:
    """A name per track: the assigned pseudonym, else "Face 2" or "Person 1", numbered anew in each clip."""
    names: dict[str, str] = {}
    for track in tracks:
        if track.kind == "object":
            names[track.id] = title(track.label)
        elif track.subject_id != UNASSIGNED:
            names[track.id] = track.subject_id
        else:
            kind = track.kind.capitalize()
            names[track.id] = f"{kind} {sum(n.startswith(kind + ' ') for n in names.values()) + 1}"
    return names


def answer(o: Observation) -> str:
    """What the model said: a value with its sd and unit, the top of a distribution, or why there is none."""
    if o.value is not None and math.isfinite(o.value):
        spread = f" ± {number(o.sd)}" if o.sd is not None and math.isfinite(o.sd) else ""
        unit = "" if ".." in o.unit or o.unit == "1" else o.unit  # a range is no unit
        return f"{number(o.value)}{spread} {unit}".rstrip()
    if o.dist:
        top = sorted(o.dist, key=lambda pair: -pair[1])[:3]
        return ", ".join(f"{label} {number(p)}" for label, p in top)
    return f"not measured: {o.reason or 'no reason given'}"


def top(dist: Sequence[tuple[str, float]]) -> str:
    return max(dist, key=lambda pair: pair[1])[0] if dist else ""


def said(dist: Sequence[tuple[str, float]]) -> str:
    """`distress 0.41, pleasure 0.40, calm 0.19`, the likeliest first."""
    return ", ".join(f"{state} {number(p)}" for state, p in sorted(dist, key=lambda pair: -pair[1]))


def readings(a: Assessment) -> str:
    """What each source says of the leading state by itself: both sides of a conflict."""
    heard = [c for c in a.contributions if c.weight > 0 and c.dist]
    return ", ".join(f"{c.source} → {top(c.dist)} ({number(max(p for _, p in c.dist))})" for c in heard)


def why(reason: str) -> str:
    """Fusion's reason for leaving a question open, as a clause; an unknown reason stays as it is."""
    return REASONS.get(reason, reason) or "no reason was recorded"


def abstention(a: Assessment) -> str:
    """What it means that no state is named."""
    if a.reason == "conflict":
        return "This is a result, not an error: the contrary readings are kept below and none is preferred."
    return "This is a result, not an error: the figures are kept below, and no state is named."


def outcome(a: Assessment) -> str:
    """The headline of an assessment; leaving the question open is an outcome like any other."""
    if a.abstained:
        return "Left open: " + why(a.reason)
    ranked = sorted(a.posterior, key=lambda pair: -pair[1])
    if not ranked:
        return "Left open: no states were assessed"
    head = f"Signals consistent with {ranked[0][0]} ({number(ranked[0][1])})"
    rest = [f"{s} ({number(p)})" for s, p in ranked[1:] if p >= 0.2]
    return head + (f"; also possible: {', '.join(rest)}" if rest else "")


def unsure(a: Assessment) -> tuple[float, float, float, float]:
    """The bar: shares for ambiguity, conflict, missing and settled; they sum to 1.

    Missing is the vacuity U; the rest is shared by H(mix)/log K = ambiguity + conflict (an identity: Lin 1991,
    Jensen-Shannon divergence), and what remains is settled.
    """
    k = math.log(len(a.posterior)) if len(a.posterior) > 1 else 1.0
    missing = _unit(a.vacuity)
    ambiguity, conflict = _unit(a.ambiguity / k), _unit(a.conflict / k)
    total = max(1.0, ambiguity + conflict)
    ambiguity, conflict = (1 - missing) * ambiguity / total, (1 - missing) * conflict / total
    return ambiguity, conflict, missing, max(0.0, 1 - missing - ambiguity - conflict)


def reading(a: Assessment) -> list[str]:
    """The bar in plain words, from what the sources said."""
    ambiguity, conflict, missing, _ = unsure(a)
    heard = [c for c in a.contributions if c.weight > 0 and c.dist]
    silent = [c for c in a.contributions if c.weight == 0 or not c.dist]
    clash = conflict >= LARGE or a.reason == "conflict"
    lines = [_agreement(heard, clash)] if heard else ["No source had anything to say here."]
    if ambiguity >= LARGE:
        lines.append("By themselves, the sources leave more than one state open.")
    if silent:
        lines.append("Without weight here: " + "; ".join(c.source + _note(c) for c in silent) + ".")
    if missing >= LARGE:
        lines.append(f"{percent(missing)} of the evidence that could have counted is missing.")
    return lines


def _agreement(heard: Sequence[Contribution], clash: bool) -> str:
    said = ", ".join(f"{c.source} → {top(c.dist)}" for c in heard)
    if len(heard) == 1:
        return f"One source only: {said}. It could not be checked against another."
    if len({top(c.dist) for c in heard}) == 1:
        return f"The sources lean the same way: {said}."
    count = {2: "Two", 3: "Three", 4: "Four"}.get(len(heard), str(len(heard)))
    return f"{count} sources {'disagree' if clash else 'differ a little'}: {said}."


def _note(c: Contribution) -> str:
    return f" ({c.note})" if c.note else ""


def _unit(x: float) -> float:
    return min(1.0, max(0.0, x)) if math.isfinite(x) else 0.0
