"""Whether a sentence in other words still says what its predicate says. Strict: what it cannot tell, it refuses.

A paraphrase may put the parts into another order, use function words as it likes and a few synonyms. Times, numbers and
names have to be there in the same order, brackets word for word; every content word has to be there; none may be added,
so neither a hedge nor a "certainly", a "not" or a second person.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from mien.reason.grammar import WHO, Names, render, slots_of, values
from mien.reason.predicates import Decide, Look, Missing, Predicate

CLOCK = re.compile(r"(\d+):(\d\d(?:\.\d+)?)")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
BRACKET = re.compile(r"\(((?:[^()]|\([^()]*\))*)\)")
WORD = re.compile(r"[^\W\d_]+")
FUNCTION = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "been", "being", "by", "during", "for", "from", "had", "has", "have",
    "heard", "in", "is", "it", "its", "of", "on", "recorded", "same", "that", "the", "their", "there", "these",
    "this", "those", "to", "until", "till", "was", "were", "which", "while", "with", "where", "when", "between",
    "within",
})  # fmt: skip
SYNONYMS = (
    ("fall", "drop", "decrease", "decline"), ("rise", "increase", "climb"), ("view", "visible", "seen", "sight"),
    ("sway", "rock"), ("signal", "signals"), ("recording", "clip"), ("stretch", "reach"), ("start", "begin"),
    ("loudness", "volume"), ("consistent", "line"), ("analysed", "analyzed"), ("second", "seconds"),
)  # fmt: skip
FIXED = (Missing, Look, Decide)
"""What is not known and what a person should do are said in our words alone."""


def faithful(text: str, predicate: Predicate, names: Names) -> bool:
    """Whether `text` says the predicate, all of it and nothing else."""
    if isinstance(predicate, FIXED):
        return False
    sentence = _plain(render(predicate, names))
    brackets = [m[1] for m in BRACKET.finditer(sentence)]
    said, meant = _Parts.of(_plain(text), brackets), _Parts.of(sentence, brackets)
    same = (said.brackets, said.times, said.who, said.words) == (meant.brackets, meant.times, meant.who, meant.words)
    return same and _near(said.numbers, meant.numbers) and _in_order(predicate, names, said.rest, brackets)


def _plain(text: str) -> str:
    return re.sub(r"\bseconds?\b", "s", re.sub(r"\(s\)|['’]s\b", "", text.strip())).casefold()


@dataclass(frozen=True, slots=True)
class _Parts:
    """A sentence taken apart: brackets as often as they stand set off, times and people in order of first mention,
    numbers in order, content words; the rest of the text."""

    brackets: tuple[int, ...]
    times: tuple[float, ...]
    numbers: tuple[str, ...]
    who: tuple[str, ...]
    words: Counter[str]
    rest: str

    @classmethod
    def of(cls, text: str, brackets: Sequence[str]) -> _Parts:
        counts: list[int] = []
        for held in brackets:
            found = re.compile(rf"[(,]\s*{_alike(held)}\s*(?=[),.;]|$)")
            counts.append(len(found.findall(text)))
            text = found.sub(
                lambda m: " , ".join(("", *NUMBER.findall(m[0]), "")), text
            )  # its numbers count with others
        who = tuple(dict.fromkeys(re.findall(WHO.pattern, text)))
        text = re.sub(WHO.pattern, " ", text)
        times = tuple(dict.fromkeys(60 * int(m) + float(s) for m, s in CLOCK.findall(text)))
        text = CLOCK.sub(" ", text)
        return cls(tuple(counts), times, tuple(NUMBER.findall(text)), who, _words(text), text)


def _alike(held: str) -> str:
    """A pattern of these words, with any numbers in the place of theirs."""
    return NUMBER.pattern.join(re.escape(part) for part in NUMBER.split(held))


def _near(said: Sequence[str], meant: Sequence[str]) -> bool:
    """Whether numbers agree in their order, but for one step of the last digit that we print: what is kept of a claim
    is rounded before it is said again."""
    steps = [10.0 ** -len(m.partition(".")[2]) for m in meant]
    pairs = zip(said, meant, steps, strict=False)
    return len(said) == len(meant) and all(abs(float(s) - float(m)) <= step * 1.001 for s, m, step in pairs)


def _words(rest: str) -> Counter[str]:
    return Counter(_stem(w) for w in WORD.findall(rest) if w not in FUNCTION)


def _in_order(predicate: Predicate, names: Names, rest: str, brackets: Sequence[str]) -> bool:
    """Whether states, events and directions come in the order in which the sentence of the grammar has them."""
    held = values(predicate, slots_of(predicate.sentence), names)
    told = [_plain(v) for slot, v in held.items() if isinstance(v, str) and slot not in ("track", "Track")]
    told = [BRACKET.sub(" ", text) for text in told if not any(text in b for b in brackets)]
    wanted = [_stem(w) for text in told for w in WORD.findall(text) if w not in FUNCTION]
    counted, found = Counter(wanted), list[str]()
    for word in map(_stem, WORD.findall(rest)):
        if counted[word]:
            found.append(word)
            counted[word] -= 1
    return found == wanted


@cache
def _stem(word: str) -> str:
    for group in SYNONYMS:
        if word in group or any(word in (f"{g}s", f"{g}es", f"{g}ed", f"{g}ing") for g in group):
            return group[0]
    for end in ("ing", "ed", "es", "s"):
        if word.endswith(end) and len(word) - len(end) >= 4:
            word = word.removesuffix(end)
            break
    return word.removesuffix("e")
