"""The encoder of a CTranslate2 Whisper model (`model.bin`) as an ONNX graph that answers every layer.

CTranslate2 gives the last layer alone. Its file is plain: a version, the name of the specification, then one record a
variable (name, shape, type, little-endian bytes), as written by `ctranslate2.specs.model_spec` (MIT, OpenNMT).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError

F32 = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

BINARY_VERSION, SPEC = 6, "WhisperSpec"
DTYPES: dict[int, type[np.generic]] = {
    0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16,
}  # fmt: skip
OPSET, IR_VERSION = 20, 9
EPSILON = 1e-5  # of Whisper's layer norms


def variables(path: Path, prefix: str) -> dict[str, Array]:
    """Variables whose name starts with `prefix`, by the rest of their name. Raises MienError `weights.unreadable`."""
    try:
        return _variables(path.read_bytes(), prefix)
    except (OSError, ValueError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise MienError(
            "weights.unreadable", f"{path.name} is not a usable Whisper model: {error}", "run 'mien models verify'"
        ) from error


def _variables(data: bytes, prefix: str) -> dict[str, Array]:
    at = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        found = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return found

    def text() -> str:
        (size,) = take("H")
        return take(f"{size}s")[0].rstrip(b"\0").decode()

    (version,), spec = take("I"), text()
    if version != BINARY_VERSION or spec != SPEC:
        raise ValueError(f"it holds {spec!r} of version {version}, not {SPEC!r} of version {BINARY_VERSION}")
    _, count = take("II")
    found: dict[str, Array] = {}
    for _ in range(count):
        name = text()
        (rank,) = take("B")
        shape = take(f"{rank}I")
        kind, size = take("BI")
        if name.startswith(prefix):
            values = np.frombuffer(data, np.dtype(DTYPES[kind]).newbyteorder("<"), size // DTYPES[kind]().itemsize, at)
            found[name.removeprefix(prefix)] = values.reshape(shape)
        at += size
    return found


def whisper_encoder(path: Path) -> bytes:
    """ONNX bytes. In: log-mel float32 `[1 80 t]`. Out: states float32 `[l+1 t/2 d]`: layer 0 goes into the first block,
    layer i is what block i gives, the last one behind the closing layer norm.

    Raises:
        MienError: `weights.unreadable`.
    """
    from onnx import TensorProto, checker, helper

    held = {name: value for name, value in variables(path, "encoder/").items() if value.dtype.kind == "f"}
    scalars = {name: int(value) for name, value in variables(path, "encoder/").items() if value.ndim == 0}
    graph = _Graph()
    try:
        states = _encoder(graph, held, scalars["num_heads"])
    except KeyError as error:
        raise MienError(
            "weights.unreadable", f"{path.name} lacks the variable encoder/{error.args[0]}", "run 'mien models verify'"
        ) from error
    graph.add("Concat", *states, name="states", axis=0)
    width = held["conv2/weight"].shape[0]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "whisper-encoder",
            [helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, held["conv1/weight"].shape[1], "frames"])],
            [helper.make_tensor_value_info("states", TensorProto.FLOAT, [len(states), "positions", width])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(made)
    return made.SerializeToString()


def _encoder(graph: _Graph, held: dict[str, Array], heads: int) -> list[str]:
    """Nodes of the encoder (Radford et al., 2022, figure 1); names of its layers' states."""

    def constant(name: str) -> str:
        return graph.constant(name, held[name].astype(np.float32))

    def linear(x: str, name: str) -> str:
        weight = graph.constant(f"{name}/weight", np.ascontiguousarray(held[f"{name}/weight"].T).astype(np.float32))
        return graph.add("Add", graph.add("MatMul", x, weight), constant(f"{name}/bias"))

    def normed(x: str, name: str) -> str:
        return graph.add(
            "LayerNormalization", x, constant(f"{name}/gamma"), constant(f"{name}/beta"), axis=-1, epsilon=EPSILON
        )

    x = "mel"
    for number, stride in ((1, 1), (2, 2)):
        weight, bias = constant(f"conv{number}/weight"), constant(f"conv{number}/bias")
        x = graph.add("Gelu", graph.add("Conv", x, weight, bias, pads=[1, 1], strides=[stride]))
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    length = graph.add("Shape", x, start=1, end=2)
    zero, one = graph.constant("zero", np.array([0])), graph.constant("axis", np.array([0]))
    x = graph.add("Add", x, graph.add("Slice", constant("position_encodings/encodings"), zero, length, one))
    blocks = len({name.split("/")[0] for name in held if name.startswith("layer_") and name[6].isdigit()})
    width = held["conv2/weight"].shape[0]
    split = graph.constant("split", np.array([0, 0, heads, width // heads]))
    joined = graph.constant("joined", np.array([0, 0, width]))
    scale = graph.constant("scale", np.array((width // heads) ** -0.5, np.float32))
    states = [x]
    for i in range(blocks):
        attention, feed = f"layer_{i}/self_attention", f"layer_{i}/ffn"
        qkv = linear(normed(x, f"{attention}/layer_norm"), f"{attention}/linear_0")
        parts = graph.parts(qkv, 3)
        q, k, v = (graph.add("Reshape", part, split) for part in parts)
        q = graph.add("Mul", graph.add("Transpose", q, perm=[0, 2, 1, 3]), scale)
        k, v = graph.add("Transpose", k, perm=[0, 2, 3, 1]), graph.add("Transpose", v, perm=[0, 2, 1, 3])
        mixed = graph.add("MatMul", graph.add("Softmax", graph.add("MatMul", q, k), axis=-1), v)
        mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = graph.add("Add", x, linear(mixed, f"{attention}/linear_1"))
        inner = graph.add("Gelu", linear(normed(x, f"{feed}/layer_norm"), f"{feed}/linear_0"))
        x = graph.add("Add", x, linear(inner, f"{feed}/linear_1"))
        states.append(x)
    return [*states[:-1], normed(x, "layer_norm")]


@dataclass(slots=True)
class _Graph:
    """Nodes and constants in the order of their making; values are named by number, so that the bytes are the same
    every time."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, name: str, value: Array) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        from onnx import helper

        out = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    def parts(self, x: str, count: int) -> list[str]:
        from onnx import helper

        out = [f"v{len(self.nodes)}.{i}" for i in range(count)]
        self.nodes.append(helper.make_node("Split", [x], out, axis=-1, num_outputs=count))
        return out
