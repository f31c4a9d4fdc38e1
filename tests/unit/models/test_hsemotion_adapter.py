"""HSEmotion's ONNX contract: classes and axes in order, the published crop and normalisation, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from mien.core import Boxes, Device, Faces, Frames, MienError, WeightFiles
from mien.models.vision.faces.hsemotion import LABELS, THEIRS, HsEmotionB0, HsEmotionB2

BOTH = (HsEmotionB0, HsEmotionB2)
MEAN, SD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def network(path: Path, side: int, outs: int, weight: np.ndarray, bias: np.ndarray, batch: object = "batch_size"):
    """A file of the contract: logits = bias + weight · mean colour of the left and right half (`weight` `[outs 6]`)."""
    from onnx import TensorProto, helper, numpy_helper, save

    constants = {
        "weight": weight.astype(np.float32), "bias": bias.astype(np.float32),
        "first": np.array([0], np.int64), "middle": np.array([side // 2], np.int64),
        "last": np.array([side], np.int64), "axis": np.array([3], np.int64), "space": np.array([2, 3], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["input", "first", "middle", "axis"], ["left"]),
        helper.make_node("Slice", ["input", "middle", "last", "axis"], ["right"]),
        helper.make_node("ReduceMean", ["left", "space"], ["a"], keepdims=0),
        helper.make_node("ReduceMean", ["right", "space"], ["b"], keepdims=0),
        helper.make_node("Concat", ["a", "b"], ["seen"], axis=1),
        helper.make_node("Gemm", ["seen", "weight", "bias"], ["output"], transB=1),
    ]
    graph = helper.make_graph(
        nodes, "planted",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, outs])],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def outs_of(cls):
    return 10 if cls.affect else 8


def planted(tmp_path, cls, weight=None, bias=None, batch: object = "batch_size"):
    n = outs_of(cls)
    weight = np.zeros((n, 6)) if weight is None else weight
    path = network(tmp_path / f"{cls.__name__}.onnx", cls.side, n, weight, np.zeros(n) if bias is None else bias, batch)
    return cls.open(WeightFiles({path.name: path}), cls.Config(), Device())


def faces(pixels, *boxes):
    n = len(boxes)
    rows = np.zeros(n, np.int64)
    xyxy = np.array(boxes, np.float32).reshape(n, 4)
    return Faces(
        Frames(pixels[None], np.zeros(1, np.int64)), Boxes(rows, xyxy, np.ones(n, np.float32), rows, ("face",))
    )


def half_red_half_blue():
    """Green everywhere but in the box 20..60 × 10..50, which is red on its left and blue on its right."""
    pixels = np.zeros((100, 120, 3), np.uint8)
    pixels[:] = (0, 255, 0)
    pixels[10:50, 20:40] = (255, 0, 0)
    pixels[10:50, 40:60] = (0, 0, 255)
    return pixels


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize("name", THEIRS)
def test_each_class_of_the_network_arrives_under_its_own_name(tmp_path, cls, name):
    bias = np.zeros(outs_of(cls))
    bias[THEIRS.index(name)] = 5
    said = planted(tmp_path, cls, bias=bias).run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert said.labels == LABELS
    assert LABELS[said.probs[0].argmax()] == name
    np.testing.assert_allclose(said.probs.sum(), 1, atol=1e-6)


def test_softmax_is_over_the_eight_and_the_last_two_are_valence_and_arousal(tmp_path):
    bias = np.array([0, 0, 0, 0, np.log(8), 0, 0, 0, -0.4, 0.7])
    said = planted(tmp_path, HsEmotionB0, bias=bias).run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert said.probs[0, LABELS.index("happiness")] == pytest.approx(8 / 15, abs=1e-6)
    assert (said.valence[0], said.arousal[0]) == pytest.approx((-0.4, 0.7), abs=1e-6)
    assert np.isnan(said.sd).all()
    beyond = planted(tmp_path, HsEmotionB0, bias=bias * 4).run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert (beyond.valence[0], beyond.arousal[0]) == (-1, 1)


def test_a_network_without_the_two_axes_gives_nan_and_not_zero(tmp_path):
    said = planted(tmp_path, HsEmotionB2).run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert np.isnan(said.valence).all()
    assert np.isnan(said.arousal).all()
    np.testing.assert_allclose(said.probs, 1 / 8, atol=1e-6)


@pytest.mark.parametrize("cls", BOTH)
def test_channels_normalisation_and_crop_are_the_published_ones(tmp_path, cls):
    """A network that says what it saw: six of its logits are the mean colours of both halves of its input."""
    weight = np.zeros((outs_of(cls), 6))
    weight[:6] = np.eye(6)
    said = planted(tmp_path, cls, weight).run(faces(half_red_half_blue(), (20.9, 10.2, 60.7, 50.9)))
    seen = np.log(said.probs[0][[LABELS.index(n) for n in THEIRS]])
    left, right = (np.array([1, 0, 0]) - MEAN) / SD, (np.array([0, 0, 1]) - MEAN) / SD
    # two logits are 0, which fixes the constant that a softmax loses; the seam is blurred over less than a pixel
    np.testing.assert_allclose(seen[:6] - seen[6], [*left, *right], atol=0.05)


def test_a_box_that_is_not_square_is_stretched_and_one_over_the_edge_is_cut(tmp_path):
    """Half of what lies in the frame is red, whatever the shape of the box."""
    weight = np.zeros((8, 6))
    weight[0, 0] = weight[1, 3] = 1  # red on the left, red on the right
    pixels = np.zeros((100, 120, 3), np.uint8)
    pixels[:, :10] = (255, 0, 0)
    model = planted(tmp_path, HsEmotionB2, weight)
    logs = np.log(model.run(faces(pixels, (0, 0, 20, 90), (-50, 20, 20, 40), (0, 0, 40, 40))).probs)
    red = logs[:, [LABELS.index("anger"), LABELS.index("contempt")]] - logs[:, [LABELS.index("disgust")]]
    white, black = (1 - MEAN[0]) / SD[0], -MEAN[0] / SD[0]
    np.testing.assert_allclose(red[:2], [[white, black]] * 2, atol=0.1)
    np.testing.assert_allclose(red[2], [(white + black) / 2, black], atol=0.1)


@pytest.mark.parametrize("batch", [1, "batch_size", None])
def test_fixed_and_open_batches_are_the_same(tmp_path, batch):
    weight = np.random.default_rng(0).standard_normal((10, 6))
    pixels = np.random.default_rng(1).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    boxes = [(10 * i, 5 * i, 40 + 12 * i, 50 + 7 * i) for i in range(5)]
    said = planted(tmp_path, HsEmotionB0, weight, batch=batch).run(faces(pixels, *boxes))
    plain = planted(tmp_path, HsEmotionB0, weight).run(faces(pixels, *boxes[::-1]))
    np.testing.assert_array_equal(said.probs, plain.probs[::-1])
    assert len(np.unique(said.valence)) == 5


def test_boxes_outside_the_frame_or_tiny_are_not_measured(tmp_path):
    bias = np.arange(10) / 10
    said = planted(tmp_path, HsEmotionB0, bias=bias).run(
        faces(half_red_half_blue(), (200, 10, 240, 50), (20, 10, 60, 50), (20, 10, 22, 12), (-40, -40, -5, -5))
    )
    measured = np.isfinite(said.probs).all(1)
    assert measured.tolist() == np.isfinite(said.valence).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("cls", "side", "outs"),
    [(HsEmotionB0, 260, 10), (HsEmotionB0, 224, 8), (HsEmotionB2, 224, 8), (HsEmotionB2, 260, 10)],
)
def test_a_network_of_another_contract_is_refused(tmp_path, cls, side, outs):
    path = network(tmp_path / "other.onnx", side, outs, np.zeros((outs, 6)), np.zeros(outs))
    with pytest.raises(MienError, match="other.onnx must take") as error:
        cls.open(WeightFiles({path.name: path}), cls.Config(), Device())
    assert error.value.code == "weights.wrong-shape"


def test_an_answer_that_is_no_number_is_an_error(tmp_path):
    bias = np.zeros(10)
    bias[3] = np.inf
    model = planted(tmp_path, HsEmotionB0, bias=bias)
    with pytest.raises(MienError) as error:
        model.run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert error.value.code == "models.not-finite"


@pytest.mark.peer
@pytest.mark.parametrize("cls", BOTH)
def test_the_numbers_are_those_of_the_published_package(tmp_path, cls, monkeypatch):
    """`hsemotion_onnx` itself on the same seeded file and the same crop."""
    pytest.importorskip("onnx")
    theirs = pytest.importorskip("hsemotion_onnx.facial_emotions", reason="needs the package hsemotion-onnx")
    rng = np.random.default_rng(3)
    n = outs_of(cls)
    name = "enet_b0_8_va_mtl" if cls.affect else "enet_b2_8"
    path = network(
        tmp_path / f"{name}.onnx", cls.side, n, 0.3 * rng.standard_normal((n, 6)), 0.2 * rng.standard_normal(n)
    )
    monkeypatch.setattr(theirs, "get_model_path", lambda _: str(path))
    peer = theirs.HSEmotionRecognizer(name)
    ours = cls.open(WeightFiles({path.name: path}), cls.Config(), Device())
    pixels = rng.integers(0, 256, (200, 240, 3), dtype=np.uint8)
    for x1, y1, x2, y2 in ((10, 20, 150, 190), (100, 5, 131, 44), (0, 0, 240, 200)):
        _, scores = peer.predict_emotions(pixels[y1:y2, x1:x2], logits=False)
        said = ours.run(faces(pixels, (x1, y1, x2, y2)))
        order = [list(peer.idx_to_class.values()).index(name.capitalize()) for name in LABELS]
        np.testing.assert_allclose(said.probs[0], scores[:8][order], atol=1e-6)
        if cls.affect:
            np.testing.assert_allclose([said.valence[0], said.arousal[0]], np.clip(scores[8:], -1, 1), atol=1e-6)


def test_a_file_of_the_users_own_runs_and_is_never_mistaken_for_the_published_one(tmp_path, monkeypatch):
    from mien.models.weights import add_local, open_adapter

    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    bias = np.zeros(10)
    bias[THEIRS.index("fear")] = 3
    path = network(tmp_path / "enet_b0_8_va_mtl.onnx", 224, 10, np.zeros((10, 6)), bias)
    assert add_local("hsemotion-enet_b0_8_va_mtl", path).sha256 != HsEmotionB0.spec.weights.sha256
    said = open_adapter("expression.hsemotion-b0-va").run(faces(half_red_half_blue(), (20, 10, 60, 50)))
    assert LABELS[said.probs[0].argmax()] == "fear"


def test_the_files_are_pinned():
    for cls in BOTH:
        (asset,) = cls.spec.weights.assets
        assert (asset.source, len(asset.version), len(asset.sha256)) == ("git", 40, 64)
        assert asset.bytes > 16_000_000
