"""Planted errors: clean traces made wrong, to see whether an audit finds it.

Shares no code with the audit, its grammar or its tolerances: it edits the text and the notation of claims by its own
patterns, and may import nothing but `core` (the import contract holds that).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from mien.core import US, Assessment, Claim, Observation, Span, Trace, Track, clock


@dataclass(frozen=True, slots=True)
class Subject:
    """A trace and the records it speaks of."""

    trace: Trace
    claims: tuple[Claim, ...]
    tracks: tuple[Track, ...]
    observations: tuple[Observation, ...]
    assessments: tuple[Assessment, ...]


Plant = Callable[[Subject, random.Random], "tuple[Trace, list[Claim]] | None"]
CLOCK = re.compile(r"\b(\d+):(\d\d\.\d\d)\b")
READING = re.compile(r"^posterior\.top = (\w+), p = (\d\.\d\d)")
# Numbers of the notation, where they stand in the sentence, and by how much they may be off.
NUMBERS = (
    (re.compile(r"^posterior\.top = \w+, p = (\d\.\d\d)"), re.compile(r"\(p = (\d\.\d\d) on average"), 0.05),
    (re.compile(r"^posterior\(\w+\) = (\d\.\d\d)"), re.compile(r"\(p = (\d\.\d\d)\)"), 0.05),
    (re.compile(r"^presence = (\d\.\d\d)"), re.compile(r"\((\d+) %"), 0.05),
    (re.compile(r"^change\(valence\) = \w+ (\d+\.\d\d)"), re.compile(r" by (\d+\.\d\d)"), 0.1),
    (re.compile(r"^change\(head\.yaw\) = \w+ (\d+\.\d\d)"), re.compile(r" by (\d+\.\d\d)"), 5.0),
    (re.compile(r"^onset\(loudness\) = (\d+\.\d\d)"), re.compile(r" up to (\d+\.\d\d)"), 3.0),
    (re.compile(r"^against\(\w+, \w+\) = ([+-]\d\.\d\d)"), re.compile(r"log-odds ([+-]\d\.\d\d)"), 0.25),
    (re.compile(r"^order\(.*\) = (\d\.\d\d) s"), re.compile(r" starts (\d\.\d\d) s"), 0.5),
)
TIME_S = 0.5
OPPOSITE = {"rise": "fall", "fall": "rise", "pleasure": "distress", "distress": "pleasure", "calm": "distress"}


def plant(error: str, subject: Subject, seed: int) -> tuple[Trace, list[Claim]] | None:
    """The trace with one planted error, or None where it has no place for this one.

    Raises:
        KeyError: the error is not in `GROSS`.
    """
    return GROSS[error](subject, random.Random(seed))


def off_by(subject: Subject, tolerances: float, seed: int, what: str = "number") -> tuple[Trace, list[Claim]] | None:
    """The trace with one `number` or `time` off by so many tolerances, in its sentence and its notation."""
    chance = random.Random(seed)
    if what == "time":
        return _one(subject, chance, lambda c: _stretched(c, round(tolerances * TIME_S * US) * chance.choice((-1, 1))))
    return _one(subject, chance, lambda c: _numbered(c, tolerances * chance.choice((-1, 1))))


def honest(subject: Subject, seed: int, most: float = 0.8) -> tuple[Trace, list[Claim]]:
    """What an honest but inexact writer would say: every number and start a little off, never beyond `most`
    tolerances."""
    chance = random.Random(seed)
    claims: list[Claim] = []
    swapped: dict[str, str] = {}
    for c in subject.claims:
        said = _numbered(c, chance.uniform(-most, most)) or c
        said = _stretched(said, round(chance.uniform(-most, most) * TIME_S * US)) or said
        swapped[c.text] = said.text
        claims.append(said)
    return _concluding(subject.trace, swapped), claims


# ---------------------------------------------------------------- gross errors


def _wrong_time(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    def edit(c: Claim) -> Claim | None:
        if not CLOCK.search(c.text):
            return None
        by = max(2 * US, c.span.duration_us + US) * chance.choice((1, 1, 2))
        return replace(
            c, span=Span(c.span.start_us + by, c.span.end_us + by), text=_moved(c.text, by),
            predicate=_moved(c.predicate, by),
        )  # fmt: skip

    return _one(subject, chance, edit)


def _wrong_person(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    people = sorted((t for t in subject.tracks if t.kind == "face"), key=lambda t: (t.span.start_us, t.id))
    name = {t.id: f"face {n}" for n, t in enumerate(people, 1)}

    def edit(c: Claim) -> Claim | None:
        others = [t for t in name if t != c.track_id]
        if c.track_id not in name or not others:
            return None
        other = chance.choice(others)
        text = re.sub(rf"\b([Ff])ace {name[c.track_id][5:]}\b", rf"\1ace {name[other][5:]}", c.text)
        return replace(c, track_id=other, text=text)

    return _one(subject, chance, edit)


def _invented_cue(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    model = chance.choice([c for c in subject.claims if c.evidence_ids] or [subject.claims[0]])
    start = model.span.start_us
    span = Span(start, start + US)
    who = "the recording" if model.track_id is None else _who(model.text)
    if who is None:
        return None
    cites = chance.choice((("obs-0123456789abcde",), model.evidence_ids[:1]))
    new = replace(
        model, id="claim-planted", kind="observation", predicate="change(pitch) = rise 120.00", span=span,
        text=f"The pitch of {who} rises by 120.00 Hz between {clock(span.start_us)} and {clock(span.end_us)}.",
        evidence_ids=cites,
    )  # fmt: skip
    return subject.trace, [*subject.claims, new]


def _reversed_polarity(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    def edit(c: Claim) -> Claim | None:
        if found := re.match(r"change\(\S+\) = (rise|fall)", c.predicate):
            other = OPPOSITE[found[1]]
            text = re.sub(rf"\b{found[1]}(s?) by\b", rf"{other}\1 by", c.text)
            return replace(c, predicate=c.predicate.replace(f"= {found[1]}", f"= {other}"), text=text)
        if found := READING.match(c.predicate):
            other = OPPOSITE[found[1]]
            return replace(
                c, predicate=c.predicate.replace(f"top = {found[1]}", f"top = {other}", 1),
                text=c.text.replace(f"consistent with {found[1]}", f"consistent with {other}", 1),
            )  # fmt: skip
        return None

    return _one(subject, chance, edit)


def _omitted_contrary(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    """All trace of what spoke against a reading is taken out: its rows, what is said of it, and the alternative."""
    for c in chance.sample(subject.claims, len(subject.claims)):
        found = READING.match(c.predicate)
        if not found:
            continue
        against: set[str] = set()
        for a in subject.assessments:
            if a.track_id == c.track_id and c.span.start_us <= a.span.start_us < c.span.end_us:
                for part in a.contributions:
                    if dict(part.log_odds)[found[1]] < -0.05:
                        against |= set(part.evidence_ids)
        if not against & set(c.evidence_ids):
            continue
        kept: list[Claim] = []
        for other in subject.claims:
            near = other.track_id == c.track_id and other.span == c.span
            if near and other.predicate.startswith(("against(", "posterior(")):
                continue
            rest = tuple(i for i in other.evidence_ids if i not in against)
            kept.append(replace(other, evidence_ids=rest) if near else other)
        return subject.trace, kept
    return None


def _overclaimed(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    """A doubt that becomes a reading, a probability near one, or a word like "certainly"."""

    def edit(c: Claim) -> Claim | None:
        way = chance.randrange(3)
        if c.predicate.startswith(("conflict", "abstained")) and way == 0:
            who = _who(c.text)
            if who is None:
                return None
            says = "face → pleasure 0.90 (λ 0.90)"
            between = f"Between {clock(c.span.start_us)} and {clock(c.span.end_us)}"
            text = f"{between} the signals of {who} are consistent with pleasure (p = 0.95 on average; {says})."
            return replace(c, kind="inference", predicate=f"posterior.top = pleasure, p = 0.95; {says}", text=text)
        found = READING.match(c.predicate)
        if found and way == 1:
            return replace(c, text=c.text.replace("are consistent with", "certainly show"))
        if found and float(found[2]) < 0.8:
            return replace(
                c, predicate=c.predicate.replace(f"p = {found[2]}", "p = 0.99", 1),
                text=c.text.replace(f"p = {found[2]}", "p = 0.99", 1),
            )  # fmt: skip
        return None

    return _one(subject, chance, edit)


def _wrong_order(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    def edit(c: Claim) -> Claim | None:
        found = re.match(r"order\((\S+) < (\S+)\)", c.predicate)
        said = re.search(r" the (.+) starts (\S+) s before the (.+)\.$", c.text)
        if not found or not said:
            return None
        return replace(
            c, predicate=c.predicate.replace(f"{found[1]} < {found[2]}", f"{found[2]} < {found[1]}"),
            text=c.text[: said.start()] + f" the {said[3]} starts {said[2]} s before the {said[1]}.",
        )  # fmt: skip

    return _one(subject, chance, edit)


def _irrelevant(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    """The claim cites other rows of the same person and time, which do not bear on it."""
    used = {i for a in subject.assessments for part in a.contributions for i in part.evidence_ids}
    target = {o.id: o.target for o in subject.observations}

    def edit(c: Claim) -> Claim | None:
        if not c.evidence_ids:
            return None
        about = {target[i] for i in c.evidence_ids}
        rows = [
            o.id
            for o in subject.observations
            if o.track_id in (c.track_id, None) and o.span.overlap_us(c.span) and o.id not in used
            and o.target not in about
        ]  # fmt: skip
        return replace(c, evidence_ids=(chance.choice(rows),)) if rows else None

    return _one(subject, chance, edit)


def _contradicting_sentence(subject: Subject, chance: random.Random) -> tuple[Trace, list[Claim]] | None:
    """The sentence alone is changed; the notation stays right."""

    def edit(c: Claim) -> Claim | None:
        text = c.text
        for word in chance.sample(("rise", "fall", "pleasure", "distress", "calm"), 5):
            if re.search(rf"\b{word}s?\b", text):
                text = re.sub(rf"\b{word}(s?)\b", rf"{OPPOSITE[word]}\1", text, count=1)
                return replace(c, text=text)
        return replace(c, text=_moved(text, 3 * US)) if CLOCK.search(text) else None

    return _one(subject, chance, edit, concluding=False)


GROSS: dict[str, Plant] = {
    "wrong time": _wrong_time,
    "wrong person": _wrong_person,
    "invented cue": _invented_cue,
    "reversed polarity": _reversed_polarity,
    "omitted contrary cue": _omitted_contrary,
    "overclaimed certainty": _overclaimed,
    "wrong order": _wrong_order,
    "cited but irrelevant": _irrelevant,
    "sentence against its predicate": _contradicting_sentence,
}


# ---------------------------------------------------------------- editing


def _one(
    subject: Subject, chance: random.Random, edit: Callable[[Claim], Claim | None], concluding: bool = True
) -> tuple[Trace, list[Claim]] | None:
    """Edit one claim that can be edited, any of them; a conclusion that quotes it says the new sentence, too."""
    order = chance.sample(range(len(subject.claims)), len(subject.claims))
    for i in order:
        made = edit(subject.claims[i])
        if made is not None and made != subject.claims[i]:
            claims = [*subject.claims[:i], made, *subject.claims[i + 1 :]]
            swapped = {subject.claims[i].text: made.text} if concluding else {}
            return _concluding(subject.trace, swapped), claims
    return None


def _concluding(trace: Trace, swapped: dict[str, str]) -> Trace:
    for old, new in swapped.items():
        if trace.conclusion.startswith(old):
            return replace(trace, conclusion=new + trace.conclusion[len(old) :])
    return trace


def _moved(text: str, by_us: int) -> str:
    return CLOCK.sub(lambda m: clock(round((60 * int(m[1]) + float(m[2])) * US) + by_us), text)


def _stretched(c: Claim, by_us: int) -> Claim | None:
    """The claim's end is moved, in its span and in its sentence."""
    old, end = clock(c.span.end_us), c.span.end_us + by_us
    if old not in c.text or old in c.predicate or end <= c.span.start_us or old == clock(c.span.start_us):
        return None
    head, _, tail = c.text.rpartition(old)
    return replace(c, span=Span(c.span.start_us, end), text=head + clock(end) + tail)


def _numbered(c: Claim, tolerances: float) -> Claim | None:
    """One number of the claim is moved, in its notation and in its sentence."""
    for notation, sentence, tolerance in NUMBERS:
        found, said = notation.search(c.predicate), sentence.search(c.text)
        if not found or not said:
            continue
        new = float(found[1]) + tolerances * tolerance
        if new < 0 and not found[1].startswith(("+", "-")):
            new = float(found[1]) - tolerances * tolerance
        sign = "+" if found[1].startswith(("+", "-")) else ""
        told = f"{100 * new:.0f}" if "%" in sentence.pattern else f"{new:{sign}.2f}"
        return replace(
            c,
            predicate=c.predicate[: found.start(1)] + f"{new:{sign}.2f}" + c.predicate[found.end(1) :],
            text=c.text[: said.start(1)] + told + c.text[said.end(1) :],
        )
    return None


def _who(text: str) -> str | None:
    found = re.search(r"\b([Ff]ace \d+|[Tt]he recording)\b", text)
    return found[1][0].lower() + found[1][1:] if found else None
