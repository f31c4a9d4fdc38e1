"""Posture columns on figures one can measure with a ruler: planted angles and lengths come back, unseen is NaN."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import COCO_POINTS
from mien.signals.body import NAMES, UNITS, WEAK, BodySeries, Posture, posture
from mien.signals.body.series import SHOULDER_WIDTH
from mien.testing.skeletons import Act, Skeleton, skeleton


def _posture(figure: Skeleton) -> Posture:
    return posture(BodySeries(figure.t_us, figure.points, figure.names))


def _turned(figure: Skeleton, degrees: float) -> Skeleton:
    """The whole picture turned clockwise about (640, 400)."""
    a = np.radians(degrees)
    points = figure.points.copy()
    points[:, :, :2] = (points[:, :, :2] - (640, 400)) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + (
        640, 400,
    )  # fmt: skip
    return Skeleton(figure.t_us, points.astype(np.float32), figure.names)


STILL = skeleton(4, idle=0, jitter=0)


def test_a_still_upright_figure() -> None:
    p = _posture(STILL)
    assert p.values.shape == (20, len(NAMES))
    for name, value in {
        "trunk_lean": 0, "shoulder_tilt": 0, "head_tilt": 0, "body_scale": 120, "ear_height": 0.39,
        "motion_body": 0, "motion_left_arm": 0, "tension_fidget": 0,
    }.items():  # fmt: skip
        assert np.nanmedian(p.of(name)) == pytest.approx(value, abs=2e-3), name
    assert np.all(p.of("hand_height_left") < -0.9)
    assert np.nanmedian(p.of("quality")) == pytest.approx(0.9, abs=0.02)
    assert 0.95 < np.nanmedian(p.of("arm_extension_left")) <= 1.01


@pytest.mark.parametrize("degrees", [-25, 10, 40])
def test_a_turned_picture_turns_every_angle_and_no_length(degrees: float) -> None:
    before, after = _posture(STILL), _posture(_turned(STILL, degrees))
    for name in ("trunk_lean", "shoulder_tilt", "head_tilt"):
        np.testing.assert_allclose(after.of(name) - before.of(name), degrees, atol=0.05)
    for name in ("arm_openness", "ear_height", "hand_face_left", "arm_extension_right", "body_scale"):
        np.testing.assert_allclose(after.of(name), before.of(name), rtol=1e-3)


@given(scale=st.floats(0.1, 8), x=st.floats(-5000, 5000), y=st.floats(-5000, 5000))
@settings(max_examples=15, deadline=None)
def test_size_and_place_change_only_the_scale(scale: float, x: float, y: float) -> None:
    figure = skeleton(6, (Act("walking", 1, 4),), seed=1)
    before, after = _posture(figure), _posture(figure.moved(scale, (x, y)))
    for name in NAMES:
        factor = scale if name == "body_scale" else 1
        unit = 1.0 if UNITS[name] == "deg" else 0.05
        np.testing.assert_allclose(after.of(name), before.of(name) * factor, rtol=0.02, atol=unit, err_msg=name)


def test_a_mirrored_picture_changes_signs_and_sides() -> None:
    figure = skeleton(8, (Act("hand_at_ear", 2, 6, side="left"), Act("swaying", 1, 7, amplitude=0.3)))
    before, after = _posture(figure), _posture(figure.mirrored())
    for name in ("trunk_lean", "shoulder_tilt", "head_tilt"):
        np.testing.assert_allclose(after.of(name), -before.of(name), atol=0.05)
    for name in ("hand_face", "arm_extension", "hand_height"):
        np.testing.assert_allclose(after.of(f"{name}_left"), before.of(f"{name}_right"), atol=1e-3)
    np.testing.assert_allclose(after.of("motion_left_arm"), before.of("motion_right_arm"), atol=1e-3)


def test_speed_is_per_second_at_any_frame_rate() -> None:
    speeds = []
    for rate_hz in (3, 5, 12, 30):
        figure = skeleton(10, idle=0, jitter=0, rate_hz=rate_hz)
        figure.points[:, :, 0] += (figure.t_us / 1e6 * 60)[:, None]  # half a trunk length per second
        speeds.append(np.nanmedian(_posture(figure).of("motion_body")))
    assert speeds == pytest.approx([0.5] * 4, rel=1e-3)


def test_a_moving_arm_is_that_arm() -> None:
    p = _posture(skeleton(12, (Act("gesturing", 2, 10, side="left"),), idle=0, jitter=0))
    during = slice(20, 45)
    assert np.nanmean(p.of("motion_left_arm")[during]) > 0.3
    for limb in ("right_arm", "trunk", "head", "left_leg"):
        assert np.nanmax(p.of(f"motion_{limb}")[during]) < 1e-3, limb


def test_planted_lengths() -> None:
    hands = _posture(skeleton(10, (Act("hand_at_ear", 2, 8, side="both"),), idle=0, jitter=0))
    assert np.nanmedian(hands.of("hand_face_left")[15:35]) == pytest.approx(
        np.hypot(0.18, 0.05) / SHOULDER_WIDTH, abs=0.02
    )
    shrugged = skeleton(10, idle=0, jitter=0)
    for side in ("left", "right"):
        shrugged.points[:, COCO_POINTS.index(f"{side}_shoulder"), 1] -= 24
    assert np.all(_posture(shrugged).of("ear_height") < _posture(STILL).of("ear_height")[0] - 0.15)


def test_tension_is_weak_and_rises_with_each_part() -> None:
    assert set(WEAK) == {"tension", "tension_shoulders", "tension_arms", "tension_fidget"}
    rest = np.nanmean(_posture(skeleton(10, idle=0.3)).of("tension"))
    shrugged, crossed = skeleton(10, idle=0.3), skeleton(10, (Act("self_contact", 0, 10, side="both"),), idle=0.3)
    for side in ("left", "right"):
        shrugged.points[:, COCO_POINTS.index(f"{side}_shoulder"), 1] -= 20
    shaking = skeleton(10, idle=0.3)
    for side in ("left", "right"):
        shake = 8 * np.sin(2 * np.pi * 2.2 * shaking.t_us / 1e6)
        shaking.points[:, COCO_POINTS.index(f"{side}_wrist"), 0] += shake
    for figure, part in ((shrugged, "shoulders"), (crossed, "arms"), (shaking, "fidget")):
        p = _posture(figure)
        assert np.nanmean(p.of("tension")) > rest + 0.1, part
        assert np.nanmean(p.of(f"tension_{part}")) > 0.4, part


def test_unseen_is_nan_and_never_zero() -> None:
    figure = skeleton(6)
    hips = [COCO_POINTS.index(f"{s}_hip") for s in ("left", "right")]
    figure.points[:, hips, 2] = 0.1
    p = _posture(figure)
    assert np.isnan(p.of("trunk_lean")).all()
    assert np.isfinite(p.of("arm_openness")).all()
    assert np.isfinite(p.of("body_scale")).all()
    figure.points[10:15] = np.nan
    p = _posture(figure)
    gone = [n for n in NAMES if n not in ("quality", "body_scale", "tension_fidget")]
    assert np.isnan(np.stack([p.of(n)[10:15] for n in gone])).all()
    assert np.all(p.of("quality")[10:15] == 0)
    nobody = posture(BodySeries(figure.t_us, np.full_like(figure.points, np.nan), figure.names))
    assert np.isnan(np.delete(nobody.values, NAMES.index("quality"), axis=1)).all()


def test_an_empty_series_and_one_frame() -> None:
    figure = skeleton(1)
    for n in (0, 1):
        p = posture(BodySeries(figure.t_us[:n], figure.points[:n], figure.names))
        assert p.values.shape == (n, len(NAMES))
        assert p.values.dtype == np.float32
