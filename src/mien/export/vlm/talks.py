"""What is asked and answered about a clip: its reasoning, and one question per person whose answers carry weights.

A soft label is k conversations, one per state, each with its probability as weight; a trainer that knows no weights
gets as many copies as the weights say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mien.core import Dist
from mien.export.selection.examples import Example, Soft
from mien.reason.training_text import Length

REASONING = "What are the signals in this {medium} consistent with, and what speaks against it?"
STATE = "Which of these states are the signals{of} consistent with: {names}? Answer with one of them."
LEAST = 0.05  # an answer of less weight is not asked for


@dataclass(frozen=True, slots=True)
class Talk:
    """One question and one answer. by: who says so, the `sources` or `people`; "" for a reasoning."""

    kind: Literal["reasoning", "state"]
    who: str
    question: str
    answer: str
    weight: float
    by: str = ""


def talks(ex: Example, length: Length) -> Iterator[Talk]:
    """What may be learnt of a clip: the reasoning first, then states by person, likeliest first."""
    if ex.targets and ex.barred("reasoning") is None:
        yield Talk("reasoning", "", REASONING.format(medium=_medium(ex)), ex.targets[length].text, 1.0)
    for soft in ex.soft:
        if ex.barred("state", soft.who) is None:
            yield from _states(soft)


def asked(soft: Soft) -> str:
    """The question about one person's state; names in one order, so that no order gives the answer away."""
    of = f" of {soft.who}" if soft.who else ""
    return STATE.format(of=of, names=", ".join(sorted({n for n, _ in (*soft.states, *soft.people)})))


def _states(soft: Soft) -> Iterator[Talk]:
    dist: Dist = soft.people or soft.states
    held = sorted(((n, p) for n, p in dist if p >= LEAST), key=lambda pair: (-pair[1], pair[0]))
    total = sum(p for _, p in held)
    for name, p in held:
        yield Talk("state", soft.who, asked(soft), name, p / total, "people" if soft.people else "sources")


def repeated(held: Sequence[Talk], copies: int) -> Iterator[Talk]:
    """For trainers without weights: each reasoning once, of each soft label `copies` rows in all, shared out by largest
    remainder (Hamilton's method), so that shares differ from weights by less than one row."""
    by: dict[str, list[Talk]] = {}
    for talk in held:
        if talk.kind == "reasoning":
            yield talk
        else:
            by.setdefault(talk.who, []).append(talk)
    for group in by.values():
        exact = [copies * t.weight for t in group]
        whole = [int(x + 1e-9) for x in exact]
        order = sorted(range(len(group)), key=lambda i: (whole[i] - exact[i], i))
        for i in order[: copies - sum(whole)]:
            whole[i] += 1
        for talk, n in zip(group, whole, strict=True):
            yield from [talk] * n


def _medium(ex: Example) -> str:
    return {"video": "clip", "audio": "recording", "image": "picture"}[ex.rows.part.source.kind]
