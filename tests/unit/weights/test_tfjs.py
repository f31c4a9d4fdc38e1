"""The converter against an independent numpy evaluation of the same graph, by loops and einsum, without ONNX."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core import MienError, Weights
from mien.models.weights import cache, manifest, present, resolve
from mien.models.weights.converting import convert, tfjs

TOLERANCE = 1e-5


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding of one dimension: (before, after)."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def windows(x: np.ndarray, kh: int, kw: int, strides: list[int], padding: str, fill: float) -> np.ndarray:
    """`[n h w c]` → `[n oh ow kh kw c]`, by explicit loops over the output."""
    if padding == "SAME":
        x = np.pad(
            x,
            ((0, 0), same(x.shape[1], kh, strides[0]), same(x.shape[2], kw, strides[1]), (0, 0)),
            constant_values=fill,
        )
    rows, columns = (x.shape[1] - kh) // strides[0] + 1, (x.shape[2] - kw) // strides[1] + 1
    out = np.empty((len(x), rows, columns, kh, kw, x.shape[3]), np.float64)
    for i in range(rows):
        for j in range(columns):
            out[:, i, j] = x[:, i * strides[0] : i * strides[0] + kh, j * strides[1] : j * strides[1] + kw]
    return out


def bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, edges repeated: tf.image.resize."""
    out = np.empty((len(x), height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            v, u = (i + 0.5) * x.shape[1] / height - 0.5, (j + 0.5) * x.shape[2] / width - 0.5
            v0, u0 = math.floor(v), math.floor(u)
            a, b = (np.clip([v0, v0 + 1], 0, x.shape[1] - 1), np.clip([u0, u0 + 1], 0, x.shape[2] - 1))
            dv, du = v - v0, u - u0
            top = x[:, a[0], b[0]] * (1 - du) + x[:, a[0], b[1]] * du
            low = x[:, a[1], b[0]] * (1 - du) + x[:, a[1], b[1]] * du
            out[:, i, j] = top * (1 - dv) + low * dv
    return out


def text(value: str) -> str:
    return base64.b64decode(value).decode()


def evaluate(json_file: Path, feed: np.ndarray) -> dict[str, np.ndarray]:
    """Run a graph model in float64, node by node in the file's order. Returns every value by name."""
    model = json.loads(json_file.read_text())
    values: dict[str, np.ndarray] = {}
    for group in model["weightsManifest"]:
        data = b"".join((json_file.parent / p).read_bytes() for p in group["paths"])
        at = 0
        for w in group["weights"]:
            quantised = w.get("quantization")
            dtype = np.dtype(quantised["dtype"] if quantised else w["dtype"])
            count = math.prod(w["shape"])
            raw = np.frombuffer(data[at : at + count * dtype.itemsize], dtype).astype(np.float64)
            at += count * dtype.itemsize
            if quantised and dtype != np.float16:
                raw = raw * quantised["scale"] + quantised["min"]
            values[w["name"]] = raw.reshape(w["shape"])
    left = [n for n in model["modelTopology"]["node"] if n["op"] != "Const"]
    while left:
        ready = next(n for n in left if all(i.removesuffix(":0") in values for i in n.get("input", [])))
        left.remove(ready)
        step(ready, values, feed)
    return values


def step(node: dict[str, Any], values: dict[str, np.ndarray], feed: np.ndarray) -> None:
    op, attrs = node["op"], node.get("attr", {})
    v = [values[i.removesuffix(":0")] for i in node.get("input", [])]
    ints = {k: [int(i) for i in a["list"]["i"]] for k, a in attrs.items() if "i" in a.get("list", {})}
    if op == "Placeholder":
        y = feed.astype(np.float64)
    elif op in ("_FusedConv2D", "Conv2D", "DepthwiseConv2dNative"):
        kh, kw = v[1].shape[:2]
        patches = windows(v[0], kh, kw, ints["strides"][1:3], text(attrs["padding"]["s"]), 0)
        if op == "DepthwiseConv2dNative":
            y = np.einsum("nijhwc,hwcm->nijcm", patches, v[1])
            y = y.reshape(*y.shape[:3], -1)
        else:
            y = np.einsum("nijhwc,hwco->nijo", patches, v[1])
        extra = v[2:]
        for fused in [text(s) for s in attrs.get("fused_ops", {}).get("list", {}).get("s", [])]:
            if fused == "BiasAdd":
                y = y + extra.pop(0)
            elif fused == "Prelu":
                y = np.where(y > 0, y, y * extra.pop(0))
            else:
                y = np.maximum(y, 0) if fused == "Relu" else np.clip(y, 0, 6)
    elif op == "MaxPool":
        kh, kw = ints["ksize"][1:3]
        y = windows(v[0], kh, kw, ints["strides"][1:3], text(attrs["padding"]["s"]), -np.inf).max(axis=(3, 4))
    elif op == "SplitV":
        for i, piece in enumerate(np.split(v[0], np.cumsum(v[1]).astype(int)[:-1], axis=int(v[2]))):
            values[f"{node['name']}:{i}"] = piece
            values.setdefault(node["name"], piece)
        return
    else:
        y = SIMPLE[op](v, attrs)
    values[node["name"]] = y


def softmax(x: np.ndarray) -> np.ndarray:
    y = np.exp(x - x.max(-1, keepdims=True))
    return y / y.sum(-1, keepdims=True)


SIMPLE: dict[str, Any] = {
    "Softmax": lambda v, a: softmax(v[0]),
    "Relu": lambda v, a: np.maximum(v[0], 0),
    "Prelu": lambda v, a: np.where(v[0] > 0, v[0], v[0] * v[1]),
    "LeakyRelu": lambda v, a: np.where(v[0] > 0, v[0], v[0] * a["alpha"]["f"]),
    "Sigmoid": lambda v, a: 1 / (1 + np.exp(-v[0])),
    "AddV2": lambda v, a: v[0] + v[1],
    "Mul": lambda v, a: v[0] * v[1],
    "Identity": lambda v, a: v[0],
    "Mean": lambda v, a: v[0].mean(axis=tuple(np.atleast_1d(v[1]).astype(int)), keepdims=a["keep_dims"]["b"]),
    "Pad": lambda v, a: np.pad(v[0], v[1].astype(int)),
    "Transpose": lambda v, a: v[0].transpose(v[1].astype(int)),
    "Reshape": lambda v, a: v[0].reshape(v[1].astype(int)),
    "ConcatV2": lambda v, a: np.concatenate(v[:-1], axis=int(v[-1])),
    "ResizeBilinear": lambda v, a: bilinear(v[0], *v[1].astype(int)),
}


class Sketch:
    """A graph model written by hand: nodes and seeded constants."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.nodes: list[dict[str, Any]] = []
        self.entries: list[dict[str, Any]] = []
        self.data = b""

    def const(self, name: str, array: np.ndarray, stored: str = "") -> str:
        dtype = "int32" if array.dtype.kind == "i" else "float32"
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": dtype}
        if stored == "uint8":
            low, scale = float(array.min()), float(np.ptp(array)) / 255
            array = np.rint((array - low) / scale)
            entry["quantization"] = {"dtype": stored, "scale": scale, "min": low}
        elif stored:
            entry["quantization"] = {"dtype": stored}
        self.data += array.astype(stored or dtype).tobytes()
        self.entries.append(entry)
        self.nodes.append({"name": name, "op": "Const"})
        return name

    def node(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        words = {k: {"s": base64.b64encode(v.encode()).decode()} if isinstance(v, str) else v for k, v in attrs.items()}
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": words})
        return name

    def save(self, folder: Path) -> Path:
        groups = [{"paths": ["net.bin"], "weights": self.entries}]
        (folder / "net.bin").write_bytes(self.data)
        (folder / "net.json").write_text(json.dumps({"modelTopology": {"node": self.nodes}, "weightsManifest": groups}))
        return folder / "net.json"


def numbers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(v) for v in values]}}


def placeholder(sketch: Sketch, *shape: int) -> str:
    dims = {"shape": {"dim": [{"size": str(s)} for s in shape]}}
    return sketch.node("x", "Placeholder", shape=dims, dtype={"type": "DT_FLOAT"})


def sketch_of_everything() -> Sketch:
    """One of each operation, with the padding and the strides that differ between TensorFlow and ONNX."""
    s = Sketch()
    r = s.rng.standard_normal
    x = placeholder(s, -1, 11, 9, 3)
    stride = {"strides": numbers(1, 2, 2, 1), "dilations": numbers(1, 1, 1, 1), "data_format": "NHWC"}
    words = {"list": {"s": [base64.b64encode(w).decode() for w in (b"BiasAdd", b"Prelu")]}}
    k, b = s.const("k", r((3, 3, 3, 4)), "float16"), s.const("b", r(4))
    y = s.node("conv", "_FusedConv2D", x, k, b, s.const("p", r((1, 1, 4))), padding="SAME", fused_ops=words, **stride)
    once = {"strides": numbers(1, 1, 1, 1), "dilations": numbers(1, 1, 1, 1)}
    y = s.node("depth", "DepthwiseConv2dNative", y, s.const("d", r((3, 3, 4, 2)), "uint8"), padding="VALID", **once)
    y = s.node("pad", "Pad", y, s.const("pads", np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)))
    pooled = s.node("pool", "MaxPool", y, padding="SAME", ksize=numbers(1, 3, 3, 1), strides=numbers(1, 2, 2, 1))
    y = s.node("leaky", "LeakyRelu", pooled, alpha={"f": 0.1})
    y = s.node(
        "resize", "ResizeBilinear", y, s.const("size", np.array([7, 5], np.int32)), half_pixel_centers={"b": True}
    )
    sizes, axis = s.const("sizes", np.array([3, 5], np.int32)), s.const("axis", np.array(3, np.int32))
    s.node("split", "SplitV", y, sizes, axis, num_split={"i": "2"})
    a = s.node("sigmoid", "Sigmoid", "split:1")
    c = s.node("swap", "Transpose", "split", s.const("perm", np.array([0, 2, 1, 3], np.int32)))
    c = s.node("flat", "Reshape", c, s.const("shape", np.array([1, 7, 5, 3], np.int32)))
    y = s.node("join", "ConcatV2", a, c, s.const("last", np.array(3, np.int32)))
    scale = s.node("scale", "Mul", s.const("one", r(8)), s.const("two", r(8)))  # folded: both are constant
    y = s.node("add", "AddV2", y, scale)
    y = s.node("mean", "Mean", y, s.const("axes", np.array([1, 2], np.int32)), keep_dims={"b": False})
    s.node("Identity", "Softmax", y)
    s.node("Identity_1", "Identity", pooled)
    return s


def siblings(json_file: Path) -> dict[str, Path]:
    return {p.name: p for p in json_file.parent.iterdir()}


def run(model: bytes, feed: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime as ort

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: feed}), strict=True))  # pyright: ignore[reportReturnType]


def test_every_operation_means_what_tensorflow_means(tmp_path: Path) -> None:
    file = sketch_of_everything().save(tmp_path)
    feed = np.random.default_rng(3).standard_normal((1, 11, 9, 3)).astype(np.float32)
    got, want = run(tfjs.to_onnx(file, siblings(file)), feed), evaluate(file, feed)
    assert list(got) == ["Identity", "Identity_1"]
    for name, value in got.items():
        assert value.shape == want[name].shape
        np.testing.assert_allclose(value, want[name], atol=TOLERANCE)
    assert np.ptp(got["Identity"]) > 0.01  # the answer does depend on something


def test_the_bytes_are_the_same_each_time_and_follow_the_weights(tmp_path: Path) -> None:
    file = sketch_of_everything().save(tmp_path)
    first = tfjs.to_onnx(file, siblings(file))
    assert tfjs.to_onnx(file, siblings(file)) == first
    data = bytearray((tmp_path / "net.bin").read_bytes())
    data[1] ^= 0x10
    (tmp_path / "net.bin").write_bytes(data)
    assert tfjs.to_onnx(file, siblings(file)) != first


def test_an_unknown_operation_is_refused_by_name(tmp_path: Path) -> None:
    s = Sketch()
    s.node("odd", "FractionalMaxPool", placeholder(s, 1, 4, 4, 1))
    file = s.save(tmp_path)
    with pytest.raises(MienError, match="FractionalMaxPool") as caught:
        tfjs.to_onnx(file, siblings(file))
    assert caught.value.code == "weights.unknown-op"


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    file = sketch_of_everything().save(tmp_path)
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.bin").read_bytes()[:-8])
    with pytest.raises(MienError) as caught:
        tfjs.to_onnx(file, siblings(file))
    assert caught.value.code == "weights.unreadable"


def test_a_newer_converter_and_a_damaged_result_make_the_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .conftest import asset, model

    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    file = sketch_of_everything().save(tmp_path)
    parts = [asset(f"package/{n}", (tmp_path / n).read_bytes(), "npm") for n in ("net.json", "net.bin")]
    object.__setattr__(parts[0], "convert", "tfjs")
    weights = model("sketch", *parts, runtime=("net.onnx",))
    for part in parts:
        cache.write_atomic(cache.place(weights, part), [(tmp_path / part.file).read_bytes()])
    made = resolve(weights).only
    good = made.read_bytes()
    assert good == tfjs.to_onnx(file, siblings(file))
    assert convert.ensure(weights) == ()
    made.write_bytes(good[:-1] + b"x")
    assert convert.ensure(weights) == ("net.onnx",)
    assert made.read_bytes() == good
    version, suffix, function = convert.CONVERTERS["tfjs"]
    monkeypatch.setitem(convert.CONVERTERS, "tfjs", (version + 1, suffix, function))
    assert convert.ensure(weights) == ("net.onnx",)
    assert convert.ensure(weights) == ()


def emotion() -> Weights | None:
    """The smallest real network of this kind, if it is on this machine."""
    found = [e.weights for e in manifest() if any(a.file == "emotion.json" for a in e.weights.assets)]
    return found[0] if found and present(found[0]) else None


def test_the_real_expression_network_agrees_to_float_precision() -> None:
    weights = emotion()
    if weights is None:
        pytest.skip("the expression network is not in the cache: run 'mien models pull'")
    file = cache.folder(weights) / "emotion.json"
    feed = np.random.default_rng(11).random((1, 64, 64, 1)).astype(np.float32)
    got = run(resolve(weights).only.read_bytes(), feed)["Identity"]
    np.testing.assert_allclose(got, evaluate(file, feed)["Identity"], atol=TOLERANCE)
    assert got.shape == (1, 7)
