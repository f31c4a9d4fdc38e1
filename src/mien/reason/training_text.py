"""A trace as a target for supervised fine-tuning, in three lengths: `<think>`, a walk over the evidence, and an answer.

Every sentence is the sentence of one claim, word for word, and a side table says of which and on which rows it rests.
Only a trace that passes every hard check of the audit becomes a text: a model learns from it what a sound trace is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from mien.core import Claim, MienError, Trace
from mien.reason.audit import Audit
from mien.reason.grammar import predicate_of
from mien.reason.predicates import Abstained, Against, Conflict, Missing, Predicate, Reading, Without

Length = Literal["short", "medium", "long"]
LENGTHS: tuple[Length, ...] = ("short", "medium", "long")
MOST_IDS = 8  # shown behind a sentence; the side table holds all


@dataclass(frozen=True, slots=True)
class Sentence:
    """Where a sentence stands, `text[start:end]`, and what it stands on. thought: inside `<think>`."""

    start: int
    end: int
    claim_id: str
    evidence_ids: tuple[str, ...]
    thought: bool


@dataclass(frozen=True, slots=True)
class Target:
    """One text to learn from, with its side table in order of the text."""

    clip_id: str
    trace_id: str
    engine: str
    length: Length
    text: str
    sentences: tuple[Sentence, ...]


def training_text(trace: Trace, claims: Sequence[Claim], audit: Audit) -> dict[Length, Target]:
    """The targets of one trace. Each length holds all that the one before it does.

    short: in thought what speaks against the readings and what would change them; the answer is the readings, or why
    there are none. medium: also second readings, conflicts and hypotheses; the answer says what a person should do and
    what is not known. long: also everything that was observed, by time.

    Args:
        audit: of this very trace.

    Raises:
        MienError: `reason.not-auditable` where the trace fails a hard check, or where the audit is of another;
            `reason.empty-trace` where there is nothing to answer.
    """
    if audit.trace_id != trace.id or len(claims) != audit.claims or not audit.auditable:
        why = "the audit is of another trace" if audit.trace_id != trace.id else f"it fails {', '.join(audit.failed)}"
        raise MienError("reason.not-auditable", f"{trace.id} is no text to learn from: {why}", "see: mien audit")
    held = [(c, p) for c in claims if (p := predicate_of(c)) is not None]
    if not held or len(held) != len(claims):
        raise MienError("reason.empty-trace", f"{trace.id} holds nothing to learn from", "see: mien show --why")
    return {length: _target(trace, held, length) for length in LENGTHS}


def _target(trace: Trace, held: Sequence[tuple[Claim, Predicate]], length: Length) -> Target:
    level = LENGTHS.index(length)
    answer = [c for c, p in held if isinstance(p, (Reading, Abstained, Conflict))]
    if level or not answer:
        answer += [c for c, p in held if c.kind == "recommendation" or isinstance(p, Missing)]
    answer = answer or [c for c, _ in held][:1]
    said = {c.id for c in answer}
    thought = [c for c, p in held if isinstance(p, (Against, Without))]
    if level:
        thought += [c for c, p in held if c.kind in ("alternative", "uncertainty") and not isinstance(p, Missing)]
    if level == 2:
        thought += [c for c, _ in held]
    writer = _Writer()
    writer.add("<think>\n")
    writer.lines(_by_time(c for c in thought if c.id not in said), thought=True)
    writer.add("</think>\n\n")
    writer.lines(answer, thought=False)
    return Target(
        trace.clip_id, trace.id, trace.engine, length, "".join(writer.parts).rstrip("\n"), tuple(writer.found)
    )


def _by_time(claims: Iterable[Claim]) -> list[Claim]:
    """By time, what was observed before what is made of it; each once."""
    kept = dict.fromkeys(claims)
    return sorted(kept, key=lambda c: (c.span.start_us, c.kind != "observation", c.span.end_us, c.id))


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.found: list[Sentence] = []
        self._at = 0

    def add(self, text: str) -> None:
        self.parts.append(text)
        self._at += len(text)

    def lines(self, claims: Sequence[Claim], *, thought: bool) -> None:
        for c in claims:
            start = self._at
            self.add(c.text)
            self.found.append(Sentence(start, self._at, c.id, c.evidence_ids, thought))
            rest = len(c.evidence_ids) - MOST_IDS
            shown = ", ".join(c.evidence_ids[:MOST_IDS]) + (f" and {rest} more" if rest > 0 else "")
            self.add((f" [{shown}]" if shown and thought else "") + "\n")
