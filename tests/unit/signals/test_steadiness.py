"""Held chords stand, glides and noise do not; nothing is said of silence."""

import numpy as np
import pytest

from mien.core import Sound
from mien.signals.steadiness import steadiness

RATE = 16_000
T = np.arange(3 * RATE) / RATE


def share(samples):
    return float(np.nanmean(steadiness(Sound((0.1 * samples).astype(np.float32), 0)).values))


def tones(hz):
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, T.shape)) / RATE
    return sum(np.sin(k * phase) / k for k in range(1, 8))


def test_a_held_chord_is_steady_in_noise_too():
    chord = sum(tones(f) for f in (220.0, 277.2, 329.6))
    assert share(chord) > 0.95
    assert share(chord + 0.05 * np.random.default_rng(0).standard_normal(len(T))) > 0.9


@pytest.mark.parametrize("octaves_per_s", [0.5, 1.0, 2.0])
def test_a_glide_is_not(octaves_per_s):
    assert share(tones(200 * 2 ** (octaves_per_s * T))) < 0.1


def test_a_voice_that_wavers_by_a_third_of_a_tone_lies_below_the_chord():
    wavering = tones(220 * 2 ** (70 / 1200 * np.sin(2 * np.pi * 1.5 * T)))
    assert share(wavering) < 0.6 * share(tones(220.0))


def test_silence_and_noise_have_no_partials():
    assert np.isnan(steadiness(Sound(np.zeros(RATE, np.float32), 0)).values).all()
    noise = steadiness(Sound((0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32), 0)).values
    assert np.isnan(noise).mean() > 0.9


def test_blocks_do_not_show_and_time_is_kept():
    x = (0.1 * np.resize(tones(330.0), 20 * RATE)).astype(np.float32)
    whole = steadiness(Sound(x, 2_000_000))
    assert (whole.t0_us, whole.hop_us, len(whole)) == (2_000_000, 30_000, -(-len(x) // 480))
    late = steadiness(Sound(np.ascontiguousarray(x[480 * 100 :]), 0))
    np.testing.assert_allclose(whole.values[110:-10], late.values[10:-10], atol=1e-5)
    assert len(steadiness(Sound(np.zeros(0, np.float32), 0))) == 0
