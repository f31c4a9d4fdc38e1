"""Episodes: planted onset, peak and offset are found, noise makes none, gaps and plateaus are told as they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.signals.temporal import PHASES, Episode, TemporalRules, episodes, leading, quiet_of, trend

STEP = 200_000


def cells(seconds: float) -> np.ndarray:
    return np.arange(0, round(seconds * 1e6), STEP)


def swell(t_us: np.ndarray, onset: float, peak: float, offset: float, height: float = 1.0) -> np.ndarray:
    return np.interp(t_us / 1e6, [onset, peak, offset], [0, height, 0])


@pytest.mark.parametrize("snr", [20, 1000])
@pytest.mark.parametrize("seed", range(20))
def test_planted_times_are_found_in_noise(seed, snr):
    rng = np.random.default_rng(seed)
    onset = rng.uniform(3, 8)
    peak = onset + rng.uniform(1, 2.5)
    offset = peak + rng.uniform(1, 2.5)
    t = cells(20)
    (found,) = episodes(t, swell(t, onset, peak, offset) + rng.normal(0, 1 / snr, len(t)))
    errors = [found.onset_us / 1e6 - onset, found.peak_us / 1e6 - peak, found.offset_us / 1e6 - offset]
    sds = [found.onset_sd_s, found.peak_sd_s, found.offset_sd_s]
    assert np.abs(errors).max() < (0.2 if snr == 1000 else 0.5)
    assert all(abs(e) < 4 * s + 0.1 for e, s in zip(errors, sds, strict=True))
    assert found.confidence > 0.95


@pytest.mark.parametrize("kind", ["normal", "laplace", "red", "root", "exponential", "walk"])
def test_noise_makes_no_episodes(kind):
    """At most 1 % of pieces, at three lengths."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(5)
    make = {
        "normal": lambda n: rng.normal(size=n), "laplace": lambda n: rng.laplace(size=n),
        "red": lambda n: np.asarray(lfilter([1], [1, -0.6], rng.normal(size=n + 50)))[50:],
        "root": lambda n: np.sqrt(rng.exponential(size=n)), "exponential": lambda n: rng.exponential(size=n),
        "walk": lambda n: np.cumsum(rng.normal(size=n)),
    }[kind]  # fmt: skip
    for n in (20, 50, 300):
        invented = sum(bool(episodes(np.arange(n) * STEP, make(n))) for _ in range(200))
        assert invented <= 2, n


def test_the_same_noise_with_an_episode_in_it_has_one():
    """So that finding nothing is no way to pass the test above."""
    rng = np.random.default_rng(6)
    t = cells(20)
    found = [episodes(t, rng.normal(size=len(t)) + swell(t, 5, 7, 9, 25.0)) for _ in range(50)]
    assert sum(len(f) == 1 for f in found) >= 48


@pytest.mark.parametrize("shape", [[4, 5.5, 7], [4, 5, 99]])
def test_an_episode_on_a_walk_is_one_only_where_it_is_higher_than_the_walk_goes(shape):
    """So that refusing everything that wanders is no way to pass either."""
    rng = np.random.default_rng(9)
    t = cells(12)
    walks = [np.cumsum(rng.normal(0, 0.02, len(t))) for _ in range(20)]
    up = np.interp(t / 1e6, shape, [0, 1, 0] if shape[2] < 12 else [0, 1, 1])
    assert sum(len(episodes(t, w + up)) == 1 for w in walks) >= 18
    assert sum(len(episodes(t, w + 0.1 * up)) for w in walks) <= 2


def test_a_shuffled_episode_is_none():
    rng = np.random.default_rng(7)
    t = cells(30)
    v = rng.normal(0, 1, len(t)) + swell(t, 5, 9, 13, 20.0)
    assert len(episodes(t, v)) == 1
    assert [len(episodes(t, rng.permutation(v))) for _ in range(20)].count(1) <= 2


def test_reversed_time_swaps_onset_and_offset():
    t = cells(20)
    v = swell(t, 5, 6, 11)
    (there,), (back,) = episodes(t, v), episodes(t, v[::-1])
    end = int(t[-1])
    assert (back.onset_us, back.peak_us, back.offset_us) == pytest.approx(
        (end - there.offset_us, end - there.peak_us, end - there.onset_us), abs=60_000
    )


def test_several_episodes_and_their_order():
    t = cells(40)
    v = swell(t, 5, 6, 8) + swell(t, 15, 17, 19, 0.6) + swell(t, 30, 31, 33)
    found = episodes(t, v)
    assert [round(e.peak_us / 1e6) for e in found] == [6, 17, 31]
    assert leading(found) is found[0]


