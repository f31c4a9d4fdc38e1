import numpy as np
import pytest

from mien.core import Sound
from mien.signals.acoustics import NAMES, describe

RATE = 16_000
T = np.arange(RATE) / RATE


def column(samples, name):
    return describe(Sound(np.asarray(samples, np.float32), 0)).values[:, NAMES.index(name)]


def middle(samples, name):
    return float(np.median(column(samples, name)[10:-10]))


def noise(level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal(RATE)


def harmonic(f0, level=0.1):
    return level * sum(np.sin(2 * np.pi * f0 * k * T) / k for k in range(1, 9) if f0 * k < 7000)


def test_full_scale_sine_has_minus_three_dbfs_and_its_own_frequency():
    sine = np.sin(2 * np.pi * 1000 * T)
    assert middle(sine, "energy_dbfs") == pytest.approx(-3.01, abs=0.05)
    assert middle(sine, "centroid_hz") == pytest.approx(1000, abs=5)
    assert middle(sine, "rolloff_hz") == pytest.approx(1000, abs=25)
    assert middle(sine, "zero_crossing_hz") == pytest.approx(2000, rel=0.02)
    assert middle(sine, "flatness") < 1e-3


def test_white_noise_is_flat_and_not_harmonic():
    assert middle(noise(), "flatness") > 0.4
    assert middle(noise(), "centroid_hz") == pytest.approx(4000, rel=0.1)
    assert middle(noise(), "harmonicity_db") < 0


@pytest.mark.parametrize("snr_db", [0, 10, 20])
@pytest.mark.parametrize("f0", [110, 220, 440])
def test_harmonicity_is_the_planted_ratio_of_harmonics_to_noise(f0, snr_db):
    tone, hiss = harmonic(f0), noise(1.0)
    hiss *= tone.std() / hiss.std() * 10 ** (-snr_db / 20)
    assert middle(tone + hiss, "harmonicity_db") == pytest.approx(snr_db, abs=2.5)


def test_shape_does_not_depend_on_gain():
    voice = harmonic(200) + noise(0.01)
    for name in NAMES[2:]:
        np.testing.assert_allclose(column(voice, name), column(voice * 0.1, name), rtol=1e-3, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(column(voice, "energy_dbfs") - 20, column(voice * 0.1, "energy_dbfs"), atol=1e-3)


def test_silence_is_measured_as_silent_and_nothing_else():
    curve = describe(Sound(np.zeros(RATE, np.float32), 5))
    assert (curve.values[:, :2] == -120).all()
    assert np.isnan(curve.values[:, 2:]).all()
    assert (curve.t0_us, curve.hop_us, len(curve)) == (5, 10_000, 100)


def test_flux_rises_where_the_sound_changes():
    change = np.concatenate([harmonic(150)[:8000], harmonic(700)[8000:]])
    flux = column(change, "flux")
    assert np.isnan(flux[0])
    assert np.nanargmax(flux) == pytest.approx(50, abs=3)


def test_blocks_leave_no_seam():
    x = np.tile(harmonic(180) + noise(0.02), 12).astype(np.float32)  # 1200 rows: more than one block
    cut = describe(Sound(x[:160_000], 0)).values
    whole = describe(Sound(x, 0)).values
    np.testing.assert_allclose(whole[:990], cut[:990], rtol=1e-5, atol=1e-5)
    assert np.isfinite(whole[1:]).all()


@pytest.mark.parametrize(("samples", "rows"), [(0, 0), (1, 1), (160, 1), (161, 2), (16_000, 100)])
def test_every_length_has_its_rows(samples, rows):
    assert describe(Sound(np.full(samples, 0.1, np.float32), 0)).values.shape == (rows, len(NAMES))
