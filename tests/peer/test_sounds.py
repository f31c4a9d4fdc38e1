"""Speech against wordless voices on real recordings: EmoDB, EmoGator (held-out people), nonverbal sounds of others."""

import io
from functools import cache

import numpy as np
import pytest

from mien.core import Curve, Device, MienError, Sound
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.signals.timbre import timbre
from mien.signals.vocal import vocal_segments
from mien.train.cues_data import PARQUET, held_out, rows
from mien.train.measures import auc

pytestmark = pytest.mark.peer
RATE = 16_000


@cache
def real(name):
    try:
        return open_adapter(name, None, Device(threads=2))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def read(path):
    import soundfile
    from scipy.signal import resample_poly

    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    return Sound(resample_poly(samples.mean(axis=1), RATE, rate).astype(np.float32), 0)


def longest(sound, colour=timbre):
    found = vocal_segments(
        describe(sound), real("vad.silero").run(sound), real("pitch.swiftf0").run(sound), timbre=colour(sound)
    )
    return max(found, key=lambda s: s.span.duration_us, default=None)


def segments(sounds, colour=timbre):
    return [s for s in (longest(sound, colour) for sound in sounds) if s is not None]


@pytest.fixture(scope="module")
def sentences(shared_data):
    return [read(path) for path in sorted((shared_data / "speech_emodb").rglob("*.wav"))[::2]]


@pytest.fixture(scope="module")
def bursts(shared_data):
    """Clips of people whose bursts have set no threshold, spread over the whole set."""
    import soundfile

    _, told = rows(shared_data / "vocal_bursts_emogator", PARQUET)
    kept = [row.sound for row in told if held_out(np.array([row.person]))[0]]
    return [Sound(soundfile.read(io.BytesIO(audio), dtype="float32")[0], 0) for audio in kept[::41]]


@pytest.fixture(scope="module")
def spoken_and_not(sentences, bursts):
    return segments(sentences), segments(bursts)


def test_speech_is_told_from_wordless_bursts(spoken_and_not):
    speech, wordless = spoken_and_not
    assert np.mean([s.kind == "speech" for s in speech]) > 0.9
    assert np.mean([s.kind == "speech" for s in wordless]) < 0.2
    talk = np.array([s.talk for s in [*speech, *wordless]])
    assert auc(talk, np.arange(len(talk)) < len(speech)) > 0.98


def test_the_detector_alone_does_not_tell_them(spoken_and_not):
    speech, wordless = spoken_and_not
    assert np.mean([s.speech >= 0.5 for s in wordless]) > 0.5, "else the articulation is not needed any more"
    share = np.array([s.speech for s in [*speech, *wordless]])
    talk = np.array([s.talk for s in [*speech, *wordless]])
    truth = np.arange(len(share)) < len(speech)
    assert auc(talk, truth) > auc(share, truth) + 0.1


def test_other_peoples_cries_and_laughs_are_no_speech(shared_data):
    sounds = [read(path) for path in sorted((shared_data / "vocal_nonverbal_deeply_NC").rglob("*.wav"))[::2]]
    assert np.mean([s.kind == "speech" for s in segments(sounds)]) < 0.1


def test_a_timbre_that_stands_still_makes_no_speech(sentences):
    def still(sound):
        curve = timbre(sound)
        return Curve(np.full_like(curve.values, 1.0), curve.names, curve.t0_us, curve.hop_us)

    assert {s.kind for s in segments(sentences[::4], still)} == {"voice"}
