"""Pose events on generated figures: each planted movement is found in its time, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import Span
from mien.signals.body import KINDS, BodyEvent, BodySeries, events, limits
from mien.testing.skeletons import Act, Skeleton, skeleton

KIND = {"striking_head": "striking", "striking_out": "striking"}
SCRIPTS = {
    "slow rocking": (Act("rocking", 8, 20, hz=0.4),),
    "rocking": (Act("rocking", 8, 18, hz=0.9),),
    "fast rocking": (Act("rocking", 8, 14, hz=1.6, amplitude=0.12),),
    "pacing": (Act("pacing", 6, 30),),
    "hand at ear": (Act("hand_at_ear", 8, 11, side="left"),),
    "hands at ears": (Act("hand_at_ear", 8, 11, side="both"),),
    "hand at mouth": (Act("hand_near_face", 8, 11),),
    "hand on the crown": (Act("hand_at_head", 8, 11),),
    "reaching": (Act("reaching", 8, 11),),
    "hand on the other arm": (Act("self_contact", 8, 12),),
    "freezing": (Act("walking", 4, 10), Act("freezing", 10, 17)),
}
BLOWS = {"blows to the head": (Act("striking_head", 8, 11.2),), "blows outward": (Act("striking_out", 8, 11.2),)}


def _found(figure: Skeleton) -> list[BodyEvent]:
    return events(BodySeries(figure.t_us, figure.points, figure.names))


def _iou(a: Span, b: Span) -> float:
    both = a.overlap_us(b)
    return both / (a.duration_us + b.duration_us - both)


def _exactly(found: list[BodyEvent], act: Act) -> BodyEvent:
    told = [(e.kind, str(e.span), e.reason) for e in found]
    assert [e.kind for e in found] == [KIND.get(act.movement, act.movement)], told
    assert _iou(found[0].span, act.span) >= 0.5, told
    assert 0 < found[0].quality <= 1
    return found[0]


@pytest.mark.parametrize("rate_hz", [5, 12])
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_movement_is_found_in_its_time_and_nothing_else(script: str, rate_hz: int) -> None:
    acts = SCRIPTS[script]
    for seed, dropout in ((0, 0.0), (1, 0.03)):
        _exactly(_found(skeleton(36, acts, rate_hz=rate_hz, seed=seed, dropout=dropout)), acts[-1])


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s not in ("pacing", "freezing")])
def test_a_sitting_figure(script: str) -> None:
    _exactly(_found(skeleton(30, SCRIPTS[script], seed=5, sitting=True)), SCRIPTS[script][-1])


@pytest.mark.parametrize("script", ["slow rocking", "rocking", "pacing", "hand at mouth", "reaching", "freezing"])
def test_three_and_thirty_frames_a_second(script: str) -> None:
    for rate_hz in (3, 30):
        _exactly(_found(skeleton(36, SCRIPTS[script], rate_hz=rate_hz, seed=3)), SCRIPTS[script][-1])


@pytest.mark.parametrize("script", BLOWS)
def test_blows_with_enough_frames(script: str) -> None:
    for rate_hz in (15, 30):
        event = _exactly(_found(skeleton(18, BLOWS[script], rate_hz=rate_hz, seed=rate_hz)), BLOWS[script][0])
        assert event.detail == f"right hand: {'towards own head' if 'head' in script else 'outward'}"
        assert event.value > 4


def test_blows_at_five_frames_are_weak_and_at_three_not_looked_for() -> None:
    slow = skeleton(18, BLOWS["blows to the head"], rate_hz=5, seed=1)
    (event,) = _found(slow)
    assert event.kind == "striking"
    assert event.quality < 0.4
    assert limits(BodySeries(slow.t_us, slow.points, slow.names))["striking"].startswith("body.frame-rate")
    rare = skeleton(18, BLOWS["blows to the head"], rate_hz=3)
    assert not _found(rare)
    assert "too few" in limits(BodySeries(rare.t_us, rare.points, rare.names))["striking"]


def test_details_say_what_and_where() -> None:
    def detail(script: str) -> str:
        return _found(skeleton(30, SCRIPTS[script]))[0].detail

    assert detail("hand at ear") == "left hand: left ear"
    assert detail("hands at ears") == "both hands: left ear, right ear"
    assert detail("hand at mouth") == "right hand: mouth"
    assert detail("hand on the other arm") == "right hand: other arm"
    assert detail("reaching") == "right arm: picture left"
    (rocking,) = _found(skeleton(30, SCRIPTS["rocking"]))
    assert rocking.value == pytest.approx(0.9, rel=0.06)
    assert rocking.detail == "sideways"
    (pacing,) = _found(skeleton(36, SCRIPTS["pacing"]))
    assert pacing.value == 7


def test_stillness_from_the_start_is_not_freezing() -> None:
    (event,) = _found(skeleton(20, idle=0))
    assert event.kind == "still"
    assert _iou(event.span, Span(0, 20_000_000)) > 0.9
    # the same stillness with the figure out of sight before it is not freezing either: nobody saw it move
    figure = skeleton(30, SCRIPTS["freezing"])
    figure.points[figure.t_us < 9_800_000, :, 2] = 0
    assert [e.kind for e in _found(figure)] == ["still"]


@pytest.mark.parametrize("script", ["rocking", "pacing"])
def test_the_same_frames_in_another_order_are_no_rhythm(script: str) -> None:
    figure = skeleton(36, SCRIPTS[script])
    order = np.random.default_rng(0).permutation(len(figure.t_us))
    shuffled = Skeleton(figure.t_us, figure.points[order])
    assert script not in [e.kind for e in _found(shuffled)]


def test_too_few_cycles_or_turns_are_no_rhythm() -> None:
    assert not _found(skeleton(30, (Act("rocking", 8, 8 + 1.5 / 0.8, hz=0.8),)))
    assert not _found(skeleton(30, (Act("swaying", 8, 11, amplitude=0.3),)))
    assert not _found(skeleton(30, (Act("pacing", 8, 8 + 2 * (5 / 1.8 + 0.4)),)))
    # as large, and as long, but irregular: strokes of changing length
    strokes, t, sign = [], 8.0, 1.0
    for seconds in (0.9, 2.4, 1.2, 3.1, 0.8, 1.9, 2.8, 1.0):
        strokes.append(Act("swaying", t, t + seconds, amplitude=0.25 * sign))
        t, sign = t + seconds, -sign
    assert "rocking" not in [e.kind for e in _found(skeleton(36, tuple(strokes)))]


def test_a_point_that_jumps_is_no_blow() -> None:
    for rate_hz in (5, 15, 30):
        figure = skeleton(20, rate_hz=rate_hz)
        wrist = figure.names.index("right_wrist")
        for frame in range(10, len(figure.t_us), 4 * rate_hz):
            figure.points[frame, wrist, :2] += (-70, -100)
        assert not _found(figure), rate_hz


def test_points_badly_seen_are_not_used() -> None:
    figure = skeleton(20, SCRIPTS["hand at ear"])
    figure.points[:, figure.names.index("left_wrist"), 2] = 0.1
    assert not _found(figure)
    for name in ("left_wrist", "right_wrist"):
        figure.points[:, figure.names.index(name)] = np.nan
    series = BodySeries(figure.t_us, figure.points, figure.names)
    assert not events(series)
    assert limits(series)["hand_at_ear"] == "body.points-unseen: left_wrist, right_wrist"
    nobody = BodySeries(figure.t_us, np.full_like(figure.points, np.nan), figure.names)
    assert not events(nobody)
    assert set(limits(nobody)) == set(KINDS)


def test_hands_of_small_figures_are_not_looked_at_and_that_is_said() -> None:
    far = skeleton(20, SCRIPTS["hand at ear"], scale_px=30)
    assert not _found(far)
    series = BodySeries(far.t_us, far.points, far.names)
    assert limits(series)["hand_at_ear"] == "body.too-small: a trunk of 30 px; hands need 40"
    assert "rocking" not in {k for k, v in limits(series).items() if "small" in v}
    _exactly(_found(skeleton(30, SCRIPTS["rocking"], scale_px=30)), SCRIPTS["rocking"][0])


def test_one_frame_is_no_hold() -> None:
    # at two frames a second one frame lasts half a second; it shows nothing that was held
    figure = skeleton(20, rate_hz=2)
    wrist, elbow, ear = (figure.names.index(f"right_{p}") for p in ("wrist", "elbow", "ear"))
    figure.points[20, wrist] = figure.points[20, elbow] = figure.points[20, ear]
    assert not _found(figure)


def test_swinging_that_the_frame_rate_hides_is_not_stillness() -> None:
    # 1.5 Hz at three frames a second: every frame shows the other side, straight lines through three frames are level
    for hz in (1.4, 1.5, 1.6):
        found = _found(skeleton(30, (Act("rocking", 8, 18, hz=hz, amplitude=0.12),), rate_hz=3, sitting=True))
        assert not {"still", "freezing"} & {e.kind for e in found}


def test_a_gap_splits_an_event_and_a_lost_frame_does_not() -> None:
    acts = (Act("hand_at_ear", 5, 15),)
    whole = skeleton(20, acts)
    short = np.flatnonzero(np.abs(whole.t_us - 10_000_000) > 150_000)
    assert len(_found(whole.take(short))) == 1
    long = np.flatnonzero(np.abs(whole.t_us - 10_000_000) > 1_500_000)
    assert [e.kind for e in _found(whole.take(long))] == ["hand_at_ear", "hand_at_ear"]


def _spans(found: list[BodyEvent]) -> list[tuple[str, int, int]]:
    return [(e.kind, e.span.start_us, e.span.end_us) for e in found]


@given(
    script=st.sampled_from([*SCRIPTS, *BLOWS]),
    scale=st.floats(0.4, 6),
    shift=st.tuples(st.floats(-3000, 3000), st.floats(-3000, 3000)),
    seed=st.integers(0, 5),
)
@settings(max_examples=15, deadline=None)
def test_size_and_place_in_the_picture_change_nothing(script: str, scale: float, shift, seed: int) -> None:
    figure = skeleton(24, {**SCRIPTS, **BLOWS}[script], seed=seed, rate_hz=10)
    before, after = _found(figure), _found(figure.moved(scale, shift))
    assert [e.kind for e in before] == [e.kind for e in after]
    assert all(_iou(a.span, b.span) > 0.8 for a, b in zip(before, after, strict=True))


@given(script=st.sampled_from([*SCRIPTS, *BLOWS]), seed=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_a_mirrored_picture_only_changes_sides(script: str, seed: int) -> None:
    figure = skeleton(24, {**SCRIPTS, **BLOWS}[script], seed=seed, rate_hz=10)
    before, after = _found(figure), _found(figure.mirrored())
    assert sorted(_spans(before)) == sorted(_spans(after))
    sides = str.maketrans({"l": "r", "r": "l"})
    assert [e.detail.split()[0][0].translate(sides) for e in before if e.detail[0] in "lr"] == [
        e.detail.split()[0][0] for e in after if e.detail[0] in "lr"
    ]


def test_bad_input_is_refused() -> None:
    figure = skeleton(2)
    with pytest.raises(ValueError, match="rise"):
        BodySeries(figure.t_us[::-1].copy(), figure.points, figure.names)
    with pytest.raises(ValueError, match="float32"):
        BodySeries(figure.t_us, figure.points[:, :, :2], figure.names)
    with pytest.raises(ValueError, match="lack"):
        BodySeries(figure.t_us, figure.points, (*figure.names[:-1], "tail"))
    assert not events(BodySeries(figure.t_us[:1], figure.points[:1], figure.names))
