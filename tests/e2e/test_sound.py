"""The sound adapters with their real weights on generated sound, whose truth is known."""

from functools import cache

import numpy as np
import pytest

from mien.core import Device, MienError, Sound
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.signals.vocal import vocal_segments

RATE = 16_000


@cache
def real(name, threads=2):
    try:
        return open_adapter(name, None, Device(threads=threads))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def segments(sound):
    return vocal_segments(describe(sound), real("vad.silero").run(sound), real("pitch.swiftf0").run(sound))


@pytest.mark.parametrize("level", [0.3, 0.03, 0.003])
def test_noise_hum_and_silence_hold_no_voice(level):
    draw, t = np.random.default_rng(0), np.arange(10 * RATE) / RATE
    white = draw.standard_normal(len(t))
    brown = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(400) / 400, "same")
    hum = np.sin(2 * np.pi * 100 * t) + 0.3 * np.sin(2 * np.pi * 200 * t) + 0.03 * white
    for sound in (white, brown / brown.std(), hum, np.zeros(len(t))):
        assert segments(Sound((level * sound).astype(np.float32), 0)) == []


@pytest.mark.parametrize("f0", [80, 110, 150, 220, 300, 440, 620, 800])
def test_pitch_of_harmonic_tones_is_right_within_one_per_cent(f0):
    t = np.arange(RATE) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 11) if f0 * k < 7500)
    tone = 0.1 * tone + 0.003 * np.random.default_rng(0).standard_normal(RATE)
    values = real("pitch.swiftf0").run(Sound(tone.astype(np.float32), 0)).values
    assert np.isnan(values[:, 0]).mean() < 0.2
    assert np.nanmedian(values[:, 0]) == pytest.approx(f0, rel=0.01)


def test_pitch_is_nan_in_noise_and_silence():
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    for samples in (noise, np.zeros(RATE, np.float32)):
        assert np.isnan(real("pitch.swiftf0").run(Sound(samples, 0)).values[:, 0]).mean() > 0.95


def test_silence_has_no_answer():
    vectors = real("voice.whisper").run([Sound(np.zeros(RATE, np.float32), 0), Sound(np.zeros(100, np.float32), 0)])
    assert np.isnan(vectors.vectors).all()
    assert np.isnan(real("voice.state").run(vectors).probs).all()
    answer = real("voice.arousal").run(vectors)
    assert np.isnan(answer.value).all()
    assert np.isnan(answer.sd).all()
