"""The picture pass over one clip: frames are decoded once, and every stale vision stage takes its turn on each batch.

A stage that is up to date is not run; those that need faces read its boxes from the stored table instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.core import US, Boxes, Clip, Faces, Frames, Span, Track, content_id
from mien.pipeline.config import Analysis
from mien.pipeline.rows import columns, mean_dist, observe, table, windows
from mien.pipeline.stack import Stack
from mien.signals import descriptors
from mien.signals.affect import affect_of
from mien.signals.motion import MotionEnergy
from mien.signals.tracking import Tracker, TrackerConfig

Array = npt.NDArray[Any]
Records = list[Any]
Tables = dict[str, Any]
BOX = ("x1", "y1", "x2", "y2")
POINTS = tuple(f"p{i}{axis}" for i in range(5) for axis in "xy")
AGE_EVERY_S = 2.0
MOTION_ROWS = 72  # as many rows of blocks as the motion energy uses
# Scores of the two detectors mean different things, so each has its own thresholds.
TRACKERS = {"objects": TrackerConfig(high=0.4, new=0.45), "faces": TrackerConfig(high=0.5, new=0.5)}


@dataclass(frozen=True, slots=True)
class Tracked:
    """The faces of one batch of frames and the track index of each row (-1: not tracked)."""

    faces: Faces
    track: npt.NDArray[np.int64]

    def only_tracked(self) -> Tracked:
        rows = np.flatnonzero(self.track >= 0)
        return Tracked(Faces(self.faces.frames, self.faces.boxes.take(rows)), self.track[rows])

    @property
    def t_us(self) -> Array:
        return self.faces.frames.t_us[self.faces.boxes.frame]


class Pass(Protocol):
    """One vision stage at work on one clip."""

    def feed(self, frames: Frames, faces: Tracked | None) -> None: ...
    def finish(self) -> tuple[Records, Tables]: ...


class _Boxes:
    """Collects tracked boxes over a clip; makes the table, the tracks and their presence."""

    def __init__(self, clip: Clip, stack: Stack, slot: str, analysis: Analysis) -> None:
        self._clip, self._slot, self._analysis = clip, slot, analysis
        self._model, self._label = stack.get(slot), stack.label(slot)
        # A still picture has one frame: what is seen there counts at once.
        hits = 1 if clip.span.duration_us <= 1 else 2
        self._tracker = Tracker(TRACKERS[slot].model_copy(update={"min_hits": hits}))
        self._rows: list[tuple[Array, Array, Boxes]] = []
        self._names: tuple[str, ...] = ()
        self._size = (1, 1)
        self._times: list[Array] = []

    def boxes(self, frames: Frames) -> tuple[Boxes, npt.NDArray[np.int64]]:
        found: Boxes = self._model.run(frames)
        self._names, self._size = found.names, (frames.pixels.shape[2], frames.pixels.shape[1])
        track = np.full(len(found), -1, np.int64)
        for i, t_us in enumerate(frames.t_us):
            rows = np.flatnonzero(found.frame == i)
            track[rows] = self._tracker.update(int(t_us), found.xyxy[rows], found.score[rows], found.label[rows])
        self._times.append(frames.t_us)
        self._rows.append((frames.t_us[found.frame], track, found))
        return found, track

    def finish(self) -> tuple[Records, Tables]:
        t_us = np.concatenate([t for t, _, _ in self._rows] or [np.zeros(0, np.int64)])
        track = np.concatenate([k for _, k, _ in self._rows] or [np.zeros(0, np.int64)])
        xyxy = np.concatenate([b.xyxy for *_, b in self._rows] or [np.zeros((0, 4), np.float32)])
        score = np.concatenate([b.score for *_, b in self._rows] or [np.zeros(0, np.float32)])
        label = np.concatenate([b.label for *_, b in self._rows] or [np.zeros(0, np.int64)])
        points = [
            b.points.reshape(len(b), -1) if len(b.points) else np.full((len(b), 10), np.nan, np.float32)
            for *_, b in self._rows
        ]
        data: dict[str, Any] = {"t_us": t_us, "track": track.astype(np.int32), "score": score}
        data["label"] = [self._names[i] for i in label]
        data |= {name: xyxy[:, i] for i, name in enumerate(BOX)}
        if self._slot == "faces":
            stacked = np.concatenate(points or [np.zeros((0, 10), np.float32)])
            data |= {name: stacked[:, i] for i, name in enumerate(POINTS)}
        times = np.concatenate(self._times or [np.zeros(0, np.int64)])
        records: Records = []
        for index in np.unique(track[track >= 0]):
            mine = track == index
            names = [self._names[i] for i in label[mine]]
            records += self._track(
                int(index), t_us[mine], xyxy[mine], score[mine], max(set(names), key=names.count), times
            )
        # Boxes are in px of the frames that were analysed, which may be smaller than the source's.
        made = table(data)
        size = "x".join(str(side) for side in self._size)
        made = made.replace_schema_metadata({**(made.schema.metadata or {}), "frame_px": size})
        return records, {f"{self._slot}/{self._clip.id}": made}

    def _track(self, index: int, t_us: Array, xyxy: Array, score: Array, name: str, times: Array) -> Records:
        step = round(US / self._analysis.fps)
        span = Span(int(t_us[0]), min(int(t_us[-1]) + step, max(self._clip.span.end_us, int(t_us[-1]) + 1)))
        kind = "face" if self._slot == "faces" else ("person" if name == "person" else "object")
        w, h = self._size
        place = np.median(xyxy, axis=0) / np.array([w, h, w, h])
        geometry = tuple(round(float(v), 4) for v in place)
        track = Track(track_id(self._clip, kind, index), self._clip.id, kind, name, span, geometry, len(t_us))  # pyright: ignore[reportArgumentType]
        looked = int(((times >= span.start_us) & (times < span.end_us)).sum())
        presence = observe(
            self._clip,
            "presence",
            span,
            self._label,
            track_id=track.id,
            unit="share",
            n=len(t_us),
            value=len(t_us) / max(1, looked),
            quality=float(score.mean()),
        )
        return [track, presence]


def track_id(clip: Clip, kind: str, index: int) -> str:
    """The id of the n-th track of a kind in a clip. Objects and people share one tracker and its numbering."""
    return content_id("track", clip.id, "face" if kind == "face" else "object", index)


class ObjectsPass(_Boxes):
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "objects", analysis)

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        self.boxes(frames)


class FacesPass(_Boxes):
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "faces", analysis)

    def find(self, frames: Frames) -> Tracked:
        boxes, track = self.boxes(frames)
        return Tracked(Faces(frames, boxes), track)

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        """Faces are found by `find`, before the other stages take their turn."""


class StoredFaces:
    """The face boxes of an earlier run, looked up by frame time."""

    def __init__(self, held: Any) -> None:
        c = columns(held, ("t_us", "track", "score", *BOX, *POINTS))
        self._t = c["t_us"]
        self._track = c["track"].astype(np.int64)
        self._score = c["score"].astype(np.float32)
        self._xyxy = np.stack([c[name] for name in BOX], axis=1).astype(np.float32)
        self._points = np.stack([c[name] for name in POINTS], axis=1).astype(np.float32).reshape(-1, 5, 2)

    def find(self, frames: Frames) -> Tracked:
        rows = [np.flatnonzero(self._t == t) for t in frames.t_us]
        frame = np.concatenate([np.full(len(r), i, np.int64) for i, r in enumerate(rows)])
        at = np.concatenate(rows)
        points = self._points[at]
        if np.isnan(points).any():
            points = np.zeros((0, 0, 2), np.float32)
        boxes = Boxes(frame, self._xyxy[at], self._score[at], np.zeros(len(at), np.int64), ("face",), points)
        return Tracked(Faces(frames, boxes), self._track[at])


class MotionPass:
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._meter = clip, MotionEnergy()
        self._t: list[int] = []
        self._energy: list[float] = []

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
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
    """The gate looks at one frame a second; every picture that is to be shown is looked at again by itself."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._model, self._label = clip, stack.get("explicit"), stack.label("explicit")
        self._t: list[int] = []
        self._score: list[float] = []

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        chosen: list[int] = []
        for i, t_us in enumerate(frames.t_us.tolist()):
            if not self._t or t_us // US != self._t[-1] // US:
                self._t.append(t_us)
                chosen.append(i)
        if chosen:
            scores = self._model.run(Frames(frames.pixels[chosen], frames.t_us[chosen]))
            self._score += [float(v) for v in scores.value]

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
        return records, {f"explicit/{self._clip.id}": table({"t_us": np.array(self._t, np.int64), "score": score})}


