"""The closed vocabulary of derived captions, read from `vocabulary.toml`, and what its words cost."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from mien.reason.captions import SLOTS

Slot = Literal["bundle", "temporal", "soft"]
COMMA = 1  # of a tag after another one


@dataclass(frozen=True, slots=True)
class Rule:
    """One attribute: `words[i]` between `edges[i - 1]` and `edges[i]`; "" says nothing. dead: half widths of the zones
    around the edges in which the past decides. keep: rank when a caption is too long; weak: never validated."""

    bundle: str
    name: str
    axis: str
    edges: tuple[float, ...]
    dead: tuple[float, ...]
    words: tuple[str, ...]
    keep: int
    about: str
    weak: bool = False

    def __post_init__(self) -> None:
        if len(self.words) != len(self.edges) + 1 or len(self.dead) != len(self.edges) or self.bundle not in SLOTS:
            raise ValueError(f"rule {self.name!r} must have one word more than edges, and a bundle of {SLOTS}")
        for k in range(len(self.edges) - 1):
            if self.edges[k] + self.dead[k] >= self.edges[k + 1] - self.dead[k + 1]:
                raise ValueError(f"the dead zones of rule {self.name!r} must not meet")


@dataclass(frozen=True, slots=True)
class Course:
    """How the leading episode of an axis is told: with onset and offset, or only one of them, in the clip."""

    axis: str
    whole: str
    onset: str
    offset: str
    keep: int
    about: str


@dataclass(frozen=True, slots=True)
class Soft:
    """Words for one axis of affect: its trend, and where a reading lies on it."""

    axis: str
    rising: str
    falling: str
    high: str
    low: str
    keep: int
    about: str


@dataclass(frozen=True, slots=True)
class Word:
    """One phrase of the vocabulary: where it may stand (slot, attribute: one phrase of each at most), and its rank."""

    text: str
    slot: Slot
    bundle: str
    attribute: str
    keep: int
    about: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    version: int
    rules: tuple[Rule, ...]
    courses: tuple[Course, ...]
    soft: tuple[Soft, ...]
    tokens: dict[str, int]

    def words(self) -> Iterator[Word]:
        """Every phrase, in the order of the grammar (that of the default `order`)."""
        for bundle in SLOTS:
            for r in (r for r in self.rules if r.bundle == bundle):
                yield from (Word(w, "bundle", bundle, r.name, r.keep, r.about) for w in r.words if w)
        for c in self.courses:
            for w in (c.whole, c.onset, c.offset):
                yield Word(w, "temporal", "temporal", f"course of {c.axis}", c.keep, c.about)
        for s in self.soft:
            for w in (s.rising, s.falling, s.high, s.low):
                yield Word(w, "soft", "soft", s.axis, s.keep, s.about)


@cache
def vocabulary() -> Vocabulary:
    """The shipped vocabulary."""
    held = tomllib.loads(files("mien.export.captions").joinpath("vocabulary.toml").read_text(encoding="utf-8"))
    tuples = ("edges", "dead", "words")
    rows: list[dict[str, Any]] = [{k: tuple(v) if k in tuples else v for k, v in r.items()} for r in held["rule"]]
    courses, soft = tuple(Course(**c) for c in held["course"]), tuple(Soft(**s) for s in held["soft"])
    return Vocabulary(held["version"], tuple(Rule(**r) for r in rows), courses, soft, held["tokens"])


@cache
def known_words() -> dict[str, Word]:
    """Phrase → what it is. Raises ValueError where a phrase has two meanings."""
    rows = list(vocabulary().words())
    found = {w.text: w for w in rows}
    if len(found) != len(rows):
        raise ValueError("a phrase of the vocabulary has two meanings")
    return found


def tokens(text: str) -> int:
    """An upper bound of the tokens of CLIP's BPE in a caption, without its two marks of beginning and end.

    Words of the vocabulary count what the real tokenizer makes of them (a test says so), a comma is one, and of other
    text each character counts as one, which no byte-pair code of plain ASCII exceeds.
    """
    more = vocabulary().tokens
    tags = [tag for tag in text.split(", ") if tag]
    cost = (
        sum(more.get(w, 1) for w in tag.split()) if tag in known_words() else len(tag.replace(" ", "")) for tag in tags
    )
    return sum(cost) + COMMA * max(0, len(tags) - 1)
