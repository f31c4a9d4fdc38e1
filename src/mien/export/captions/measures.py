"""From one clip's rows to its axes: curves on one grid of 200 ms, of the leading person, and shares of the clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mien.core import Observation, Signal, Track
from mien.export.selection.scope import ClipRows
from mien.pipeline import Project
from mien.reason.vocabulary import QUANTITIES, is_affect

F64 = npt.NDArray[np.float64]
STEP_US = 200_000
SOUNDS = ("loudness", "pitch", "speech")
Whose = Literal["face", "body", "clip"]


@dataclass(frozen=True, slots=True)
class Axis:
    """One named axis of control: the signal it is made of, whose it is, its unit, and the range of its histogram.

    least: the smallest change that is an episode; floor: lower counts as this; root: episodes are looked for on the
    square root, which makes the noise of a sum of small movements look normal.
    """

    name: str
    signal: str
    whose: Whose
    unit: str
    low: float
    high: float
    least: float = math.inf
    floor: float = -math.inf
    root: bool = False


def _least(signal: str) -> float:
    return QUANTITIES[signal].least


AXES: tuple[Axis, ...] = (
    Axis("valence", "valence", "face", "-1..1", -1.0, 1.0, _least("valence")),
    Axis("arousal", "arousal", "face", "-1..1", -1.0, 1.0, _least("arousal")),
    Axis("motion_energy", "motion_energy", "clip", "1/s", 0.0, 1.0, _least("motion_energy"), root=True),
    Axis("body_motion", "body.motion_body", "body", "trunk lengths/s", 0.0, 8.0, _least("body.motion_body"), root=True),
    Axis("tension", "body.tension", "body", "0..1", 0.0, 1.0),
    Axis("arm_openness", "body.arm_openness", "body", "shoulder widths", 0.0, 4.0, _least("body.arm_openness")),
    Axis("trunk_lean", "body.trunk_lean", "body", "deg", -90.0, 90.0),
    Axis("mouth_opening", "face.lip_gap", "face", "iod", 0.0, 1.0, _least("face.lip_gap")),
    Axis("mouth_width", "face.mouth_width", "face", "iod", 0.4, 1.4),
    Axis("mouth_corner_raise", "face.mouth_corner_raise", "face", "iod", -0.5, 0.5, _least("face.mouth_corner_raise")),
    Axis("brow_raise", "face.brow_raise_inner", "face", "iod", 0.0, 0.8, _least("face.brow_raise_inner")),
    Axis("eye_opening", "face.eye_opening", "face", "ratio", 0.0, 0.6, _least("face.eye_opening")),
    Axis("head_yaw", "head.yaw", "face", "deg", -90.0, 90.0),
    Axis("head_pitch", "head.pitch", "face", "deg", -90.0, 90.0),
    Axis("head_roll", "head.roll", "face", "deg", -90.0, 90.0),
    Axis("loudness", "loudness", "clip", "dBFS", -120.0, 0.0, _least("loudness"), -70.0),
    Axis("pitch", "pitch", "clip", "Hz", 0.0, 800.0),
    Axis("speech", "speech", "clip", "0..1", 0.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One axis over the clip: value and sd float64 `[n]` on the clip's grid (NaN: not measured)."""

    axis: Axis
    signal: Signal | None
    value: F64
    sd: F64


@dataclass(frozen=True, slots=True)
class Measures:
    """t_us int64 `[n]`, starts of the cells of 200 ms that touch the clip (multiples from the source's t = 0); the
    curves; shares of the whole clip; people float64 `[20]` tracked at equal steps (or empty); the leading face and
    body; analysed frames per second; whether it is a picture that does not move."""

    t_us: npt.NDArray[np.int64]
    curves: dict[str, Curve]
    shares: dict[str, float]
    people: F64
    face: Track | None
    body: Track | None
    fps: float
    still: bool

    def middle_us(self, axis: Axis) -> npt.NDArray[np.int64]:
        """The moments that the cells of an axis speak of: sound fills its cell; pictures are taken at its first frames,
        and a change between two of them lies half way back to the one before."""
        if axis.signal in SOUNDS:
            return self.t_us + STEP_US // 2
        between = min(STEP_US, round(1e6 / self.fps))
        return self.t_us + (STEP_US - between) // 2 - (between // 2 if axis.name == "motion_energy" else 0)


