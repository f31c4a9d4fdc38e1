import hashlib

import numpy as np
import pytest

from mien.core import Embeddings, MienError, Sound, WeightFiles
from mien.models import tensors
from mien.models.sound.affect import FILE, PATH, STATES, WEIGHTS, Head, VoiceArousal, VoiceState
from mien.models.sound.whisper import WhisperVoice, log_mel, mel_filters, windows

RATE = 16_000


def voice(seconds=1.0, f0=200, seed=0):
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 8))
    return (0.1 * tone + 0.01 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def test_the_shipped_head_is_the_pinned_one_and_states_its_prior():
    (asset,) = WEIGHTS.assets
    data = PATH.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (asset.sha256, asset.bytes)
    head = VoiceState(Head.read(PATH))
    assert dict(head.prior) == pytest.approx(dict.fromkeys(STATES, 1 / 3))
    assert 0.2 < float(head.head.arousal_sd[0]) < 1


def test_probabilities_are_the_softmax_of_the_heads_and_nan_stays_nan():
    vectors = np.random.default_rng(0).standard_normal((4, 768)).astype(np.float32)
    vectors[2] = np.nan
    head = Head.seeded()
    probs = VoiceState(head).run(Embeddings(vectors)).probs
    logits = vectors[0].astype(float) @ head.state_weight + head.state_bias
    np.testing.assert_allclose(probs[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-4)
    np.testing.assert_allclose(probs[[0, 1, 3]].sum(axis=1), 1, rtol=1e-5)
    assert np.isnan(probs[2]).all()
    scalars = VoiceArousal(head).run(Embeddings(vectors))
    assert np.isnan([scalars.value[2], scalars.sd[2]]).all()
    assert np.isfinite(scalars.sd[[0, 1, 3]]).all()


def test_heads_write_and_read_themselves(tmp_path):
    Head.seeded().write(tmp_path / FILE, {"why": "test"})
    again = VoiceState.open(WeightFiles({FILE: tmp_path / FILE}), VoiceState.Config(), None).head  # pyright: ignore
    for name in Head.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(Head.seeded(), name))
    assert tensors.read(tmp_path / FILE)[1] == {"why": "test"}


@pytest.mark.parametrize("damage", [b"", b"\x00" * 4, b"\xff" * 64, PATH.read_bytes()[:-400]])
def test_damaged_files_are_refused_with_a_code(tmp_path, damage):
    (tmp_path / FILE).write_bytes(damage)
    with pytest.raises(MienError) as error:
        Head.read(tmp_path / FILE)
    assert error.value.code == "weights.unreadable"


def test_a_file_of_other_tensors_is_no_head(tmp_path):
    tensors.write(tmp_path / FILE, {"a": np.zeros(3, np.float32)}, {})
    with pytest.raises(MienError, match="not a voice head"):
        Head.read(tmp_path / FILE)


def test_wrong_width_is_refused():
    with pytest.raises(ValueError, match="768"):
        VoiceState(Head.seeded()).run(Embeddings(np.zeros((1, 5), np.float32)))


def test_mel_picture_peaks_where_the_tone_is_and_ignores_gain():
    t = np.arange(RATE) / RATE
    picture = log_mel(np.sin(2 * np.pi * 1000 * t).astype(np.float32))
    assert picture is not None
    assert picture.shape == (80, 100)
    centre = np.argmax(mel_filters() @ (np.abs(np.fft.rfftfreq(400, 1 / RATE) - 1000) < 1))
    assert picture.mean(axis=1).argmax() == centre
    quiet = log_mel(voice() * np.float32(0.1))
    np.testing.assert_allclose(quiet, log_mel(voice()), atol=1e-3)


@pytest.mark.parametrize(("frames", "parts"), [(1, 1), (192, 1), (256, 1), (257, 2), (500, 2), (1000, 4)])
def test_long_sounds_are_cut_into_equal_windows(frames, parts):
    cut = windows(np.zeros((80, frames), np.float32))
    assert len(cut) == parts
    assert sum(part.shape[1] for part in cut) == frames
    assert max(part.shape[1] for part in cut) - min(part.shape[1] for part in cut) <= 1


def test_unmeasurable_sounds_have_nan_rows_among_others():
    vectors = WhisperVoice.tiny().run(
        [Sound(voice(), 0), Sound(np.zeros(RATE, np.float32), 0), Sound(voice()[:300], 0), Sound(voice(0.1), 0)]
    )
    assert np.isnan(vectors.vectors).all(axis=1).tolist() == [False, True, True, False]
    assert WhisperVoice.tiny().run([]).vectors.shape == (0, 768)
