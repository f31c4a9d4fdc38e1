"""The picture pass over one clip: frames are decoded once, and every stale vision stage takes its turn on each batch.

A stage that is up to date is not run; those that need faces read its boxes from the stored table instead.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.core import COCO_POINTS, US, Boxes, Clip, FacePeople, Frames
from mien.pipeline.config import Analysis
from mien.pipeline.rows import observe, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.actions import ActionsPass
from mien.pipeline.stages.boxes import FacesPass, ObjectsPass, Tracked, nobody, people_of, track_id
from mien.pipeline.stages.expression import ExpressionPass
from mien.pipeline.stages.perface import PerFace
from mien.pipeline.stages.scene import QualityPass, ScenePass
from mien.policy.quarantine import EXPLICIT_LIMIT
from mien.signals import descriptors, head
from mien.signals.motion import MotionEnergy
from mien.signals.pairing import pair_faces

Array = npt.NDArray[Any]
Records = list[Any]
Tables = dict[str, Any]
AGE_EVERY_S = 2.0
HEAD_UNITS = {"yaw": "deg", "pitch": "deg", "roll": "deg"}
FACE_UNITS = {f"face.{n}": u for n, u in descriptors.UNITS.items()} | {f"head.{n}": u for n, u in HEAD_UNITS.items()}
FACE_COLUMNS = (*descriptors.UNITS, *HEAD_UNITS)
MOTION_ROWS = 72  # as many rows of blocks as the motion energy uses


class Pass(Protocol):
    """One vision stage at work on one clip."""

    def feed(self, frames: Frames, found: Tracked | None) -> None: ...
    def finish(self) -> tuple[Records, Tables]: ...


class MotionPass:
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._meter = clip, MotionEnergy()
        self._t: list[int] = []
        self._energy: list[float] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        import cv2

        h, w = frames.pixels.shape[1:3]
        size = (max(1, round(w * MOTION_ROWS / h)), MOTION_ROWS) if h > MOTION_ROWS else (w, h)
        for t_us, frame in zip(frames.t_us.tolist(), frames.pixels, strict=True):
            small = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
            self._t.append(t_us)
            self._energy.append(self._meter.update(t_us, small).whole)

    def finish(self) -> tuple[Records, Tables]:
        data = {"t_us": np.array(self._t, np.int64), "energy": np.array(self._energy, np.float32)}
        return [], {f"motion/{self._clip.id}": table(data)}


class ExplicitPass:
    """The gate looks at one frame a second; every picture that is to be shown is looked at again by itself.

    A gate that knows regions is asked for them where its score closes the clip: they are the reasons of a quarantine.
    """

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._model, self._label = clip, stack.get("explicit"), stack.label("explicit")
        self._t: list[int] = []
        self._score: list[float] = []
        self._regions: dict[str, float] = {}

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        chosen: list[int] = []
        for i, t_us in enumerate(frames.t_us.tolist()):
            if not self._t or t_us // US != self._t[-1] // US:
                self._t.append(t_us)
                chosen.append(i)
        if chosen:
            scores = self._model.run(Frames(frames.pixels[chosen], frames.t_us[chosen]))
            self._score += [float(v) for v in scores.value]
            closed = [i for i, v in zip(chosen, scores.value, strict=True) if v >= EXPLICIT_LIMIT]
            if closed and hasattr(self._model, "regions"):
                seen: Boxes = self._model.regions(Frames(frames.pixels[closed], frames.t_us[closed]))
                for k, score in zip(seen.label.tolist(), seen.score.tolist(), strict=True):
                    self._regions[seen.names[k]] = max(score, self._regions.get(seen.names[k], 0.0))

    def finish(self) -> tuple[Records, Tables]:
        score = np.array(self._score, np.float32)
        records: Records = []
        if len(score):
            records.append(
                observe(
                    self._clip,
                    "explicit.max",
                    self._clip.span,
                    self._label,
                    value=float(score.max()),
                    unit="0..1",
                    n=len(score),
                )
            )
        if self._regions:
            named = tuple(sorted(self._regions.items(), key=lambda pair: -pair[1]))
            records.append(observe(self._clip, "explicit.regions", self._clip.span, self._label, dist=named))
        return records, {f"explicit/{self._clip.id}": table({"t_us": np.array(self._t, np.int64), "score": score})}


class LandmarksPass(PerFace):
    """Landmarks become geometric descriptors and a head pose at once; the points themselves are not kept."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "landmarks", analysis)
        self._directions: list[str] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        seen = (found or nobody(frames)).only_tracked()
        if len(seen.track):
            mesh = self._model.run(seen.faces)
            pose = head.head_pose(mesh)
            turned = np.stack([pose.yaw, pose.pitch, pose.roll], axis=1)
            self._add(seen, np.concatenate([descriptors.describe(mesh).values, turned], axis=1))
            self._directions += head.direction(pose)

    def finish(self) -> tuple[Records, Tables]:
        t, track, values, quality = self._gathered(len(FACE_UNITS))
        directions = np.array(self._directions, dtype=str)
        records: Records = []
        for who, span, rows in self._windows(t, track):
            shared: dict[str, Any] = {"track_id": who, "quality": float(quality[rows].mean())}
            for k, (name, unit) in enumerate(FACE_UNITS.items()):
                mine = values[rows, k]
                n = int(np.isfinite(mine).sum())
                value = float(np.nanmean(mine, dtype=np.float64)) if n else float("nan")
                sd = float(np.nanstd(mine, dtype=np.float64)) if n > 1 else None
                reason = None if n else "face-not-measurable"
                records.append(
                    observe(
                        self._clip, name, span, self._label, value=value, sd=sd, unit=unit, n=n, reason=reason, **shared
                    )
                )
            said, counts = np.unique(directions[rows][directions[rows] != ""], return_counts=True)
            dist = tuple((str(name), float(c / counts.sum())) for name, c in zip(said, counts, strict=True))
            if dist:
                records.append(
                    observe(self._clip, "head.direction", span, self._label, dist=dist, n=int(counts.sum()), **shared)
                )
        data = {"t_us": t, "track": track.astype(np.int32)} | {n: values[:, i] for i, n in enumerate(FACE_COLUMNS)}
        return records, {f"landmarks/{self._clip.id}": table(data)}


