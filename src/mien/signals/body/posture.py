"""Posture and movement of one body per frame: lengths and angles of body points, in trunk lengths. No emotion words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.signals.body.config import BodyConfig, TensionConfig
from mien.signals.body.series import ARM, SHOULDER_WIDTH, SIDES, Body, BodySeries, body_of
from mien.signals.body.timing import local_line, mean_of, rolling_mean

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

LIMBS = {
    "head": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    "trunk": ("left_shoulder", "right_shoulder", "left_hip", "right_hip"),
    "left_arm": ("left_elbow", "left_wrist"),
    "right_arm": ("right_elbow", "right_wrist"),
    "left_leg": ("left_knee", "left_ankle"),
    "right_leg": ("right_knee", "right_ankle"),
}
UNITS = {
    "trunk_lean": "deg",
    "shoulder_tilt": "deg",
    "head_tilt": "deg",
    "arm_openness": "shoulder widths",
    "ear_height": "trunk lengths",
    "hand_height_left": "trunk lengths",
    "hand_height_right": "trunk lengths",
    "hand_face_left": "shoulder widths",
    "hand_face_right": "shoulder widths",
    "arm_extension_left": "arm lengths",
    "arm_extension_right": "arm lengths",
    "body_scale": "px",
    "quality": "0..1",
    "motion_body": "trunk lengths/s",
    **{f"motion_{limb}": "trunk lengths/s" for limb in LIMBS},
    "tension": "0..1",
    "tension_shoulders": "0..1",
    "tension_arms": "0..1",
    "tension_fidget": "0..1",
}
"""Name → unit, in column order. Angles are turned clockwise in the picture, 0 is upright or level.

- trunk_lean: of hips→shoulders against straight up; to the picture's right is positive. Needs both hips.
- shoulder_tilt, head_tilt: of the line through both shoulders; through both ears, else both eyes; within ±90°.
- arm_openness: distance of the wrists ÷ shoulder width (0.896 trunk lengths: the seen width collapses in profile).
- ear_height: height of the ears above the shoulders along the trunk. Falls as shoulders rise or the head sinks.
- hand_height_*: height of the wrist above the own shoulder in the picture.
- hand_face_*: distance of the hand's middle from the nose. arm_extension_*: of the wrist from its shoulder.
- body_scale: trunk length. quality: mean visibility of the 17 points.
- motion_*: mean speed of the points (slopes over 0.5 s), walking included.
- tension: mean of its parts, at least two; weak, see `tension`.
"""
NAMES = tuple(UNITS)
WEAK = tuple(name for name in NAMES if name.startswith("tension"))
"""Columns that were never validated on people: show them as weak, keep them out of fusion."""
MOTION_WINDOW_S = 0.5


@dataclass(frozen=True, slots=True)
class Posture:
    """values float32 `[n 24]` in the order of `NAMES`; NaN where the points were not seen."""

    t_us: npt.NDArray[np.int64]
    values: F32

    def of(self, name: str) -> F32:
        """One column, float32 `[n]`. Raises ValueError for an unknown name."""
        return self.values[:, NAMES.index(name)]


def posture(series: BodySeries, config: BodyConfig | None = None) -> Posture:
    """All columns of one person, invariant under shift and scale of the picture."""
    config = config or BodyConfig()
    body = body_of(series, config.points)
    columns = {**_angles(body), **_lengths(body), **motion(body)}
    columns.update(tension(body, columns, config.tension))
    columns.update(body_scale=body.scale, quality=body.visibility.mean(axis=1))
    return Posture(series.t_us, np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32))


def _angles(body: Body) -> dict[str, F64]:
    up = body.shoulders - body.hips
    ears, eyes = (body.at[f"left_{p}"] - body.at[f"right_{p}"] for p in ("ear", "eye"))
    return {
        "trunk_lean": np.degrees(np.arctan2(up[:, 0], -up[:, 1])),
        "shoulder_tilt": _level(body.at["left_shoulder"] - body.at["right_shoulder"]),
        "head_tilt": _level(np.where(np.isfinite(ears), ears, eyes)),
    }


def _level(line: F64) -> F64:
    """Angle against the horizontal, folded to ±90°: the same person seen from behind has the same tilt."""
    angle = np.degrees(np.arctan2(line[:, 1], line[:, 0]))
    return (angle + 90) % 180 - 90


def _lengths(body: Body) -> dict[str, F64]:
    at, s = body.at, body.scale
    up = body.shoulders - body.hips
    up = np.where(np.isfinite(up), up, [0.0, -1.0])
    up = up / np.maximum(np.linalg.norm(up, axis=1), 1e-9)[:, None]
    heights = [((at[f"{side}_ear"] - body.shoulders) * up).sum(axis=1) / s for side in SIDES]
    columns = {
        "arm_openness": np.linalg.norm(at["left_wrist"] - at["right_wrist"], axis=1) / (SHOULDER_WIDTH * s),
        "ear_height": mean_of(heights),
    }
    for side in SIDES:
        wrist, shoulder = at[f"{side}_wrist"], at[f"{side}_shoulder"]
        columns[f"hand_height_{side}"] = (shoulder - wrist)[:, 1] / s
        columns[f"hand_face_{side}"] = np.linalg.norm(body.hand(side) - at["nose"], axis=1) / (SHOULDER_WIDTH * s)
        columns[f"arm_extension_{side}"] = np.linalg.norm(wrist - shoulder, axis=1) / (ARM * s)
    return columns


def motion(body: Body, window_s: float = MOTION_WINDOW_S) -> dict[str, F64]:
    """Mean speed of the points of the body (three at least) and of each limb, trunk lengths/s, `[n]` each."""
    speed = {
        name: np.linalg.norm(local_line(body.t_s, place, window_s)[1], axis=1) / body.scale
        for name, place in body.at.items()
    }
    columns = {f"motion_{limb}": mean_of([speed[p] for p in points]) for limb, points in LIMBS.items()}
    return {"motion_body": mean_of(list(speed.values()), least=3), **columns}


def tension(body: Body, columns: dict[str, F64], config: TensionConfig) -> dict[str, F64]:
    """An open guess at a drawn-in, restless posture: our definition, not validated, weak.

    Three parts of 0..1, each a straight ramp: raised shoulders (ear_height falls), arms drawn in (arm_openness falls),
    fidgeting (root mean square of the wrists' deviation, against the trunk, from a straight line through 0.5 s, over
    `fidget_window_s`). At 5 frames/s fidgeting sees 1-2.5 Hz at most: tremor (4-12 Hz) is invisible. The jitter of a
    pose model, cold, a heavy coat or folded arms give the same figures.
    """
    shakes: list[F64] = []
    for side in SIDES:
        place = (body.at[f"{side}_wrist"] - body.shoulders) / body.scale[:, None]
        off = place - local_line(body.t_s, place, MOTION_WINDOW_S)[0]
        shakes.append(np.sqrt(rolling_mean(body.t_s, (off**2).sum(axis=1), config.fidget_window_s)))
    parts = {
        "tension_shoulders": _ramp(columns["ear_height"], config.ear_height),
        "tension_arms": _ramp(columns["arm_openness"], config.arm_openness),
        "tension_fidget": _ramp(mean_of(shakes), config.fidget),
    }
    return {"tension": mean_of(list(parts.values()), least=2), **parts}


def _ramp(value: F64, ends: tuple[float, float]) -> F64:
    return np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1)
