"""FaceNet: memory of the caller, the published crop and keys, the network built from them, the probe in RAM."""

import numpy as np
import pytest
from plain_faces import Reader, faces, noise

from mien.core import Device, MienError, WeightFiles
from mien.models.tensors import write
from mien.models.vision.faces.expression import LABELS
from mien.models.vision.faces.facenet import FILE, PROBE_FILE, SIDE, WIDTH, FaceNet, FaceNetExpression, Probe, crop
from mien.models.vision.faces.facenet_net import network
from mien.models.vision.graphs import Tensors
from mien.models.weights.reading.tensors import Tensor
from mien.models.weights.reading.tensors import write as write_tensors
from mien.testing.seeded import recorded


@pytest.fixture(scope="module")
def seeded():
    return recorded(network)


@pytest.fixture(scope="module")
def files(seeded, tmp_path_factory):
    """Both run-time files; the classifier that the published file also holds is there, and is not used."""
    folder = tmp_path_factory.mktemp("facenet")
    extra = {"logits.weight": np.ones((3, WIDTH), np.float32), "logits.bias": np.ones(3, np.float32),
             "last_bn.num_batches_tracked": np.ones(1, np.float32)}  # fmt: skip
    with (folder / FILE).open("wb") as out:  # as `mien models add` writes it
        write_tensors(
            out, [Tensor(n, "F32", v.shape, lambda v=v: iter([v.tobytes()])) for n, v in (seeded | extra).items()], {}
        )
    Probe.seeded().write(folder / PROBE_FILE, {"people": "20"})
    return WeightFiles({name: folder / name for name in (FILE, PROBE_FILE)})


def reading(**config):
    net = Reader(1, 2)
    return FaceNet(net, FaceNet.Config(min_face_px=8, **config)), net


# ---------------------------------------------------------------- the contract of the identity window


def test_the_network_sees_rgb_standardised():
    model, _ = reading()
    (vector,) = model.run(faces((200, 120, 50))).vectors
    np.testing.assert_allclose(vector[:3], [(v - 127.5) / 128 for v in (200, 120, 50)], atol=1e-6)


def test_answers_lie_in_the_callers_memory_and_nowhere_else():
    model, net = reading()
    out = np.zeros((2, WIDTH), np.float32)
    model.embed(faces((200, 120, 50), (10, 20, 30)), out)
    assert out[0, 0] > out[1, 0] != 0
    assert all(np.shares_memory(out, o) for o in net.outs[-2:])
    assert not model._x.any(), "the last cut-out is gone"


@pytest.mark.parametrize(
    "out",
    [np.zeros((3, WIDTH), np.float32), np.zeros((2, WIDTH)), np.zeros((WIDTH, 2), np.float32).T,
     np.zeros((2, WIDTH - 1), np.float32)],
)  # fmt: skip
def test_memory_that_does_not_fit_is_refused(out):
    with pytest.raises(ValueError, match="out must be float32"):
        reading()[0].embed(faces((1, 2, 3), (4, 5, 6)), out)


def test_small_faces_and_faces_outside_are_not_measured():
    model = FaceNet(Reader(1, 2), FaceNet.Config(min_face_px=41))
    assert np.isnan(model.run(faces((200, 120, 50))).vectors).all()
    assert np.isfinite(model.run(faces((200, 120, 50), side=42.0)).vectors).all()
    away = faces((200, 120, 50), side=42.0)
    away.boxes.xyxy[:] = (120, 10, 170, 60)
    assert np.isnan(model.run(away).vectors).all()


def test_forgetting_shows_the_network_an_empty_picture():
    model, net = reading()
    model.run(faces((200, 120, 50)))
    before = len(net.inputs)
    model.forget()
    assert len(net.inputs) >= before + 2
    assert not np.any(net.inputs[before:])
    assert net.inputs[-1].shape == (1, 3, SIDE, SIDE)


def test_after_an_error_the_callers_memory_is_empty():
    class Second(Reader):
        def into(self, x, out):
            out[:] = np.nan if self.inputs and x.any() and self.inputs[-1].any() else 1
            self.inputs.append(x.copy())

    model, out = FaceNet(Second(1, 2), FaceNet.Config(min_face_px=8)), np.zeros((2, WIDTH), np.float32)
    with pytest.raises(MienError) as error:
        model.embed(faces((200, 120, 50), (10, 20, 30)), out)
    assert error.value.code == "models.not-finite"
    assert not out.any()


# ---------------------------------------------------------------- the crop


