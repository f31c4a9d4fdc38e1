"""Head pose from a 468-point face mesh, and where the face points, coarsely. No gaze: this mesh has no iris.

The pose is the rotation between the mesh and a neutral head (`signals.descriptors`: a similarity by singular values,
Umeyama 1991, through 14 points that expressions hardly move). The direction is that of the head: eyes may look
elsewhere by 50° and more. "Left" and "right" are the person's own; in the picture the person's left is on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from mien.core import Landmarks, Strict
from mien.signals import descriptors
from mien.signals.descriptors import _RIGID  # the room's one neutral head

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

Direction = Literal["centre", "left", "right", "up", "down", "away", ""]
Angle = Annotated[float, Gt(0), Lt(90)]


class HeadConfig(Strict):
    """min_presence: of the face. side_deg, tilt_deg: turned, or up or down, from here on. away_deg: turned away from
    the camera, by either. misfit: root mean square distance (inter-ocular) of the fitted points above which the mesh is
    no head. All are our own choices."""

    min_presence: Annotated[float, Ge(0), Le(1)] = 0.5
    side_deg: Angle = 15.0
    tilt_deg: Angle = 12.0
    away_deg: Angle = 40.0
    misfit: Annotated[float, Gt(0)] = 0.2


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Pose of each head.

    yaw, pitch, roll float32 `[n]`, degrees: to the person's left, up, clockwise in the picture are positive; misfit
    float32 `[n]`: of the points from the neutral head, inter-ocular distances. NaN with a reason: "face.absent",
    "face.unmeasured", "head.misfit" (misfit is kept). Zero is an average neutral face: a few degrees of offset per
    person are normal, see `zero` in `direction`.
    """

    yaw: F32
    pitch: F32
    roll: F32
    misfit: F32
    reason: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.yaw)


def head_pose(landmarks: Landmarks, config: HeadConfig | None = None) -> HeadPose:
    """Yaw, pitch and roll, invariant under shift and scale of the mesh.

    Args:
        landmarks: points `[n 468 3]` px (x right, y down, z away from the camera, same unit), score `[n]` presence.

    Raises:
        ValueError: the mesh has another number of points.
    """
    config = config or HeadConfig()
    described = descriptors.describe(landmarks, descriptors.DescriptorConfig(min_presence=config.min_presence))
    pose = np.stack([described.of(name) for name in descriptors.POSE], axis=1)
    misfit = np.full(len(landmarks), np.nan, np.float32)
    rows = np.flatnonzero(np.isfinite(pose).all(axis=1))
    if len(rows):
        misfit[rows] = _misfit(landmarks.points[rows].astype(np.float64))
    bad = misfit > config.misfit
    pose[bad] = np.nan
    kept = ("face.absent", "face.unmeasured")
    reason = tuple("head.misfit" if b else r if r in kept else "" for b, r in zip(bad, described.reason, strict=True))
    return HeadPose(pose[:, 0], pose[:, 1], pose[:, 2], misfit, reason)


def _misfit(points: F64) -> F64:
    """Root mean square distance `[n]` of the rigid points from the neutral head laid upon them, inter-ocular units."""
    neutral = np.array(list(_RIGID.values()))
    neutral = neutral - neutral.mean(axis=0)
    seen = points[:, list(_RIGID)]
    seen = np.einsum("nki,nij->nkj", seen - seen.mean(axis=1, keepdims=True), descriptors.head_rotation(points))
    # Umeyama's scale: the least squares factor from the neutral head to the mesh
    scale = (seen * neutral).sum(axis=(1, 2)) / (neutral**2).sum()
    left = seen - scale[:, None, None] * neutral
    return np.sqrt((left**2).sum(axis=2).mean(axis=1)) / np.maximum(scale, 1e-9)


def direction(
    pose: HeadPose, config: HeadConfig | None = None, zero: tuple[float, float] = (0.0, 0.0)
) -> tuple[Direction, ...]:
    """Where each head points, from its pose alone: "centre" (towards the camera), "left" or "right" (the person's own),
    "up", "down", "away" (too far turned to say more); "" where not measured.

    Args:
        zero: yaw and pitch that count as centre, e.g. the median of one person's own track.
    """
    config = config or HeadConfig()
    found: list[Direction] = []
    for yaw, pitch in zip(pose.yaw - zero[0], pose.pitch - zero[1], strict=True):
        if not (np.isfinite(yaw) and np.isfinite(pitch)):
            found.append("")
        elif max(abs(yaw), abs(pitch)) >= config.away_deg:
            found.append("away")
        elif max(abs(yaw) / config.side_deg, abs(pitch) / config.tilt_deg) < 1:
            found.append("centre")
        elif abs(yaw) / config.side_deg >= abs(pitch) / config.tilt_deg:
            found.append("left" if yaw > 0 else "right")
        else:
            found.append("up" if pitch > 0 else "down")
    return tuple(found)
