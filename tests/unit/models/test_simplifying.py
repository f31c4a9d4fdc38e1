"""A simplified network is the same function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.core import Device, MienError
from mien.models.onnx import OnnxNet
from mien.models.simplifying import simplified

RNG = np.random.default_rng(3)


def made(nodes, held, shape) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "n",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def kinds(model: bytes) -> list[str]:
    return [n.op_type for n in onnx.load_from_string(model).graph.node]


def both(model: bytes, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    run = [OnnxNet(m, Device(threads=1)).run(x)[0] for m in (model, simplified(model))]
    return run[0], run[1]


@pytest.mark.parametrize(
    ("shape", "slope"), [((1, 6, 9, 7), (6, 1, 1)), ((1, 6, 9, 7), (1, 6, 1, 1)), ((1, 9, 7, 6), (1, 1, 6))]
)
def test_prelu_is_the_same_function_with_channels_first_and_last(shape, slope):
    model = made([helper.make_node("PRelu", ["x", "s"], ["y"])], {"s": RNG.normal(size=slope)}, list(shape))
    assert "PRelu" not in kinds(simplified(model))
    x = RNG.normal(size=shape).astype(np.float32)
    x.flat[:3] = 0, 1e30, -1e30
    before, after = both(model, x)
    assert np.array_equal(before, after)


@pytest.mark.parametrize("slope", [(1,), (6, 9, 7)])
def test_a_slope_that_is_not_one_per_channel_stays(slope):
    model = made([helper.make_node("PRelu", ["x", "s"], ["y"])], {"s": RNG.normal(size=slope)}, [1, 6, 9, 7])
    assert kinds(simplified(model)) == ["PRelu"]


def test_equal_constants_become_a_number_and_others_stay():
    nodes = [
        helper.make_node("Sub", ["x", "same"], ["p"]),
        helper.make_node("Mul", ["p", "other"], ["y"]),
    ]
    held = {"same": np.full((1, 1, 1, 3), 0.3), "other": np.reshape([1, 2, 3], (1, 1, 1, 3))}
    model = made(nodes, held, [1, 5, 5, 3])
    first, second = onnx.load_from_string(simplified(model)).graph.node
    assert (first.input[1], second.input[1]) == ("p/number", "other")
    x = RNG.normal(size=(1, 5, 5, 3)).astype(np.float32)
    assert np.array_equal(*both(model, x))


@pytest.mark.parametrize("shape", [[1, 5, 5, 1], [5, 3]])
def test_a_constant_that_gives_the_answer_its_shape_stays(shape):
    model = made([helper.make_node("Sub", ["x", "c"], ["y"])], {"c": np.full((1, 1, 1, 3), 0.3)}, shape)
    before, after = both(model, RNG.normal(size=shape).astype(np.float32))
    assert before.shape == after.shape
    assert np.array_equal(before, after)


def test_what_is_no_network_is_an_error(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\xff\xff")
    with pytest.raises(MienError) as caught:
        simplified(tmp_path / "a.onnx")
    assert caught.value.code == "weights.unreadable"


@pytest.mark.parametrize("name", ["facemesh", "movenet-lightning"])
def test_the_published_networks_answer_as_before(name):
    from mien.models.vision.people.pose import GRAPH, HEADS, shortened
    from mien.models.weights import resolve, select

    files = resolve(select([name])[0].weights)
    x = RNG.random((1, 192, 192, 3), np.float32)
    if name == "facemesh":
        model = files.only.read_bytes()
    else:
        heads, bypass = tuple(GRAPH + head for head in HEADS), {GRAPH + "stack": "input"}
        model, x = shortened(files[f"{name}.json"], files, heads, bypass), np.round(x * 255)
    before, after = (OnnxNet(m, Device(threads=1)).run(x) for m in (model, simplified(model)))
    for a, b in zip(before, after, strict=True):
        assert np.abs(a - b).max() <= 1e-6 * max(1, np.abs(a).max())
