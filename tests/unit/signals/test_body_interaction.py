"""People and objects on planted boxes: near, at hand, carried, close; what only looks like it is not."""

import numpy as np
import pytest

from mien.core import COCO_POINTS
from mien.signals.body import BodySeries, Interaction, ObjectTrack, PersonTrack, interactions
from mien.testing.skeletons import Act, Skeleton, skeleton


def _person(figure: Skeleton, name: str = "p") -> PersonTrack:
    xy = figure.points[:, :, :2]
    boxes = np.concatenate([xy.min(axis=1) - 15, xy.max(axis=1) + 15], axis=1)
    return PersonTrack(name, figure.t_us, boxes, BodySeries(figure.t_us, figure.points, figure.names))


def _thing(t_us: np.ndarray, middle: np.ndarray, label: str = "cup", size: float = 30) -> ObjectTrack:
    middle = np.broadcast_to(middle, (len(t_us), 2))
    return ObjectTrack(label, label, t_us, np.concatenate([middle - size / 2, middle + size / 2], 1).astype(np.float32))


def _hand(figure: Skeleton) -> np.ndarray:
    wrist, elbow = (figure.points[:, COCO_POINTS.index(f"right_{p}"), :2] for p in ("wrist", "elbow"))
    return wrist + 0.375 * (wrist - elbow)


def _of(found: list[Interaction], kind: str) -> list[Interaction]:
    return [e for e in found if e.kind == kind]


def _overlap(event: Interaction, start_s: float, end_s: float) -> float:
    a, b = event.span.start_us / 1e6, event.span.end_us / 1e6
    both = max(0.0, min(b, end_s) - max(a, start_s))
    return both / (max(b, end_s) - min(a, start_s))


def test_a_hand_that_reaches_a_cup_on_a_shelf() -> None:
    figure = skeleton(20, (Act("reaching", 8, 12),))
    cup = _thing(figure.t_us, _hand(figure)[50])
    found = interactions([_person(figure)], [cup])
    (event,) = _of(found, "hand_at_object")
    assert _overlap(event, 8, 12) > 0.7
    assert event.label == "cup"
    assert "right hand" in event.reason
    assert not _of(found, "carries")


def test_a_cup_that_moves_with_the_hand_is_carried() -> None:
    figure = skeleton(24, (Act("reaching", 6, 8), Act("hand_near_face", 10, 12)))
    hand = _hand(figure)
    middle = np.repeat(hand[35:36], len(hand), axis=0)
    middle[35:] = hand[35:]  # taken at 7 s, never put down
    found = interactions([_person(figure)], [_thing(figure.t_us, middle)])
    to_mouth, back = _of(found, "carries")
    assert to_mouth.value > 1
    assert _overlap(to_mouth, 8, 10) > 0.7
    assert _overlap(back, 12, 13) > 0.5
    # the same cup left where it was: the hand was at it, but carried nothing
    still = interactions([_person(figure)], [_thing(figure.t_us, hand[35])])
    assert _of(still, "hand_at_object")
    assert not _of(still, "carries")
    # a ball that flies through the hand's place moves, but not with it
    ball = hand[35] + (figure.t_us[:, None] / 1e6 - 7) * np.array([120.0, 0.0])
    assert not _of(interactions([_person(figure)], [_thing(figure.t_us, ball, "ball")]), "carries")


def test_carried_while_walking_and_seen_now_and_then() -> None:
    figure = skeleton(20, (Act("walking", 5, 12),))
    bag = _thing(figure.t_us, _hand(figure) + np.array([0, 15]), "handbag", 50)
    some = np.flatnonzero(np.random.default_rng(0).random(len(bag.t_us)) < 0.7)
    found = interactions([_person(figure)], [ObjectTrack("bag", "handbag", bag.t_us[some], bag.xyxy[some])])
    (event,) = _of(found, "carries")
    assert _overlap(event, 5, 12) > 0.7
    assert 0.5 < event.quality < 0.9


def test_near_is_a_time_with_an_end() -> None:
    figure = skeleton(30, (Act("walking", 5, 20),))
    chair = _thing(figure.t_us, np.array([640 + 120 * 14.0, 560.0]), "chair", 150)
    (event,) = _of(interactions([_person(figure)], [chair]), "near")
    passing_s = 5 + 14 / 2.2
    assert event.span.start_us / 1e6 < passing_s < event.span.end_us / 1e6
    assert event.span.duration_s < 5


def test_a_bed_is_never_at_hand() -> None:
    figure = skeleton(10)
    bed = ObjectTrack(
        "bed", "bed", figure.t_us, np.tile(np.array([[300, 300, 1000, 700]], np.float32), (len(figure.t_us), 1))
    )
    found = interactions([_person(figure)], [bed])
    assert [e.kind for e in found] == ["near"]


def test_two_people_are_close_only_at_like_distance() -> None:
    a = skeleton(20, (Act("walking", 2, 18),), seed=1)
    b = skeleton(20, seed=2, at_px=(640 + 120 * 17.0, 400.0))
    (event,) = _of(interactions([_person(a, "a"), _person(b, "b")], []), "close")
    assert event.span.start_us / 1e6 < 2 + 17 / 2.2 < event.span.end_us / 1e6
    assert {event.person, event.other} == {"a", "b"}
    far = skeleton(20, seed=2, at_px=(640 + 120 * 17.0, 400.0), scale_px=60)
    assert not interactions([_person(a, "a"), _person(far, "b")], [])


@pytest.mark.parametrize("scale", [0.5, 3])
def test_size_and_place_change_nothing(scale: float) -> None:
    figure = skeleton(20, (Act("reaching", 8, 12),))
    plain = interactions([_person(figure)], [_thing(figure.t_us, _hand(figure)[50])])
    moved = figure.moved(scale, (500, -200))
    person = PersonTrack("p", moved.t_us, (_person(figure).xyxy * scale + [500, -200, 500, -200]).astype(np.float32),
                         BodySeries(moved.t_us, moved.points, moved.names))  # fmt: skip
    thing = _thing(moved.t_us, _hand(moved)[50], size=30 * scale)
    assert [(e.kind, e.span) for e in interactions([person], [thing])] == [(e.kind, e.span) for e in plain]


def test_nobody_and_nothing() -> None:
    figure = skeleton(4)
    nothing = ObjectTrack("x", "cup", np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    assert interactions([_person(figure)], [nothing]) == []
    assert interactions([], [nothing]) == []
    with pytest.raises(ValueError, match="rise"):
        ObjectTrack("x", "cup", np.array([1, 1]), np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="shape"):
        ObjectTrack("x", "cup", np.array([1, 2]), np.zeros((3, 4), np.float32))