class _PerFace:
    """Collects values per tracked face and frame."""

    def __init__(self, clip: Clip, stack: Stack, slot: str, analysis: Analysis) -> None:
        self._clip, self._slot, self._analysis = clip, slot, analysis
        self._model, self._label = stack.get(slot), stack.label(slot)
        self._t: list[Array] = []
        self._track: list[Array] = []
        self._values: list[Array] = []
        self._quality: list[Array] = []

    def _add(self, seen: Tracked, values: Array) -> None:
        self._t.append(seen.t_us)
        self._track.append(seen.track)
        self._values.append(values)
        self._quality.append(seen.faces.boxes.score)

    def _gathered(self, width: int) -> tuple[Array, Array, Array, Array]:
        return (
            np.concatenate(self._t or [np.zeros(0, np.int64)]),
            np.concatenate(self._track or [np.zeros(0, np.int64)]),
            np.concatenate(self._values or [np.zeros((0, width), np.float32)]),
            np.concatenate(self._quality or [np.zeros(0, np.float32)]),
        )

    def _windows(self, t: Array, track: Array) -> Iterable[tuple[str, Span, Array]]:
        """(track id, window, rows) wherever a track was seen."""
        for index in np.unique(track):
            for span in windows(self._clip.span, self._analysis.window_s):
                rows = np.flatnonzero((track == index) & (t >= span.start_us) & (t < span.end_us))
                if len(rows):
                    yield track_id(self._clip, "face", int(index)), span, rows


