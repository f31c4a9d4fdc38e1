"""The second opinions: label order, input, mirror, and the network of face-api against a reference in plain numpy."""

import sys

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, MienError, WeightFiles
from mien.models.vision.faces.expression import LABELS, ExpressionConfig, geometric_mean, tempered
from mien.models.vision.faces.faceapi import MANIFEST, TENSORS, FaceApi, network, tensors
from mien.models.vision.faces.facex import FaceX
from mien.models.vision.net import StandIn
from mien.models.weights import present, resolve

THEIR_ORDER = {
    FaceX: ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    FaceApi: ("neutral", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
}


def one_face(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (1, 60, 60, 3), dtype=np.uint8)
    box = Boxes(np.zeros(1, np.int64), np.array([[5, 5, 50, 50]], np.float32), np.ones(1, np.float32),
                np.zeros(1, np.int64), ("face",))  # fmt: skip
    return Faces(Frames(pixels, np.zeros(1, np.int64)), box)


@pytest.mark.parametrize("cls", THEIR_ORDER)
def test_each_class_of_the_network_arrives_under_its_own_name(cls):
    for at, name in enumerate(THEIR_ORDER[cls]):
        answer = np.full((1, 7), 0.01, np.float32)
        answer[0, at] = 0.94
        model = cls(StandIn(lambda _, a=answer: [a]), cls.Config())
        assert LABELS[model.run(one_face()).probs[0].argmax()] == name


def test_inputs_are_as_the_packages_make_them():
    seen = []

    def listen(x):
        seen.append(x)
        return [np.full((1, 7), 1 / 7, np.float32)]

    for cls in THEIR_ORDER:
        cls(StandIn(listen), cls.Config(mirror=True)).run(one_face())
    grey, grey_mirror, colour, colour_mirror = seen
    assert grey.shape == (1, 200, 200, 3)
    assert grey.dtype == colour.dtype == np.float32
    assert grey.min() >= 0
    assert 0.5 < grey.max() <= 1
    assert (grey[..., 0] == grey[..., 2]).all()
    assert colour.shape == (1, 112, 112, 3)
    black = FaceApi(StandIn(listen), FaceApi.Config())._input(np.zeros((112, 112, 3), np.uint8))
    np.testing.assert_allclose(black[0, 0, 0] * 255, (-122.782, -117.001, -104.298), rtol=1e-6)
    np.testing.assert_array_equal(grey_mirror, grey[:, :, ::-1])
    np.testing.assert_array_equal(colour_mirror, colour[:, :, ::-1])


def test_with_its_mirror_a_face_and_its_mirror_image_get_one_answer():
    face = one_face()
    turned = Faces(Frames(face.frames.pixels[:, :, ::-1].copy(), face.frames.t_us), face.boxes)
    turned.boxes.xyxy[:, [0, 2]] = 60 - face.boxes.xyxy[:, [2, 0]]
    for mirror, same in ((True, True), (False, False)):
        model = FaceApi(FaceApi.tiny()._net, FaceApi.Config(mirror=mirror, upright=False))
        a, b = (model.run(f).probs for f in (one_face(), turned))
        assert np.allclose(a, b, atol=1e-4) is same


def test_geometric_mean_is_the_equal_log_linear_pool():
    a, b = np.array([0.8, 0.1, 0.1]), np.array([0.2, 0.4, 0.4])
    np.testing.assert_allclose(geometric_mean([a, b]), np.sqrt(a * b) / np.sqrt(a * b).sum())
    np.testing.assert_allclose(geometric_mean([a, a]), a)
    np.testing.assert_allclose(tempered(a, 1.0), a)
    assert ExpressionConfig().temperature == 1.0


# ---------------------------------------------------------------- face-api


def reference(held, picture):
    """The network again, from its description, with loops and no library."""

    def conv(x, at, stride):
        if f"{at}/filters" in held:
            return spread(x, held[f"{at}/filters"], stride) + held[f"{at}/bias"]
        apart = spread(x, held[f"{at}/depthwise_filter"], stride, each=True)
        return apart @ held[f"{at}/pointwise_filter"][0, 0] + held[f"{at}/bias"]

    def spread(x, kernel, stride, each=False):
        n = x.shape[0] // stride
        before = ((n - 1) * stride + 3 - x.shape[0]) // 2
        padded = np.zeros((x.shape[0] + 2, x.shape[1] + 2, x.shape[2]))
        padded[before : before + x.shape[0], before : before + x.shape[1]] = x
        total = 0
        for i in range(3):
            for j in range(3):
                part = padded[i : i + n * stride : stride, j : j + n * stride : stride]
                total = total + (part * kernel[i, j, :, 0] if each else part @ kernel[i, j])
        return total

    x = picture
    for block in range(4):
        outs = [np.maximum(conv(x, f"dense{block}/conv0", 2), 0)]
        for layer in (1, 2, 3):
            outs.append(conv(np.maximum(sum(outs), 0), f"dense{block}/conv{layer}", 1))
        x = np.maximum(sum(outs), 0)
    logits = x.mean((0, 1)) @ held["fc/weights"] + held["fc/bias"]
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def invented():
    rng, held, wide = np.random.default_rng(1), {}, 3
    for block, out in enumerate((4, 6, 8, 10)):
        for layer in range(4):
            at, into = f"dense{block}/conv{layer}", wide if layer == 0 else out
            if (block, layer) == (0, 0):
                held[f"{at}/filters"] = rng.normal(size=(3, 3, into, out)) * 0.5
            else:
                held[f"{at}/depthwise_filter"] = rng.normal(size=(3, 3, into, 1)) * 0.5
                held[f"{at}/pointwise_filter"] = rng.normal(size=(1, 1, into, out)) * 0.4
            held[f"{at}/bias"] = rng.normal(size=out) * 0.1
        wide = out
    return held | {"fc/weights": rng.normal(size=(wide, 7)) * 0.2, "fc/bias": rng.normal(size=7) * 0.1}


def run(held, picture):
    from mien.models.onnx import OnnxNet

    return OnnxNet(network(held), Device(threads=1)).run(picture[None].astype(np.float32))[0][0]


def test_the_network_is_the_one_described():
    held, picture = invented(), np.random.default_rng(2).uniform(-0.5, 0.5, (112, 112, 3))
    want = reference(held, picture)
    np.testing.assert_allclose(run(held, picture), want, atol=1e-4)
    held["dense2/conv3/pointwise_filter"] = held["dense2/conv3/pointwise_filter"][..., ::-1]
    assert np.abs(run(held, picture) - want).max() > 1e-3


def test_the_real_constants_give_the_reference_answer():
    weights = FaceApi.spec.weights
    if not present(weights):
        pytest.skip("needs the weights of face-api: mien models pull faceapi-expression")
    files = resolve(weights)
    held = tensors(files[MANIFEST], files[TENSORS])
    picture = np.random.default_rng(3).uniform(-0.5, 0.5, (112, 112, 3))
    np.testing.assert_allclose(run(held, picture), reference(held, picture), atol=1e-4)


def test_damaged_constants_are_told(tmp_path):
    manifest, content = tmp_path / MANIFEST, tmp_path / TENSORS
    manifest.write_text(
        '[{"weights": [{"name": "a", "shape": [2], "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}},'
        ' {"name": "b", "shape": [1], "dtype": "float32"}]}]'
    )
    content.write_bytes(bytes([0, 4]) + np.float32(7).tobytes())
    held = tensors(manifest, content)
    assert held["a"].tolist() == [-1, 1]
    assert held["b"].tolist() == [7]
    for data in (content.read_bytes()[:-1], content.read_bytes() + b"x"):
        content.write_bytes(data)
        with pytest.raises(MienError, match="does not fit") as error:
            tensors(manifest, content)
        assert error.value.code == "weights.unreadable"
        content.write_bytes(bytes([0, 4]) + np.float32(7).tobytes())
    with pytest.raises(MienError, match="no constant"):
        network(held)


def test_facex_without_its_runtime_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    (tmp_path / "facex.tflite").write_bytes(b"")
    with pytest.raises(MienError) as error:
        FaceX.open(WeightFiles({"facex.tflite": tmp_path / "facex.tflite"}), FaceX.Config(), Device())
    assert error.value.code == "models.missing-extra"
    assert "mien[litert]" in error.value.hint
