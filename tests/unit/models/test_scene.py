"""Scene features through the real weights (where they are here) on generated pictures; covering of faces."""

import numpy as np
import pytest

from mien.core import Boxes, Device, Embeddings, Frames, MienError, WeightFiles
from mien.models.vision.scene import WIDTH, SceneFeatures, without
from mien.models.weights import open_adapter


def frames(*pixels):
    return Frames(np.stack(pixels), np.arange(len(pixels), dtype=np.int64))


def noise(seed, h=90, w=160):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def boxes(*rows):
    n = len(rows)
    frame = np.array([r[0] for r in rows], np.int64)
    xyxy = np.array([r[1:] for r in rows], np.float32).reshape(n, 4)
    return Boxes(frame, xyxy, np.ones(n, np.float32), np.zeros(n, np.int64), ("face",))


@pytest.fixture(scope="module")
def real():
    try:
        return open_adapter("scene.nanodet", None, Device(threads=1))
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def test_real_vectors_are_unit_finite_and_of_the_whole_picture(real):
    left, right = np.full((90, 160, 3), 90, np.uint8), np.full((90, 160, 3), 90, np.uint8)
    left[20:70, 10:60], right[20:70, 100:150] = noise(1, 50, 50), noise(1, 50, 50)
    empty = np.full((90, 160, 3), 90, np.uint8)
    given = real.run(frames(left, right, empty))
    assert type(given) is Embeddings
    assert given.vectors.shape == (3, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(given.vectors, axis=1), 1, atol=1e-5)
    near, far = (np.linalg.norm(given.vectors[0] - given.vectors[i]) for i in (1, 2))
    assert near < 0.5 * far, "the mean over the picture forgets where the patch is, not that it is there"


def test_real_vectors_hardly_depend_on_size_and_shape(real):
    import cv2

    picture = cv2.resize(noise(2, 9, 12), (640, 480), interpolation=cv2.INTER_CUBIC)
    other = cv2.resize(noise(3, 9, 12), (640, 480), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(picture, (480, 270), interpolation=cv2.INTER_AREA)
    a, b, c = (real.run(frames(p)).vectors[0] for p in (picture, small, other))
    assert np.linalg.norm(a - b) < 0.4 * np.linalg.norm(a - c)


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "nanodet.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(MienError) as error:
        SceneFeatures.open(WeightFiles({"nanodet.onnx": path}), SceneFeatures.Config(), Device())
    assert error.value.code == "weights.unreadable"


def test_another_network_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in ("in", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["in"], ["out"])], "other", value[:1], value[1:])
    path = tmp_path / "nanodet.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(MienError) as error:
        SceneFeatures.open(WeightFiles({"nanodet.onnx": path}), SceneFeatures.Config(), Device())
    assert error.value.code == "weights.unreadable"


def test_covering_leaves_nothing_of_the_box_and_everything_else():
    batch = frames(noise(1), noise(2))
    covered = without(batch, boxes((0, 40, 30, 60, 50)), margin=0.0)
    assert np.array_equal(covered.pixels[1], batch.pixels[1])
    assert len(np.unique(covered.pixels[0, 30:50, 40:60].reshape(-1, 3), axis=0)) == 1
    changed = (covered.pixels[0] != batch.pixels[0]).any(2)
    assert not changed[:30].any()
    assert not changed[:, 60:].any()
    assert np.array_equal(batch.pixels[0], noise(1)), "the frames that were given stay as they are"


def test_what_lies_under_a_cover_cannot_be_told_from_the_vector():
    """Two frames that differ only inside the box, in colour too, give the same vector."""
    a = noise(1)
    b = a.copy()
    b[30:50, 40:60] = 255
    box = boxes((0, 40, 30, 60, 50))
    model = SceneFeatures.tiny()
    va, vb = (model.run(without(frames(p), box)).vectors for p in (a, b))
    np.testing.assert_array_equal(va, vb)
    assert not np.array_equal(model.run(frames(a)).vectors, model.run(frames(b)).vectors)


def test_covers_reach_over_the_edge_and_unknown_boxes_are_refused():
    batch = frames(noise(1))
    assert without(batch, boxes((0, -50, -50, 20, 20))).pixels.shape == batch.pixels.shape
    assert np.array_equal(without(batch, boxes()).pixels, batch.pixels)
    with pytest.raises(ValueError, match="finite"):
        without(batch, boxes((0, np.nan, 0, 9, 9)))
    with pytest.raises(ValueError, match="of the batch"):
        without(batch, boxes((1, 0, 0, 9, 9)))
