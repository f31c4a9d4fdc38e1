"""The operations `tfjs` knows: TensorFlow's meaning (https://www.tensorflow.org/api_docs/python/tf/raw_ops) in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from mien.core import MienError
from mien.models.weights.converting.tfjs import Array, Builder, Node, Op

TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]


def _sparse_to_dense(where: Array, shape: Array, values: Array, default: Array) -> Array:
    dense = np.full(tuple(int(s) for s in np.atleast_1d(shape)), default, dtype=values.dtype)
    rows = where if where.ndim == 2 else np.atleast_1d(where)[:, None]
    dense[tuple(rows.T)] = values
    return dense


# operations on constants alone are computed once, here
FOLDS: dict[str, Callable[..., Any]] = {
    "Identity": lambda x: x,
    "Transpose": np.transpose,
    "Reshape": lambda x, shape: x.reshape(shape),
    "ExpandDims": lambda x, axis: np.expand_dims(x, int(axis)),
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "SparseToDense": _sparse_to_dense,
}


def _plain(name: str) -> Op:
    """Same operation, same operands, under ONNX's name."""

    def op(build: Builder, node: Node) -> None:
        build.emit(name, node.inputs, node.name)

    return op


def _convolution(build: Builder, node: Node) -> None:
    """Conv2D, depthwise or not, with TensorFlow's fused bias and activation. Kernel `[h w in out]`."""
    depthwise = "epthwise" in node.op
    kernel = build.constant(node.inputs[1])
    if node.attr("data_format", "NHWC") != "NHWC":
        raise MienError("weights.unknown-op", f"the converter knows {node.op!r} only as NHWC (node {node.name!r})")
    if depthwise:
        height, width, channels, multiplier = kernel.shape
        kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    else:
        channels, kernel = 1, kernel.transpose(3, 2, 0, 1)
    fused, extra = list(node.attr("fused_ops", [])), list(node.inputs[2:])
    operands: list[str | Array] = [build.emit("Transpose", [node.inputs[0]], perm=TO_NCHW), kernel]
    if fused[:1] == ["BiasAdd"]:
        operands.append(extra.pop(0))
        fused.pop(0)
    value = build.emit(
        "Conv",
        operands,
        group=channels if depthwise else 1,
        strides=node.attr("strides")[1:3],
        dilations=node.attr("dilations", [1, 1, 1, 1])[1:3],
        **_padding(node),
    )
    for activation in fused:
        if activation == "Prelu":
            slope = build.constant(extra.pop(0))
            if slope.size != slope.shape[-1]:
                _refuse(node, "Prelu with a slope per place")
            value = build.emit("PRelu", [value, slope.reshape(-1, 1, 1)])
        elif activation == "Relu6":
            value = build.emit("Clip", [value, np.array(0, np.float32), np.array(6, np.float32)])
        elif activation == "LeakyRelu":
            value = build.emit("LeakyRelu", [value], alpha=node.attr("leakyrelu_alpha", 0.2))
        elif activation in ("Relu", "Elu", "Sigmoid", "Tanh"):
            value = build.emit(activation, [value])
        else:
            _refuse(node, activation)
    build.emit("Transpose", [value], node.name, perm=TO_NHWC)


def _pool(kind: str) -> Op:
    def op(build: Builder, node: Node) -> None:
        value = build.emit("Transpose", [node.inputs[0]], perm=TO_NCHW)
        kernel, strides = node.attr("ksize")[1:3], node.attr("strides")[1:3]
        value = build.emit(kind, [value], kernel_shape=kernel, strides=strides, **_padding(node))
        build.emit("Transpose", [value], node.name, perm=TO_NHWC)

    return op


def _padding(node: Node) -> dict[str, Any]:
    kind = node.attr("padding")
    if kind == "SAME":
        return {"auto_pad": "SAME_UPPER"}
    if kind == "VALID":
        return {}
    pads = node.attr("explicit_paddings")  # [n0 n1 h0 h1 w0 w1 c0 c1]
    return {"pads": [pads[2], pads[4], pads[3], pads[5]]}


def _reduce(kind: str) -> Op:
    def op(build: Builder, node: Node) -> None:
        axes = np.atleast_1d(build.constant(node.inputs[1])).astype(np.int64)
        build.emit(kind, [node.inputs[0], axes], node.name, keepdims=int(node.attr("keep_dims", False)))

    return op


def _reshape(build: Builder, node: Node) -> None:
    build.emit("Reshape", [node.inputs[0], build.constant(node.inputs[1]).astype(np.int64)], node.name)


def _transpose(build: Builder, node: Node) -> None:
    build.emit("Transpose", [node.inputs[0]], node.name, perm=build.constant(node.inputs[1]).tolist())


def _pad(build: Builder, node: Node) -> None:
    before_after = build.constant(node.inputs[1]).T.reshape(-1).astype(np.int64)
    value = build.constant(node.inputs[2]) if node.op == "PadV2" else 0.0
    build.emit("Pad", [node.inputs[0], before_after, np.asarray(value, np.float32)], node.name)


def _concat(build: Builder, node: Node) -> None:
    build.emit("Concat", node.inputs[:-1], node.name, axis=int(build.constant(node.inputs[-1])))


def _split(build: Builder, node: Node) -> None:
    sizes, axis = build.constant(node.inputs[1]).astype(np.int64), int(build.constant(node.inputs[2]))
    build.emit(
        "Split", [node.inputs[0], sizes], node.name, *(f"{node.name}:{i}" for i in range(1, len(sizes))), axis=axis
    )


def _resize(build: Builder, node: Node) -> None:
    if node.attr("align_corners"):
        mode = "align_corners"
    else:
        mode = "half_pixel" if node.attr("half_pixel_centers") else "asymmetric"
    value = build.emit("Transpose", [node.inputs[0]], perm=TO_NCHW)
    lead = build.emit("Slice", [build.emit("Shape", [value]), np.array([0]), np.array([2])])
    size = build.emit("Concat", [lead, build.constant(node.inputs[1]).astype(np.int64)], axis=0)
    value = build.emit("Resize", [value, "", "", size], mode="linear", coordinate_transformation_mode=mode)
    build.emit("Transpose", [value], node.name, perm=TO_NHWC)


def _leaky(build: Builder, node: Node) -> None:
    build.emit("LeakyRelu", node.inputs, node.name, alpha=node.attr("alpha", 0.2))


def _softmax(build: Builder, node: Node) -> None:
    build.emit("Softmax", node.inputs, node.name, axis=-1)


def _refuse(node: Node, what: str) -> NoReturn:
    raise MienError(
        "weights.unknown-op", f"the converter does not know {what!r} fused into {node.op!r} ({node.name!r})"
    )


OPS: dict[str, Op] = {
    "Conv2D": _convolution,
    "_FusedConv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "FusedDepthwiseConv2dNative": _convolution,
    "MaxPool": _pool("MaxPool"),
    "AvgPool": _pool("AveragePool"),
    "Mean": _reduce("ReduceMean"),
    "Add": _plain("Add"),
    "AddV2": _plain("Add"),
    "Sub": _plain("Sub"),
    "Mul": _plain("Mul"),
    "Relu": _plain("Relu"),
    "Sigmoid": _plain("Sigmoid"),
    "Prelu": _plain("PRelu"),
    "Identity": _plain("Identity"),
    "LeakyRelu": _leaky,
    "Softmax": _softmax,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Pad": _pad,
    "PadV2": _pad,
    "ConcatV2": _concat,
    "SplitV": _split,
    "ResizeBilinear": _resize,
}
