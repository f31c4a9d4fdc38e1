"""TensorFlow.js graph models (json + bin) → ONNX, for the operations our networks use; others are refused by name.

A graph model is a frozen TensorFlow graph: `modelTopology.node` lists operations by name, `weightsManifest` says how
the constants lie in the .bin files (optionally as float16 or as affine uint8/uint16). TensorFlow keeps pictures as
`[n h w c]` and ONNX as `[n c h w]`: transposes stand around each convolution, and onnxruntime cancels neighbours.
Constants are folded here; the bytes of the result depend on nothing but the input.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError

Array = npt.NDArray[Any]
OPSET, IR_VERSION = 18, 9
DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_, "uint8": np.uint8}
STORED = DTYPES | {"float16": np.float16, "uint16": np.uint16}


@dataclass(frozen=True, slots=True)
class Options:
    """What one graph needs beyond its files: output nodes (default: all sinks), shape of the single input."""

    outputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


# by the stem of the .json file, where the file does not say it
OPTIONS: dict[str, Options] = {}


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: `inputs` are value names ("x" or "x:1"), control edges dropped."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attrs: Mapping[str, Any]

    def attr(self, key: str, default: Any = None) -> Any:
        value = self.attrs.get(key)
        if value is None:
            return default
        if "list" in value:
            (kind, items), *_ = value["list"].items() or [("i", [])]
            return [_text(x) if kind == "s" else int(x) if kind == "i" else x for x in items]
        kind, item = next(iter(value.items()))
        return {"s": _text, "i": int, "f": float, "b": bool}.get(kind, lambda x: x)(item)


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph model read from its files."""

    nodes: Mapping[str, Node]
    weights: Mapping[str, Array]

    def sinks(self) -> list[str]:
        """Nodes nobody reads, in natural order (`Identity`, `Identity_1`, … `Identity_10`)."""
        read = {_base(i) for node in self.nodes.values() for i in node.inputs}
        return sorted((n for n in self.nodes if n not in read), key=lambda n: (len(n), n))

    def order(self, outputs: Sequence[str]) -> list[Node]:
        """What the outputs need, inputs first."""
        done: dict[str, Node] = {}
        stack = [(name, False) for name in reversed(outputs)]
        while stack:
            name, ready = stack.pop()
            if name in done:
                continue
            if name not in self.nodes:
                raise MienError("weights.unreadable", f"the graph has no node {name!r}")
            node = self.nodes[name]
            if ready:
                done[name] = node
            else:
                stack.append((name, True))
                stack.extend((_base(i), False) for i in reversed(node.inputs))
        return list(done.values())


def read(json_file: Path, siblings: Mapping[str, Path]) -> Graph:
    """Read topology and constants. `siblings`: file name → path of the .bin files.

    Raises:
        MienError: `weights.unreadable` when the files do not fit each other.
    """
    try:
        text = json.loads(json_file.read_bytes())
        nodes = {
            n["name"]: Node(
                n["name"], n["op"], tuple(_value(i) for i in n.get("input", []) if i[0] != "^"), n.get("attr", {})
            )
            for n in text["modelTopology"]["node"]
        }
        weights: dict[str, Array] = {}
        for group in text["weightsManifest"]:
            data, at = b"".join(siblings[path].read_bytes() for path in group["paths"]), 0
            for entry in group["weights"]:
                weights[entry["name"]], at = _constant(entry, data, at)
    except (KeyError, ValueError, TypeError) as error:
        raise MienError("weights.unreadable", f"{json_file.name} is not a complete graph model: {error!r}") from error
    return Graph(nodes, weights)


def to_onnx(json_file: Path, siblings: Mapping[str, Path]) -> bytes:
    """The graph as a serialised ONNX model (opset 18, float32); a batch dimension of -1 becomes 1.

    Raises:
        MienError: `weights.unknown-op`, `weights.unreadable`.
    """
    graph, options = read(json_file, siblings), OPTIONS.get(json_file.stem, Options())
    outputs = list(options.outputs) or graph.sinks()
    build = Builder(graph, options.shape)
    for node in graph.order(outputs):
        build.add(node)
    return build.finish(outputs)


