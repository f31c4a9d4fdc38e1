"""The body models on real people: street scenes with annotated boxes, a signer, empty places."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mien.core import COCO_POINTS, Boxes, Device, Frames, MienError, People
from mien.models.weights import open_adapter

ROOT = Path(__file__).parents[2]
REAL = ("pose.movenet", "pose.movenet-thunder", "pose.blazepose")
AT = {name: i for i, name in enumerate(COCO_POINTS)}
pytestmark = pytest.mark.peer


@cache
def real(name, threads=1):
    try:
        return open_adapter(name, None, Device(threads=threads))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


@pytest.fixture(scope="module")
def bench(shared_data: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        import bench.pose

        patch.setattr(bench.pose, "DATA", shared_data)
        yield bench.pose


@pytest.fixture(scope="module")
def far(bench):
    return bench.street()


@pytest.fixture(scope="module")
def coming(bench):
    return bench.walkers()[::2]


@pytest.fixture(scope="module")
def empty(bench, far):
    return bench.emptied(far)


@pytest.mark.parametrize("name", REAL)
def test_walking_people_stand_upright_and_their_sides_follow_their_heading(bench, far, coming, name):
    """Left shoulder right in the picture while somebody comes, left while they go: not so with sides exchanged."""
    answers = [bench.solo(real(name), person) for person in far]
    assert bench.upright(answers) > 0.95
    p = np.array([k.points[0] for k in answers])
    feet = p[:, [AT["left_ankle"], AT["right_ankle"]], 1].mean(1)
    assert (feet > p[:, [AT["left_hip"], AT["right_hip"]], 1].mean(1)).mean() > 0.95
    assert {person.heading for person in coming} == {-1, 1}
    assert len(coming) >= 8
    assert bench.heading(coming, [bench.solo(real(name), person) for person in coming]) > 0.8


@pytest.mark.parametrize("name", REAL)
def test_moved_boxes_and_mirrored_frames_change_little_and_exchanged_sides_much(bench, far, name):
    some = far[::3]
    answers = [bench.solo(real(name), person) for person in some]
    right, wrong = bench.mirrored(real(name), some, answers)
    assert right < 3
    assert wrong > 2 * right
    assert bench.moved(real(name), some, answers) < 3


@pytest.mark.parametrize("name", REAL)
def test_presence_tells_people_from_empty_places(bench, far, empty, name):
    there = bench.presence([bench.solo(real(name), person) for person in far])
    nobody = bench.presence([bench.solo(real(name), place) for place in empty])
    assert np.median(there) > 3 * np.median(nobody)
    assert (there[:, None] > nobody).mean() > 0.9


@pytest.mark.parametrize("name", REAL)
def test_a_signer_raises_the_right_hand(bench, shared_data, name):
    """In the middle of the clip the right hand is at the chest and the left one hangs; mirrored, it is the left one."""
    pixels = bench.video(shared_data / "video_faces/hungry.mkv", 1)[20]
    zero = np.zeros(1, np.int64)
    for frame, raised, hanging in (
        (pixels, "right_wrist", "left_wrist"),
        (np.ascontiguousarray(pixels[:, ::-1]), "left_wrist", "right_wrist"),
    ):
        batch = bench.one(frame)
        found = open_adapter("object.nanodet").run(batch)
        box = found.xyxy[found.label == 0][:1]
        points = real(name).run(People(batch, Boxes(zero, box, np.ones(1, np.float32), zero, ("person",)))).points[0]
        shoulders = points[[AT["left_shoulder"], AT["right_shoulder"]], :2]
        width = abs(shoulders[0, 0] - shoulders[1, 0])
        assert points[AT[raised], 1] < points[AT[hanging], 1] - 0.5 * width
        assert abs(points[AT[raised], 0] - shoulders[:, 0].mean()) < 0.5 * width


@pytest.mark.parametrize("name", REAL)
def test_threads_and_company_in_the_batch_change_no_answer(bench, far, name):
    pixels = far[0].pixels
    same = [person.box for person in far if person.pixels is pixels]
    assert len(same) >= 2
    zero = np.zeros(len(same), np.int64)
    boxes = Boxes(zero, np.array(same, np.float32), np.ones(len(same), np.float32), zero, ("person",))
    together = real(name, 2).run(People(Frames(pixels[None], np.zeros(1, np.int64)), boxes))
    for row, person in enumerate(far[: len(same)]):
        alone = bench.solo(real(name), person)
        np.testing.assert_allclose(together.points[row], alone.points[0], atol=1e-3)
        np.testing.assert_allclose(together.score[row], alone.score[0], atol=1e-5)
