"""Facial action descriptors and head pose from a 468-point mesh: geometry one can check with a ruler, no emotion words.

Indices are those of the MediaPipe face mesh (Kartynnik et al. 2019). "Left" and "right" are the person's own. Points
are first turned into the head's frame: a similarity (rotation, scale, shift) is fitted from rigid points of a neutral
face (Umeyama 1991), the rotation is undone, and lengths are divided by the inter-ocular distance: between the midpoints
of both eyes' corners, in three dimensions, so that a turned head does not shorten it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from mien.core import Landmarks, Strict

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

UNITS = {
    "mouth_corner_raise_left": "iod",
    "mouth_corner_raise_right": "iod",
    "mouth_corner_raise": "iod",
    "mouth_width": "iod",
    "lip_gap": "iod",
    "jaw_drop": "iod",
    "brow_raise_inner": "iod",
    "brow_raise_outer": "iod",
    "brow_gap": "iod",
    "eye_opening_left": "ratio",
    "eye_opening_right": "ratio",
    "eye_opening": "ratio",
    "head_yaw": "deg",
    "head_pitch": "deg",
    "head_roll": "deg",
}
"""Name → unit, in column order; iod: inter-ocular distances.

- mouth_corner_raise_*: height of the corner (61 right, 291 left) above the middle of the upper lip's edge (0). Rises
  when corners are pulled up (AU12), falls when they are pulled down (AU15); does not move with the jaw.
- mouth_width: distance between the corners (AU12, AU20 up; AU18 down).
- lip_gap: distance of the inner lips' middles (13, 14): mouth open (AU25).
- jaw_drop: height of the nose's base (2) above the chin (152): AU26, AU27.
- brow_raise_inner: height of the inner brows (55, 107, 285, 336) above the inner eye corners (133, 362): AU1
  up, AU4 down.
- brow_raise_outer: height of the outer brows (46, 70, 276, 300) above the outer eye corners (33, 263): AU2.
- brow_gap: distance of the inner brows (107, 336): falls when brows are drawn together (AU4).
- eye_opening_*: eye aspect ratio (‖p2−p6‖ + ‖p3−p5‖) / 2‖p1−p4‖ (Soukupová & Čech 2016): AU5 up, AU43 and AU45 down.
- head_yaw: to the person's left (right in the picture) is positive; head_pitch: up is positive; head_roll: clockwise in
  the picture is positive. Zero is the neutral face below, so a few degrees of offset per person are normal.
