"""The body stage on planted points: events are found where they were planted, and cited; a shuffled order has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mien.core import COCO_POINTS, US, Clip, Span, Track
from mien.pipeline.config import load
from mien.pipeline.rows import table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.body import body_stage
from mien.pipeline.stages.boxes import BOX, track_id
from mien.pipeline.stages.derive import View
from mien.reason import Ledger, reason
from mien.testing.skeletons import Act, Skeleton, skeleton

CLIP = Clip("clip-1", "a" * 64, Span(0, 30 * US), "start of source", "end of source", "t")


class Held:
    """A store that holds two tables."""

    def __init__(self, body: Skeleton, cup: bool) -> None:
        n = len(body.t_us)
        data: dict[str, Any] = {"t_us": body.t_us, "track": np.zeros(n, np.int32), "score": np.ones(n)}
        for k, name in enumerate(COCO_POINTS):
            data |= {f"{name}.{axis}": body.points[:, k, i] for i, axis in enumerate("xyv")}
        low, high = np.nanmin(body.points[:, :, :2], axis=1), np.nanmax(body.points[:, :, :2], axis=1)
        boxes = {"t_us": body.t_us, "track": np.zeros(n, np.int32)}
        boxes |= {name: np.concatenate([low, high], axis=1)[:, i] for i, name in enumerate(BOX)}
        if cup:
            hand = body.points[:, COCO_POINTS.index("right_wrist"), :2]
            there = np.concatenate([hand - 10, hand + 10], axis=1)
            boxes = {k: np.concatenate([v, v]) for k, v in boxes.items()}
            boxes["track"][n:] = 1
            for i, name in enumerate(BOX):
                boxes[name][n:] = there[:, i]
        self.tables = {"pose/clip-1": table(data), "objects/clip-1": table(boxes)}

    def table(self, name: str) -> Any:
        return self.tables.get(name)


def view(body: Skeleton, cup: bool = False) -> View:
    config, _ = load(None, {"project": {"context": "research"}})
    place = (0.2, 0.2, 0.8, 0.8)
    tracks = [Track(track_id(CLIP, "person", 0), "clip-1", "person", "person", CLIP.span, place, len(body.t_us))]
    if cup:
        tracks.append(Track(track_id(CLIP, "object", 1), "clip-1", "object", "cup", CLIP.span, place, len(body.t_us)))
    return View(CLIP, tracks, [], Held(body, cup), Stack(config), config)  # pyright: ignore[reportArgumentType]


def found(answer: Any, target: str) -> list[Any]:
    return [r for r in answer[0] if getattr(r, "target", "") == target and r.value is not None]


@pytest.fixture(scope="module")
def rocking() -> Skeleton:
    return skeleton(30.0, (Act("rocking", 8.0, 20.0),), seed=3)


def test_planted_rocking_is_found_and_cited(rocking: Skeleton) -> None:
    given = view(rocking)
    answer = body_stage(given)
    (row,) = found(answer, "body.rocking")
    assert row.span.overlap_us(Span(8 * US, 20 * US)) > 9 * US
    assert row.value == pytest.approx(0.8, abs=0.1)
    trace, claims = reason(
        Ledger(CLIP, tuple(given.tracks), tuple(r for r in answer[0] if hasattr(r, "target")), (), ())
    )
    (claim,) = [c for c in claims if c.predicate.startswith("body.rocking")]
    assert claim.evidence_ids == (row.id,)
    assert "sways to and fro" in claim.text
    assert trace.conclusion.startswith("Observables only")


def test_shuffled_frames_do_not_rock(rocking: Skeleton) -> None:
    order = np.random.default_rng(0).permutation(len(rocking.t_us))
    assert not found(body_stage(view(Skeleton(rocking.t_us, rocking.points[order]))), "body.rocking")


def test_curves_carry_units_and_weakness(rocking: Skeleton) -> None:
    signals = {s.name: s for s in body_stage(view(rocking))[0] if hasattr(s, "step_us")}
    assert signals["body.trunk_lean"].unit == "deg"
    assert signals["body.tension"].weak
    assert not signals["body.motion_body"].weak


def test_a_cup_in_the_hand_is_an_interaction(rocking: Skeleton) -> None:
    rows = found(body_stage(view(rocking, cup=True)), "interaction.hand_at_object")
    assert rows
    assert rows[0].dist == (("cup", 1.0),)


def test_what_could_not_be_looked_at_has_a_reason() -> None:
    body = skeleton(30.0, seed=1)
    points = body.points.copy()
    points[:, [COCO_POINTS.index("left_wrist"), COCO_POINTS.index("right_wrist")]] = np.nan
    rows = [
        r for r in body_stage(view(Skeleton(body.t_us, points)))[0] if getattr(r, "target", "") == "body.hand_at_ear"
    ]
    assert [r.reason.split(":")[0] for r in rows] == ["body.points-unseen"]
