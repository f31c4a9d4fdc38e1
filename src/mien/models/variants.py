"""The same network in 8-bit numbers: faster, not the same, and so only after a look at what it changes, on request.

`tune` calibrates it on real frames, compares its decisions with those of the published network on other frames, and
keeps it on this machine only where they agree. It is then used where a project says `precision = "int8"` for the
adapter, which enters the fingerprint. Never the default. Static quantisation by onnxruntime's own quantiser, weights
per channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018).
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import model_serializer

from mien.core import Boxes, Device, Frames, MienError, Strict, digest
from mien.core.version import VERSION
from mien.models.onnx import Array, OnnxNet
from mien.models.sessions import Written
from mien.models.weights import cache

WAYS: dict[str, list[str] | None] = {"convolutions": ["Conv", "MatMul", "Gemm"], "everything": None}
LEAST_AGREED, LEAST_IOU = 0.98, 0.9  # with less, a variant is not kept
MOST_APART, MOST_POINTS = 0.02, 0.03  # with more
OPSET = 17  # older graphs cannot say per channel
BATCHES, THREADS = (1, 4, 8, 16), (1, 2)
NAN = float("nan")
MATCH = 0.5  # IoU from which two boxes are one


class Precise(Strict):
    """Settings of an adapter whose network may run in 8 bits. What is not asked for is not in its fingerprint."""

    precision: Literal["float32", "int8"] = "float32"

    @model_serializer(mode="wrap")
    def _without_default(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        told = handler(self)
        if self.precision == "float32":
            told.pop("precision", None)
        return told


@dataclass(frozen=True, slots=True)
class Parity:
    """How far answers are from those of the published network.

    Attributes:
        rows: frames looked at. agreed: share of decisions that are the same: boxes with a partner of the same class
            (IoU ≥ 0.5); of scores, those within `MOST_APART`. iou: mean of matched boxes, NaN where there are none.
        apart: largest difference of a score. points: mean distance of matched boxes' points, as a share of the box's
            longer side; NaN without points.
    """

    rows: int
    agreed: float
    iou: float
    apart: float
    points: float

    @property
    def kept(self) -> bool:
        return self.agreed >= LEAST_AGREED and not (self.iou < LEAST_IOU or self.points > MOST_POINTS)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to quantise, what it costs (processor ms of a call of the network, median) and what it changes."""

    way: str
    ms: float
    parity: Parity


@dataclass(frozen=True, slots=True)
class Tuned:
    """What `tune` found of one adapter. kept: the variant that is now on this machine, "" where none is near enough."""

    adapter: str
    ms: float
    variants: tuple[Variant, ...]
    kept: str


def at_precision(network: Written, config: Precise, name: str) -> Written:
    """The network that the settings ask for.

    Raises:
        MienError: `models.not-tuned` where it was not made, or was too far from the published one.
    """
    if config.precision == "float32":
        return network
    path = place(network)
    if not path.is_file():
        hint = f"mien models tune {name}; or leave adapters.{json.dumps(name)}.precision out"
        raise MienError("models.not-tuned", f"no int8 network of {name} is kept on this machine", hint)
    return Written((path,), "int8", path.read_bytes)


def place(network: Written) -> Path:
    """Where the variant of a network lies; another version of it, of mien or of onnxruntime has another place."""
    import onnxruntime as ort

    sums = [cache.known_sha256(f) for f in network.files]
    key = digest(sums, network.how, ort.__version__, VERSION, OPSET)
    return cache.cache_dir() / "variants" / network.files[0].stem / f"{key[:24]}.int8.onnx"


def tune(cls: Any, network: Written, config: Precise, learn: Frames, checks: Sequence[Frames]) -> Tuned:
    """Quantise a detector or a judge of frames in every way known, compare, keep the fastest that is near enough.

    Args:
        network: the published one. learn: frames to calibrate on. checks: other frames, to compare on.
    """
    device = Device(threads=1)
    published = network.write()
    plain = _Noting(OnnxNet(published, device))
    learnt = cls(plain, config)
    learnt.run(learn)
    inputs, plain.calls = plain.calls, []
    truth = [learnt.run(check) for check in checks]
    seen, found = plain.calls, []
    for way, kinds in WAYS.items():
        made = quantised(published, inputs, kinds)
        net = OnnxNet(made, device)
        both = _ms([plain.net, net], seen)
        answers = [cls(net, config).run(check) for check in checks]
        near = parity(truth, answers, [len(check) for check in checks])
        found.append((Variant(way, both[1], near), made, both[0]))
    good = [f for f in found if f[0].parity.kept and f[0].ms < f[2]]
    best = min(good, key=lambda f: f[0].ms, default=None)
    told = Tuned(cls.spec.name, min(f[2] for f in found), tuple(f[0] for f in found), best[0].way if best else "")
    path = place(network)
    path.unlink(missing_ok=True)
    if best:
        cache.write_atomic(path.with_suffix(".json"), [json.dumps(asdict(told)).encode()])
        cache.write_atomic(path, [best[1]])
    return told


