"""Words with times: the spelling of tokens, and the real model on read speech, noise, silence and laughter."""

from functools import cache

import numpy as np
import pytest

from mien.core import Device, MienError, Sound, Words
from mien.models.sound.words import decoded, repeats, timed, windows
from mien.models.weights import open_adapter
from mien.signals.vocal import spoken

RATE = 16_000
BECKETT = ["ever", "tried", "ever", "failed", "no", "matter", "try", "again", "fail", "again", "fail", "better"]
SHIFT_S = 2.0


@cache
def real(name):
    try:
        return open_adapter(name, None, Device(threads=2))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def read(path):
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        frames += resampler.resample(None)
    return Sound(np.concatenate([f.to_ndarray()[0] for f in frames]).astype(np.float32), 0)


def plain(words: Words):
    return ["".join(c for c in text.lower() if c.isalpha()) for text in words.text]


def trimmed(sound, words):
    return spoken(words, real("vad.silero").run(sound))


@pytest.fixture(scope="module")
def speech(demo_speech):
    return read(demo_speech)


@pytest.fixture(scope="module")
def heard(speech):
    return real("words.whisper").run([speech])


# ---------------------------------------------------------------- parts


def test_tokens_spell_words_and_a_pause_is_nobodys():
    tokens = ["ĠFail", "Ġbet", "ter", ".", "ĠCaf", "Ã©"]
    path = [(0, 0), (0, 4), (1, 5), (2, 9), (3, 12), (3, 49), (4, 50), (5, 60), (6, 70)]
    got = timed(tokens, path, [1.0, 0.5, 0.7, 0.1, 0.9, 0.9])
    assert [(a // 20_000, b // 20_000, text) for a, b, _, text in got] == [
        (0, 5, "Fail"), (5, 12, "better."), (50, 70, "Café"),
    ]  # fmt: skip
    assert got[1][2] == pytest.approx(0.6), "the full stop has no part in it"


def test_words_at_the_same_position_follow_one_another():
    got = timed(["ĠNo", "Ġno", "Ġno"], [(0, 7), (1, 7), (2, 7), (3, 7)], [1, 1, 1])
    assert [(a // 20_000, b // 20_000) for a, b, *_ in got] == [(7, 8), (8, 9), (9, 10)]


def test_bytes_that_are_no_text_are_no_word():
    assert decoded("Ġa") == " a"
    assert timed(["Ġ...", "!"], [(0, 0), (1, 1), (2, 2)], [1, 1]) == []
    assert timed([], [], []) == []


def test_a_decoder_caught_in_a_loop_is_noticed():
    line = ["Ġwe", "Ġwere", "Ġall", "Ġhere"]
    assert repeats(["Ġoh", *line * 3])
    assert not repeats(line * 2)
    assert not repeats(["Ġha"] * 3), "three times ha is a laugh, not a loop"


def test_long_sounds_are_cut_where_they_are_quiet():
    x = np.full(60 * RATE, 0.1, np.float32)
    x[25 * RATE : 25 * RATE + 800] = 0
    got = windows(x)
    assert got[0][1] == pytest.approx(25 * RATE + 400, abs=400)
    assert [a for a, _ in got[1:]] == [b for _, b in got[:-1]]
    assert got[-1][1] == len(x)
    assert max(b - a for a, b in got) <= 28 * RATE
    assert windows(x[:0]) == []


# ---------------------------------------------------------------- the real model


def test_read_speech_has_its_words(heard):
    assert plain(heard) == BECKETT
    assert heard.score.min() > 0.5


def test_times_rise_and_lie_in_the_speech(speech, heard):
    got = trimmed(speech, heard)
    assert plain(got) == BECKETT
    edges = got.span_us.reshape(-1)
    assert (np.diff(edges) >= 0).all()
    assert (got.span_us[:, 1] > got.span_us[:, 0]).all()
    vad = real("vad.silero").run(speech)
    for start, end in got.span_us:
        assert vad.values[start // vad.hop_us : -(-end // vad.hop_us), 0].mean() > 0.6
    # read off the detector and the waveform: six phrases of two words
    starts = got.span_us[::2, 0] / 1e6
    np.testing.assert_allclose(starts, [0.35, 1.89, 3.52, 4.90, 6.66, 8.16], atol=0.1)


def test_planted_silence_moves_every_word(speech, heard):
    quiet = np.zeros(round(SHIFT_S * RATE), np.float32)
    moved_sound = Sound(np.concatenate([quiet, speech.samples]), 5_000_000)
    moved = trimmed(moved_sound, real("words.whisper").run([moved_sound]))
    assert plain(moved) == BECKETT
    before = trimmed(speech, heard).span_us / 1e6
    np.testing.assert_allclose(moved.span_us / 1e6 - before, 5 + SHIFT_S, atol=0.15)


def test_silence_and_noise_have_no_words():
    hiss = np.random.default_rng(0).normal(0, 0.01, 3 * RATE).astype(np.float32)
    hum = (0.1 * np.sin(2 * np.pi * 120 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    for samples in (np.zeros(3 * RATE, np.float32), hiss, hum, hiss[:100]):
        sound = Sound(samples, 0)
        assert len(trimmed(sound, real("words.whisper").run([sound]))) == 0


def test_laughter_has_no_words(demo_laugh):
    sound = read(demo_laugh)
    assert len(trimmed(sound, real("words.whisper").run([sound]))) == 0


def test_the_words_of_several_sounds_keep_apart(speech):
    half = 45 * RATE // 10  # in a pause
    parts = [Sound(speech.samples[:half], 0), Sound(np.zeros(RATE, np.float32), 0), Sound(speech.samples[half:], 9)]
    got = real("words.whisper").run(parts)
    assert plain(got.of_sound(0)) == BECKETT[:6]
    assert len(got.of_sound(1)) == 0
    assert plain(got.of_sound(2)) == BECKETT[6:]
    assert len(real("words.whisper").run([])) == 0
