"""Clips that are done together: one call for all, the same answers, the same batches whatever the timing."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import numpy as np
import pytest

from mien.core import Boxes, Faces, Frames, MienError, Scalars
from mien.pipeline.engine.together import asked_at_once, side_by_side


def frames_of(n: int, seed: int, side: int = 8) -> Frames:
    return Frames(np.random.default_rng(seed).integers(0, 255, (n, side, side, 3), dtype=np.uint8), np.arange(n))


class Finder:
    """Finds as many boxes in a frame as its first pixel says, mod 3; each holds the frame's mean."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def run(self, frames: Frames) -> Boxes:
        self.calls.append(len(frames))
        rows = [(i, p) for i, p in enumerate(frames.pixels) for _ in range(int(p[0, 0, 0]) % 3)]
        if any(int(p[0, 0, 1]) == 13 for p in frames.pixels):
            raise MienError("model.broken", "thirteen")
        mean = np.array([[p.mean(), 0, p.mean() + 1, 1] for _, p in rows], np.float32).reshape(-1, 4)
        n = len(rows)
        frame = np.array([i for i, _ in rows], np.int64)
        return Boxes(frame, mean, np.ones(n, np.float32), np.zeros(n, np.int64), ("face",))


class Judge:
    """The mean of a face's frame plus its x."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def run(self, faces: Faces) -> Scalars:
        self.calls.append(len(faces))
        rows = zip(faces.boxes.frame.tolist(), faces.boxes.xyxy[:, 0], strict=True)
        means = [faces.frames.pixels[i].mean() + x for i, x in rows]
        return Scalars(np.array(means, np.float32), np.zeros(len(faces), np.float32))


@dataclass
class Spec:
    biometric: bool = False


class Models:
    def __init__(self) -> None:
        self.faces, self.age = Finder(), Judge()

    def get(self, slot: str):
        return getattr(self, slot)

    def spec(self, slot: str) -> Spec:
        return Spec()


def clip(seed: int, batches: int, *, jitter: random.Random | None = None):
    """A clip's work: find faces in each batch, judge them; what it saw, or its error."""

    def work(view) -> list:
        seen = []
        for k in range(batches):
            if jitter:
                time.sleep(jitter.random() / 200)
            frames = frames_of(2 + (seed + k) % 3, 100 * seed + k)
            try:
                boxes = view.get("faces").run(frames)
                seen.append((boxes.frame.tolist(), view.get("age").run(Faces(frames, boxes)).value.tolist()))
            except MienError as error:
                seen.append(error.code)
        return seen

    return work


def alone(seed: int, batches: int) -> list:
    return side_by_side([clip(seed, batches)], Models())[0][0]


def test_each_clip_gets_the_answers_that_it_gets_alone_with_fewer_calls():
    models, plan = Models(), [(1, 4), (2, 6), (3, 1), (4, 4)]
    results, _ = side_by_side([clip(*c) for c in plan], models)
    assert results == [alone(*c) for c in plan]
    assert len(models.faces.calls) < sum(n for _, n in plan)
    assert max(models.faces.calls) > 4, "frames of several clips went in one call"


def test_what_is_batched_with_what_does_not_depend_on_timing():
    plan = [(s, 3 + s % 3) for s in range(6)]
    seen = set()
    for turn in range(5):
        jitter = random.Random(turn)
        _, meeting = side_by_side([clip(*c, jitter=jitter) for c in plan], Models())
        seen.add(tuple(meeting.batches))
    assert len(seen) == 1
    (batches,) = seen
    assert any(len(members) == 6 for _, members in batches)
    other = side_by_side([clip(*c) for c in plan[:5]], Models())[1].batches
    assert tuple(other) not in seen, "another group is another plan"


def test_a_clip_that_breaks_the_model_is_the_only_one_to_suffer():
    def breaking(view) -> list:
        frames = frames_of(2, 1)
        frames.pixels[0, 0, 0, 1] = 13
        with pytest.raises(MienError, match="thirteen"):
            view.get("faces").run(frames)
        return ["broken"]

    results, _ = side_by_side([clip(1, 3), breaking, clip(2, 3)], Models())
    assert results == [alone(1, 3), ["broken"], alone(2, 3)]


def test_frames_of_other_sizes_are_asked_by_themselves():
    models = Models()

    def wide(view) -> int:
        return len(view.get("faces").run(frames_of(3, 5, side=16)))

    def small(view) -> int:
        return len(view.get("faces").run(frames_of(3, 5)))

    side_by_side([wide, small, small], models)
    assert sorted(models.faces.calls) == [3, 6]


def test_answers_that_cannot_be_taken_apart_are_refused_not_guessed():
    class Wrong:
        def run(self, frames: Frames) -> Scalars:
            return Scalars(np.zeros(1, np.float32), np.zeros(1, np.float32))

    with pytest.raises(TypeError, match="1 rows for 5"):
        asked_at_once(Wrong(), [frames_of(2, 1), frames_of(3, 2)])


def test_shuffled_answers_would_be_noticed():
    """The comparison above has teeth: a model that mixes up its rows gives other answers."""

    class Mixed(Judge):
        def run(self, faces: Faces) -> Scalars:
            answer = super().run(faces)
            return Scalars(answer.value[::-1].copy(), answer.sd)

    models = Models()
    models.age = Mixed()
    results, _ = side_by_side([clip(1, 4), clip(2, 6)], models)
    assert results != [alone(1, 4), alone(2, 6)]
