"""Head pose on a planted mesh: the planted rotation comes back; a scrambled mesh is no head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mien.core import Landmarks
from mien.signals.descriptors import _RIGID
from mien.signals.head import HeadPose, direction, head_pose

ANGLES = st.floats(-60, 60)


def _mesh(yaw: float = 0, pitch: float = 0, roll: float = 0, scale: float = 90, shift=(300, 200, 0)) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(468, 3))
    points[list(_RIGID)] = list(_RIGID.values())
    # x right, y down, z away: turning to the person's left (picture right) moves the nose to +x
    turn = Rotation.from_euler("ZYX", [roll, -yaw, -pitch], degrees=True).as_matrix()
    return points @ turn.T * scale + shift


def _pose(*meshes: np.ndarray, score: float = 1.0) -> HeadPose:
    return head_pose(Landmarks(np.stack(meshes).astype(np.float32), np.full(len(meshes), score, np.float32)))


@given(yaw=ANGLES, pitch=ANGLES, roll=ANGLES, scale=st.floats(5, 500))
@settings(max_examples=40, deadline=None)
def test_the_planted_rotation_comes_back(yaw: float, pitch: float, roll: float, scale: float) -> None:
    pose = _pose(_mesh(yaw, pitch, roll, scale))
    assert [pose.yaw[0], pose.pitch[0], pose.roll[0]] == pytest.approx([yaw, pitch, roll], abs=0.05)
    assert pose.misfit[0] < 1e-3


def test_signs_by_where_the_nose_goes() -> None:
    straight = _mesh()
    nose, eyes = 195, 168
    for turned, axis, sign in ((_mesh(yaw=20), 0, 1), (_mesh(pitch=20), 1, -1)):
        assert np.sign((turned[nose] - turned[eyes] - straight[nose] + straight[eyes])[axis]) == sign
    tilted = _mesh(roll=20)  # clockwise: the ear on the picture's right comes down
    assert tilted[454, 1] > tilted[234, 1]


def test_a_mirrored_picture_mirrors_yaw_and_roll() -> None:
    # mirroring exchanges the points of left and right: what is mirrored here is the planted rotation's mesh
    mesh = _mesh(yaw=25, pitch=10, roll=-15)
    pairs = {33: 263, 133: 362, 127: 356, 234: 454}
    mirrored = mesh.copy()
    for a, b in pairs.items():
        mirrored[[a, b]] = mirrored[[b, a]]
    mirrored[:, 0] = 600 - mirrored[:, 0]
    pose = _pose(mesh, mirrored)
    assert pose.yaw[1] == pytest.approx(-pose.yaw[0], abs=1e-2)
    assert pose.roll[1] == pytest.approx(-pose.roll[0], abs=1e-2)
    assert pose.pitch[1] == pytest.approx(pose.pitch[0], abs=1e-2)


def test_directions() -> None:
    meshes = [_mesh(), _mesh(yaw=25), _mesh(yaw=-25), _mesh(pitch=20), _mesh(pitch=-20), _mesh(yaw=55), _mesh(roll=40)]
    pose = _pose(*meshes)
    assert direction(pose) == ("centre", "left", "right", "up", "down", "away", "centre")
    assert direction(pose, zero=(25.0, 0.0))[:2] == ("right", "centre")


def test_what_is_not_measured_says_why() -> None:
    scrambled = _mesh()
    scrambled[list(_RIGID)] = np.random.default_rng(3).permutation(scrambled[list(_RIGID)])
    broken = _mesh()
    broken[5] = np.nan
    pose = _pose(_mesh(), scrambled, broken)
    assert pose.reason == ("", "head.misfit", "face.unmeasured")
    assert np.isnan(pose.yaw[1:]).all()
    assert pose.misfit[1] > 0.2
    assert direction(pose) == ("centre", "", "")
    assert _pose(_mesh(), score=0.2).reason == ("face.absent",)
    assert len(head_pose(Landmarks(np.zeros((0, 468, 3), np.float32), np.zeros(0, np.float32)))) == 0
