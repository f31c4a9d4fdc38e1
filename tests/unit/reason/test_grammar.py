"""One template gives the sentence and reads it back; the vocabulary of observables holds no emotion word."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import Span
from mien.policy import emotion_words, forbidden_words
from mien.reason.grammar import difference, notation, parse, read, render, slots_of, values
from mien.reason.predicates import HYPOTHESES, PREDICATES, Change, Movement, Predicate, Reading
from mien.reason.predicates.observables import OfQuantity
from mien.reason.vocabulary import INTENTS, QUANTITIES, event_words, is_affect, movement_words

NAMES = {"t1": "face 1", "t2": "face 2", "p1": "person 1"}
TARGETS = sorted(QUANTITIES)
EVENTS = [f"{k}.{t}" for k in ("rise", "fall") for t in TARGETS] + ["vocal.kind", *INTENTS]
MOVES = [m for m in INTENTS if movement_words(m, 1.0, "left")]
STATES = st.sampled_from(["distress", "pleasure", "calm", "high effort"])
SHARE = st.integers(0, 100).map(lambda n: n / 100)
HUNDREDTHS = st.integers(-5000, 5000).map(lambda n: n / 100)
SAYS = st.lists(st.tuples(st.sampled_from(["face", "voice", "body"]), STATES, SHARE, SHARE), max_size=3).map(tuple)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "state": STATES, "p": SHARE, "says": SAYS, "source": st.sampled_from(["face", "voice"]), "odds": HUNDREDTHS,
    "degree": SHARE, "reason": st.sampled_from(["little evidence", "ambiguous"]),
    "voice": st.sampled_from(["speech", "voice"]),
    "what": st.text(st.characters(codec="ascii", exclude_characters="\r\n{}"), min_size=1, max_size=40),
    "seconds": st.integers(0, 300).map(lambda n: n / 10), "level": st.none() | st.integers(-90, 0).map(float),
    "pitch": st.none() | st.integers(60, 900).map(float), "count": st.integers(1, 40), "share": SHARE,
    "value": HUNDREDTHS, "detail": st.sampled_from(["left", "both hands", ""]), "amount": SHARE,
    "direction": st.sampled_from(["rise", "fall"]), "sds": st.integers(-90, 90).map(lambda n: n / 10),
    "lag_s": SHARE, "overlap_s": SHARE, "first": st.sampled_from(EVENTS), "second": st.sampled_from(EVENTS),
    "intent": st.sampled_from(sorted({i for held in INTENTS.values() for i in held})),
}  # fmt: skip


@st.composite
def spans(draw: Any) -> Span:
    start = draw(st.integers(0, 30_000)) * 10_000
    return Span(start, start + draw(st.integers(1, 2000)) * 10_000)


@st.composite
def predicates(draw: Any, kind: type[Predicate]) -> Predicate:
    given_: dict[str, Any] = {"span": draw(spans()), "track": draw(st.sampled_from([None, *NAMES]))}
    for field in fields(kind):
        if field.name == "target":
            given_["target"] = draw(st.sampled_from(MOVES if kind is Movement else TARGETS))
        elif field.name == "longest":
            given_["longest"] = draw(spans())
        elif field.name not in ("span", "track", "cites"):
            given_[field.name] = draw(FIELDS[field.name])
    return kind(**given_)


@pytest.mark.parametrize("kind", PREDICATES, ids=lambda k: k.__name__)
def test_every_sentence_and_notation_is_read_back_as_it_was_meant(kind: type[Predicate]):
    @settings(max_examples=25, deadline=None, database=None)
    @given(predicates(kind))
    def holds(p: Predicate) -> None:
        said = parse(render(p, NAMES))
        assert said is not None
        assert said.type is kind
        meant = values(p, slots_of(kind.sentence), NAMES)
        assert said.values.keys() == meant.keys()
        assert difference(getattr(p, "target", None), said.values, meant)[0] <= 1
        again = read(notation(p), p.span, p.track, p.cites)
        assert again is not None
        assert type(again) is kind
        assert notation(again) == notation(p)
        assert forbidden_words(render(p, NAMES)) == []

    holds()


def test_what_is_outside_the_grammar_is_not_read():
    reading = Reading(span=Span(0, 10**6), track="t1", state="calm", p=0.5, says=())
    text = render(reading, NAMES)
    assert parse(text.replace("are consistent with", "certainly show")) is None
    assert parse("Face 1 is angry.") is None
    assert read("posterior.top = calm", Span(0, 1), None, ()) is None
    assert read("x" + notation(reading), Span(0, 1), None, ()) is None


def test_a_difference_is_told_in_tolerances():
    p = Change(span=Span(0, 10**6), track="t1", target="valence", direction="rise", amount=0.5)
    meant = values(p, slots_of(p.sentence), NAMES)
    for more, off in ((0.05, 0.5), (0.1, 1.0), (0.2, 2.0)):
        far, where = difference("valence", meant | {"amount": 0.5 + more}, meant)
        assert (far, where) == (pytest.approx(off), "amount")
    assert difference("valence", meant | {"track": "face 2"}, meant) == (float("inf"), "track")


def test_nothing_that_is_said_of_observables_holds_an_emotion_word():
    """Every observable predicate with every quantity, movement, event and intent of the vocabulary."""
    fixed: dict[str, Any] = {
        "seconds": 1.0, "level": -20.0, "pitch": 200.0, "voice": "voice", "count": 2, "share": 0.5, "value": 1.0,
        "detail": "left", "longest": Span(0, 1), "direction": "rise", "amount": 0.5, "sds": 2.0, "lag_s": 1.0,
        "overlap_s": 1.0,
    }  # fmt: skip
    said = list(INTENTS)
    for target in TARGETS:
        if not is_affect(target):
            said += [f"{k}.{target}" for k in ("rise", "fall", "peak", "onset", "gap")]
    texts: list[str] = [event_words(t) for t in said]
    for kind in PREDICATES:
        names = [f.name for f in fields(kind) if f.name not in ("span", "track", "cites")]
        if kind.kind != "observation" and kind not in HYPOTHESES:
            continue
        targets = MOVES if kind is Movement else [t for t in TARGETS if not is_affect(t)]
        for target, (first, intents) in itertools.product(targets, INTENTS.items()):
            for intent in intents:
                own = {"target": target, "first": first, "second": "vocal.kind", "intent": intent}
                held: dict[str, Any] = fixed | own
                texts.append(render(kind(span=Span(0, 10**6), track="t1", **{n: held[n] for n in names}), NAMES))
    assert len(texts) > 500
    assert [(t, emotion_words(t)) for t in dict.fromkeys(texts) if emotion_words(t)] == []


def test_words_for_feelings_are_known():
    """The check above would be empty talk if the list knew no words: every label that affect models give is on it."""
    labels = (
        "anger angry fear fearful happy happiness sad sadness surprise surprised disgust disgusted contempt neutral "
        "distress pleasure calm joy pain excited anxious amusement relief shame pride desire ecstasy boredom"
    )
    assert [w for w in labels.split() if not emotion_words(w)] == []
    assert [t for t in TARGETS if is_affect(t) and not emotion_words(QUANTITIES[t].words)] == []
    for fine in ("a laugh", "crying", "a scream", "moan", "sigh", "groan", "the movement of the body", "sadhu"):
        assert emotion_words(fine) == []
    assert issubclass(Change, OfQuantity)
