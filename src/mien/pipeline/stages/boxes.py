"""Tracked boxes over one clip: people and objects, faces, and the faces of an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mien.core import US, Boxes, Clip, Faces, Frames, People, Span, Track, content_id
from mien.pipeline.config import Analysis
from mien.pipeline.rows import columns, observe, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.identity import Rejoin, WindowConfig, renumber
from mien.pipeline.stages.sparse import SparseDetector
from mien.signals.tracking import Tracker, TrackerConfig

Array = npt.NDArray[Any]
Records = list[Any]
Tables = dict[str, Any]
BOX = ("x1", "y1", "x2", "y2")
POINTS = tuple(f"p{i}{axis}" for i in range(5) for axis in "xy")
# Scores of the two detectors mean different things, so each has its own thresholds.
TRACKERS = {"objects": TrackerConfig(high=0.4, new=0.45), "faces": TrackerConfig(high=0.5, new=0.5)}


@dataclass(frozen=True, slots=True)
class Tracked:
    """The boxes of one batch of frames and the track index of each row (-1: not tracked)."""

    frames: Frames
    boxes: Boxes
    track: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.intp]) -> Tracked:
        return Tracked(self.frames, self.boxes.take(rows), self.track[rows])

    def only_tracked(self) -> Tracked:
        return self.take(np.flatnonzero(self.track >= 0))

    @property
    def faces(self) -> Faces:
        return Faces(self.frames, self.boxes)

    @property
    def people(self) -> People:
        return People(self.frames, self.boxes)

    @property
    def t_us(self) -> Array:
        return self.frames.t_us[self.boxes.frame]


@runtime_checkable
class Finder(Protocol):
    """What finds boxes for the stages that need them."""

    def find(self, frames: Frames) -> Tracked: ...


class _Boxes:
    """Collects tracked boxes over a clip; makes the table, the tracks and their presence."""

    def __init__(self, clip: Clip, stack: Stack, slot: str, analysis: Analysis) -> None:
        self._clip, self._slot, self._analysis = clip, slot, analysis
        self._model, self._label = stack.get(slot), stack.label(slot)
        # A still picture has one frame: what is seen there counts at once.
        hits = 1 if clip.span.duration_us <= 1 else 2
        tracker = Tracker(TRACKERS[slot].model_copy(update={"min_hits": hits}))
        self._rows: list[tuple[Array, Array, Boxes]] = []
        self._names: tuple[str, ...] = ()
        self._size = (1, 1)
        self._times: list[Array] = []
        self._eye = detector(
            self._model, slot, tracker, calm_every=analysis.calm_every, objects_every=analysis.objects_every
        )
        self._measured: list[Array] = []

    def find(self, frames: Frames) -> Tracked:
        """Boxes of every frame of the batch, measured or interpolated."""
        seen = self._eye.run(frames)
        self._names, self._size = seen.boxes.names, (frames.pixels.shape[2], frames.pixels.shape[1])
        self._times.append(frames.t_us[seen.looked])
        self._measured.append(seen.measured)
        self._rows.append((frames.t_us[seen.boxes.frame], seen.track, seen.boxes))
        return Tracked(frames, seen.boxes, seen.track)

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        """Boxes are found by `find`, before the stages that need them take their turn."""

    def renumber(self, joined: dict[int, int]) -> None:
        self._rows = [(t, renumber(track, joined), boxes) for t, track, boxes in self._rows]

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
        measured = np.concatenate(self._measured or [np.zeros(0, bool)])
        data: dict[str, Any] = {"t_us": t_us, "track": track.astype(np.int32), "score": score, "measured": measured}
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
                int(index), t_us[mine], xyxy[mine], score[mine], max(set(names), key=names.count), times, measured[mine]
            )
        # Boxes are in px of the frames that were analysed, which may be smaller than the source's.
        made = table(data)
        size = "x".join(str(side) for side in self._size)
        made = made.replace_schema_metadata({**(made.schema.metadata or {}), "frame_px": size})
        return records, {f"{self._slot}/{self._clip.id}": made}

    def _track(
        self, index: int, t_us: Array, xyxy: Array, score: Array, name: str, times: Array, measured: Array
    ) -> Records:
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
            n=int(measured.sum()),
            value=int(measured.sum()) / max(1, looked),
            quality=float(score.mean()),
        )
        return [track, presence]


def track_id(clip: Clip, kind: str, index: int) -> str:
    """The id of the n-th track of a kind in a clip. Objects and people share one tracker and its numbering."""
    return content_id("track", clip.id, "face" if kind == "face" else "object", index)


def detector(model: Any, slot: str, tracker: Tracker, *, calm_every: int, objects_every: int) -> SparseDetector:
    """The detector of a slot with its tracker, asked as often as the scene demands."""
    binding, finest = ("face", 1) if slot == "faces" else ("person", objects_every)
    return SparseDetector(model, tracker, calm_every, finest, binding, least=tracker.config.new)


class ObjectsPass(_Boxes):
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "objects", analysis)


class FacesPass(_Boxes):
    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "faces", analysis)
        self._rejoin = None
        if stack.has("identity"):
            self._rejoin = Rejoin(stack.get("identity"), WindowConfig(window_s=stack.identity_window_s))

    def find(self, frames: Frames) -> Tracked:
        seen = super().find(frames)
        if self._rejoin is not None:
            self._rejoin.feed(seen.faces, seen.track)
        return seen

    def rejoined(self) -> dict[int, int]:
        """Later track → the track of the same person before it; every embedding is gone after this."""
        return self._rejoin.close() if self._rejoin is not None else {}

    def wipe(self) -> None:
        """Forget every embedding without deciding."""
        if self._rejoin is not None:
            self._rejoin.__exit__(None, None, None)


class StoredBoxes:
    """The boxes of an earlier run, looked up by frame time."""

    def __init__(self, held: Any) -> None:
        points = [name for name in POINTS if held is not None and name in held.column_names]
        c = columns(held, ("t_us", "track", "score", "label", *BOX, *points))
        self._t = c["t_us"]
        self._track = c["track"].astype(np.int64)
        self._score = c["score"].astype(np.float32)
        self._names, label = np.unique(c["label"].astype(str), return_inverse=True)
        self._label = label.astype(np.int64)
        self._xyxy = np.stack([c[name] for name in BOX], axis=1).astype(np.float32)
        stacked = [c[name] for name in points] or [np.full(len(self._t), np.nan)]
        self._points = np.stack(stacked, axis=1).astype(np.float32)

    def find(self, frames: Frames) -> Tracked:
        rows = [np.flatnonzero(self._t == t) for t in frames.t_us]
        frame = np.concatenate([np.full(len(r), i, np.int64) for i, r in enumerate(rows)])
        at = np.concatenate(rows)
        points = (
            np.zeros((0, 0, 2), np.float32) if np.isnan(self._points[at]).any() else self._points[at].reshape(-1, 5, 2)
        )
        names = tuple(str(n) for n in self._names)
        return Tracked(
            frames, Boxes(frame, self._xyxy[at], self._score[at], self._label[at], names, points), self._track[at]
        )


def nobody(frames: Frames) -> Tracked:
    return Tracked(frames, Boxes.empty(("person",)), np.zeros(0, np.int64))


def people_of(frames: Frames, found: Tracked | None, most: int | None = None) -> Tracked:
    """The tracked people of a batch without their points; the `most` largest of each frame, in the detector's order."""
    seen = (found or nobody(frames)).only_tracked()
    boxes = seen.boxes
    person = boxes.names.index("person") if "person" in boxes.names else -1
    area = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(1)
    kept = [np.zeros(0, np.int64)]
    for i in range(len(frames)):
        mine = np.flatnonzero((boxes.frame == i) & (boxes.label == person))
        kept.append(np.sort(mine[np.argsort(-area[mine], kind="stable")][:most]))
    return seen.take(np.concatenate(kept))