class AgePass(PerFace):
    """An age interval per face track, for display and export rules only.

    A model that judges bodies, too, gets the body each face belongs to.
    """

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "age", analysis)
        self._last: dict[int, int] = {}
        self._people = Boxes.empty(("person",))

    def beside(self, frames: Frames, found: Tracked | None) -> None:
        """The people and things of the batch that `feed` gets next."""
        self._people = people_of(frames, found).boxes

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        seen = (found or nobody(frames)).only_tracked()
        due: list[int] = []
        for row, (index, t) in enumerate(zip(seen.track.tolist(), seen.t_us.tolist(), strict=True)):
            if index not in self._last or t - self._last[index] >= AGE_EVERY_S * US:
                self._last[index] = t
                due.append(row)
        if due:
            rows, bodies = np.array(due), self._model.spec.takes is FacePeople
            if bodies:  # whose body it is, is settled among all faces of a frame
                rows = np.flatnonzero(np.isin(seen.boxes.frame, seen.boxes.frame[rows]))
                self._last |= dict(zip(seen.track[rows].tolist(), seen.t_us[rows].tolist(), strict=True))
            chosen = seen.take(rows)
            answer = self._model.run(self._with_bodies(chosen) if bodies else chosen.faces)
            self._add(chosen, np.stack([answer.value, answer.sd], axis=1))

    def _with_bodies(self, seen: Tracked) -> FacePeople:
        body = np.full((len(seen.track), 4), np.nan, np.float32)
        for i in np.unique(seen.boxes.frame):
            mine, people = np.flatnonzero(seen.boxes.frame == i), self._people.of_frame(int(i))
            if len(people):
                body[mine] = pair_faces(seen.boxes.take(mine), people)
        return FacePeople(seen.frames, seen.boxes, body)

    def finish(self) -> tuple[Records, Tables]:
        _, track, values, quality = self._gathered(2)
        records: Records = []
        for index in np.unique(track):
            mine = values[track == index].astype(np.float64)
            sd = float(np.sqrt(np.nanmean(mine[:, 1] ** 2) + np.nanvar(mine[:, 0])))
            records.append(
                observe(
                    self._clip,
                    "age",
                    self._clip.span,
                    self._label,
                    track_id=track_id(self._clip, "face", int(index)),
                    value=float(np.nanmedian(mine[:, 0])),
                    sd=sd,
                    unit="years",
                    n=len(mine),
                    quality=float(quality[track == index].mean()),
                )
            )
        return records, {}


class PosePass:
    """Body points of the tracked people; of a crowd, the largest `max_people` of each frame."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._model = clip, stack.get("pose")
        self._most = analysis.max_people
        self._rows: list[tuple[Array, Array, Array, Array]] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        people = people_of(frames, found, self._most)
        if len(people.track):
            answer = self._model.run(people.people)
            at = [answer.names.index(name) for name in COCO_POINTS]
            self._rows.append((people.t_us, people.track, answer.points[:, at], answer.score))

    def finish(self) -> tuple[Records, Tables]:
        t, track, points, score = (
            np.concatenate([row[k] for row in self._rows] or [np.zeros((0, 17, 3) if k == 2 else 0)]) for k in range(4)
        )
        data: dict[str, Any] = {"t_us": t.astype(np.int64), "track": track.astype(np.int32), "score": score}
        for k, name in enumerate(COCO_POINTS):
            data |= {f"{name}.{axis}": points[:, k, i].astype(np.float32) for i, axis in enumerate("xyv")}
        return [], {f"pose/{self._clip.id}": table(data)}


PASSES: dict[str, Any] = {
    "objects": ObjectsPass,
    "pose": PosePass,
    "motion": MotionPass,
    "explicit": ExplicitPass,
    "quality": QualityPass,
    "actions": ActionsPass,
    "faces": FacesPass,
    "landmarks": LandmarksPass,
    "expression": ExpressionPass,
    "age": AgePass,
    "scene": ScenePass,
}
