import time

import numpy as np
import pytest

from mien.core import Sound, Span
from mien.signals import envelope as env
from mien.signals.acoustics import describe
from mien.signals.envelope import envelope, roughness, shape
from mien.signals.timbre import BANDS, NAMES, mel_bands, timbre

RATE = 16_000
T = np.arange(2 * RATE) / RATE


def sound(samples, t0_us=0):
    return Sound(np.asarray(samples, np.float32), t0_us)


def rows(samples):
    return timbre(sound(samples)).values


def middle(samples, name):
    return float(np.nanmedian(rows(samples)[10:-10, NAMES.index(name)]))


def rough(samples):
    return float(np.nanmedian(roughness(sound(samples)).values))


def tone(hz, rate_hz=0.0, depth=0.0):
    return 0.1 * (1 + depth * np.cos(2 * np.pi * rate_hz * T)) * np.sin(2 * np.pi * hz * T)


def harmonic(f0):
    return 0.1 * sum(np.sin(2 * np.pi * f0 * k * T) / k for k in range(1, int(7900 / f0)))


def coloured(power, seed=0):
    """Noise whose power density falls with frequency to this power."""
    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(len(T)))
    hz = np.maximum(np.fft.rfftfreq(len(T), 1 / RATE), 20)
    x = np.fft.irfft(white / hz ** (power / 2))
    return 0.1 * x / x.std()


# ---------------------------------------------------------------- spectrum


# librosa 0.11: feature.mfcc(S=log(mel(htk=True, norm=None, n_mels=26) @ power), dct_type=2, norm="ortho") and
# feature.spectral_bandwidth(S=power) of the sound below, window 400 of 512, on the frames around rows 5, 12 and 20
LIBROSA_MFCC = np.array([
    [-9.8753, 2.8547, 6.2762, 6.8973, 0.7413, -5.4563, -8.9644, 1.5066, -9.9043, -6.9194, 1.1273, -0.7559, -1.2987],
    [-10.6808, 0.9516, 2.4683, 2.4770, -4.1417, -10.529, -11.978, 1.6630, -6.0490, -1.0716, 6.9025, 3.5729, 1.1317],
    [-11.1086, 0.0538, -0.5455, -1.9140, -6.3656, -9.7362, -7.4191, 9.4959, 0.8629, 2.8577, 7.0161, 0.4199, -3.3112],
])  # fmt: skip
LIBROSA_SPREAD = np.array([814.1451, 754.4809, 724.5312])


def test_coefficients_and_spread_are_those_of_librosa():
    t = np.arange(4000) / RATE
    hiss = np.random.default_rng(7).normal(0, 0.003, 4000)
    x = 0.3 * np.sin(2 * np.pi * (200 * t + 900 * t**2)) + 0.1 * np.sin(2 * np.pi * 2300 * t)
    x += 0.05 * np.cos(2 * np.pi * 37 * t) * np.cos(2 * np.pi * 5100 * t) + hiss
    got = rows(x)[[5, 12, 20]]
    np.testing.assert_allclose(got[:, 2:], LIBROSA_MFCC, atol=2e-3)
    np.testing.assert_allclose(got[:, 0], LIBROSA_SPREAD, rtol=1e-4)


def test_bands_are_equal_triangles_on_the_mel_scale():
    bands = mel_bands()
    peaks = np.linspace(0, RATE / 2, bands.shape[1])[bands.argmax(axis=1)]
    mel = 2595 * np.log10(1 + peaks / 700)
    np.testing.assert_allclose(np.diff(mel)[5:], np.diff(mel)[5:].mean(), rtol=0.25)  # bins are 31 Hz wide
    assert bands.shape[0] == BANDS
    assert bands.max() <= 1


@pytest.mark.parametrize(("power", "slope"), [(0, 0.0), (1, -3.01), (2, -6.02)])
def test_slope_is_the_planted_colour_of_noise(power, slope):
    assert middle(coloured(power), "slope_db_per_octave") == pytest.approx(slope, abs=0.5)


def test_slope_of_harmonics_that_fall_with_their_number():
    assert middle(harmonic(100), "slope_db_per_octave") == pytest.approx(-6.02, abs=0.3)


def test_spread_of_a_tone_is_narrow_and_of_white_noise_that_of_a_uniform_spectrum():
    assert middle(tone(1000), "spread_hz") < 40
    assert middle(coloured(0), "spread_hz") == pytest.approx(8000 / np.sqrt(12), rel=0.03)


def test_gain_moves_the_first_coefficient_alone():
    voice = harmonic(180) + 0.01 * coloured(0)
    loud, soft = rows(voice), rows(0.1 * voice)
    np.testing.assert_allclose(loud[:, 2] - soft[:, 2], np.sqrt(BANDS) * 2 * np.log(10), rtol=1e-3)
    np.testing.assert_allclose(np.delete(loud, 2, axis=1), np.delete(soft, 2, axis=1), rtol=1e-3, atol=5e-3)


def vowel(*formants_hz):
    """A pulse train of 200 Hz through resonances 100 Hz wide."""
    from scipy.signal import lfilter

    x = (np.arange(len(T)) % 80 == 0).astype(np.float64)
    for hz in formants_hz:
        r = np.exp(-np.pi * 100 / RATE)
        x = lfilter([1], [1, -2 * r * np.cos(2 * np.pi * hz / RATE), r * r], x)
    return 0.1 * x / x.std()


