"""The identity adapter: memory of the caller, order, boxes that cannot be measured, and the real network's shape."""

import numpy as np
import pytest

from mien.core import Boxes, Faces, Frames, MienError
from mien.models.vision.faces.identity import SIDE, WIDTH, FaceRes
from mien.models.weights import open_adapter


class Reader:
    """A network that answers with the mean colour it was given, BGR, and counts the black pictures."""

    def __init__(self):
        self.black = 0
        self.inputs = []

    def into(self, x, out):
        self.black += not x.any()
        self.inputs.append(x.copy())
        out[:3] = x[0].mean((0, 1))

    def close(self):
        pass


def faces(*colours, side=40.0):
    n = len(colours)
    pixels = np.zeros((n, 96, 96, 3), np.uint8)
    pixels[:] = np.array(colours, np.uint8)[:, None, None]
    box = np.array([28, 28, 28 + side, 28 + side], np.float32)
    rows = np.arange(n, dtype=np.int64)
    boxes = Boxes(rows, np.tile(box, (n, 1)), np.ones(n, np.float32), 0 * rows, ("face",))
    return Faces(Frames(pixels, rows * 40_000), boxes)


def test_the_network_sees_bgr_minus_its_mean():
    model = FaceRes(Reader(), FaceRes.Config(min_face_px=8))
    (vector,) = model.run(faces((200, 120, 50))).vectors
    np.testing.assert_allclose(vector[:3], [50 - 103.939, 120 - 116.779, 200 - 123.68], atol=0.5)


def test_answers_lie_in_the_callers_memory_and_nowhere_else():
    model, out = FaceRes(Reader(), FaceRes.Config(min_face_px=8)), np.zeros((2, WIDTH), np.float32)
    model.embed(faces((200, 120, 50), (10, 20, 30)), out)
    assert out[0, 2] > out[1, 2] != 0
    assert not model._x.any(), "the last cut-out is gone"
    first, second = model.run(faces((200, 0, 0))), model.run(faces((0, 0, 200)))
    assert not np.shares_memory(first.vectors, second.vectors)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((3, WIDTH), np.float32),
        np.zeros((2, WIDTH)),
        np.zeros((WIDTH, 2), np.float32).T,
        np.zeros((2, WIDTH - 1), np.float32),
    ],
)
def test_memory_that_does_not_fit_is_refused(out):
    model = FaceRes(Reader(), FaceRes.Config(min_face_px=8))
    with pytest.raises(ValueError, match="out must be float32"):
        model.embed(faces((1, 2, 3), (4, 5, 6)), out)


def test_small_faces_are_not_measured():
    model = FaceRes(Reader(), FaceRes.Config(min_face_px=41))
    assert np.isnan(model.run(faces((200, 120, 50))).vectors).all()
    assert np.isfinite(model.run(faces((200, 120, 50), side=42.0)).vectors).all()


def test_forgetting_shows_the_network_a_black_picture():
    net = Reader()
    model = FaceRes(net, FaceRes.Config(min_face_px=8))
    model.run(faces((200, 120, 50)))
    before = net.black
    model.forget()
    assert net.black > before
    assert not net.inputs[-1].any()
    assert net.inputs[-1].shape == (1, SIDE, SIDE, 3)


def test_the_real_network_tells_pictures_apart_and_repeats_itself():
    try:
        model = open_adapter("identity.faceres")
    except MienError as error:
        pytest.skip(f"{error.message}: run 'mien models pull'")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2, 96, 96, 3), np.uint8)
    given = faces((0, 0, 0), (0, 0, 0), side=60.0)
    batch = Faces(Frames(pixels, given.frames.t_us), given.boxes)
    one, two = model.run(batch).vectors, model.run(batch).vectors
    np.testing.assert_array_equal(one, two)
    assert one.shape == (2, WIDTH)
    assert (one >= 0).all(), "the mean of rectified values"
    assert not np.allclose(one[0], one[1])
    model.forget()
    np.testing.assert_array_equal(model.run(batch).vectors, one)
    model.close()
    model.close()
