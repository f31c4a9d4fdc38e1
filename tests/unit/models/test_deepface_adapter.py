"""DeepFace's expression network: its Keras layout, its numbers against a second forward pass, its crop and labels."""

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, MienError, WeightFiles
from mien.models.tensors import write
from mien.models.vision.faces.deepface import FILE, DeepFaceEmotion, network
from mien.models.vision.faces.expression import LABELS
from mien.models.vision.graphs import Tensors
from mien.models.vision.net import StandIn
from mien.models.weights import accept, add_local, open_adapter
from mien.models.weights.reading.tensors import Held

CONVOLUTIONS = ((5, 1, 64), (3, 64, 64), (3, 64, 64), (3, 64, 128), (3, 128, 128))
DENSE = ((128, 1024), (1024, 1024), (1024, 7))
LAYERS = (
    "conv2d_1", "max_pooling2d_1", "conv2d_2", "conv2d_3", "average_pooling2d_1", "conv2d_4", "conv2d_5",
    "average_pooling2d_2", "flatten_1", "dense_1", "dropout_1", "dense_2", "dropout_2", "dense_3",
)  # fmt: skip


def seeded(first=1, seed=0):
    """Tensors under the names of the published file (Keras 2.0.8); `first`: number of the first layer of a kind."""
    rng, held = np.random.default_rng(seed), {}
    for kind, shapes in (
        ("conv2d", [(k, k, i, o) for k, i, o in CONVOLUTIONS]),
        ("dense", [tuple(s) for s in DENSE]),
    ):
        for i, shape in enumerate(shapes):
            at = f"{kind}_{first + i}/{kind}_{first + i}"
            gain = np.sqrt(2 / np.prod(shape[:-1]))
            held[f"{at}/kernel:0"] = (gain * rng.standard_normal(shape)).astype(np.float32)
            held[f"{at}/bias:0"] = (0.1 * rng.standard_normal(shape[-1:])).astype(np.float32)
    return held


