"""People are looked for on every n-th frame of a clip, wherever batches begin; their bodies are measured on all."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import COCO_POINTS, Boxes, Clip, Frames, Keypoints, People, Span
from mien.pipeline.config import Analysis
from mien.pipeline.stages.boxes import ObjectsPass, StoredBoxes
from mien.pipeline.stages.vision import PosePass

STEP = 200_000
N = 12


class Detector:
    """A person who steps 10 px to the right with every frame; notes what it was shown."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def run(self, frames: Frames) -> Boxes:
        k = (frames.t_us // STEP).astype(np.float32)
        self.shown += k.astype(int).tolist()
        xyxy = np.stack([20 + 10 * k, 0 * k + 10, 60 + 10 * k, 0 * k + 110], 1)
        n = len(k)
        return Boxes(np.arange(n), xyxy, np.full(n, 0.9, np.float32), np.zeros(n, np.int64), ("person", "cup"))


class Pose:
    """Says which box it was given for which frame."""

    def __init__(self) -> None:
        self.given: dict[int, float] = {}

    def run(self, people: People) -> Keypoints:
        t = people.frames.t_us[people.boxes.frame] // STEP
        self.given |= dict(zip(t.tolist(), people.boxes.xyxy[:, 0].tolist(), strict=True))
        n = len(people)
        return Keypoints(np.ones((n, 17, 3), np.float32), COCO_POINTS, np.ones(n, np.float32))


def run(every: int, batches: list[int]) -> tuple[Detector, Pose, Any, Any]:
    detector, pose = Detector(), Pose()
    models = {"objects": detector, "pose": pose}
    stack: Any = SimpleNamespace(get=models.__getitem__, label=lambda slot: f"{slot}@1", has=lambda _: False)
    clip = Clip("c", "s", Span(0, N * STEP), "start", "end", "cut")
    analysis = Analysis(objects_every=every)  # pyright: ignore[reportCallIssue]
    objects, bodies = ObjectsPass(clip, stack, analysis), PosePass(clip, stack, analysis)
    first = 0
    for n in batches:
        frames = Frames(np.zeros((n, 120, 240, 3), np.uint8), np.arange(first, first + n, dtype=np.int64) * STEP)
        bodies.feed(frames, objects.find(frames))
        first += n
    return detector, pose, objects.finish(), bodies


@pytest.mark.parametrize("batches", [[12], [5, 5, 2], [1] * 12, [7, 5]])
def test_sampling_does_not_depend_on_batches(batches: list[int]):
    detector, pose, (records, tables), _ = run(2, batches)
    assert detector.shown == [0, 2, 4, 6, 8, 10]
    assert pose.given == {k: 20 + 10 * (k - k % 2) for k in range(N)}, "the box of the frame before still stands"
    (held,) = tables.values()
    assert (np.asarray(held["t_us"]) // STEP).tolist() == [0, 2, 4, 6, 8, 10], "only what was measured is kept"
    track, presence = records
    assert presence.value == 1.0, "frames nobody looked at do not count as absence"
    assert track.span.end_us == N * STEP


def test_every_frame_is_looked_at_where_asked():
    detector, pose, *_ = run(1, [5, 7])
    assert detector.shown == list(range(N))
    assert pose.given == {k: 20 + 10 * k for k in range(N)}


def test_bodies_from_stored_boxes_are_those_of_the_first_run():
    _, pose, (_, tables), _ = run(2, [5, 7])
    stored, again = StoredBoxes(next(iter(tables.values()))), Pose()
    stack: Any = SimpleNamespace(get=lambda _: again, label=lambda _: "pose@1")
    bodies = PosePass(Clip("c", "s", Span(0, N * STEP), "start", "end", "cut"), stack, Analysis())  # pyright: ignore[reportCallIssue]
    for first, n in ((0, 4), (4, 8)):
        frames = Frames(np.zeros((n, 120, 240, 3), np.uint8), np.arange(first, first + n, dtype=np.int64) * STEP)
        bodies.feed(frames, stored.find(frames))
    assert again.given == pose.given
