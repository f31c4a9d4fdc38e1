"""Constants after a convolution folded into it, where an exporter left a batch normalisation as single steps.

onnxruntime folds a BatchNormalization node by itself, but not its parts: subtract, multiply and add, each on a
transposed tensor, cost open_nsfw as much as the convolutions themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.core import MienError

CHANNELS_LAST = [0, 2, 3, 1]


def folded(path: Path) -> bytes:
    """The network of an ONNX file with every chain Conv → transpose to channels last → (+ − ×) constants per channel
    as one Conv and its transpose. Answers differ by float rounding only.

    Raises:
        MienError: `weights.unreadable`.
    """
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise MienError("weights.unreadable", f"{path.name} is not an ONNX file", "run 'mien models verify'") from error
    graph = model.graph
    constants: dict[str, Any] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    _drop_idle(graph, constants)
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {o.name for o in graph.output}
    gone: list[Any] = []
    for conv in [n for n in graph.node if n.op_type == "Conv" and n.input[1] in constants]:
        chain = _chain(conv, readers, constants, outputs)
        if not chain:
            continue
        weight = constants[conv.input[1]].astype(np.float64)
        width = len(weight)
        scale, shift = np.ones(width), np.zeros(width)
        if len(conv.input) > 2:
            shift = constants[conv.input[2]].astype(np.float64)
        for node in chain[1:]:
            (c,) = (constants[i].reshape(-1).astype(np.float64) for i in node.input if i in constants)
            if node.op_type == "Mul":
                scale, shift = scale * c, shift * c
            else:
                shift = shift + c if node.op_type == "Add" else shift - c
        made = {
            f"{conv.output[0]}/weight": weight * scale[:, None, None, None],
            f"{conv.output[0]}/bias": shift,
        }
        graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), n) for n, v in made.items())
        conv.input[:] = [conv.input[0], *made]
        chain[0].output[0] = chain[-1].output[0]
        gone += chain[1:]
    for node in gone:
        graph.node.remove(node)
    return model.SerializeToString()


def _drop_idle(graph: Any, constants: dict[str, Any]) -> None:
    """Take out casts of constants and of what is float already, and copies."""
    from onnx import TensorProto

    renamed: dict[str, str] = {}
    outputs = {o.name for o in graph.output}
    entries = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.FLOAT}
    kept: list[Any] = []
    floats = entries | {n for n, v in constants.items() if v.dtype == np.float32}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        same = node.op_type == "Identity" or (
            node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT and node.input[0] in floats
        )
        if same and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
            continue
        if node.op_type in FLOAT_OPS and node.input[0] in floats:
            floats.update(node.output)
        kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


# Operators that answer in floats when they are given floats.
FLOAT_OPS = {"Conv", "Transpose", "Add", "Sub", "Mul", "Relu", "Pad", "MaxPool", "ReduceMean", "MatMul", "Softmax"}


def _chain(conv: Any, readers: dict[str, list[Any]], constants: dict[str, Any], outputs: set[str]) -> list[Any]:
    """The transpose after a convolution and the steps after it that are constant per channel; [] where there are none.

    Only what one node reads, and reads alone, can be folded.
    """
    chain: list[Any] = []
    at = conv
    while at.output[0] not in outputs and len(readers.get(at.output[0], ())) == 1:
        (after,) = readers[at.output[0]]
        if not chain:
            if after.op_type != "Transpose" or list(after.attribute[0].ints) != CHANNELS_LAST:
                break
        else:
            steady = [constants[i] for i in after.input if i in constants]
            ordered = after.op_type in ("Add", "Mul") or (after.op_type == "Sub" and after.input[1] in constants)
            if not ordered or len(steady) != 1 or steady[0].shape != (1, 1, 1, len(constants[conv.input[1]])):
                break
        chain.append(after)
        at = after
    return chain if len(chain) > 1 else []