"""
NAMES = tuple(UNITS)
POSE = ("head_yaw", "head_pitch", "head_roll")
POINTS = 468

# Neutral rigid points (x right, y down, z away from the camera; inter-ocular distances): the median of mesh answers on
# 213 photographs of faces, mostly towards the camera, made symmetric. Measured by us; it is nobody's face.
_RIGID = {
    10: (0.000, -0.764, -0.237),
    151: (0.000, -0.530, -0.280),
    168: (0.000, -0.058, -0.285),
    6: (0.000, 0.070, -0.349),
    197: (0.000, 0.181, -0.422),
    195: (0.000, 0.285, -0.502),
    33: (-0.710, -0.013, 0.038),
    133: (-0.276, 0.014, -0.039),
    362: (0.276, 0.014, -0.039),
    263: (0.710, -0.013, 0.038),
    127: (-1.102, 0.005, 0.794),
    356: (1.102, 0.005, 0.794),
    234: (-1.084, 0.219, 0.855),
    454: (1.084, 0.219, 0.855),
}
_EYES = {"right": (33, 160, 158, 133, 153, 144), "left": (263, 387, 385, 362, 380, 373)}


class DescriptorConfig(Strict):
    """When a face counts as measured. Beyond the turn limits the far side of a mesh is a guess."""

    min_presence: Annotated[float, Ge(0), Le(1)] = 0.5
    max_yaw_deg: Annotated[float, Gt(0), Lt(90)] = 40.0
    max_pitch_deg: Annotated[float, Gt(0), Lt(90)] = 35.0


@dataclass(frozen=True, slots=True)
class Descriptors:
    """values float32 `[n 15]` in the order of `NAMES` (NaN: not measured); reason: per face "" or why not:
    "face.absent" (presence too low), "face.unmeasured" (points not finite), "face.turned" (pose is kept)."""

    values: F32
    reason: tuple[str, ...]

    def of(self, name: str) -> F32:
        """One column, float32 `[n]`. Raises ValueError for an unknown name."""
        return self.values[:, NAMES.index(name)]


def describe(landmarks: Landmarks, config: DescriptorConfig | None = None) -> Descriptors:
    """Descriptors of each face.

    Invariant under translation, scale and rotation of the whole mesh, also out of plane.

    Args:
        landmarks: points `[n 468 3]` px (x right, y down, z away from the camera, same unit), score `[n]` presence.

    Raises:
        ValueError: the mesh has another number of points.
    """
    config = config or DescriptorConfig()
    n = len(landmarks)
    if landmarks.points.shape[1:] != (POINTS, 3):
        raise ValueError(f"points must have shape [n {POINTS} 3], but got {list(landmarks.points.shape)}")
    values = np.full((n, len(NAMES)), np.nan, np.float32)
    points = landmarks.points.astype(np.float64)
    finite = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(landmarks.score)
    reason = np.where(~finite, "face.unmeasured", np.where(landmarks.score < config.min_presence, "face.absent", ""))
    rows = np.flatnonzero(reason == "")
    if len(rows):
        rotation = head_rotation(points[rows])
        pose = _angles(rotation)
        turned = (np.abs(pose[:, 0]) > config.max_yaw_deg) | (np.abs(pose[:, 1]) > config.max_pitch_deg)
        measured = _measure(_in_head(points[rows], rotation))
        measured[turned] = np.nan
        values[rows] = np.concatenate([measured, pose], axis=1)
        reason[rows[turned]] = "face.turned"
    return Descriptors(values, tuple(str(r) for r in reason))


def head_rotation(points: F64) -> F64:
    """Rotation `[n 3 3]` that carries the neutral head onto each mesh `[n 468 3]` (Umeyama 1991, no reflection)."""
    neutral = np.array(list(_RIGID.values()))
    seen = points[:, list(_RIGID)]
    seen = seen - seen.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(np.einsum("nki,kj->nij", seen, neutral - neutral.mean(axis=0)))
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _angles(rotation: F64) -> F64:
    """Yaw, pitch, roll in degrees `[n 3]` from R = Rz(roll) Ry(−yaw) Rx(−pitch)."""
    yaw = np.arcsin(np.clip(rotation[:, 2, 0], -1, 1))
    pitch = -np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], axis=1))


def _in_head(points: F64, rotation: F64) -> F64:
    """Points in the head's frame: origin between the eyes, unit the inter-ocular distance."""
    right, left = points[:, [33, 133]].mean(axis=1), points[:, [263, 362]].mean(axis=1)
    apart = np.linalg.norm(left - right, axis=1)[:, None, None]
    return (points - ((left + right) / 2)[:, None]) @ rotation / apart


def _measure(p: F64) -> F64:
    def height(*indices: int) -> F64:
        return -p[:, indices, 1].mean(axis=1)

    def between(a: int, b: int) -> F64:
        return np.linalg.norm(p[:, a] - p[:, b], axis=1)

    def opening(side: str) -> F64:
        p1, p2, p3, p4, p5, p6 = _EYES[side]
        return (between(p2, p6) + between(p3, p5)) / (2 * between(p1, p4))

    left, right, lip = height(291), height(61), height(0)
    eyes = opening("left"), opening("right")
    columns = [
        left - lip,
        right - lip,
        (left + right) / 2 - lip,
        between(61, 291),
        between(13, 14),
        height(2) - height(152),
        height(55, 107, 285, 336) - height(133, 362),
        height(46, 70, 276, 300) - height(33, 263),
        between(107, 336),
        *eyes,
        (eyes[0] + eyes[1]) / 2,
    ]
    return np.stack(columns, axis=1)
