"""Quality on planted truth: known blur, exposure, loudness, signal-to-noise ratio and clipping."""

import itertools

import cv2
import numpy as np
import pytest

from mien.core import Curve, Sound
from mien.signals.quality import clipped_share, k_weighting, loudness_lufs, picture, rms_dbfs, shrunk, snr_db

RATE = 16_000


def scene(h=480, w=640, seed=0):
    """Smooth shapes with edges and fine texture, uint8 `[h w 3]`."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(40, 200, (9, 12, 3)), (w, h), interpolation=cv2.INTER_CUBIC)
    for _ in range(30):
        x, y, r = int(rng.integers(0, w)), int(rng.integers(0, h)), int(rng.integers(8, 60))
        cv2.circle(coarse, (x, y), r, tuple(float(v) for v in rng.integers(20, 230, 3)), -1)
    return np.clip(coarse + rng.normal(0, 4, coarse.shape), 0, 255).astype(np.uint8)


def tone(dbfs, seconds=5.0, hz=997.0):
    t = np.arange(round(seconds * RATE)) / RATE
    return Sound((10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * t)).astype(np.float32), 0)


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("seed", range(4))
def test_sharpness_falls_with_every_step_of_blur(seed):
    frame = scene(seed=seed)
    values = [picture(frame).sharpness]
    values += [picture(cv2.GaussianBlur(frame, (0, 0), sigma)).sharpness for sigma in (0.8, 1.5, 3, 6, 12)]
    assert all(a > 1.3 * b for a, b in itertools.pairwise(values)), values


def test_sharpness_ignores_gain_and_offset_where_nothing_is_clipped():
    frame = scene()
    darker = (frame * 0.6 + 20).astype(np.uint8)
    assert picture(darker).sharpness == pytest.approx(picture(frame).sharpness, rel=0.1)


def test_sharpness_of_a_scene_hardly_depends_on_its_size():
    large = cv2.GaussianBlur(scene(1080, 1440), (0, 0), 4)
    want = picture(large).sharpness
    for height in (720, 540, 360):
        small = cv2.resize(large, (height * 4 // 3, height), interpolation=cv2.INTER_AREA)
        assert picture(small).sharpness == pytest.approx(want, rel=0.25)
    assert picture(cv2.GaussianBlur(large, (0, 0), 8)).sharpness < 0.5 * want, "a real difference is larger than that"


def test_a_flat_frame_has_no_sharpness():
    for value in (0, 128, 255):
        assert np.isnan(picture(np.full((50, 60, 3), value, np.uint8)).sharpness)


def test_exposure_and_contrast_of_planted_shares():
    frame = np.full((100, 200, 3), 128, np.uint8)
    frame[:10] = 0
    frame[10:30] = 255
    frame[30:40] = (255, 0, 0)  # a pure colour has detail in its other channels
    got = picture(frame)
    assert got.dark == pytest.approx(0.1)
    assert got.bright == pytest.approx(0.2)
    assert got.luma == pytest.approx(0.1 * 0 + 0.2 + 0.1 * 0.299 + 0.6 * 128 / 255, abs=1e-6)
    assert got.contrast == pytest.approx((frame @ [0.299, 0.587, 0.114] / 255).std(), abs=1e-6)


def test_shrinking_keeps_areas():
    plane = np.random.default_rng(1).uniform(size=(97, 131))
    small = shrunk(plane, 10, 7)
    assert small.shape == (10, 7)
    assert small.mean() == pytest.approx(plane.mean())
    np.testing.assert_allclose(shrunk(plane[:90, :130], 9, 13), plane[:90, :130].reshape(9, 10, 13, 10).mean((1, 3)))


def test_wrong_pixels_are_refused():
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((2, 9, 3), np.uint8)):
        with pytest.raises(ValueError, match="pixels must be"):
            picture(wrong)


# ---------------------------------------------------------------- loudness


def test_the_filters_are_those_of_the_standard_at_48_khz():
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
    low_cut = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(k_weighting(48_000), [shelf, low_cut], atol=1e-6)


def test_the_filters_answer_alike_at_both_rates():
    from scipy.signal import sosfreqz

    hz = np.array([50.0, 200.0, 1000.0, 2000.0, 4000.0])
    at = [20 * np.log10(abs(sosfreqz(k_weighting(rate), hz, fs=rate)[1])) for rate in (16_000, 48_000)]
    np.testing.assert_allclose(at[0], at[1], atol=0.35)


@pytest.mark.parametrize("level", [0.0, -10.0, -23.0, -40.0])
def test_loudness_of_a_sine(level):
    """BS.1770-4: a full-scale 997 Hz sine in one channel reads -3.01 LKFS."""
    assert loudness_lufs(tone(level)) == pytest.approx(level - 3.01, abs=0.1)
    assert rms_dbfs(tone(level)) == pytest.approx(level - 3.01, abs=0.02)


def test_quiet_parts_are_gated_out_as_in_tech_3341():
    """EBU Tech 3341 case 3 for one channel: 10 s at -36, 60 s at -23, 10 s at -36 dBFS read as the loud part does."""
    parts = [tone(-36, 10).samples, tone(-23, 60).samples, tone(-36, 10).samples]
    assert loudness_lufs(Sound(np.concatenate(parts), 0)) == pytest.approx(-23 - 3.01, abs=0.1)
    plain = rms_dbfs(Sound(np.concatenate(parts), 0))
    assert plain < -23 - 3.01 - 1, "without the gate the quiet parts would pull it down"


def test_silence_and_scraps_have_no_loudness():
    assert np.isnan(loudness_lufs(Sound(np.zeros(RATE, np.float32), 0)))
    assert np.isnan(loudness_lufs(tone(-10, 0.3)))
    assert np.isnan(rms_dbfs(Sound(np.zeros(0, np.float32), 0)))
    assert rms_dbfs(Sound(np.zeros(9, np.float32), 0)) == float("-inf")


# ---------------------------------------------------------------- clipping and noise


@pytest.mark.parametrize("gain", [1.1, 1.5, 3.0])
def test_clipped_share_of_an_overdriven_sine(gain):
    sound = tone(0, hz=100.0)
    hot = Sound(np.clip(sound.samples * gain, -1, 1), 0)
    assert clipped_share(hot) == pytest.approx(1 - 2 / np.pi * np.arcsin(1 / gain), abs=0.02)
    assert clipped_share(sound) < 0.03
    assert clipped_share(tone(-1)) == 0
    assert np.isnan(clipped_share(Sound(np.zeros(0, np.float32), 0)))


def test_single_full_samples_are_no_clipping():
    x = np.zeros(1000, np.float32)
    x[::10] = 1
    assert clipped_share(Sound(x, 0)) == 0


def mixture(snr, seed=0, floor=1e-3):
    """Bursts of speech-like sound with pauses in noise at a known ratio of mean powers while "speaking"."""
    rng = np.random.default_rng(seed)
    t = np.arange(RATE * 6) / RATE
    on = (t % 2 > 0.5) & (t % 2 < 1.7)
    voice = on * (1 + 0.8 * np.sin(2 * np.pi * 4 * t)) * sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 12))
    noise = rng.standard_normal(len(t))
    voice *= floor * 10 ** (snr / 20) / np.sqrt((voice[on] ** 2).mean())
    hop = 512
    p = np.array([on[i : i + hop].mean() for i in range(0, len(t), hop)], np.float32)
    return Sound((voice + floor * noise).astype(np.float32), 0), Curve(p[:, None], ("speech",), 0, 32_000)


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30])
def test_snr_of_known_mixtures(snr):
    for seed in range(3):
        assert snr_db(*mixture(snr, seed)) == pytest.approx(snr, abs=1.0)


def test_snr_without_pause_or_speech_is_not_measured():
    sound, speech = mixture(10)
    for p in (0.0, 1.0, 0.3):
        assert np.isnan(snr_db(sound, Curve(np.full_like(speech.values, p), ("speech",), 0, 32_000)))
    swapped = Curve(1 - speech.values, ("speech",), 0, 32_000)
    assert np.isnan(snr_db(sound, swapped)), "pauses louder than speech are no ratio"
    empty = Curve(np.zeros((0, 1), np.float32), ("speech",), 0, 32_000)
    assert np.isnan(snr_db(Sound(np.zeros(0, np.float32), 0), empty))


def test_snr_needs_the_right_clock():
    sound, speech = mixture(15)
    later = Sound(sound.samples, 700_000)
    moved = Curve(speech.values, ("speech",), 700_000, 32_000)
    assert snr_db(later, moved) == pytest.approx(snr_db(sound, speech))
    assert snr_db(later, speech) != pytest.approx(15, abs=3)
