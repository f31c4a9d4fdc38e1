"""The identity adapter: memory of the caller, order, boxes that cannot be measured, and the real network's shape."""

import numpy as np
import pytest
from plain_faces import Reader, faces, noise

from mien.core import MienError
from mien.models.vision.faces.identity import SIDE, WIDTH, FaceRes
from mien.models.weights import open_adapter


def test_the_network_sees_bgr_minus_its_mean():
    model = FaceRes(Reader(0, 1), FaceRes.Config(min_face_px=8))
    (vector,) = model.run(faces((200, 120, 50))).vectors
    np.testing.assert_allclose(vector[:3], [50 - 103.939, 120 - 116.779, 200 - 123.68], atol=0.5)


def test_answers_lie_in_the_callers_memory_and_nowhere_else():
    model, out = FaceRes(Reader(0, 1), FaceRes.Config(min_face_px=8)), np.zeros((2, WIDTH), np.float32)
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
    model = FaceRes(Reader(0, 1), FaceRes.Config(min_face_px=8))
    with pytest.raises(ValueError, match="out must be float32"):
        model.embed(faces((1, 2, 3), (4, 5, 6)), out)


def test_after_an_error_the_callers_memory_is_empty():
    class Second(Reader):
        def into(self, x, out):
            super().into(x, out)
            if len(self.inputs) == 4:  # two black pictures, then the first face
                raise RuntimeError("out of memory")

    model, out = FaceRes(Second(0, 1), FaceRes.Config(min_face_px=8)), np.zeros((2, WIDTH), np.float32)
    with pytest.raises(RuntimeError):
        model.embed(faces((200, 120, 50), (10, 20, 30)), out)
    assert not out.any()
    assert not model._x.any()


def test_an_answer_that_is_no_number_is_an_error_and_nothing_of_it_stays():
    class Broken(Reader):
        def into(self, x, out):
            out[:] = np.inf if x.any() else 0

    model, out = FaceRes(Broken(), FaceRes.Config(min_face_px=8)), np.zeros((1, WIDTH), np.float32)
    with pytest.raises(MienError) as error:
        model.embed(faces((200, 120, 50)), out)
    assert error.value.code == "models.not-finite"
    assert not out.any()


def test_small_faces_are_not_measured():
    model = FaceRes(Reader(0, 1), FaceRes.Config(min_face_px=41))
    assert np.isnan(model.run(faces((200, 120, 50))).vectors).all()
    assert np.isfinite(model.run(faces((200, 120, 50), side=42.0)).vectors).all()


def test_forgetting_shows_the_network_a_black_picture():
    net = Reader(0, 1)
    model = FaceRes(net, FaceRes.Config(min_face_px=8))
    model.run(faces((200, 120, 50)))
    before = len(net.inputs)
    model.forget()
    assert len(net.inputs) > before
    assert not np.any(net.inputs[before:])
    assert net.inputs[-1].shape == (1, SIDE, SIDE, 3)


def test_the_real_network_tells_pictures_apart_and_repeats_itself():
    try:
        model = open_adapter("identity.faceres")
    except MienError as error:
        pytest.skip(f"{error.message}: run 'mien models pull'")
    batch = noise()
    one, two = model.run(batch).vectors, model.run(batch).vectors
    np.testing.assert_array_equal(one, two)
    assert one.shape == (2, WIDTH)
    assert (one >= 0).all(), "the mean of rectified values"
    assert not np.allclose(one[0], one[1])
    model.forget()
    np.testing.assert_array_equal(model.run(batch).vectors, one)
    model.close()
    model.close()
