"""Who made a sound, on scenes whose answer is known."""

from functools import cache

import numpy as np
import pytest

from bench.sources import HOP_US, TEST, answers, answers_with_another_sound, log_loss, reliability, right
from mien.core import Curve, Span
from mien.signals.synchrony import UNKNOWN, Mover, SyncRules, above_floor, sources

LENGTH_S = 20
ROWS = np.arange(LENGTH_S * 20) / 20
EVENTS = [(4.0, 5.5), (9.0, 11.0), (15.0, 15.8)]
SPANS = [Span(round(a * 1e6), round(b * 1e6)) for a, b in EVENTS]


def loudness():
    """Beats of unequal strength, so that one event is not like another."""
    draw, out = np.random.default_rng(3), np.zeros(len(ROWS))
    for a, b in EVENTS:
        inside = (a <= ROWS) & (b > ROWS)
        beat = draw.uniform(0.3, 1, 40)[((ROWS - a) * 4).astype(int) % 40]
        out[inside] = (beat * np.abs(np.sin(2 * np.pi * 2 * (ROWS - a))))[inside]
    return out


def sound():
    return Curve((25 * loudness()).astype(np.float32)[:, None], ("above",), 0, HOP_US)


def mover(name="a", follows=0.0, late_s=0.0, idle=0.0, fps=5.0, seed=0, hidden=(), body=0.0):
    draw = np.random.default_rng(seed)
    t = np.arange(0.07, LENGTH_S, 1 / fps)
    mouth = 0.4 + follows * np.interp(t - late_s, ROWS, loudness()) + draw.normal(0, 0.006, len(t))
    mouth = mouth + idle * np.abs(draw.normal(0, 1, len(t)))
    for a, b in hidden:
        mouth[(t >= a) & (t < b)] = np.nan
    motion = draw.random(len(t)) + body * np.interp(t, ROWS, loudness())
    return Mover(name, np.round(t * 1e6).astype(np.int64), mouth, motion)


def shares(*movers, at=1, rules=SyncRules()):  # noqa: B008
    return dict(sources(SPANS[at], sound(), movers, SPANS, rules).shares)


@pytest.mark.parametrize("late_s", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_mouth_that_moved_is_the_talker_within_100_ms(late_s, at):
    got = shares(mover("a", 0.25, late_s), mover("b", seed=1), at=at)
    assert got["a"] > 0.8
    assert got["b"] < 0.1
    assert sum(got.values()) == pytest.approx(1)


def test_who_is_who_does_not_depend_on_the_order_or_the_name():
    talker, other = mover("x", 0.25), mover("y", seed=1)
    assert shares(talker, other) == pytest.approx(shares(other, talker))
    swapped = shares(mover("y", 0.25), mover("x", seed=1))
    assert swapped["y"] == pytest.approx(shares(talker, other)["x"])


def test_both_moving_share():
    got = shares(mover("a", 0.25), mover("b", 0.25, seed=1))
    assert min(got["a"], got["b"]) > 0.25
    assert got[UNKNOWN] < 0.2


def test_none_moving_leaves_the_sound_to_somebody_out_of_view():
    got = shares(mover("a"), mover("b", seed=1))
    assert got[UNKNOWN] > 0.7
    one = shares(mover("a"))
    assert one[UNKNOWN] > 0.8


def test_a_mouth_that_always_moves_is_not_favoured():
    restless = shares(mover("a", idle=0.15))
    assert restless["a"] < 0.65, "alone in view it keeps about its prior"
    both = shares(mover("a", idle=0.15), mover("b", 0.25, seed=1))
    assert both["b"] > 2 * both["a"]


def test_a_hidden_mouth_keeps_a_fair_share():
    assert shares(mover("a", hidden=[(0, 20)]))["a"] == pytest.approx(0.5, abs=0.15)
    got = shares(mover("a", hidden=[(8, 12)]), mover("b", seed=1))
    assert got["a"] > 3 * got["b"], "a still mouth is evidence, a hidden one is not"
    assert got["a"] == pytest.approx(got[UNKNOWN], rel=0.6)
    found = sources(SPANS[1], sound(), [mover("a", hidden=[(8, 12)]), mover("b", seed=1)], SPANS)
    assert [h.mouth for h in found.heard] == ["hidden", "still"]
    assert found.seen == 0.5


def test_bodies_are_weak_evidence():
    unseen = [(0, 20)]
    got = shares(mover("a", hidden=unseen, body=3.0), mover("b", hidden=unseen, seed=1))
    assert got["b"] < got["a"] < 0.8


def test_who_is_out_of_view_takes_no_part():
    gone = mover("b", 0.25)
    early = Mover("b", gone.t_us[:10], gone.mouth[:10], gone.body[:10])
    assert set(shares(mover("a", 0.25), early)) == {"a", UNKNOWN}
    nobody = sources(SPANS[0], sound(), [], SPANS)
    assert nobody.shares == ((UNKNOWN, 1.0),)
    assert np.isnan(nobody.seen)


def test_few_frames_say_little():
    short = mover("a", 0.25)
    keep = (short.t_us > 8_900_000) & (short.t_us < 11_200_000)
    got = dict(
        sources(SPANS[1], sound(), [Mover("a", short.t_us[keep], short.mouth[keep], short.body[keep])], SPANS).shares
    )
    assert 0.4 < got["a"] < 0.85
    one = Mover("a", np.array([9_500_000]), np.array([0.5]), np.array([np.nan]))
    assert dict(sources(SPANS[1], sound(), [one], SPANS).shares)["a"] == pytest.approx(0.5, abs=0.2)


def test_more_frames_per_second_say_more():
    assert shares(mover("a", 0.25, fps=15))["a"] >= shares(mover("a", 0.25, fps=5))["a"] - 0.02


def test_the_envelope_is_measured_over_its_floor():
    level = np.full((400, 1), -60, np.float32)
    level[100:120] = -40
    got = above_floor(Curve(level, ("energy_dbfs",), 3, HOP_US))
    assert got.t0_us == 3
    np.testing.assert_allclose(got.values[[50, 110], 0], [0, 20], atol=0.5)
    assert (above_floor(Curve(np.full((400, 1), np.nan, np.float32), ("x",), 0, HOP_US)).values == 0).all()


@cache
def simulated():
    return list(answers(range(TEST.start, TEST.start + 400), SyncRules()))


def test_the_posterior_is_reliable_on_simulated_scenes():
    held = simulated()
    mean, largest = reliability(held, bins=5)
    assert mean < 0.03
    assert largest < 0.05
    equal = [({k: 1 / len(s) for k in s}, who) for s, who in held]
    assert right(held) > right(equal) + 0.25
    assert log_loss(held) < log_loss(equal) - 0.3


def test_the_sound_of_another_scene_goes_to_unknown():
    own = np.mean([s[UNKNOWN] for s, who in simulated() if who != UNKNOWN])
    other = np.mean([s[UNKNOWN] for s in answers_with_another_sound(range(TEST.start, TEST.start + 80))])
    assert other > own + 0.25
