"""Batch normalisation left as single steps is folded into the convolution before it, and nothing else is."""

from pathlib import Path

import numpy as np
import pytest

from mien.core import Device, MienError
from mien.models.folding import folded
from mien.models.onnx import OnnxNet

WIDTH = 4


def graph(path: Path, *, tapped: bool = False, reverse: bool = False, per_channel: bool = True) -> Path:
    """Conv → transpose → cast → − mean → × scale → + shift → relu, as exporters of old TensorFlow graphs leave it.

    tapped: something else reads the convolution's answer, too. reverse: mean − x instead of x − mean.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(4)
    shape = (1, 1, 1, WIDTH) if per_channel else (1, 1, 1, 1)
    constants = {"w": rng.normal(size=(WIDTH, 3, 3, 3)), "b": rng.normal(size=WIDTH)}
    constants |= {name: rng.normal(size=shape) + 2 for name in ("mean", "scale", "shift")}
    less = ["mean", "x"] if reverse else ["x", "mean"]
    nodes = [
        helper.make_node("Conv", ["in", "w", "b"], ["c"]),
        helper.make_node("Transpose", ["c"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["t"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Sub", less, ["s"]),
        helper.make_node("Mul", ["scale", "s"], ["m"]),
        helper.make_node("Add", ["m", "shift"], ["a"]),
        helper.make_node("Relu", ["a"], ["out"]),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    if tapped:
        outputs.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, None))
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 8, 8])], outputs,
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in constants.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def steps(model: bytes) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.mark.parametrize("given", [{}, {"tapped": True}, {"reverse": True}, {"per_channel": False}])
def test_the_answer_is_the_same(tmp_path: Path, given: dict[str, bool]):
    path = graph(tmp_path / "net.onnx", **given)
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    before, after = OnnxNet(path, Device()).run(x), OnnxNet(folded(path), Device()).run(x)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert np.ptp(a) > 0.1


def test_what_can_be_folded_is_gone_and_what_cannot_is_left(tmp_path: Path):
    assert steps(folded(graph(tmp_path / "a.onnx"))) == ["Conv", "Transpose", "Relu"]
    for name, given in {"tapped": {"tapped": True}, "one": {"per_channel": False}}.items():
        assert {"Sub", "Mul", "Add"} <= set(steps(folded(graph(tmp_path / f"{name}.onnx", **given)))), name
    assert "Sub" in steps(folded(graph(tmp_path / "r.onnx", reverse=True))), "mean - x is not x - mean"


def test_a_file_that_is_none_is_said(tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(b"no")
    with pytest.raises(MienError, match="weights.unreadable"):
        folded(tmp_path / "x.onnx")
