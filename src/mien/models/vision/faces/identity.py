"""Face embeddings for one short window: in memory that the caller owns and wipes, never kept, never written.

A recognition embedding is biometric data. onnxruntime answers into memory of its own and frees it without clearing it,
so input and output are bound to arrays of ours here, and `forget` runs a black picture through the network: it takes
the same places for what lies between the layers, and so writes over what the last face left there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Protocol, Self

import numpy as np
from annotated_types import Ge, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Embeddings,
    Faces,
    Licences,
    Measured,
    MienError,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array
from mien.models.vision.geometry import F32, MIN_FACE_PX, around, eyes_of, measurable
from mien.models.vision.net import cells
from mien.models.weights.converting.tfjs import OPTIONS, Builder, Node, Op, Options
from mien.models.weights.converting.tfjs_ops import OPS

SIDE, WIDTH = 224, 1024
MEAN = np.array([123.68, 116.779, 103.939], np.float32)  # RGB, of the network's own recipe (VGGFace2)


def _two_operands(name: str) -> Op:
    def op(build: Builder, node: Node) -> None:
        build.emit(name, node.inputs, node.name)

    return op


# What the converter needs for this graph: the embedding is not a sink (age and gender follow it), and ReLU6 is spelt
# out as minimum and maximum.
OPTIONS["faceres"] = Options(outputs=("global_pooling/Mean",))
OPS.setdefault("Minimum", _two_operands("Min"))
OPS.setdefault("Maximum", _two_operands("Max"))


class Net(Protocol):
    """A network that answers into memory of the caller."""

    def into(self, x: F32, out: F32) -> None: ...
    def close(self) -> None: ...


class BoundNet:
    """An ONNX file with its input `[1 224 224 3]` and output `[1024]` bound to the caller's arrays."""

    def __init__(self, files: WeightFiles) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A memory plan is made by the first run and moves everything in the second; without it, equal runs take equal
        # places, which is what lets `forget` write over them. The arena keeps those places from going back to the heap.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = True
        try:
            self._session: Any = ort.InferenceSession(str(files.only), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise MienError(
                "weights.unreadable",
                f"{files.only.name} is not a usable ONNX file: {error}",
                "run 'mien models verify'",
            ) from error
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def into(self, x: F32, out: F32) -> None:
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, list(x.shape), x.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, np.float32, [1, WIDTH], out.ctypes.data)
        self._session.run_with_iobinding(binding)

    def close(self) -> None:
        self._session = None


class StandIn:
    """One numpy function instead of a network."""

    def __init__(self, forward: Callable[[F32], Array]) -> None:
        self._forward = forward

    def into(self, x: F32, out: F32) -> None:
        out[:] = self._forward(x)

    def close(self) -> None:
        """Nothing is held."""


@adapter
class FaceRes:
    """What tells one face from another. In: frames with face boxes. Out: vectors `[n 1024]`, all ≥ 0, not normalised.

    MobileNet of Savchenko, "Efficient facial representations for age, gender and identity recognition in organizing
    photo albums using multi-output ConvNet" (PeerJ Computer Science, 2019), the mean over its last feature map. Faces
    are compared by the cosine. A box below `min_face_px` gives a row of NaN.

    `embed` writes into memory of the caller; `run` makes that memory, and whoever gets it must fill it with zeros.
    """

    spec: ClassVar = AdapterSpec(
        name="identity.faceres",
        slot="identity",
        biometric=True,
        takes=Faces,
        gives=Embeddings,
        weights=Weights(
            model="faceres",
            assets=(
                Asset(
                    "faceres.json", "npm", "@vladmandic/human", "3.3.6", "package/models/faceres.json",
                    "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df", 71_432, "tfjs",
                ),
                Asset(
                    "faceres.bin", "npm", "@vladmandic/human", "3.3.6", "package/models/faceres.bin",
                    "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b", 6_978_814,
                ),
            ),
            licences=Licences(
                "MIT",
                "Apache-2.0 by the LICENSE of HSE_FaceRec_tf, which the file names as its origin; that it equals a "
                "checkpoint published there is not verified",
                "VGGFace2 by the README of HSE_FaceRec_tf: research data; terms not verified",
            ),
            runtime=("faceres.onnx",),
            note="opt-in: biometric processing, in memory only",
        ),
        measured=(
            Measured(
                "AUC 0.987, equal error rate 0.068; at cosine 0.7: 0.42 of the same pairs, 0.0001 of the others",
                "119 photographs of held-out people, never the same twice; crop and threshold chosen on other people",
                "python -m bench identity",
            ),
        ),
    )  # fmt: skip

    width: ClassVar = WIDTH

    class Config(Strict):
        enlarge: Annotated[float, Ge(0.8), Le(2)] = 1.4
        min_face_px: Annotated[float, Ge(MIN_FACE_PX)] = 32.0

    def __init__(self, net: Net, config: Config) -> None:
        self._net, self._config = net, config
        self._x = np.zeros((1, SIDE, SIDE, 3), np.float32)
        self._lock = threading.Lock()
        self.forget()

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        # One face at a time, whatever the threads: every thread would keep scratch memory of its own.
        return cls(BoundNet(files), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_brightness), cls.Config(min_face_px=MIN_FACE_PX))

    def run(self, batch: Faces) -> Embeddings:
        out = np.zeros((len(batch), WIDTH), np.float32)
        self.embed(batch, out)
        return Embeddings(out)

    def embed(self, batch: Faces, out: F32) -> None:
        """Write the embedding of row i into `out[i]` (float32 `[n 1024]`, C order); nothing else holds it afterwards.

        Raises:
            ValueError: `out` has another shape, type or order.
        """
        if out.shape != (len(batch), WIDTH) or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ValueError(f"out must be float32 [{len(batch)} {WIDTH}] in C order, but got {list(out.shape)}")
        with self._lock:
            for row in range(len(batch)):
                self._face(batch, row, out[row])
            self._x.fill(0)

    def forget(self) -> None:
        """Write over what the last face left in the network's own memory."""
        with self._lock:
            self._x.fill(0)
            for _ in range(2):  # from the second run on, places repeat
                self._net.into(self._x, np.zeros(WIDTH, np.float32))

    def close(self) -> None:
        self._net.close()

    def _face(self, faces: Faces, row: int, out: F32) -> None:
        box = faces.boxes.xyxy[row]
        if not measurable(box) or max(box[2] - box[0], box[3] - box[1]) < self._config.min_face_px:
            out.fill(np.nan)
            return
        square = around(box, self._config.enlarge, eyes_of(faces, row))
        cut = square.cut(faces.frames.pixels[faces.boxes.frame[row]], SIDE)
        np.subtract(cut[:, :, ::-1], MEAN[::-1], out=self._x[0])  # the network was trained on BGR
        self._net.into(self._x, out)


def _brightness(x: F32) -> Array:
    """Stand-in: how bright 32 × 32 places of the cut-out are."""
    return cells(x[0].mean(-1) + 128, SIDE // 32).reshape(-1)
