"""Faces and bodies: planted scenes with one right answer each."""

import numpy as np
import pytest

from mien.core import Boxes
from mien.signals.pairing import pair_faces


def boxes(rows, name="person", frame=None):
    n = len(rows)
    at = np.zeros(n, np.int64) if frame is None else np.array(frame, np.int64)
    xyxy = np.array(rows, np.float32).reshape(n, 4)
    return Boxes(at, xyxy, np.ones(n, np.float32), np.zeros(n, np.int64), (name,))


def test_each_of_two_people_gets_their_own_body_in_any_order():
    faces = boxes([[30, 10, 50, 35], [130, 12, 150, 37]], "face")
    left, right = [10, 0, 80, 200], [110, 5, 180, 210]
    for people in (boxes([left, right]), boxes([right, left])):
        np.testing.assert_array_equal(pair_faces(faces, people), np.array([left, right], np.float32))


@pytest.mark.parametrize(
    ("face", "people"),
    [
        ([30, 10, 50, 35], []),
        ([300, 10, 320, 35], [[10, 0, 80, 200]]),  # elsewhere
        ([30, 150, 50, 175], [[10, 0, 80, 200]]),  # at the feet
        ([2, 10, 14, 25], [[10, 0, 80, 200]]),  # two thirds outside
        ([30, 10, 50, 35], [[10, 0, 10, 200]]),  # a body without area
        ([30, 10, 50, 35], [[np.nan, 0, 80, 200]]),
        ([30, 10, 30, 35], [[10, 0, 80, 200]]),  # a face without area
        ([np.nan, 10, 50, 35], [[10, 0, 80, 200]]),
    ],
)
def test_what_is_no_pair_is_nan(face, people):
    given = pair_faces(boxes([face], "face"), boxes(people))
    assert given.shape == (1, 4)
    assert given.dtype == np.float32
    assert np.isnan(given).all()


def test_one_body_goes_to_one_face():
    faces = boxes([[12, 40, 32, 65], [35, 5, 55, 30]], "face")  # a child held before the chest, and its parent
    given = pair_faces(faces, boxes([[10, 0, 80, 200]]))
    assert np.isnan(given[0]).all()
    np.testing.assert_array_equal(given[1], [10, 0, 80, 200])


def test_the_whole_frame_is_matched_and_not_one_face_after_the_other():
    """Face A fits both bodies, face B only the first: A must leave it to B, whichever face comes first."""
    first, second = [0, 0, 100, 300], [40, 0, 160, 320]
    a, b = [60, 10, 85, 40], [5, 10, 30, 40]
    for order in ([0, 1], [1, 0]):
        given = pair_faces(boxes([[a, b][i] for i in order], "face"), boxes([first, second]))
        np.testing.assert_array_equal(given, np.array([[second, first][i] for i in order], np.float32))


def test_of_two_bodies_that_hold_the_face_the_one_whose_head_it_would_be():
    in_front, behind = [0, 0, 100, 300], [30, 0, 190, 300]
    given = pair_faces(boxes([[35, 15, 65, 50]], "face"), boxes([behind, in_front]))
    np.testing.assert_array_equal(given[0], in_front)


def test_somebody_who_lies_may_have_the_head_at_the_end():
    lying = [0, 100, 300, 180]
    given = pair_faces(boxes([[270, 145, 295, 175]], "face"), boxes([lying]))
    np.testing.assert_array_equal(given[0], lying)


def test_frames_do_not_mix():
    faces = boxes([[30, 10, 50, 35], [30, 10, 50, 35]], "face", frame=[0, 1])
    given = pair_faces(faces, boxes([[10, 0, 80, 200]], frame=[1]))
    assert np.isnan(given[0]).all()
    np.testing.assert_array_equal(given[1], [10, 0, 80, 200])


def test_the_order_of_boxes_changes_nothing():
    rng = np.random.default_rng(4)
    corner = rng.uniform(0, 400, (12, 2))
    people = np.concatenate([corner, corner + rng.uniform([40, 90], [120, 260], (12, 2))], 1)
    head = people[:, :2] + (people[:, 2:] - people[:, :2]) * rng.uniform([0.2, 0.02], [0.6, 0.2], (12, 2))
    faces = np.concatenate([head, head + 22], 1)
    straight = pair_faces(boxes(faces, "face"), boxes(people))
    assert np.isfinite(straight).all(1).sum() >= 8
    for _ in range(5):
        i, j = rng.permutation(12), rng.permutation(12)
        np.testing.assert_array_equal(pair_faces(boxes(faces[i], "face"), boxes(people[j])), straight[i])


def test_no_faces():
    assert pair_faces(Boxes.empty(("face",)), boxes([[0, 0, 9, 9]])).shape == (0, 4)
