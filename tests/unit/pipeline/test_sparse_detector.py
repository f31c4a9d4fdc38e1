"""Detectors look where something changes; in between, boxes are interpolated where the picture bears them out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import COCO_POINTS, Boxes, Clip, Frames, Keypoints, People, Span
from mien.pipeline.config import Analysis
from mien.pipeline.stages.boxes import FacesPass, ObjectsPass, StoredBoxes
from mien.pipeline.stages.vision import PosePass

STEP = 200_000
N = 24
SIZE = (120, 320)
CLOTH = np.random.default_rng(3).integers(0, 255, (60, 40, 3), np.uint8)


class Scene:
    """What is where in each frame: frame → left edges of textured boxes of 40 × 60 px; also the detector of it."""

    def __init__(self, where: Any, name: str = "person") -> None:
        self.where, self.name, self.shown = where, name, list[int]()

    def frames(self, first: int, n: int) -> Frames:
        pixels = np.full((n, *SIZE, 3), 90, np.uint8)
        for i in range(n):
            for x in self.where(first + i):
                pixels[i, 30:90, round(x) : round(x) + 40] = CLOTH
        return Frames(pixels, np.arange(first, first + n, dtype=np.int64) * STEP)

    def run(self, frames: Frames) -> Boxes:
        k = (frames.t_us // STEP).tolist()
        self.shown += k
        rows = [(i, x) for i, at in enumerate(k) for x in self.where(at)]
        left = np.array([x for _, x in rows], np.float32)
        n = len(rows)
        xyxy = np.stack([left, left * 0 + 30, left + 40, left * 0 + 90], 1) if n else np.zeros((0, 4), np.float32)
        return Boxes(
            np.array([i for i, _ in rows], np.int64), xyxy.astype(np.float32), np.full(n, 0.9, np.float32),
            np.zeros(n, np.int64), (self.name, "cup"),
        )  # fmt: skip


class Pose:
    """Says which box it was given for which frame."""

    def __init__(self) -> None:
        self.given: dict[int, list[float]] = {}

    def run(self, people: People) -> Keypoints:
        for t, x in zip(people.frames.t_us[people.boxes.frame] // STEP, people.boxes.xyxy[:, 0], strict=True):
            self.given.setdefault(int(t), []).append(float(x))
        n = len(people)
        return Keypoints(np.ones((n, 17, 3), np.float32), COCO_POINTS, np.ones(n, np.float32))


CLIP = Clip("c", "s", Span(0, N * STEP), "start", "end", "cut")


def run(scene: Scene, slot: str = "objects", batch: int = 8, **analysis: int) -> tuple[Pose, Any, Any]:
    pose = Pose()
    stack: Any = SimpleNamespace(
        get={slot: scene, "pose": pose}.__getitem__, label=lambda slot: f"{slot}@1", has=lambda _: False
    )
    terms = Analysis(**analysis)  # pyright: ignore[reportCallIssue]
    found: Any = (ObjectsPass if slot == "objects" else FacesPass)(CLIP, stack, terms)
    bodies = PosePass(CLIP, stack, terms)
    for first in range(0, N, batch):
        frames = scene.frames(first, min(batch, N - first))
        seen = found.find(frames)
        if slot == "objects":
            bodies.feed(frames, seen)
    records, tables = found.finish()
    (held,) = tables.values()
    return pose, records, held


def test_a_calm_scene_is_looked_at_every_fourth_frame_and_has_a_box_in_each():
    scene = Scene(lambda k: [50 + k])
    pose, (track, presence), held = run(scene)
    assert sorted(scene.shown) == [0, 3, 7, 11, 15, 19, 23]
    assert pose.given == {k: [pytest.approx(50 + k, abs=1e-4)] for k in range(N)}, "a straight line is met exactly"
    measured = np.asarray(held["measured"])
    assert (np.asarray(held["t_us"])[measured] // STEP).tolist() == sorted(scene.shown)
    assert (presence.n, presence.value) == (7, 1.0), "what was interpolated is no measurement"
    assert track.span == Span(0, N * STEP)


def test_who_enters_and_leaves_is_met_to_the_frame():
    scene = Scene(lambda k: [60.0] * (5 <= k < 18), "face")
    *_, held = run(scene, "faces")
    assert (np.asarray(held["t_us"]) // STEP).tolist() == list(range(5, 18))
    assert len(scene.shown) < N / 1.7
    track = np.asarray(held["track"])
    assert (track[1:] == 0).all(), "one track, from its second detection on"


def test_one_who_rocks_at_the_rate_of_the_sampling_is_looked_at_all_the_same():
    def rocks(k: int) -> list[float]:
        return [100 + 30 * np.sin(np.pi * (k + 1) / 2) ** 2]

    scene = Scene(rocks, "face")
    *_, held = run(scene, "faces")
    x = np.asarray(held["x1"])
    assert len(x) == N
    np.testing.assert_allclose(x, [rocks(k)[0] for k in range(N)], atol=1e-3)


def test_everything_else_being_equal_the_picture_decides():
    """A detector that always says the same is believed between its looks only where the picture is still the same."""
    told = Scene(lambda k: [100.0], "face")
    drawn = Scene(lambda k: [100.0] if k % 4 == 3 or k == 0 else [220.0], "face")
    told.frames = drawn.frames
    run(told, "faces")
    assert sorted(set(told.shown)) == list(range(N))
    still = Scene(lambda k: [100.0], "face")
    run(still, "faces")
    assert len(still.shown) == 7


def test_where_people_rush_it_looks_at_every_other_frame_and_holds_who_it_lost():
    scene = Scene(lambda k: [10 * k])
    pose, records, _ = run(scene, objects_every=2)
    looked = sorted(scene.shown)
    assert max(np.diff(looked)) == 2, "never fewer"
    assert len(looked) <= N / 2 + 4, "and hardly more"
    assert sorted(pose.given) == list(range(N))
    assert all(abs(x - 10 * k) <= 10 for k, (x, *_) in pose.given.items())
    assert len({r.id for r in records if hasattr(r, "kind")}) == 1


@pytest.mark.parametrize("batch", [24, 8, 4])
def test_sampling_does_not_depend_on_whole_batches(batch: int):
    scene, again = Scene(lambda k: [50 + k] if k < 13 else []), Scene(lambda k: [50 + k] if k < 13 else [])
    *_, held = run(scene, batch=batch)
    *_, whole = run(again, batch=24)
    assert held.equals(whole)
    assert sorted(scene.shown) == sorted(again.shown)


def test_every_frame_is_looked_at_where_asked():
    scene = Scene(lambda k: [50.0])
    pose, *_ = run(scene, calm_every=1, objects_every=1, batch=5)
    assert scene.shown == list(range(N))
    assert sorted(pose.given) == list(range(N))


def test_bodies_from_stored_boxes_are_those_of_the_first_run():
    scene = Scene(lambda k: [50 + 4 * k, 200 - 3 * k])
    pose, _, held = run(scene)
    stored, again = StoredBoxes(held), Pose()
    stack: Any = SimpleNamespace(get=lambda _: again, label=lambda _: "pose@1")
    bodies = PosePass(CLIP, stack, Analysis())  # pyright: ignore[reportCallIssue]
    for first, n in ((0, 4), (4, 12), (16, 8)):
        frames = scene.frames(first, n)
        bodies.feed(frames, stored.find(frames))
    assert again.given == pose.given