def measures(rows: ClipRows, project: Project, *, affect: bool) -> Measures:
    """Everything captions and control vectors are made of. affect: whether inferences about feeling are read at all."""
    span = rows.part.clip.span
    t_us = np.arange(span.start_us // STEP_US, max(-(-span.end_us // STEP_US), span.start_us // STEP_US + 1)) * STEP_US
    face, body = leading(rows.tracks, "face"), leading(rows.tracks, "person")
    ids = {"face": face.id if face else None, "body": body.id if body else None, "clip": None}
    curves: dict[str, Curve] = {}
    for axis in AXES:
        absent = axis.whose != "clip" and ids[axis.whose] is None
        mine = [s for s in rows.signals if s.name == axis.signal and s.track_id == ids[axis.whose]]
        if absent or not mine or (is_affect(axis.signal) and not affect):
            empty = np.full(len(t_us), np.nan)
            curves[axis.name] = Curve(axis, None, empty, empty.copy())
        else:
            best = min(mine, key=lambda s: (-s.coverage, s.adapter, s.id))
            curves[axis.name] = Curve(axis, best, *_gridded(project, best, t_us))
    fps = min(project.config.analysis.fps, rows.part.source.fps or math.inf)
    return Measures(
        t_us, curves, _shares(rows, body), _people(rows, project), face, body, fps, rows.part.source.kind == "image"
    )


def leading(tracks: Sequence[Track], kind: str) -> Track | None:
    """Who the caption is about: in view for longest times largest; of equals the one further left."""

    def worth(t: Track) -> tuple[float, float, float, str]:
        x1, y1, x2, y2 = t.geometry
        return (-max(0.0, x2 - x1) * max(0.0, y2 - y1) * max(1, t.span.duration_us), x1, y1, t.id)

    return min((t for t in tracks if t.kind == kind), key=worth, default=None)


def _gridded(project: Project, signal: Signal, t_us: npt.NDArray[np.int64]) -> tuple[F64, F64]:
    """Means and sd of a signal's measured cells in each cell of the clip's grid."""
    held = project.store.table(signal.array)
    if held is None or not held.num_rows:
        return np.full(len(t_us), np.nan), np.full(len(t_us), np.nan)
    t = held["t_us"].to_numpy()
    value = held["value"].to_numpy().astype(np.float64)
    if "gap" in held.column_names:
        value = np.where(held["gap"].to_numpy(zero_copy_only=False).astype(bool), np.nan, value)
    sd = held["sd"].to_numpy().astype(np.float64)
    return _means(t, value, t_us), np.sqrt(_means(t, sd**2, t_us))


def _means(t: npt.NDArray[Any], values: F64, t_us: npt.NDArray[np.int64]) -> F64:
    cell = t // STEP_US - t_us[0] // STEP_US
    ok = (cell >= 0) & (cell < len(t_us)) & np.isfinite(values)
    count = np.bincount(cell[ok], minlength=len(t_us))
    total = np.bincount(cell[ok], values[ok], len(t_us))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _shares(rows: ClipRows, body: Track | None) -> dict[str, float]:
    """Figures of the whole clip; NaN where nothing was looked at."""
    span = rows.part.clip.span
    whole = max(1, span.duration_us)
    found: dict[str, float] = {"light": math.nan, "speech_share": math.nan, "voice_share": math.nan}
    light = [o.value for o in rows.observations if o.target == "picture.luma" and o.value is not None]
    if light:
        found["light"] = float(np.median(light))
    kinds = [o for o in rows.observations if o.target == "vocal.kind" and o.dist]
    if rows.part.source.audio_rate_hz is not None:
        talk = [dict(o.dist).get("speech", 0.0) for o in kinds]
        length = [o.span.overlap_us(span) / whole for o in kinds]
        found["speech_share"] = sum(n for n, p in zip(length, talk, strict=True) if p >= 0.5)
        found["voice_share"] = sum(n for n, p in zip(length, talk, strict=True) if p < 0.5)
    for name, target in (("swaying", "body.rocking"), ("walking", "body.pacing")):
        found[name] = math.nan if body is None else _covered(rows.observations, target, body, whole)
    return found


def _people(rows: ClipRows, project: Project) -> F64:
    """People in view at twenty moments; empty where nobody was looked for, or somebody's rows were left out."""
    clip = rows.part.clip
    if rows.hidden or all(project.store.table(f"{stage}/{clip.id}") is None for stage in ("objects", "faces")):
        return np.zeros(0)
    span = clip.span
    at = span.start_us + (np.arange(20) + 0.5) / 20 * span.duration_us
    seen = [[t.span for t in rows.tracks if t.kind == kind] for kind in ("person", "face")]
    count = [[sum(s.start_us <= t < s.end_us for s in spans) for t in at] for spans in seen]
    return np.max(np.array(count, np.float64), axis=0)


def _covered(observations: Sequence[Observation], target: str, body: Track, whole: int) -> float:
    mine = [o for o in observations if o.target == target and o.track_id == body.id and o.value is not None]
    return min(1.0, sum(o.span.duration_us for o in mine) / whole)
