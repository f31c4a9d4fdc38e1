"""mien's own descriptors beside Praat and openSMILE: tones that all must hear alike, and real voices."""

import numpy as np
import pytest

from bench.agreement import at, correlation, measured, open_models, pitches
from mien.core import Curve, Device, MienError, Sound, WeightFiles
from mien.models.sound.opensmile import LEVELS, EGeMaps, voiced_only
from mien.models.sound.praat import Praat

RATE = 16_000


def voice(hz, seconds=1.5, start=0.5, seed=0):
    """Harmonics that fall by 6 dB per octave between two silences (quiet noise)."""
    n = round(seconds * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, n)) / RATE
    x = np.random.default_rng(seed).normal(0, 1e-4, n + 2 * round(start * RATE))
    x[round(start * RATE) : round(start * RATE) + n] += 0.2 * sum(np.sin(k * phase) / k for k in range(1, 13))
    return Sound(x.astype(np.float32), 0)


# ---------------------------------------------------------------- the yardstick itself


def test_planted_octave_errors_are_counted():
    truth = np.full(1000, 200.0)
    truth[:100] = np.nan
    ours = truth * 2 ** (0.2 / 12)
    ours[100:150] *= 2
    ours[150:170] /= 2
    ours[170:180] *= 1.3
    ours[900:] = np.nan
    found = pitches(ours, truth)
    assert (found.both, found.either) == (800, 900)
    assert (found.octave_up, found.octave_down, found.elsewhere, found.close) == (50, 20, 10, 720)
    assert abs(found.median_st - 0.2) < 1e-6


def test_pitches_that_one_does_not_look_for_count_nowhere():
    found = pitches(np.array([900.0, 200.0, np.nan]), np.array([450.0, 200.0, 50.0]))
    assert (found.both, found.either) == (1, 1)


def test_columns_are_read_at_their_times():
    curve = Curve(np.array([[0.0], [1.0], [np.nan], [3.0]], np.float32), ("x",), 0, 10_000)
    given = at(curve, "x", np.array([4000.0, 5000.0, 10_000.0, 20_000.0, 35_000.0, 36_000.0]), 5_000)
    np.testing.assert_array_equal(given, [np.nan, 0, 0.5, np.nan, 3, np.nan])
    assert np.isnan(correlation(np.ones(50), np.arange(50.0)))


def test_marks_of_opensmile_become_nan():
    f0, level, formant = (LEVELS.index(n) for n in ("F0semitoneFrom27.5Hz_sma3nz", "F1amplitudeLogRelF0_sma3nz",
                                                    "F1frequency_sma3nz"))  # fmt: skip
    values = np.ones((6, 25), np.float32)
    values[3:, f0], values[:, level] = 0, (0, 0, -60, -201, -201, -201)
    values[4, formant] = 0
    out = voiced_only(values, LEVELS)
    assert np.isnan(out[:, f0]).tolist() == [False] * 3 + [True] * 3
    assert np.isnan(out[:, level]).tolist() == [False, False, True, True, True, True]
    assert np.isnan(out[:, formant]).tolist() == [False] * 4 + [True, False]
    assert np.isfinite(out[:, LEVELS.index("Loudness_sma3")]).all()


@pytest.mark.parametrize(("cls", "package"), [(EGeMaps, "opensmile"), (Praat, "parselmouth")])
def test_without_the_package_the_install_line_is_said(cls, package, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MienError, match=r"install.missing-extra(.|\n)*pip install"):
        cls.open(WeightFiles({}), cls.Config(), Device())


def test_terms_are_named():
    assert EGeMaps.spec.weights
    assert Praat.spec.weights
    assert EGeMaps.spec.weights.licences.accept == "research-only"
    assert Praat.spec.weights.licences.accept == "GPL-3.0"


# ---------------------------------------------------------------- the packages


@pytest.fixture(scope="module")
def models():
    pytest.importorskip("opensmile")
    pytest.importorskip("parselmouth")
    try:
        return open_models()
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


@pytest.mark.peer
@pytest.mark.parametrize("hz", [110.0, 220.0, 440.0])
def test_all_three_hear_a_planted_voice(hz, models):
    tracks = measured(voice(hz), models)
    inner = slice(60, 190)
    for name in ("mien", "Praat", "openSMILE"):
        away = 12 * np.log2(tracks[name][inner] / hz)
        assert np.nanmedian(np.abs(away)) < 0.15, name
        assert np.isfinite(tracks[name][inner]).mean() > 0.95, name
        assert np.isnan(tracks[name][:40]).all(), name


@pytest.mark.peer
def test_times_of_the_three_are_one_clock(models):
    """A voice that slides up by an octave a second: a centre that is 8 ms off would be 0.1 semitones."""
    hz = 150 * 2 ** (np.arange(round(1.5 * RATE)) / RATE)
    tracks = measured(voice(hz), models)
    truth = 150 * 2 ** (0.01 * (np.arange(len(tracks["mien"])) + 0.5) - 0.5)
    for name in ("mien", "Praat", "openSMILE"):
        away = 12 * np.log2(tracks[name][60:190] / truth[60:190])
        assert abs(np.nanmedian(away)) < 0.05, name


@pytest.mark.peer
def test_praat_measures_planted_noise_and_perturbation(models):
    clean, rng = voice(200.0), np.random.default_rng(2)
    noisy = Sound(clean.samples + rng.normal(0, 0.03, len(clean)).astype(np.float32), 0)
    shaken = voice(200 * (1 + 0.02 * np.repeat(rng.normal(size=300), 80)))
    rows = {k: np.nanmedian(models["praat"].run(s).values[70:170], axis=0) for k, s in
            (("clean", clean), ("noisy", noisy), ("shaken", shaken))}  # fmt: skip
    assert rows["clean"][1] > rows["noisy"][1] + 10
    assert rows["shaken"][2] > 5 * rows["clean"][2]
    tracks = measured(noisy, models)
    away = tracks["harmonicity"][70:170] - tracks["hnr Praat"][70:170]
    assert abs(np.nanmedian(away)) < 3, "both mean the same ratio"


@pytest.mark.peer
def test_functionals_are_88_per_window(models):
    model = EGeMaps.open(WeightFiles({}), EGeMaps.Config(level="functionals", window_s=1, hop_s=0.5), Device())
    given = model.run(voice(220.0))
    assert given.values.shape == (5, 88)
    assert given.hop_us == 500_000
    pitch = given.values[:, given.names.index("F0semitoneFrom27.5Hz_sma3nz_amean")]
    assert abs(pitch[2] - 36) < 0.2


@pytest.mark.peer
def test_real_voices_are_described_alike(models, shared_data):
    from bench.sounds import _read

    paths = sorted((shared_data / "speech_emodb").rglob("*.wav"))[::6]
    tracks = [measured(Sound(_read(path), 0), models) for path in paths]
    joined = {k: np.concatenate([t[k] for t in tracks]) for k in tracks[0]}
    for other in ("Praat", "openSMILE"):
        found = pitches(joined["mien"], joined[other])
        assert found.median_st < 0.15, other
        assert found.octave_up + found.octave_down < 0.05 * found.both, other
        assert found.both > 0.6 * found.either, other
    assert correlation(joined["harmonicity"], joined["hnr Praat"]) > 0.5
    energy = [correlation(t["energy"], np.log(np.maximum(t["loudness"], 1e-3))) for t in tracks]
    assert np.nanmedian(energy) > 0.9
    wrong = np.roll(joined["mien"], 50)
    assert pitches(wrong, joined["Praat"]).median_st > 1, "half a second off must show"
