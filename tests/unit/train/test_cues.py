"""`mien train cues` on planted truth: what is there is found for people never met, what is not there is not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mien.core import MienError, Sound
from mien.models.sound.cues import FINEST, CueHead, attended, grouped
from mien.models.sound.encoders import Hubert
from mien.models.sound.whisper import WhisperVoice
from mien.train import cues_data
from mien.train.cues import calibrated, threshold, train, truth_of
from mien.train.cues_card import card, figures
from mien.train.cues_data import Cues, folds, held_out
from mien.train.cues_heads import Recipe, fit
from mien.train.cues_run import Ask, run
from mien.train.measures import auc, balanced_weight, ccc, ece, log_loss, uar

LABELS = ("a", "b", "c", "d")
TWO = {"two": {"a": "x", "b": "x", "c": "y"}}
LOGISTIC = Recipe(kind="logistic")


def planted(people=40, signal=1.5, leak=0.0, seed=0):
    """Vectors that hold their label (`signal`) and their person (`leak`)."""
    draw = np.random.default_rng(seed)
    label = np.tile(np.repeat(LABELS, 3), people)
    number = np.repeat(np.arange(people), 12)
    x = draw.standard_normal((len(label), 12)).astype(np.float32)
    x[:, :4] += signal * np.eye(4, dtype=np.float32)[[LABELS.index(name) for name in label]]
    x[:, 4:] += leak * draw.standard_normal((people, 8)).astype(np.float32)[number]
    sex = np.where(number % 2, "f", "m")
    return Cues(list(x), label, number.astype(str), {"sex": sex})


def test_planted_labels_are_learnt_for_people_never_met_and_put_together():
    made = train(planted(), TWO, LOGISTIC, "test")
    found = {name: figures(made, name) for name in (FINEST, "two")}
    assert made.out_of_fold
    assert found[FINEST].uar > 0.6
    assert found["two"].uar > 0.7
    assert found["two"].names == ("x", "y")
    assert found["two"].clips == 40 * 9, "d belongs to neither"
    for f in found.values():
        assert f.wrong <= made.head.taxonomies[f.taxonomy].error + 1e-6
        assert f.worst <= f.tenth <= f.uar
        assert {value for _, value, *_ in f.groups} == {"f", "m"}


def test_shuffled_labels_leave_chance_even_where_people_could_be_recognised():
    held = planted(leak=5.0)
    mixed = replace(held, label=np.random.default_rng(1).permutation(held.label))
    made = train(mixed, {}, LOGISTIC, "test")
    assert figures(made, FINEST).uar == pytest.approx(0.25, abs=0.06)
    assert made.head.withheld(FINEST, made.head.answer(FINEST, held.vectors)).mean() > 0.9


def test_people_kept_apart_do_not_touch_the_fit(monkeypatch):
    monkeypatch.setattr(cues_data, "LEAST_APART", 20)
    held = planted()
    apart = held_out(held.person)
    spoilt = replace(held, x=[x + 1e3 if kept else x for x, kept in zip(held.x, apart, strict=True)])
    one, two = (train(cues, TWO, LOGISTIC, "test") for cues in (held, spoilt))
    assert not one.out_of_fold
    assert set(one.measured.person) == set(held.person[apart])
    assert not set(one.measured.person) & set(one.development.person)
    np.testing.assert_array_equal(one.head.members[0]["weight_2"], two.head.members[0]["weight_2"])
    assert one.head.taxonomies == two.head.taxonomies


def test_a_person_is_in_one_fold_and_kept_the_same_for_ever():
    person = np.repeat(np.arange(40).astype(str), 7)
    for rest, test in folds(person):
        assert not set(person[rest]) & set(person[test])
    apart = held_out(np.arange(10_000))
    assert apart.mean() == pytest.approx(cues_data.HELD_OUT, abs=0.01)
    assert (held_out(np.arange(50).astype(str)) == apart[:50]).all(), "a number and its text are one person"


@pytest.mark.parametrize("kind", ["mlp", "attentive"])
def test_networks_learn_and_their_arrays_say_what_torch_said(kind, tmp_path):
    pytest.importorskip("torch")
    held = planted(people=24)
    if kind == "attentive":  # the label shows in one row of eight: a plain mean would hardly see it
        draw = np.random.default_rng(0)
        rows = [draw.standard_normal((2, 6 + i % 4, 12)).astype(np.float32) for i in range(len(held))]
        for states, name in zip(rows, held.label, strict=True):
            states[:, draw.integers(states.shape[1]), LABELS.index(name)] += 8
        held = replace(held, x=rows)
    x, truth = (held.x if kind == "attentive" else held.vectors), truth_of(held, LABELS)
    recipe = Recipe(kind=kind, members=1, epochs=25, rate=1e-2, hidden=16, drop=0.1)
    rest, test = folds(held.person)[0]
    of = (lambda r: [x[i] for i in r]) if kind == "attentive" else (lambda r: x[r])
    head = fit(of(rest), truth[rest], LABELS, TWO, recipe, "test")
    assert uar(np.exp(head.log_probs(of(test))), truth[test]) > 0.55
    head = replace(head, taxonomies=calibrated(head.log_probs(x), truth, LABELS, TWO))
    head.write(tmp_path / "head.safetensors", {"about": "test"})
    again = CueHead.read(tmp_path / "head.safetensors")
    np.testing.assert_allclose(again.answer("two", of(test)), head.answer("two", of(test)), atol=1e-6)
    assert again.taxonomies == head.taxonomies


def test_attention_in_numpy_is_that_of_torch():
    torch = pytest.importorskip("torch")
    from mien.train.cues_heads import _Attention, _padded

    draw = np.random.default_rng(0)
    states = [draw.standard_normal((3, n, 5)).astype(np.float32) for n in (2, 7, 4)]
    pool = _Attention(3, 5, 2, torch.Generator().manual_seed(0))
    pool.weights[0].data = torch.tensor([0.3, -1.0, 2.0])
    mix, query = (w.detach().numpy() for w in pool.weights)
    there = pool(*_padded(states)).detach().numpy()
    np.testing.assert_allclose(np.stack([attended(s, mix, query) for s in states]), there, rtol=1e-4, atol=1e-5)


def test_temperature_undoes_a_planted_overconfidence_and_the_stated_share_of_errors_holds():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1.2, (20_000, 3))
    probs = grouped(logits, "abc", {x: x for x in "abc"})
    truth = (probs.cumsum(axis=1) < draw.random((20_000, 1))).sum(axis=1)
    first, second = slice(0, 10_000), slice(10_000, None)
    how = calibrated(3 * logits[first], truth[first], tuple("abc"), {})[FINEST]
    assert how.temperature == pytest.approx(3, rel=0.07)
    even = np.ones(10_000)
    assert ece(grouped(3 * logits[second], "abc", how.groups), truth[second], even) > 0.1
    said = grouped(3 * logits[second], "abc", how.groups, how.temperature)
    assert ece(said, truth[second], even) < 0.03
    given = said.max(axis=1) >= how.threshold
    assert 0.2 < given.mean() < 0.999
    assert np.mean(said[given].argmax(axis=1) != truth[second][given]) == pytest.approx(how.error, abs=0.03)


def test_without_any_knowledge_every_answer_is_withheld():
    probs = np.full((300, 3), 1 / 3)
    assert threshold(probs, np.arange(300) % 3, np.ones(300), 1 / 3) > 1


def test_a_group_of_many_labels_does_not_weigh_more():
    logs = np.log(np.full((1, 4), 0.25))
    np.testing.assert_allclose(grouped(logs, LABELS, TWO["two"]), [[0.5, 0.5]])


def test_measures_have_their_textbook_values():
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auc(score, positive) == 0.75
    assert np.isnan(auc(score, np.ones(4, bool)))
    assert log_loss(np.full((4, 3), 1 / 3), np.zeros(4, np.int64), np.ones(4)) == pytest.approx(np.log(3))
    assert balanced_weight(np.array([0, 0, 0, 1]), 2).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert ccc(np.arange(5.0), np.arange(5.0) + 1) == pytest.approx(2 * 2 / (2 + 2 + 1))


# ---------------------------------------------------------------- files


def sound(kind, person, take):
    draw, t = np.random.default_rng(100 * person + take), np.arange(4800) / 16_000
    tone = np.sin(2 * np.pi * (150 + 12 * person) * t)
    return {"hum": 0.2 * tone, "hiss": 0.1 * draw.standard_normal(len(t)), "beat": 0.2 * tone * (t % 0.1 < 0.05)}[kind]


@pytest.fixture
def folder(tmp_path):
    """A folder of generated sounds and its CSV: three labels, ten people, two takes."""
    soundfile = pytest.importorskip("soundfile")
    lines = ["file,label,person,sex"]
    for person in range(10):
        for kind in ("hum", "hiss", "beat"):
            for take in range(2):
                name = f"{kind}-{person}-{take}.wav"
                soundfile.write(tmp_path / name, sound(kind, person, take), 16_000)
                lines.append(f"{name},{kind},p{person},{'f' if person % 2 else 'm'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "coarse.json").write_text(json.dumps({"voiced": {"hum": "yes", "beat": "yes", "hiss": "no"}}))
    return tmp_path


@pytest.mark.parametrize("model", [WhisperVoice, Hubert])
def test_a_folder_and_a_csv_become_a_head_and_its_card(folder, model):
    made, heads = [], []
    for name in ("one", "two"):
        ask = Ask(
            folder, folder / name / "own.safetensors", folder / "labels.csv", groups=("sex",),
            taxonomies=folder / "coarse.json", recipe=LOGISTIC,
        )  # fmt: skip
        made.append(run(ask, model.tiny())[0])
        heads.append((folder / name / "own.safetensors").read_bytes())
    assert heads[0] == heads[1], "the same data gives the same head"
    found = {f.taxonomy: f for f in made[0].figures}
    assert found["label"].names == ("beat", "hiss", "hum")
    assert found["voiced"].uar > 0.9
    assert made[0].arousal == "", "nobody says what arousal these labels have"
    text = (folder / "one" / "own.md").read_text(encoding="utf-8")
    assert "out of fold over 10 people" in text
    assert "| sex f | 30 | 5 |" in text
    assert model.spec.name in CueHead.read(folder / "one" / "own.safetensors").embedding


def test_rows_do_not_depend_on_the_order_of_the_clips(folder):
    from mien.train.cues_run import Embedding

    lines = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()
    (folder / "back.csv").write_text("\n".join([lines[0], *lines[:0:-1]]), encoding="utf-8")
    embedder = Embedding(WhisperVoice.tiny(), attentive=False)
    one, two = (
        cues_data.embed(folder, cues_data.CSV, embedder, table=folder / name) for name in ("labels.csv", "back.csv")
    )
    np.testing.assert_array_equal(one.vectors, two.vectors[::-1])
    np.testing.assert_array_equal(one.label, two.label[::-1])


def test_a_cache_gives_the_same_rows(tmp_path):
    draw = np.random.default_rng(0)
    for x in ([draw.standard_normal(4) for _ in range(3)], [draw.standard_normal((2, n, 4)) for n in (1, 3, 2)]):
        held = Cues([v.astype(np.float16).astype(np.float32) for v in x], np.array(list("abc")), np.array(list("xyz")))
        held.save(tmp_path / "cache.npz")
        again = Cues.load(tmp_path / "cache.npz")
        assert again.label.tolist() == ["a", "b", "c"]
        for one, two in zip(held.x, again.x, strict=True):
            np.testing.assert_array_equal(one, two)


def test_mistakes_are_named(folder):
    def code(**given):
        with pytest.raises(MienError) as error:
            run(Ask(folder, folder / "x.safetensors", recipe=LOGISTIC, **given), WhisperVoice.tiny())
        return error.value.code

    table = folder / "labels.csv"
    assert code() == "train.no-data"
    assert code(labels=table, person="speaker") == "train.no-column"
    (folder / "few.csv").write_text("file,label,person\nhum-0-0.wav,hum,p0\nhiss-1-0.wav,hiss,p1\n")
    assert code(labels=folder / "few.csv") == "train.too-few-people"
    (folder / "gone.csv").write_text("file,label,person\nnone.wav,hum,p0\n")
    assert code(labels=folder / "gone.csv") == "train.no-file"
    (folder / "wrong.json").write_text('{"voiced": {"song": "yes"}}')
    assert code(labels=table, taxonomies=folder / "wrong.json") == "train.unknown-label"
    (folder / "wrong.json").write_text("[1]")
    assert code(labels=table, taxonomies=folder / "wrong.json") == "train.bad-taxonomy"
    with pytest.raises(MienError, match="no embedding"):
        run(Ask(folder, folder / "x", table), type("Other", (), {"spec": replace(WhisperVoice.spec, slot="pitch")})())


def test_a_silent_clip_is_left_out(folder):
    import soundfile

    soundfile.write(folder / "hum-0-0.wav", np.zeros(4800), 16_000)
    from mien.train.cues_run import Embedding

    held = cues_data.embed(folder, cues_data.CSV, Embedding(WhisperVoice.tiny(), False), table=folder / "labels.csv")
    assert len(held) == 59
    assert card(train(held, {}, LOGISTIC, "e"), "T", "about", "cmd").startswith("# T")
    assert len(WhisperVoice.tiny().states(Sound(np.zeros(4800, np.float32), 0))) == 0


def test_the_options_that_the_page_shows_exist():
    import re
    from pathlib import Path

    import typer

    from mien.cli.cues import cues

    page = (
        (Path(__file__).parents[3] / "docs" / "sound.md").read_text(encoding="utf-8").partition("### Train your own")[2]
    )
    app = typer.Typer()
    app.command()(cues)
    known = {name for option in typer.main.get_command(app).params for name in option.opts}
    shown = set(re.findall(r"(?<![-\w])--[a-z]+", page))
    assert len(shown) >= 8
    assert shown <= known
