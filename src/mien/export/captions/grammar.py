"""The grammar of a derived caption, both ways: `TRIGGER, BUNDLE…, TEMPORAL…, SOFT…`, tags parted by ", "."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mien.core import MienError
from mien.export.captions.vocabulary import Word, known_words, tokens
from mien.reason.captions import CaptionTerms

_SLOTS = ("bundle", "temporal", "soft")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a caption says: its trigger, and phrase by attribute for each slot."""

    trigger: str
    bundles: dict[str, str] = field(default_factory=dict)
    temporal: dict[str, str] = field(default_factory=dict)
    soft: dict[str, str] = field(default_factory=dict)


def compose(phrases: Sequence[str], terms: CaptionTerms) -> tuple[str, tuple[str, ...]]:
    """A caption and what was left out of it for its length. The order of `phrases` does not matter.

    Raises:
        KeyError: a phrase is not in the vocabulary.
    """
    known = known_words()
    place = {text: n for n, text in enumerate(known)}
    words = [known[p] for p in set(phrases)]
    words = [w for w in words if w.slot != "bundle" or w.bundle in terms.order]

    def order(w: Word) -> tuple[int, int, int]:
        bundle = terms.order.index(w.bundle) if w.slot == "bundle" else 0
        return (_SLOTS.index(w.slot), bundle, place[w.text])

    left: list[str] = []
    words.sort(key=order)
    while words and tokens(_joined(words, terms)) > terms.most_tokens:
        least = min(words, key=lambda w: (w.keep, -words.index(w)))
        words.remove(least)
        left.append(least.text)
    return _joined(words, terms), tuple(left)


def _joined(words: Sequence[Word], terms: CaptionTerms) -> str:
    return ", ".join([terms.trigger] * bool(terms.trigger) + [w.text for w in words])


def parse(text: str, terms: CaptionTerms) -> Parsed:
    """What a derived caption says.

    Raises:
        MienError: `captions.grammar` where it is no sentence of the grammar: an unknown phrase, two of one attribute,
            phrases out of order, another trigger, or too many tokens.
    """
    tags = text.split(", ") if text else []
    if terms.trigger and (not tags or tags.pop(0) != terms.trigger):
        raise _bad(text, f"it does not begin with {terms.trigger!r}")
    found = Parsed(terms.trigger)
    into = {"bundle": found.bundles, "temporal": found.temporal, "soft": found.soft}
    words: list[Word] = []
    for tag in tags:
        word = known_words().get(tag)
        if word is None:
            raise _bad(text, f"{tag!r} is not in the vocabulary")
        if word.attribute in into[word.slot]:
            raise _bad(text, f"it says two things of {word.attribute}")
        into[word.slot][word.attribute] = tag
        words.append(word)
    if tokens(text) > terms.most_tokens:
        raise _bad(text, f"it has more than {terms.most_tokens} tokens")
    if compose(tags, terms)[0] != text:
        raise _bad(text, "its phrases are out of order")
    return found


def _bad(text: str, why: str) -> MienError:
    return MienError("captions.grammar", f"{text!r} is no caption: {why}", "this is a defect unless somebody edited it")
