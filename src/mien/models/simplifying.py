"""Element-wise steps of a network, written so that onnxruntime computes them inside its blocked convolutions.

Two things are slow there: PReLU, for which a tensor leaves the blocked layout and comes back, and constants that are
one number but have a row per channel. Both were most of what FaceMesh cost beside its convolutions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.core import MienError
from mien.models.onnx import Array

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def simplified(model: Path | bytes) -> bytes:
    """The same network: PReLU as rectifiers and convolutions of one pixel per channel, equal constants as one number.

    max(x, 0) - slope · max(-x, 0): for each sign of x one of the two is 0, so nothing is rounded that was not before.

    Raises:
        MienError: `weights.unreadable`.
    """
    import onnx
    from onnx import numpy_helper

    try:
        net = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model, load_external_data=False)
    except Exception as error:
        name = "the model in memory" if isinstance(model, bytes) else model.name
        raise MienError("weights.unreadable", f"{name} is not an ONNX file", "run 'mien models verify'") from error
    held: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in net.graph.initializer}
    shapes = _shapes(net)
    nodes: list[Any] = []
    for node in net.graph.node:
        if node.op_type == "PRelu" and _per_channel(held.get(node.input[1])):
            nodes += _rectified(net.graph, node, held[node.input[1]])
            continue
        if node.op_type in ("Add", "Sub", "Mul"):
            for index, name in enumerate(node.input):
                if _one_number(held.get(name), shapes.get(node.input[1 - index])):
                    number = f"{node.output[0]}/number"
                    net.graph.initializer.append(numpy_helper.from_array(held[name].reshape(-1)[0], number))
                    node.input[index] = number
        nodes.append(node)
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    return net.SerializeToString()


def _per_channel(slope: Array | None) -> bool:
    """A slope for each channel of a picture: `[c 1 1]` (channels first) or `[1 1 c]` (last), or with a 1 before."""
    return slope is not None and slope.ndim in (3, 4) and slope.size == max(slope.shape[-3], slope.shape[-1]) > 1


def _one_number(value: Array | None, other: tuple[int, ...] | None) -> bool:
    """Whether a constant is the same number in every channel, and the other operand has these channels already."""
    if value is None or other is None or value.ndim == 0 or not value.size == value.shape[-1] > 1:
        return False
    return len(other) >= value.ndim and other[-1] == value.size and bool((value == value.reshape(-1)[0]).all())


def _shapes(net: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of what is computed, as far as they are known; 0 for a size that is open."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(net).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in known}


def _rectified(graph: Any, node: Any, slope: Array) -> list[Any]:
    from onnx import helper, numpy_helper

    x, y = node.input[0], node.output[0]
    width, last = slope.size, slope.shape[-1] > 1
    for name, value in (("minus", np.full(width, -1)), ("slope", -slope.reshape(-1))):
        filters = value.astype(np.float32).reshape(width, 1, 1, 1)
        graph.initializer.append(numpy_helper.from_array(filters, f"{y}/{name}"))
    start, end = (f"{y}/first", f"{y}/sum") if last else (x, y)
    made = [
        helper.make_node("Relu", [start], [f"{y}/up"]),
        helper.make_node("Conv", [start, f"{y}/minus"], [f"{y}/negated"], group=width, kernel_shape=[1, 1]),
        helper.make_node("Relu", [f"{y}/negated"], [f"{y}/down"]),
        helper.make_node("Conv", [f"{y}/down", f"{y}/slope"], [f"{y}/scaled"], group=width, kernel_shape=[1, 1]),
        helper.make_node("Add", [f"{y}/scaled", f"{y}/up"], [end]),
    ]
    if last:
        made.insert(0, helper.make_node("Transpose", [x], [start], perm=FIRST))
        made.append(helper.make_node("Transpose", [end], [y], perm=LAST))
    return made