def test_two_peaks_with_a_shallow_valley_are_one_episode():
    t = cells(20)
    v = np.maximum(swell(t, 5, 7, 12), swell(t, 6, 9, 13, 0.9))
    assert len(episodes(t, v)) == 1


def test_a_plateau_is_a_stretch_near_the_top():
    t = cells(20)
    (found,) = episodes(t, np.interp(t / 1e6, [4, 5, 11, 13], [0, 1, 1, 0]))
    assert (found.top_from_us / 1e6, found.top_until_us / 1e6) == pytest.approx((5, 11), abs=0.3)
    assert found.peak_us / 1e6 == pytest.approx(8, abs=0.3)


def test_what_began_before_the_clip_has_no_onset():
    t = cells(10)
    (found,) = episodes(t, np.interp(t / 1e6, [0, 1, 4], [0.9, 1, 0]))
    assert found.onset_us is None
    assert found.began == "clip-border"
    assert np.isnan(found.onset_sd_s)
    assert found.offset_us / 1e6 == pytest.approx(4, abs=0.2)


def test_a_short_gap_is_bridged_and_a_long_one_ends_the_episode():
    t = cells(20)
    v = swell(t, 5, 8, 11)
    short, long = v.copy(), v.copy()
    short[30:33] = np.nan
    long[40:60] = np.nan
    (a,), (b,) = episodes(t, short), episodes(t, long)
    assert a.offset_us / 1e6 == pytest.approx(11, abs=0.2)
    assert a.onset_sd_s > episodes(t, v)[0].onset_sd_s
    assert b.offset_us is None
    assert b.ended == "gap"


def test_one_odd_cell_is_no_episode_and_nothing_measured_is_nothing():
    v = np.zeros(60)
    v[30] = 100.0
    assert episodes(np.arange(60) * STEP, v) == ()
    assert episodes(np.arange(60) * STEP, np.full(60, np.nan)) == ()
    assert episodes(np.arange(3) * STEP, np.ones(3)) == ()


def test_the_signals_own_sd_decides():
    t = cells(20)
    v = swell(t, 5, 7, 9)
    assert len(episodes(t, v, np.full(len(t), 0.05))) == 1
    assert episodes(t, v, np.full(len(t), 0.3)) == ()
    assert episodes(t, v, rules=TemporalRules(least=2.0)) == ()


def test_phases_come_in_their_order_and_fill_the_clip():
    t = cells(20)
    (found,) = episodes(t, swell(t, 5, 8, 11))
    parts = found.phases(0, 20_000_000)
    assert tuple(p for p, *_ in parts) == PHASES
    assert [a for _, a, _ in parts[1:]] == [b for *_, b in parts[:-1]]
    assert (parts[0][1], parts[-1][2]) == (0, 20_000_000)
    assert all(found.phase((a + b) // 2) == p for p, a, b in parts)


def test_a_mutated_order_of_phases_is_noticed():
    with pytest.raises(ValueError, match="in this order"):
        Episode(9, 5, 12, 4, 6, 0.1, 0.1, 0.1, 1.0, 0.0, 0.1, 0.1, 1.0)


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=60), st.integers(0, 3))
def test_whatever_comes_in_times_are_ordered_and_within_reach(values, seed):
    t = np.arange(len(values)) * STEP
    for e in episodes(t, np.array(values), np.full(len(values), seed / 10)):
        known = [x for x in (e.onset_us, e.peak_us, e.offset_us) if x is not None]
        assert known == sorted(known)
        assert e.height > 0
        assert 0 <= e.confidence <= 1
        assert (e.onset_us is None) == bool(e.began)


def test_lengths_and_time_are_checked():
    with pytest.raises(ValueError, match="one length"):
        episodes(np.arange(3), np.zeros(4))
    with pytest.raises(ValueError, match="rise"):
        episodes(np.array([0, 2, 1]), np.zeros(3))


def test_quiet_and_trend():
    rng = np.random.default_rng(8)
    level, noise = quiet_of(rng.normal(3.0, 0.5, 4000))
    assert level == pytest.approx(3.0, abs=0.1)
    assert noise == pytest.approx(0.5, abs=0.06)
    change, sd = trend(np.linspace(0, 1, 60), np.full(60, 0.1))
    assert change == pytest.approx(2 / 3, abs=0.05)
    assert sd == pytest.approx(0.1 * 2**0.5)
    assert np.isnan(trend(np.full(60, np.nan))[0])
    flat = [trend(rng.normal(0, 0.1, 60)) for _ in range(300)]
    assert sum(abs(c) > 1.5 * s for c, s in flat) <= 3