def speeds(opened: Callable[[Device], Any], frames: Frames) -> dict[str, float]:
    """Wall ms per frame of the whole adapter, by frames at a time and threads: "1 × 1" … "16 × 2"; the better of two.

    Args:
        opened: opens the adapter on a device, with the settings to be measured.
    """
    told: dict[str, float] = {}
    for threads in THREADS:
        model = opened(Device(threads=threads))
        for rows in (r for r in BATCHES if r <= len(frames)):
            batch = Frames(frames.pixels[:rows], frames.t_us[:rows])
            walls: list[float] = []
            for _ in range(2):
                began = time.perf_counter()
                model.run(batch)
                walls.append(1000 * (time.perf_counter() - began) / rows)
            told[f"{rows} × {threads}"] = min(walls)
        model.close()
    return told


class _Noting:
    """A network that notes what it is called with."""

    def __init__(self, net: OnnxNet) -> None:
        self.net, self.calls = net, list[dict[str, Array]]()

    def run(self, *inputs: Array) -> list[Array]:
        self.calls.append(dict(zip(self.net.inputs, inputs, strict=True)))
        return self.net.run(*inputs)

    def map(self, function: Callable[[Any], Any], items: Any) -> list[Any]:
        return [function(item) for item in items]

    def close(self) -> None:
        self.net.close()


def _ms(nets: list[OnnxNet], calls: list[dict[str, Array]]) -> list[float]:
    """Median processor ms of a call of each, in turns, so that a neighbour on the machine slows all alike."""
    spent: list[list[float]] = [[] for _ in nets]
    for call in calls[:1] + calls:  # the first warms up
        for net, own in zip(nets, spent, strict=True):
            began = time.thread_time()
            net.run(*call.values())
            own.append(1000 * (time.thread_time() - began))
    return [float(np.median(own[1:])) for own in spent]


# ---------------------------------------------------------------- quantising


def quantised(model: bytes, inputs: list[dict[str, Array]], kinds: list[str] | None) -> bytes:
    """A network with its activations in uint8 and its weights in int8, calibrated on `inputs`; `kinds` of nodes, or
    all that onnxruntime has 8-bit kernels for."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter(inputs)

        def get_next(self) -> Any:
            return next(self._rows, None)

    net = onnx.load_from_string(model)
    used = {name for node in net.graph.node for name in node.input}
    for tensor in [t for t in net.graph.initializer if t.name not in used]:
        net.graph.initializer.remove(tensor)
    if any(o.domain in ("", "ai.onnx") and o.version < OPSET for o in net.opset_import):
        net.ir_version = max(net.ir_version, 8)
        net = version_converter.convert_version(net, OPSET)
    quiet = logging.getLogger()
    level = quiet.level
    with tempfile.TemporaryDirectory(prefix="mien-tune-") as where, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet.setLevel(logging.ERROR)
        try:
            plain, ready, made = (str(Path(where) / f"{n}.onnx") for n in ("plain", "ready", "made"))
            onnx.save(net, plain)
            quant_pre_process(plain, ready, skip_symbolic_shape=True)
            quantize_static(
                *(ready, made, Reader()),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=kinds,
            )
            return Path(made).read_bytes()
        finally:
            quiet.setLevel(level)


# ---------------------------------------------------------------- comparing


def parity(truth: Sequence[Any], other: Sequence[Any], rows: Sequence[int]) -> Parity:
    """How far answers to the same frames are apart: `Boxes`, or scores in `value`; one for each batch of `rows`."""
    if isinstance(truth[0], Boxes):
        return _boxes(truth, other, rows)
    far = np.concatenate([np.abs(np.asarray(a.value, np.float64) - b.value) for a, b in zip(truth, other, strict=True)])
    agreed = float((far <= MOST_APART).mean()) if len(far) else NAN
    return Parity(sum(rows), agreed, NAN, float(far.max(initial=0.0)), NAN)


def _boxes(truth: Sequence[Boxes], other: Sequence[Boxes], rows: Sequence[int]) -> Parity:
    """Boxes of one frame and class are matched greedily, the nearest first."""
    ious: list[float] = []
    apart: list[float] = []
    points: list[float] = []
    frames = [(a.of_frame(i), b.of_frame(i)) for a, b, n in zip(truth, other, rows, strict=True) for i in range(n)]
    for a, b in frames:
        near = _iou(a.xyxy, b.xyxy) * (a.label[:, None] == b.label[None])
        while near.size and near.max() >= MATCH:
            i, j = np.unravel_index(int(near.argmax()), near.shape)
            ious.append(float(near[i, j]))
            apart.append(abs(float(a.score[i]) - float(b.score[j])))
            if a.points.size:
                side = float((a.xyxy[i, 2:] - a.xyxy[i, :2]).max())
                points.append(float(np.linalg.norm(a.points[i] - b.points[j], axis=1).mean()) / side)
            near[i], near[:, j] = 0, 0
    boxes = sum(len(a) + len(b) for a, b in frames)
    return Parity(
        sum(rows),
        2 * len(ious) / boxes if boxes else NAN,  # nothing was found, so nothing is shown to agree
        float(np.mean(ious)) if ious else NAN,
        max(apart, default=0.0),
        float(np.mean(points)) if points else NAN,
    )


def _iou(a: Array, b: Array) -> Array:
    """Intersection over union of every pair of boxes, `[n m]`."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)