def test_the_margin_is_counted_in_pixels_of_the_result():
    """32 px of 160 around a box of 64: 8 px of the frame on each side (davidsandberg/facenet's 44 of 182 alike)."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[60:140, 60:140] = 255
    box = np.array([68, 68, 132, 132], np.float32)
    assert crop(pixels, box, 32).min() == 255
    assert crop(pixels, box, 34).min() < 255


def test_a_box_over_the_edge_is_cut_and_stretched():
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:, :25] = (255, 0, 0)
    seen = crop(pixels, np.array([-50, 0, 50, 100], np.float32), 0)
    assert seen.shape == (SIDE, SIDE, 3)
    np.testing.assert_allclose(seen[:, :, 0].mean(0).round() > 128, np.arange(SIDE) < SIDE // 2)


# ---------------------------------------------------------------- the file


def test_it_takes_the_tensors_of_the_published_file(seeded):
    """Of `InceptionResnetV1`: 132 convolutions with their norms, 21 that join branches, a linear layer and its norm."""
    assert sum(n.endswith("conv.weight") for n in seeded) == 111
    assert sum(n.endswith("conv2d.weight") for n in seeded) == 21
    trained = sum(v.size for n, v in seeded.items() if "running" not in n)
    assert trained == 23_482_624
    assert {"conv2d_1a.conv.weight", "repeat_2.9.branch1.2.bn.running_var", "block8.conv2d.bias", "last_bn.bias",
            "mixed_7a.branch2.2.conv.weight", "last_linear.weight"} <= seeded.keys()  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lambda t: t.pop("repeat_2.4.branch1.1.bn.running_mean"), "weights.wrong-keys", "repeat_2.4.branch1.1.bn"),
        (lambda t: t.update({"classifier.weight": np.ones(3)}), "weights.wrong-keys", "classifier.weight"),
        (lambda t: t.update({"last_linear.weight": np.ones((128, 1792))}), "weights.wrong-shape", "last_linear.weight"),
        (lambda t: t.update({"last_bn.bias": np.full(WIDTH, np.inf)}), "weights.not-finite", "last_bn.bias"),
        (lambda t: t.update({"last_bn.running_var": -np.ones(WIDTH)}), "weights.unreadable", "last_bn.running_var"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_of_the_tensor(seeded, change, code, named):
    held = dict(seeded)
    change(held)
    with pytest.raises(MienError, match=named) as error:
        network(Tensors(held, FILE))
    assert error.value.code == code


def test_the_network_of_a_file_gives_unit_vectors_and_repeats_itself(files):
    model = FaceNet.open(files, FaceNet.Config(), Device())
    one, two = model.run(noise()).vectors, model.run(noise()).vectors
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)
    assert not np.allclose(one[0], one[1], atol=1e-4)
    model.forget()
    np.testing.assert_array_equal(model.run(noise()).vectors, one)
    model.close()
    model.close()


def test_a_file_that_is_cut_off_is_refused(files, tmp_path):
    (tmp_path / FILE).write_bytes(files[FILE].read_bytes()[:-1000])
    with pytest.raises(MienError) as error:
        FaceNet.open(WeightFiles({FILE: tmp_path / FILE}), FaceNet.Config(), Device())
    assert error.value.code == "weights.unreadable"


# ---------------------------------------------------------------- the probe


def test_the_probe_on_the_real_path_is_a_softmax_over_the_embedding(files):
    model = FaceNetExpression.open(files, FaceNetExpression.Config(temperature=2), Device())
    probs = model.run(noise()).probs
    vectors = FaceNet.open(files, FaceNet.Config(), Device()).run(noise()).vectors.astype(np.float64)
    probe = Probe.read(files[PROBE_FILE])
    logits = (vectors @ probe.weight.T + probe.bias) / 2
    np.testing.assert_allclose(probs, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-5)
    assert not np.allclose(probs[0], probs[1], atol=1e-4)


def test_after_a_call_no_embedding_is_left_and_the_network_has_seen_an_empty_picture():
    net = Reader(1, 2)
    model = FaceNetExpression(FaceNet(net, FaceNet.Config(min_face_px=8)), Probe.seeded(), FaceNetExpression.Config())
    probs = model.run(faces((200, 120, 50), (10, 20, 30))).probs
    assert probs.shape == (2, len(LABELS))
    assert not np.allclose(probs[0], probs[1])
    assert not any(out.any() for out in net.outs[2:4]), "the rows it wrote are zero again"
    assert not np.any(net.inputs[-2:])


def test_the_probe_keeps_nan_apart():
    vectors = np.zeros((3, WIDTH), np.float32)
    vectors[1] = np.nan
    probs = Probe.seeded().probs(vectors)
    assert np.isnan(probs).all(1).tolist() == [False, True, False]
    assert Probe.seeded().probs(vectors[:0]).shape == (0, len(LABELS))


def test_a_probe_of_another_kind_is_refused(tmp_path):
    probe = Probe.seeded()
    parts = {"weight": probe.weight, "bias": probe.bias, "temperature": probe.temperature}
    for hurt, code in (
        (parts | {"weight": probe.weight[:, :128]}, "weights.wrong-shape"),
        (parts | {"more": probe.bias}, "weights.wrong-keys"),
        ({"weight": probe.weight, "bias": probe.bias}, "weights.wrong-keys"),
        (parts | {"bias": probe.bias + np.float32(np.nan)}, "weights.not-finite"),
    ):
        write(tmp_path / PROBE_FILE, hurt, {})
        with pytest.raises(MienError) as error:
            Probe.read(tmp_path / PROBE_FILE)
        assert error.value.code == code
    with pytest.raises(ValueError, match="weight must be float32"):
        Probe(probe.weight.astype(np.float64), probe.bias, probe.temperature)
