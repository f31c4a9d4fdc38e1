"""The licence algebra: what words mean, and the laws that make it safe to add an ingredient."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mien.policy.licences import Ingredient, ingredients_of, permitted
from mien.policy.reading import named
from mien.policy.terms import TERMS, UNKNOWN
from mien.policy.uses import FREE, USES, OwnTerms, Permission, PolicyTerms, groups_of, together

SOME = ("MIT", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-4.0",
        "GPL-3.0-only", "research only", "all rights reserved", "who knows", "ODbL-1.0")  # fmt: skip


def one(licence: str | None, role: str = "recording", **policy: object) -> Permission:
    return permitted([Ingredient(role, "x", licence)], PolicyTerms.model_validate(policy))


ALL, NOT_PUBLIC, INSIDE, LOOK = set(USES), {"view", "train", "share"}, {"view", "train"}, {"view"}


@pytest.mark.parametrize(
    ("text", "uses", "conditions"),
    [
        ("MIT", ALL, {"attribution"}), ("cc0", ALL, set()), ("mit", ALL, {"attribution"}),
        ("CC-BY-4.0", ALL, {"attribution"}), ("cc by-nc 4.0", ALL, {"attribution", "non-commercial"}),
        ("CC BY-SA 3.0 (UniSpeech)", ALL, {"attribution", "share-alike:CC-BY-SA"}),
        ("CC-BY-ND-4.0", INSIDE, None), ("CC BY-NC-ND 4.0", INSIDE, None),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/deed.de", ALL,
         {"attribution", "non-commercial", "share-alike:CC-BY-NC-SA"}),
        ("https://creativecommons.org/publicdomain/zero/1.0/", ALL, set()),
        ("research only", NOT_PUBLIC, None), ("all rights reserved", LOOK, None), ("EULA", INSIDE, None),
        (None, NOT_PUBLIC, None), ("", NOT_PUBLIC, None), ("not stated", NOT_PUBLIC, None), ("CC BY", NOT_PUBLIC, None),
        ("whatever", NOT_PUBLIC, None), ("MIT" * 400, NOT_PUBLIC, None), ("(((", NOT_PUBLIC, None),
        ("MIT (not for commerce)", NOT_PUBLIC, None), ("not MIT", NOT_PUBLIC, None), ("MIT, but ask", NOT_PUBLIC, None),
        ("MIT or whatever the uploader says", NOT_PUBLIC, None), ("own recording", ALL, set()),
    ],
)  # fmt: skip
def test_what_words_of_a_recording_permit(text, uses, conditions):
    found = one(text)
    assert found.uses == uses
    assert conditions is None or set(found.conditions("publish")) == conditions
    assert all(found.why_not(u) for u in ALL - uses)
    assert not any(found.why_not(u) for u in uses)


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("MIT OR CC-BY-ND-4.0", ALL), ("MIT AND CC-BY-ND-4.0", INSIDE), ("(MIT OR CC0-1.0) AND CC-BY-ND-4.0", INSIDE),
        ("CC-BY-ND-4.0 OR LicenseRef-anything", INSIDE), ("CC-BY-ND-4.0 AND LicenseRef-anything", INSIDE),
        ("MIT AND LicenseRef-anything", NOT_PUBLIC), ("MIT OR LicenseRef-anything", ALL),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ALL), ("MIT WITH something-odd", NOT_PUBLIC),
        ("CC-BY-SA-4.0 AND GPL-3.0-only", NOT_PUBLIC), ("CC-BY-SA-4.0 OR GPL-3.0-only", ALL),
        ("CC-BY-SA-4.0 AND CC-BY-SA-3.0", ALL), ("CC-BY-SA-4.0 AND CC-BY-NC-4.0", NOT_PUBLIC),
        ("CC-BY-NC-SA-4.0 AND CC-BY-NC-4.0", ALL),
    ],
)  # fmt: skip
def test_operators_of_spdx(text, uses):
    assert one(text).uses == uses
    assert one(f"({text})").uses == uses


def test_an_exception_never_narrows_and_the_choice_takes_the_fewest_conditions():
    assert one("CC-BY-NC-4.0 OR MIT").conditions("publish") == ("attribution",)
    assert one("GPL-3.0-only OR CC0-1.0").conditions("publish") == ()
    assert one("GPL-2.0-only WITH Classpath-exception-2.0").conditions("share") == one("GPL-2.0-only").conditions(
        "share"
    )


def test_what_binds_in_which_role():
    assert one("CC BY-NC-ND 4.0", "weights").uses == ALL  # answers of a model are no copies of it
    assert [r.code for r in one("CC BY-NC-ND 4.0", "weights").notes] == ["licence.rides-along"]
    assert one("GPL-3.0-or-later", "code").conditions("publish") == ()
    assert one("those of your file", "weights").uses == NOT_PUBLIC
    assert "publish" not in one("audEERING Research License (non-commercial; of what it computes)", "code").uses
    assert one("none: rules", "weights") .uses == ALL  # fmt: skip


def test_terms_of_training_data_are_a_setting():
    said = "AffectNet, for research only"
    for text in (said, "research only", "CC-BY-ND-4.0"):
        assert one(text, "training-data").uses == ALL
        assert [r.code for r in one(text, "training-data").notes] == ["licence.training-data"]
        assert one(text, "training-data", training_data_terms="bind").uses < ALL
        assert one(text, "training-data", training_data_terms="ignore") == FREE
    assert one("CC0-1.0", "training-data").notes == ()


def test_unknown_terms_can_only_be_tightened():
    assert one(None).uses == NOT_PUBLIC
    assert one(None, unknown_licence="refuse").uses == LOOK
    assert one("MIT", unknown_licence="refuse").uses == ALL


def test_own_terms_say_what_nobody_else_knows_and_change_nothing_known():
    own = {"Company 7": OwnTerms(uses=("train",), conditions=("attribution",))}
    assert one("Company 7", licences=own).uses == INSIDE
    assert one("Company 7").uses == NOT_PUBLIC
    for name in ("MIT", "cc by 4.0", "research only", "https://creativecommons.org/licenses/by/4.0/"):
        with pytest.raises(ValidationError, match="no setting changes"):
            PolicyTerms(licences={name: OwnTerms(uses=("publish",))})  # type: ignore


def test_every_model_that_ships_is_judged_as_its_adapter_says():
    from mien.models.weights import load_adapters

    found = {
        name: permitted(ingredients_of(name, cls.spec.weights.licences)) if cls.spec.weights else FREE
        for name, cls in load_adapters().items()
    }
    closed = {name for name, p in found.items() if not p.allows("publish")}
    default = {"object.nanodet", "pose.movenet", "face.centerface", "landmarks.facemesh", "expression.faceapi",
               "expression.minixception", "explicit.opennsfw", "age.ageandgender", "vad.silero", "pitch.swiftf0",
               "voice.whisper", "voice.cues", "voice.state", "voice.arousal"}  # fmt: skip
    assert not closed & default
    assert {"expression.facex", "object.yolo", "voice.egemaps", "events.panns", "age.mivolo"} <= closed
    assert all(p.allows("view") and p.allows("train") for p in found.values())


def test_reasons_are_in_one_order_and_tell_who():
    many = [Ingredient("recording", f"{i}.mp4", t) for i, t in enumerate(("research only", None, "CC-BY-ND-4.0"))]
    orders = [permitted(o).why_not("publish") for o in itertools.permutations(many)]
    assert len(set(orders)) == 1
    assert [r.code for r in orders[0]] == ["licence.no-derivatives", "licence.no-publishing", "licence.unknown"]
    assert [r.what for r in orders[0]] == ["2.mp4", "0.mp4", "1.mp4"]


def test_a_mix_that_cannot_be_published_is_parted():
    texts = {"a": "CC-BY-SA-4.0", "b": "MIT", "c": "GPL-3.0-only", "d": "CC-BY-NC-4.0", "e": None, "f": "CC-BY-SA-3.0"}
    records = {k: one(t) for k, t in texts.items()}
    mixed = together(records[k] for k in "abcd")
    assert [r.code for r in mixed.why_not("publish")] == ["licence.mixed"]
    groups, refused = groups_of(records)
    assert refused == ("e",)
    assert [(g.kind, g.members) for g in groups] == [
        ("", ("b", "d")), ("share-alike:CC-BY-SA", ("a", "f")), ("share-alike:GPL-3.0", ("c",)),
    ]  # fmt: skip
    assert groups_of({k: records[k] for k in "ab"})[0][0].members == ("a", "b")


# ---------------------------------------------------------------- laws

atoms = st.sampled_from(SOME)
expressions = st.recursive(
    st.sampled_from([s for s in SOME if " " not in s] + ["LicenseRef-odd"]),
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
roles = st.sampled_from(["recording", "code", "weights", "training-data"])
ingredients = st.builds(Ingredient, roles, st.sampled_from("abc"), st.one_of(st.none(), atoms, expressions))
policies = st.builds(
    PolicyTerms,
    unknown_licence=st.sampled_from(["warn", "refuse"]),
    training_data_terms=st.sampled_from(["warn", "bind", "ignore"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ingredients, max_size=4), ingredients, policies, st.randoms())
def test_adding_an_ingredient_never_adds_a_use_and_order_and_repetition_change_nothing(held, more, policy, random):
    whole = permitted([*held, more], policy)
    assert whole.uses <= permitted(held, policy).uses
    shuffled = [*held, more, *held]
    random.shuffle(shuffled)
    assert permitted(shuffled, policy) == whole
    assert whole == permitted(held, policy) & permitted([more], policy)
    assert "view" in whole.uses


@settings(max_examples=80, deadline=None)
@given(ingredients, ingredients, ingredients, policies)
def test_meet_laws(a, b, c, policy):
    x, y, z = (permitted([i], policy) for i in (a, b, c))
    assert (x & y) & z == x & (y & z)
    assert x & y == y & x
    assert x & x == x
    assert x & FREE == x


@settings(max_examples=80, deadline=None)
@given(st.lists(ingredients, max_size=3), expressions, policies)
def test_what_is_unknown_never_widens(held, text, policy):
    known = permitted([*held, Ingredient("recording", "x", text)], policy).uses
    for word in ("AND", "OR"):
        blurred = permitted([*held, Ingredient("recording", "x", f"({text} {word} LicenseRef-odd)")], policy).uses
        assert blurred <= known or (word == "OR" and "LicenseRef-odd" in text)
    refused = PolicyTerms(unknown_licence="refuse", training_data_terms=policy.training_data_terms)  # type: ignore
    assert permitted(held, refused).uses <= permitted(held, policy).uses


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="MITCBYNDSA-40.ORAND( )w", max_size=40))
def test_no_text_is_ever_more_than_its_licences(text):
    found = one(text)
    assert "view" in found.uses
    if found.allows("publish"):  # then every word of it was understood
        assert named(text) is not None or any(name.lower() in text.lower() for name in TERMS if name != UNKNOWN)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.one_of(st.none(), expressions), max_size=6), st.sampled_from(USES)
)
def test_groups_hold_everything_once_and_each_may_be_used(texts, use):
    records = {k: one(t) for k, t in texts.items()}
    groups, refused = groups_of(records, use)
    assert sorted([m for g in groups for m in g.members] + list(refused)) == sorted(records)
    assert all(g.permission.allows(use) and together(records[m] for m in g.members).allows(use) for g in groups)
    assert all(not records[k].allows(use) for k in refused)
    assert groups_of(dict(reversed(list(records.items()))), use) == (groups, refused)