def test_white_noise_has_a_flat_cepstrum_and_vowels_have_their_own():
    def steady(x):
        return np.abs(np.nanmedian(rows(x)[:, 4:], axis=0)).max()  # mfcc_1 holds the growing width of the bands

    assert steady(coloured(0)) < 1.2
    assert steady(vowel(700, 1200)) > 3
    a, i = (np.nanmedian(rows(x)[:, 3:9], axis=0) for x in (vowel(700, 1200), vowel(300, 2300)))
    assert np.linalg.norm(a - i) > 5


def test_silence_and_short_sounds():
    assert np.isnan(rows(np.zeros(RATE))).all()
    for n in (0, 1, 160, 161):
        curve = timbre(sound(np.full(n, 0.1), 7))
        assert curve.values.shape == (-(-n // 160), len(NAMES))
        assert (curve.t0_us, curve.hop_us) == (7, 10_000)


# ---------------------------------------------------------------- envelope


@pytest.mark.parametrize(("rate_hz", "depth"), [(40, 0.9), (70, 0.5), (110, 0.2), (140, 0.3)])
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_roughness_is_the_planted_depth_of_modulation(hz, rate_hz, depth):
    assert rough(tone(hz, rate_hz, depth)) == pytest.approx(depth, rel=0.02)
    assert rough(0.01 * tone(hz, rate_hz, depth)) == pytest.approx(depth, rel=0.02), "whatever the level"


@pytest.mark.parametrize(("rate_hz", "depth"), [(0, 0), (5, 0.8), (250, 0.9), (400, 0.9)])
def test_steady_slow_and_fast_modulation_are_not_rough(rate_hz, depth):
    assert rough(tone(1000, rate_hz, depth)) < 0.01


def test_beats_are_rough_and_a_voice_is_unless_it_is_deep():
    beats = np.sin(2 * np.pi * 1000 * T) + np.sin(2 * np.pi * 1070 * T)
    assert rough(beats) > 0.5
    assert rough(harmonic(250)) < 0.01
    assert rough(harmonic(100)) > 0.3, "the limit that the docstring names"
    assert rough(coloured(0)) == pytest.approx(0.13, abs=0.02)


def test_roughness_is_not_measured_at_the_ends_nor_in_silence():
    values = roughness(sound(tone(500, 70, 0.5))).values[:, 0]
    assert np.isnan(values[:7]).all()
    assert np.isnan(values[-7:]).all()
    assert np.isfinite(values[8:-8]).all()
    assert np.isnan(roughness(sound(np.zeros(RATE))).values).all()
    assert [len(roughness(sound(np.zeros(n)))) for n in (0, 1, 161)] == [0, 1, 2]


def test_blocks_leave_no_seam_in_the_envelope():
    x = np.tile(tone(437, 70, 0.5), 4)  # 8 s: eight blocks
    low = envelope(sound(x)).values[50:-50, 0]
    assert len(x) > 3 * env.BLOCK
    want = 0.1 * (1 + 0.5 * np.cos(2 * np.pi * 70 * (np.arange(len(low)) + 50) / 1000))
    np.testing.assert_allclose(low, want, atol=2e-3)


def planted(attack_s, hold_s, decay_s, rate_hz=0.0, depth=0.0):
    """Half a second of quiet, a ramp up, a held part, a ramp down, half a second of quiet; its span."""
    quiet = np.zeros(RATE // 2)
    gain = [np.linspace(0, 1, round(attack_s * RATE)), np.ones(round(hold_s * RATE)),
            np.linspace(1, 0, round(decay_s * RATE))]  # fmt: skip
    strength = np.concatenate([quiet, *gain, quiet])
    t = np.arange(len(strength)) / RATE
    x = strength * (1 + depth * np.cos(2 * np.pi * rate_hz * t)) / (1 + depth) * np.sin(2 * np.pi * 500 * t)
    return describe(sound(0.3 * x)), Span(400_000, round((len(x) / RATE - 0.4) * 1e6))


def test_attack_and_decay_are_those_planted():
    got = shape(*planted(0.1, 0.5, 0.4))
    assert got.attack_s == pytest.approx(0.08, abs=0.03), "from 10 to 90 % of a straight ramp"
    assert got.decay_s == pytest.approx(0.32, abs=0.04)
    assert shape(*planted(0.001, 0.5, 0.001)).attack_s < 0.04


def test_slow_modulation_has_its_rate_and_depth():
    curve, _ = planted(0.01, 4, 0.01, rate_hz=4, depth=0.6)
    got = shape(curve, Span(600_000, 4_400_000))
    assert got.modulation_hz == pytest.approx(4, abs=0.1)
    assert got.modulation_depth == pytest.approx(0.6, abs=0.08)
    steady, _ = planted(0.01, 4, 0.01)
    assert shape(steady, Span(600_000, 4_400_000)).modulation_depth < 0.01


def test_shape_says_what_it_cannot_measure():
    curve, _ = planted(0.1, 0.5, 0.1)
    inside = shape(curve, Span(700_000, 900_000))
    assert np.isnan([inside.attack_s, inside.decay_s, inside.modulation_hz]).all()
    assert np.isnan(shape(curve, Span(90_000_000, 91_000_000)).attack_s)


def test_all_descriptors_take_less_than_30_ms_a_second():
    x = sound(np.tile(coloured(1), 5))
    taken = []
    for _ in range(3):
        start = time.process_time()
        describe(x), timbre(x), roughness(x)
        taken.append((time.process_time() - start) / 10)
    assert min(taken) < 0.03
