"""Facial action descriptors on a planted mesh: what moves is what was moved; the head's pose changes nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mien.core import Landmarks
from mien.signals.descriptors import _RIGID, NAMES, POSE, UNITS, DescriptorConfig, Descriptors, describe, head_rotation

# the soft points that descriptors use, in inter-ocular distances: (x right, y down, z away) of an invented face
SOFT = {
    61: (-0.40, 1.02, -0.04), 291: (0.40, 1.02, -0.04), 0: (0.0, 0.91, -0.33), 13: (0.0, 1.00, -0.24),
    14: (0.0, 1.03, -0.22), 2: (0.0, 0.69, -0.35), 152: (0.0, 1.60, 0.03),
    55: (-0.21, -0.20, -0.26), 107: (-0.24, -0.32, -0.30), 285: (0.21, -0.20, -0.26), 336: (0.24, -0.32, -0.30),
    46: (-0.83, -0.20, -0.01), 70: (-0.88, -0.25, 0.07), 276: (0.83, -0.20, -0.01), 300: (0.88, -0.25, 0.07),
    160: (-0.60, -0.09, -0.02), 158: (-0.40, -0.08, -0.04), 144: (-0.60, 0.05, -0.01), 153: (-0.40, 0.06, -0.03),
    387: (0.60, -0.09, -0.02), 385: (0.40, -0.08, -0.04), 373: (0.60, 0.05, -0.01), 380: (0.40, 0.06, -0.03),
}  # fmt: skip


def _mesh(**moved: dict[int, tuple[float, float, float]]) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(468, 3))
    for index, place in {**_RIGID, **SOFT}.items():
        points[index] = place
    for shift in moved.values():
        for index, by in shift.items():
            points[index] += by
    return points


def _describe(*meshes: np.ndarray, score: float = 1.0, config: DescriptorConfig | None = None) -> Descriptors:
    points = np.stack([100 * m for m in meshes]).astype(np.float32)
    return describe(Landmarks(points, np.full(len(points), score, np.float32)), config)


def _changes(after: np.ndarray) -> dict[str, float]:
    d = _describe(_mesh(), after).values
    return {n: float(v) for n, v in zip(NAMES, d[1] - d[0], strict=True) if abs(v) > 1e-5}


def test_a_planted_smile() -> None:
    changed = _changes(_mesh(corners={61: (-0.1, -0.15, 0), 291: (0.1, -0.15, 0)}))
    assert changed.pop("mouth_width") == pytest.approx(0.2 / 0.986, abs=1e-5)
    assert set(changed) == {"mouth_corner_raise", "mouth_corner_raise_left", "mouth_corner_raise_right"}
    assert all(v > 0.14 for v in changed.values())


def test_one_corner_is_the_persons_own_left() -> None:
    changed = _changes(_mesh(corner={291: (0, -0.1, 0)}))
    assert changed["mouth_corner_raise_left"] == pytest.approx(2 * changed["mouth_corner_raise"], rel=1e-4)
    assert "mouth_corner_raise_right" not in changed


def test_planted_brows() -> None:
    up = dict.fromkeys((55, 107, 285, 336), (0.0, -0.1, 0.0))
    assert set(_changes(_mesh(up=up))) == {"brow_raise_inner"}
    drawn = {107: (0.03, 0.0, 0.0), 336: (-0.03, 0.0, 0.0)}
    assert _changes(_mesh(drawn=drawn)) == {"brow_gap": pytest.approx(-0.06 / 0.986, abs=1e-5)}
    outer = dict.fromkeys((46, 70, 276, 300), (0.0, -0.1, 0.0))
    assert set(_changes(_mesh(outer=outer))) == {"brow_raise_outer"}


def test_jaw_and_lips() -> None:
    changed = _changes(_mesh(jaw={14: (0, 0.2, 0), 152: (0, 0.3, 0)}))
    assert set(changed) == {"lip_gap", "jaw_drop"}
    assert changed["jaw_drop"] == pytest.approx(0.3 / 0.986, abs=1e-5)


def test_a_wink() -> None:
    lids = {160: (0, 0.13, 0), 158: (0, 0.13, 0)}
    changed = _changes(_mesh(lids=lids))
    assert set(changed) == {"eye_opening_right", "eye_opening"}
    assert changed["eye_opening_right"] < -0.2


@settings(deadline=None, max_examples=50)
@given(st.floats(-35, 35), st.floats(-30, 30), st.floats(-180, 180), st.floats(0.5, 5), st.floats(-40, 40))
def test_pose_is_recovered_and_changes_nothing_else(
    yaw: float, pitch: float, roll: float, scale: float, shift: float
) -> None:
    turn = Rotation.from_euler("ZYX", [roll, -yaw, -pitch], degrees=True).as_matrix()
    face = _mesh(smile={61: (-0.1, -0.1, 0)})
    d = _describe(face, scale * face @ turn.T + [shift, -shift, 0]).values.astype(np.float64)
    np.testing.assert_allclose(d[1, :-3], d[0, :-3], atol=1e-4)  # float32 pixels far from the origin
    got = dict(zip(NAMES, d[1], strict=True))
    assert got["head_yaw"] == pytest.approx(yaw, abs=0.02)
    assert got["head_pitch"] == pytest.approx(pitch, abs=0.02)
    assert (got["head_roll"] - roll + 180) % 360 - 180 == pytest.approx(0, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(st.floats(-180, 180), st.floats(0.5, 2), st.floats(-1, 1))
def test_translation_scale_and_roll_leave_descriptors_exact(roll: float, scale: float, shift: float) -> None:
    turn = Rotation.from_euler("Z", roll, degrees=True).as_matrix()
    face = _mesh()
    d = _describe(face, scale * face @ turn.T + [shift, shift, 0]).values
    np.testing.assert_allclose(d[1, :-3], d[0, :-3], atol=1e-5)


def test_signs_of_the_pose() -> None:
    """Zero for the neutral head; nose to the right of the picture: yaw up; nose up: pitch up; clockwise: roll up."""
    assert np.abs(_describe(_mesh()).values[0, -3:]).max() < 1e-3
    for axis, name in (("Y", "head_yaw"), ("X", "head_pitch"), ("Z", "head_roll")):
        turn = Rotation.from_euler(axis, 20 if axis == "Z" else -20, degrees=True).as_matrix()
        face = _mesh() @ turn.T
        assert _describe(face).of(name)[0] == pytest.approx(20, abs=0.01)
        nose = face[195] - face[[127, 356]].mean(axis=0)
        if axis == "Y":
            assert nose[0] > 0
        if axis == "X":
            assert nose[1] < (_mesh()[195] - _mesh()[[127, 356]].mean(axis=0))[1]


def test_a_soft_move_does_not_turn_the_head() -> None:
    changed = _changes(_mesh(all=dict.fromkeys(SOFT, (0.05, 0.1, 0.1))))
    assert not set(POSE) & set(changed)


def test_not_measured_is_nan_with_a_reason() -> None:
    turned = _mesh() @ Rotation.from_euler("Y", -60, degrees=True).as_matrix().T
    broken = _mesh()
    broken[7] = np.nan
    d = _describe(_mesh(), turned, broken)
    assert d.reason == ("", "face.turned", "face.unmeasured")
    assert np.isfinite(d.values[0]).all()
    assert np.isnan(d.values[1, :-3]).all()
    assert d.of("head_yaw")[1] == pytest.approx(60, abs=0.05)
    assert np.isnan(d.values[2]).all()
    faint = _describe(_mesh(), score=0.3)
    assert faint.reason == ("face.absent",)
    assert np.isnan(faint.values).all()
    assert _describe(_mesh(), score=0.3, config=DescriptorConfig(min_presence=0.2)).reason == ("",)


def test_no_face_and_wrong_mesh() -> None:
    none = describe(Landmarks(np.zeros((0, 468, 3), np.float32), np.zeros(0, np.float32)))
    assert none.values.shape == (0, len(NAMES))
    with pytest.raises(ValueError, match="468"):
        describe(Landmarks(np.zeros((1, 5, 3), np.float32), np.ones(1, np.float32)))


def test_a_mirrored_mesh_is_not_a_rotation() -> None:
    mirrored = _mesh()[None] * [1, 1, -1]
    assert np.linalg.det(head_rotation(mirrored))[0] == pytest.approx(1)


def test_every_column_has_a_unit() -> None:
    assert set(UNITS.values()) == {"iod", "ratio", "deg"}
    assert NAMES[-3:] == POSE