class LandmarksPass(_PerFace):
    """Landmarks become geometric descriptors at once; the points themselves are not kept."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "landmarks", analysis)

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        seen = (faces or _nobody(frames)).only_tracked()
        if len(seen.track):
            self._add(seen, descriptors.describe(self._model.run(seen.faces)).values)

    def finish(self) -> tuple[Records, Tables]:
        t, track, values, quality = self._gathered(len(descriptors.UNITS))
        records: Records = []
        for who, span, rows in self._windows(t, track):
            for k, (name, unit) in enumerate(descriptors.UNITS.items()):
                mine = values[rows, k]
                n = int(np.isfinite(mine).sum())
                records.append(
                    observe(
                        self._clip,
                        f"face.{name}",
                        span,
                        self._label,
                        track_id=who,
                        unit=unit,
                        n=n,
                        value=float(np.nanmean(mine, dtype=np.float64)) if n else float("nan"),
                        sd=float(np.nanstd(mine, dtype=np.float64)) if n > 1 else None,
                        quality=float(quality[rows].mean()),
                        reason=None if n else "face-not-measurable",
                    )
                )
        data = {"t_us": t, "track": track.astype(np.int32)} | {n: values[:, i] for i, n in enumerate(descriptors.UNITS)}
        return records, {f"landmarks/{self._clip.id}": table(data)}


class ExpressionPass(_PerFace):
    """Calibrated 7-class expression per frame; valence and arousal are derived from it, with their variance."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "expression", analysis)
        self._labels: tuple[str, ...] = ()

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        seen = (faces or _nobody(frames)).only_tracked()
        if len(seen.track):
            answer = self._model.run(seen.faces)
            self._labels = answer.labels
            self._add(seen, answer.probs)

    def finish(self) -> tuple[Records, Tables]:
        t, track, probs, quality = self._gathered(len(self._labels))
        derived = affect_of(probs, self._labels) if len(probs) else None
        records: Records = []
        data: dict[str, Any] = {"t_us": t, "track": track.astype(np.int32), "quality": quality}
        data |= {label: probs[:, i] for i, label in enumerate(self._labels)}
        if derived is not None:
            data |= {
                "valence": derived.mean[:, 0],
                "arousal": derived.mean[:, 1],
                "var_valence": derived.cov[:, 0, 0],
                "var_arousal": derived.cov[:, 1, 1],
                "cov": derived.cov[:, 0, 1],
            }
            for who, span, rows in self._windows(t, track):
                shared = {"track_id": who, "quality": float(quality[rows].mean()), "n": len(rows)}
                records.append(
                    observe(
                        self._clip, "expression", span, self._label, dist=mean_dist(probs[rows], self._labels), **shared
                    )
                )
                for k, name in enumerate(("valence", "arousal")):
                    mean = derived.mean[rows, k].astype(np.float64)
                    sd = float(np.sqrt(derived.cov[rows, k, k].mean() + mean.var()))
                    records.append(
                        observe(
                            self._clip,
                            f"{name}.derived",
                            span,
                            self._label,
                            value=float(mean.mean()),
                            sd=sd,
                            unit="-1..1",
                            **shared,
                        )
                    )
        return records, {f"expression/{self._clip.id}": table(data)}


class AgePass(_PerFace):
    """An age interval per face track, for display and export rules only."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "age", analysis)
        self._last: dict[int, int] = {}

    def feed(self, frames: Frames, faces: Tracked | None) -> None:
        seen = (faces or _nobody(frames)).only_tracked()
        due: list[int] = []
        for row, (index, t) in enumerate(zip(seen.track.tolist(), seen.t_us.tolist(), strict=True)):
            if index not in self._last or t - self._last[index] >= AGE_EVERY_S * US:
                self._last[index] = t
                due.append(row)
        if due:
            rows = np.array(due)
            chosen = Tracked(Faces(frames, seen.faces.boxes.take(rows)), seen.track[rows])
            answer = self._model.run(chosen.faces)
            self._add(chosen, np.stack([answer.value, answer.sd], axis=1))

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


def _nobody(frames: Frames) -> Tracked:
    return Tracked(Faces(frames, Boxes.empty(("face",))), np.zeros(0, np.int64))


PASSES: dict[str, Any] = {
    "objects": ObjectsPass,
    "motion": MotionPass,
    "explicit": ExplicitPass,
    "faces": FacesPass,
    "landmarks": LandmarksPass,
    "expression": ExpressionPass,
    "age": AgePass,
}