class Builder:
    """Collects ONNX nodes; `known` holds every value that is constant."""

    def __init__(self, graph: Graph, shape: tuple[int, ...]) -> None:
        import onnx

        self.onnx = onnx
        self.graph, self.shape = graph, shape
        self.known: dict[str, Array] = {}
        self.inputs: list[Any] = []
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def add(self, node: Node) -> None:
        from mien.models.weights.converting.tfjs_ops import FOLDS, OPS

        if node.op == "Const":
            self.known[node.name] = self.graph.weights[node.name]
        elif node.op == "Placeholder":
            self.placeholder(node)
        elif node.op in FOLDS and all(i in self.known for i in node.inputs):
            self.known[node.name] = np.asarray(FOLDS[node.op](*(self.known[i] for i in node.inputs)))
        elif node.op in OPS:
            OPS[node.op](self, node)
        else:
            raise MienError(
                "weights.unknown-op",
                f"the converter does not know the operation {node.op!r} (node {node.name!r})",
                "the network needs another source, or mien another version",
            )

    def placeholder(self, node: Node) -> None:
        sizes = [int(d["size"]) for d in node.attr("shape")["dim"]]
        shape = self.shape or tuple(1 if i == 0 and s < 0 else s for i, s in enumerate(sizes))
        if min(shape) < 1:
            raise MienError("weights.unreadable", f"the input {node.name!r} needs a fixed shape, but has {list(shape)}")
        self.inputs.append(self.onnx.helper.make_tensor_value_info(node.name, self.onnx.TensorProto.FLOAT, shape))

    def constant(self, name: str) -> Array:
        """The value of an input that must be constant (weights, axes, shapes)."""
        if name not in self.known:
            raise MienError("weights.unknown-op", f"the converter needs {name!r} to be constant")
        return self.known[name]

    def emit(self, op: str, inputs: Sequence[str | Array], *outputs: str, **attrs: Any) -> str:
        """One ONNX node; arrays among the inputs become constants. Returns the name of its first output."""
        names: list[str] = []
        for value in inputs:
            if isinstance(value, str) and (value == "" or value not in self.known):
                names.append(value)
                continue
            array = self.known[value] if isinstance(value, str) else value
            name = value if isinstance(value, str) else f"constant/{len(self.constants)}"
            self.constants[name] = array
            names.append(name)
        outputs = outputs or (f"{op}/{len(self.nodes)}",)
        self.nodes.append(self.onnx.helper.make_node(op, names, list(outputs), **attrs))
        return outputs[0]

    def finish(self, outputs: Sequence[str]) -> bytes:
        helper, proto = self.onnx.helper, self.onnx.TensorProto
        for name in outputs:
            if name in self.known:
                raise MienError("weights.unreadable", f"the output {name!r} does not depend on the input")
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "mien",
                self.inputs,
                [helper.make_tensor_value_info(name, proto.FLOAT, None) for name in outputs],
                [self.onnx.numpy_helper.from_array(np.asarray(a, order="C"), n) for n, a in self.constants.items()],
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="mien",
        )
        model = self.onnx.shape_inference.infer_shapes(model)  # gives the outputs their shapes
        return model.SerializeToString(deterministic=True)


def _constant(entry: Mapping[str, Any], data: bytes, at: int) -> tuple[Array, int]:
    """One constant from the buffer: raw, float16, or affine `scale·q + min`."""
    shape, quantised = tuple(int(d) for d in entry["shape"]), entry.get("quantization")
    stored, count = (
        np.dtype(STORED[quantised["dtype"] if quantised else entry["dtype"]]),
        int(np.prod(shape, dtype=int)),
    )
    array = np.frombuffer(data, stored, count, at)
    if quantised and quantised["dtype"] != "float16":
        array = array.astype(np.float32) * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        array = np.rint(array) if entry["dtype"] == "int32" else array
    return array.astype(DTYPES[entry["dtype"]]).reshape(shape), at + count * stored.itemsize


def _text(value: str) -> str:
    return base64.b64decode(value).decode()


def _value(name: str) -> str:
    return name.removesuffix(":0")


def _base(name: str) -> str:
    return name.partition(":")[0]


Op = Callable[[Builder, Node], None]
