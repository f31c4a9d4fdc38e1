import io

import numpy as np
import pytest

from mien.core import MienError
from mien.models import tensors
from mien.models.sound.affect import STATES, Head
from mien.models.sound.whisper import WhisperVoice
from mien.train import voice
from mien.train.measures import auc, balanced_weight, ccc, ece, log_loss, uar

CATEGORIES = sorted(voice.STATE_OF)


def planted(people=60, seed=0, signal=1.5, leak=0.0):
    """Bursts whose vectors hold their state (`signal`) and their person (`leak`: a label that only one person has)."""
    draw = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), len(CATEGORIES))
    category = np.tile(CATEGORIES, people)
    state = np.array([STATES.index(voice.STATE_OF[c]) for c in category])
    vectors = draw.standard_normal((len(person), 16))
    vectors[:, :3] += signal * np.eye(3)[state]
    vectors[:, 3] += voice.arousal_target(category) if signal else 0
    vectors[:, 3] = np.nan_to_num(vectors[:, 3])
    if leak:
        vectors[:, 4:] = draw.standard_normal((people, 12))[person] * leak
    return voice.Bursts(vectors.astype(np.float32), person.astype(np.int64), category)


def test_planted_states_and_arousal_are_learnt_for_people_never_met():
    everyone = planted()
    trained = voice.fit(everyone)
    some, truth = voice.labelled(everyone.take(voice.held_out(everyone.person)))
    assert len(np.unique(some.person)) >= 3
    assert uar(trained.head.states(some.vectors), truth) > 0.75
    target = voice.arousal_target(some.category)
    known = np.isfinite(target)
    assert np.corrcoef(trained.head.arousal(some.vectors)[known], target[known])[0, 1] > 0.5
    residual = trained.head.arousal(some.vectors)[known] - target[known]
    assert float(trained.head.arousal_sd[0]) == pytest.approx(np.sqrt(np.mean(residual**2)), rel=0.2)


def test_without_signal_nothing_is_learnt_even_where_people_could_be_recognised():
    everyone = planted(signal=0.0, leak=5.0)
    some, truth = voice.labelled(everyone)
    probs = voice.softmax(voice.cross_logits(some.vectors.astype(float), truth, some.person, 1e-3))
    assert uar(probs, truth) == pytest.approx(1 / 3, abs=0.06)


def test_held_out_people_do_not_touch_the_fit():
    everyone = planted()
    apart = voice.held_out(everyone.person)
    spoilt = voice.Bursts(np.where(apart[:, None], 1e3, everyone.vectors), everyone.person, everyone.category)
    for name in Head.__slots__:
        np.testing.assert_array_equal(getattr(voice.fit(spoilt).head, name), getattr(voice.fit(everyone).head, name))


def test_a_person_is_in_one_fold_and_kept_the_same_for_ever():
    person = np.repeat(np.arange(40), 7)
    for train_rows, test_rows in voice.folds(person):
        assert not set(person[train_rows]) & set(person[test_rows])
    apart = voice.held_out(np.arange(10_000))
    assert apart.mean() == pytest.approx(voice.HELD_OUT, abs=0.01)
    assert voice.held_out(np.array([3, 3, 5])).tolist() == [bool(apart[3]), bool(apart[3]), bool(apart[5])]


def test_temperature_undoes_a_planted_overconfidence():
    draw = np.random.default_rng(0)
    logits = draw.normal(0, 1.5, (20_000, 3))
    truth = np.array([draw.choice(3, p=p) for p in voice.softmax(logits)])
    assert voice.fit_temperature(3 * logits, truth) == pytest.approx(3, rel=0.07)
    even = np.ones(len(truth))
    assert ece(voice.softmax(3 * logits), truth, even) > 0.1
    assert ece(voice.softmax(logits), truth, even) < 0.02


def test_measures_have_their_textbook_values():
    score, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert auc(score, positive) == 0.75
    assert np.isnan(auc(score, np.ones(4, bool)))
    assert log_loss(np.full((4, 3), 1 / 3), np.zeros(4, np.int64), np.ones(4)) == pytest.approx(np.log(3))
    assert balanced_weight(np.array([0, 0, 0, 1]), 2).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    assert ccc(np.arange(5.0), np.arange(5.0) + 1) == pytest.approx(2 * 2 / (2 + 2 + 1))


def test_training_reads_a_folder_and_writes_the_same_file_twice(tmp_path):
    pa = pytest.importorskip("pyarrow")
    soundfile = pytest.importorskip("soundfile")
    import pyarrow.parquet as pq

    draw, rows = np.random.default_rng(0), []
    for person in range(24):
        for category in (*CATEGORIES, "Awe"):
            data = io.BytesIO()
            soundfile.write(data, 0.1 * draw.standard_normal(3200), 16_000, format="WAV")
            rows.append({"contributor": person, "category_name": category, "audio": data.getvalue()})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    seen: list[tuple[int, int]] = []
    heads = []
    for name in ("one", "two"):
        trained = voice.train(
            tmp_path,
            tmp_path / name,
            WhisperVoice.tiny(),
            cache=tmp_path / "cache.npz",
            progress=lambda done, total: seen.append((done, total)),
        )
        heads.append((tmp_path / name).read_bytes())
    assert heads[0] == heads[1]
    assert seen[-1] == (len(rows), len(rows))
    assert Head.read(tmp_path / "one").state_weight.shape == trained.head.state_weight.shape == (768, 3)
    assert tensors.read(tmp_path / "one")[1]["states"] == "distress,pleasure,calm"


def test_no_data_says_what_to_give(tmp_path):
    with pytest.raises(MienError, match="no Parquet files") as error:
        voice.embed(tmp_path, WhisperVoice.tiny())
    assert error.value.code == "train.no-data"
