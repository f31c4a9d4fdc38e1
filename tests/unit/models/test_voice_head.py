import hashlib

import numpy as np
import pytest

from mien.core import Embeddings, MienError, Sound, WeightFiles
from mien.models import tensors
from mien.models.sound import affect, cues
from mien.models.sound.affect import STATES, Arousal, VoiceArousal, VoiceState
from mien.models.sound.cues import CueHead, VoiceCues
from mien.models.sound.whisper import COLUMNS, WhisperVoice, heard, log_mel, mel_filters, windows
from mien.models.weights.reading.tensors import Tensor
from mien.models.weights.reading.tensors import write as write_tensors

RATE = 16_000


def voice(seconds=1.0, f0=200, seed=0):
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 8))
    return (0.1 * tone + 0.01 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


def vectors(n=4):
    return np.random.default_rng(0).standard_normal((n, COLUMNS)).astype(np.float32)


def test_the_shipped_heads_are_the_pinned_ones_small_and_state_their_prior():
    (shared,) = cues.WEIGHTS.assets
    for asset in (*cues.WEIGHTS.assets, *affect.WEIGHTS.assets):
        data = cues.PATH.with_name(asset.file).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (asset.sha256, asset.bytes)
        assert len(data) < 1_500_000
    assert shared in affect.WEIGHTS.assets, "one head answers categories and states"
    state = VoiceState(CueHead.read(cues.PATH))
    assert dict(state.prior) == pytest.approx(dict.fromkeys(STATES, 1 / 3))
    assert 0.2 < float(Arousal.read(affect.PATH).sd[0]) < 1


def test_the_shipped_head_has_prompted_categories_and_claims_no_sound_types():
    head = CueHead.read(cues.PATH)
    assert len(head.labels) == 30
    assert not {"moan", "groan", "cry", "laugh", "scream"} & {label.lower() for label in head.labels}
    assert {"label", "twelve", "polarity", "state"} == set(head.taxonomies)
    assert "prompt" in tensors.read(cues.PATH)[1]["about"]
    adapter = VoiceCues(head, VoiceCues.Config())
    assert len(adapter.run(Embeddings(vectors())).labels) == 12
    assert len(VoiceCues(head, VoiceCues.Config(taxonomy="label")).run(Embeddings(vectors())).labels) == 30
    with pytest.raises(MienError, match="no taxonomy"):
        VoiceCues(head, VoiceCues.Config(taxonomy="moans"))


def test_probabilities_are_the_softmax_of_the_heads_and_nan_stays_nan():
    x = vectors()
    x[2] = np.nan
    state = VoiceState.tiny()
    probs = state.run(Embeddings(x)).probs
    member = state.head.members[0]
    logits = x[0].astype(float) @ member["weight_2"] + member["bias_2"]
    np.testing.assert_allclose(probs[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-4)
    np.testing.assert_allclose(probs[[0, 1, 3]].sum(axis=1), 1, rtol=1e-5)
    assert np.isnan(probs[2]).all()
    assert state.head.withheld("state", probs).tolist() == [False, False, True, False]
    scalars = VoiceArousal.tiny().run(Embeddings(x))
    assert np.isnan([scalars.value[2], scalars.sd[2]]).all()
    assert np.isfinite(scalars.sd[[0, 1, 3]]).all()


def test_arousal_writes_and_reads_itself(tmp_path):
    head = VoiceArousal.tiny().head
    head.write(tmp_path / affect.FILE, {"why": "test"})
    again = Arousal.read(tmp_path / affect.FILE)
    for name in Arousal.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 4, b"\xff" * 64, cues.PATH.read_bytes()[:-400]])
def test_damaged_files_are_refused_with_a_code(tmp_path, damage):
    for file, read in ((cues.FILE, CueHead.read), (affect.FILE, Arousal.read)):
        (tmp_path / file).write_bytes(damage)
        with pytest.raises(MienError) as error:
            read(tmp_path / file)
        assert error.value.code == "weights.unreadable"


def test_a_file_of_other_tensors_is_no_head(tmp_path):
    tensors.write(tmp_path / "x", {"a": np.zeros(3, np.float32)}, {})
    with pytest.raises(MienError, match="not a head of vocal cues"):
        CueHead.read(tmp_path / "x")
    with pytest.raises(MienError, match="not a head of arousal"):
        Arousal.read(tmp_path / "x")


def test_a_head_for_another_embedding_or_of_other_labels_is_refused_where_it_cannot_be_used(tmp_path):
    cues.seeded(("a", "b"), 5).write(tmp_path / cues.FILE, {})
    with pytest.raises(MienError) as error:
        VoiceCues.open(WeightFiles({cues.FILE: tmp_path / cues.FILE}), VoiceCues.Config(), None)  # pyright: ignore
    assert error.value.code == "weights.wrong-embedding"
    cues.seeded(("a", "b"), COLUMNS).write(tmp_path / cues.FILE, {})
    own = VoiceCues.open(WeightFiles({cues.FILE: tmp_path / cues.FILE}), VoiceCues.Config(), None)  # pyright: ignore
    assert own.run(Embeddings(vectors())).labels == ("a", "b")
    with pytest.raises(MienError, match="does not know distress"):
        VoiceState.open(WeightFiles({cues.FILE: tmp_path / cues.FILE}), VoiceState.Config(), None)  # pyright: ignore


def test_tensors_of_another_type_are_no_head(tmp_path):
    held = {n: getattr(VoiceArousal.tiny().head, n).astype("<f2") for n in Arousal.__slots__}
    parts = [Tensor(n, "F16", v.shape, lambda v=v: iter([v.tobytes()])) for n, v in held.items()]
    with (tmp_path / affect.FILE).open("wb") as out:
        write_tensors(out, parts, {})
    with pytest.raises(MienError, match="not a head of arousal"):
        Arousal.read(tmp_path / affect.FILE)


def test_wrong_width_is_refused():
    with pytest.raises(ValueError, match=str(COLUMNS)):
        VoiceState.tiny().run(Embeddings(np.zeros((1, 5), np.float32)))


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
    assert WhisperVoice.tiny().run([]).vectors.shape == (0, COLUMNS)


def test_quiet_states_are_not_heard():
    quiet = np.concatenate([voice(0.5), 1e-4 * voice(0.5)])
    rows = heard(log_mel(quiet))
    assert len(rows) == 50
    assert rows[:24].all()
    assert not rows[27:].any()