def keras_file(path, held):
    """`save_weights` of Keras 2: a group for every layer, names in attributes, fixed-length bytes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in LAYERS]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
        for layer in LAYERS:
            group, names = file.create_group(layer), [n for n in held if n.startswith(f"{layer}/")]
            group.attrs["weight_names"] = [n.removeprefix(f"{layer}/").encode() for n in names]
            for name in names:
                group.create_dataset(name.removeprefix(f"{layer}/"), data=held[name])
    return path


def reference(held, x):
    """The network again, in numpy with windows and no library: `[48 48]` → `[7]`."""
    from numpy.lib.stride_tricks import sliding_window_view

    def conv(x, i):
        kernel, bias = (held[f"conv2d_{i}/conv2d_{i}/{part}:0"].astype(np.float64) for part in ("kernel", "bias"))
        windows = sliding_window_view(x, kernel.shape[:2], axis=(0, 1))  # [h w c kh kw]
        return np.maximum(np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias, 0)

    def pool(x, side, how):
        return how(sliding_window_view(x, (side, side), axis=(0, 1))[::2, ::2], axis=(-2, -1))

    def dense(x, i):
        return x @ held[f"dense_{i}/dense_{i}/kernel:0"].astype(np.float64) + held[f"dense_{i}/dense_{i}/bias:0"]

    x = pool(conv(x[:, :, None], 1), 5, np.max)
    x = pool(conv(conv(x, 2), 3), 3, np.mean)
    x = pool(conv(conv(x, 4), 5), 3, np.mean).reshape(-1)
    x = np.maximum(dense(x, 1), 0)
    logits = dense(np.maximum(dense(x, 2), 0), 3)
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def opened(tmp_path, held, **config):
    write(tmp_path / FILE, held, {})
    return DeepFaceEmotion.open(WeightFiles({FILE: tmp_path / FILE}), DeepFaceEmotion.Config(**config), Device())


def faces(pixels, box, eyes=None):
    points = np.zeros((0, 0, 2), np.float32) if eyes is None else np.array([eyes], np.float32)
    none = np.zeros(1, np.int64)
    boxes = Boxes(none, np.array([box], np.float32), np.ones(1, np.float32), none, ("face",), points)
    return Faces(Frames(pixels[None], none), boxes)


def noise(seed=0, shape=(120, 160, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("first", [1, 9])
def test_the_network_equals_a_second_forward_pass(tmp_path, first):
    """`first` 9: numbers of a longer session, of which 10 and more sort behind 9."""
    held, plain = seeded(first), seeded()
    model = opened(tmp_path, held)
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(0, 1, (48, 48)).astype(np.float32)
        (said,) = model._net.run(x[None, :, :, None])
        np.testing.assert_allclose(said[0], reference(plain, x), atol=1e-6)
    model.close()


def test_the_torch_layout_is_the_same_network(tmp_path):
    held = seeded()
    renamed = {}
    for name, value in held.items():
        kind, number, part = name.split("/")[0].split("_")[0], name.split("/")[0].split("_")[1], name.split("/")[2]
        theirs = f"{'conv' if kind == 'conv2d' else 'fc'}_{number}.{'weight' if part == 'kernel:0' else 'bias'}"
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
        renamed[theirs] = np.ascontiguousarray(value.transpose(axes))
    x = np.random.default_rng(4).uniform(0, 1, (48, 48)).astype(np.float32)
    (said,) = opened(tmp_path, renamed)._net.run(x[None, :, :, None])
    np.testing.assert_allclose(said[0], reference(held, x), atol=1e-6)


def test_other_tensors_give_other_answers(tmp_path):
    x = np.random.default_rng(1).uniform(0, 1, (48, 48)).astype(np.float32)
    held = seeded()
    whole = reference(held, x)
    for name in held:
        hurt = held | {name: held[name] * 1.5 + 0.05}
        (said,) = opened(tmp_path, hurt)._net.run(x[None, :, :, None])
        assert np.abs(said[0] - whole).max() > 1e-5, name


def test_the_published_keras_layout_arrives_under_its_names(tmp_path):
    """Attributes, groups and names as Keras wrote them, read by what `mien models add` reads them with."""
    pytest.importorskip("h5py")
    from mien.models.weights.reading import hdf5

    held = seeded()
    path = keras_file(tmp_path / "facial_expression_model_weights.h5", held)
    with path.open("rb") as file:
        found: Held = hdf5.read(file, path.stat().st_size, "")
        arrays = {t.name: np.frombuffer(b"".join(t.chunks()), np.float32).reshape(t.shape) for t in found.tensors}
    assert list(arrays) == list(held)
    x = np.random.default_rng(2).uniform(0, 1, (48, 48)).astype(np.float32)
    (said,) = opened(tmp_path, arrays)._net.run(x[None, :, :, None])
    np.testing.assert_allclose(said[0], reference(held, x), atol=1e-6)


def test_from_the_published_file_to_an_answer(tmp_path, monkeypatch):
    """Terms, `mien models add`, `open_adapter`: nothing before the terms are accepted."""
    pytest.importorskip("h5py")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    held = seeded()
    path = keras_file(tmp_path / "facial_expression_model_weights.h5", held)
    with pytest.raises(MienError) as error:
        add_local("deepface-emotion", path)
    assert error.value.code == "licence.not-accepted"
    accept(DeepFaceEmotion.spec.weights)
    in_force = add_local("deepface-emotion", path)
    assert in_force != DeepFaceEmotion.spec.weights, "seeded tensors are never mistaken for the published ones"
    given = faces(noise(), (20, 20, 90, 90))
    model = open_adapter("expression.deepface")
    said = model.run(given).probs
    np.testing.assert_array_equal(said, opened(tmp_path, held).run(given).probs)
    assert np.ptp(said) > 0.01


def broken(case):
    held = seeded()
    first = "conv2d_3/conv2d_3/kernel:0"
    if case == "lacks":
        del held["dense_3/dense_3/bias:0"]
    elif case == "a layer less":
        held = {n: v for n, v in held.items() if not n.startswith("conv2d_5/")}
    elif case == "more":
        held["batch_normalization_1/gamma:0"] = np.ones(3, np.float32)
    elif case == "shape":
        held[first] = held[first][:, :, :, :32].copy()
    else:
        held[first][0, 0, 0, 0] = np.nan
    return held


@pytest.mark.parametrize(
    ("case", "code", "named"),
    [
        ("lacks", "weights.wrong-keys", "bias of dense layer 3"),
        ("a layer less", "weights.wrong-keys", "5 convolution layers, but has 4"),
        ("more", "weights.wrong-keys", "batch_normalization_1/gamma:0"),
        ("shape", "weights.wrong-shape", "conv2d_3/conv2d_3/kernel:0"),
        ("nan", "weights.not-finite", "conv2d_3/conv2d_3/kernel:0"),
    ],
)
def test_a_wrong_file_is_refused_with_the_name_of_the_tensor(case, code, named):
    with pytest.raises(MienError, match=named) as error:
        network(Tensors(broken(case), FILE))
    assert error.value.code == code


def test_what_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(MienError) as error:
        DeepFaceEmotion.open(WeightFiles({FILE: tmp_path / FILE}), DeepFaceEmotion.Config(), Device())
    assert error.value.code == "weights.unreadable"


def test_each_class_arrives_under_its_own_name():
    theirs = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    ours = {"angry": "anger", "happy": "happiness", "sad": "sadness"}
    for at, name in enumerate(theirs):
        answer = np.full((1, 7), 0.01, np.float32)
        answer[0, at] = 0.94
        model = DeepFaceEmotion(StandIn(lambda _, a=answer: [a]), DeepFaceEmotion.Config())
        said = model.run(faces(noise(), (20, 20, 90, 90))).probs[0]
        assert LABELS[said.argmax()] == ours.get(name, name)


def heard(pixels, box, eyes=None, **config):
    """What the network is given."""
    seen = []
    net = StandIn(lambda x: [seen.append(x) or np.full((1, 7), 1 / 7, np.float32)])
    DeepFaceEmotion(net, DeepFaceEmotion.Config(**config)).run(faces(pixels, box, eyes))
    return seen[0][0, :, :, 0]


def test_colours_become_grey_as_they_look():
    """A grey of RGB: green is bright, blue is dark; swapped channels would exchange red and blue."""
    weights = {(255, 0, 0): 0.299, (0, 255, 0): 0.587, (0, 0, 255): 0.114, (255, 255, 255): 1.0}
    for colour, grey in weights.items():
        pixels = np.zeros((80, 80, 3), np.uint8)
        pixels[:] = colour
        np.testing.assert_allclose(heard(pixels, (10, 10, 60, 60))[10:-10, 10:-10], grey, atol=2e-3)


def test_a_tall_box_keeps_its_shape_between_black_bars():
    pixels = np.full((100, 100, 3), 255, np.uint8)
    x = heard(pixels, (30, 10, 60, 90))  # 30 × 80: three eighths of the square are face
    wide = (x[24] > 0.5).sum()
    assert wide == pytest.approx(48 * 30 / 80, abs=1)
    assert x[24, :12].max() == x[24, -12:].max() == 0
    np.testing.assert_allclose(x[:, 24], 1, atol=1e-6)


def test_eyes_are_made_level():
    """A bright bar through two slanted eyes comes out flat; without alignment it does not."""
    import cv2

    pixels = np.zeros((200, 200, 3), np.uint8)
    eyes = ((70.0, 80.0), (130.0, 120.0))
    cv2.line(pixels, (70, 80), (130, 120), (255, 255, 255), 5)

    def slope(x):
        y, at = np.nonzero(x > 0.4)
        return np.polyfit(at, y, 1)[0]

    assert abs(slope(heard(pixels, (50, 50, 150, 150), eyes))) < 0.03
    assert slope(heard(pixels, (50, 50, 150, 150), eyes, upright=False)) == pytest.approx(40 / 60, abs=0.05)
    assert slope(heard(pixels, (50, 50, 150, 150))) == pytest.approx(40 / 60, abs=0.05)


def test_a_box_outside_the_frame_is_not_measured():
    model = DeepFaceEmotion.tiny()
    assert np.isnan(model.run(faces(noise(), (300, 20, 380, 90))).probs).all()
    assert np.isfinite(model.run(faces(noise(), (-40, -30, 60, 70))).probs).all()


def test_an_answer_that_is_no_number_is_an_error():
    model = DeepFaceEmotion(StandIn(lambda _: [np.full((1, 7), np.nan, np.float32)]), DeepFaceEmotion.Config())
    with pytest.raises(MienError) as error:
        model.run(faces(noise(), (20, 20, 90, 90)))
    assert error.value.code == "models.not-finite"
