"""DeepFace's expression network, from its Keras or torch file, on onnxruntime."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Distribution,
    Faces,
    Licences,
    MienError,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models import tensors
from mien.models.onnx import Array, OnnxNet
from mien.models.vision.crops import inside, upright
from mien.models.vision.faces.expression import (
    LABELS,
    ExpressionConfig,
    ExpressionNet,
    geometric_mean,
    quarters,
    tempered,
)
from mien.models.vision.geometry import U8, eyes_of, measurable
from mien.models.vision.graphs import ANOTHER, Graph, Tensors
from mien.models.vision.net import StandIn

FILE = "deepface-emotion.safetensors"
SIDE, BEFORE = 48, 224  # what the network sees, and the padded square that DeepFace makes of every face first
CONVOLUTIONS = ((5, 1, 64), (3, 64, 64), (3, 64, 64), (3, 64, 128), (3, 128, 128))
DENSE = ((128, 1024), (1024, 1024), (1024, len(LABELS)))
# after which convolution: pooling and its size; all of stride 2
POOLS = {0: ("MaxPool", 5), 2: ("AveragePool", 3), 4: ("AveragePool", 3)}


@adapter
class DeepFaceEmotion(ExpressionNet):
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 7]`.

    Five convolutions and three dense layers on a grey picture of 48 px (S. I. Serengil; Serengil & Ozpinar,
    "LightFace", 2020). Cut as DeepFace does it: the box turned about its middle until the eyes are level, fitted into a
    black square of 224 px at its own aspect ratio, grey, 48 × 48, 0..1. DeepFace's boxes come from the detector it was
    told to use, ours from the stack's. Not calibrated here: T = 1 is the network's own softmax. A box that cannot be
    measured, or lies outside the frame, gives NaN.

    Raises:
        MienError: from `open`: `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`, `weights.unreadable`;
            from `run`: `models.not-finite`.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.deepface",
        slot="expression",
        takes=Faces,
        gives=Distribution,
        version=2,
        affect=True,
        weights=Weights(
            model="deepface-emotion",
            assets=(),
            licences=Licences(
                "MIT",
                "MIT by the LICENSE of deepface_models; its README says that the terms of VGG-Face (non-commercial) "
                "pass on to the emotion model, too, which has none of that network's layers",
                "FER2013: pictures from web search, terms of the challenge",
                accept="research-only",
            ),
            runtime=(FILE,),
            note="fetch facial_expression_model_weights.h5 from the release v1.0 of deepface_models, then: mien models "
            "add deepface-emotion FILE; the .pth of the same name holds the same network and is taken, too",
            bring=(
                Asset(
                    "facial_expression_model_weights.h5", "git", "serengil/deepface_models", "v1.0",
                    "releases/download/v1.0/facial_expression_model_weights.h5",
                    "e8e8851d3fa05c001b1c27fd8841dfe08d7f82bb786a53ad8776725b7a1e824c", 0,
                ),
            ),
        ),
    )  # fmt: skip

    side = SIDE

    class Config(ExpressionConfig):
        enlarge: Annotated[float, Ge(1), Le(3)] = 1.0
        temperature: Annotated[float, Gt(0), Le(10)] = 1.0

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        return cls(OnnxNet(network(Tensors(tensors.read(files[FILE])[0], FILE)), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(quarters), cls.Config())

    def _face(self, faces: Faces, row: int) -> Array:
        box = faces.boxes.xyxy[row].astype(np.float64)
        if not measurable(box):
            return np.full(len(LABELS), np.nan)
        more = (box[2:] - box[:2]) * (self._config.enlarge - 1) / 2
        eyes = eyes_of(faces, row) if self._config.upright else None
        whole = np.concatenate([box[:2] - more, box[2:] + more])
        pixels = faces.frames.pixels[faces.boxes.frame[row]]
        if not inside(pixels, whole).size:
            return np.full(len(LABELS), np.nan)
        x = self._input(upright(pixels, whole, eyes))
        seen = [x, np.ascontiguousarray(x[:, :, ::-1])] if self._config.mirror else [x]
        answers = [self._net.run(v)[0][0] for v in seen]
        if not np.isfinite(answers).all():
            raise MienError("models.not-finite", f"{FILE} answered NaN or Inf", "check its weights")
        if not self._config.mirror and self._config.temperature == 1:
            return answers[0]
        return tempered(geometric_mean(answers), self._config.temperature)

    def _input(self, cut: U8) -> Array:
        """A cut-out `[h w 3]` of any size as the network wants it, float32 `[1 48 48 1]`."""
        import cv2

        high, wide = cut.shape[:2]
        factor = min(BEFORE / high, BEFORE / wide)
        size = max(1, int(wide * factor)), max(1, int(high * factor))
        inner = cv2.resize(cut.astype(np.float32) / 255, size)
        square = np.zeros((BEFORE, BEFORE, 3), np.float32)
        y, x = (BEFORE - size[1]) // 2, (BEFORE - size[0]) // 2
        square[y : y + size[1], x : x + size[0]] = inner
        grey = cv2.resize(cv2.cvtColor(square, cv2.COLOR_RGB2GRAY), (SIDE, SIDE))
        return np.asarray(grey, np.float32)[None, :, :, None]


def network(held: Tensors) -> bytes:
    """The tensors of the published file as a network: picture float32 `[1 48 48 1]` → probabilities `[1 7]`.

    Both published layouts are taken: Keras' (`conv2d_1/conv2d_1/kernel:0`; it numbers layers through a whole session,
    so their order counts, not their numbers) and torch's (`conv_1.weight`, `fc_1.weight`).

    Raises:
        MienError: `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`, each with the tensor's name.
    """
    (convolutions, dense), graph = _layers(held), Graph()
    x = graph.node("Transpose", "picture", perm=[0, 3, 1, 2])
    for i, (size, wide, out) in enumerate(CONVOLUTIONS):
        kernel, bias = convolutions[i]
        if kernel.endswith(".weight"):
            weight = held.take(kernel, out, wide, size, size)
        else:
            weight = held.take(kernel, size, size, wide, out).transpose(3, 2, 0, 1)
        x = graph.node("Relu", graph.node("Conv", x, graph.put(weight), graph.put(held.take(bias, out))))
        if i in POOLS:
            kind, side = POOLS[i]
            x = graph.node(kind, x, kernel_shape=[side, side], strides=[2, 2])
    x = graph.node("Flatten", x)  # one pixel is left, so that the order of axes does not matter
    for i, (wide, out) in enumerate(DENSE):
        kernel, bias = dense[i]
        weight = held.take(kernel, out, wide).T if kernel.endswith(".weight") else held.take(kernel, wide, out)
        x = graph.node("Gemm", x, graph.put(weight), graph.put(held.take(bias, out)))
        x = graph.node("Relu", x) if i < len(DENSE) - 1 else graph.node("Softmax", x, axis=1)
    held.finish()
    return graph.model(("picture", [1, SIDE, SIDE, 1]), (x, [1, len(LABELS)]))


def _layers(held: Tensors) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Names of kernel and bias of the convolutions and of the dense layers, each in order."""
    found: dict[tuple[str, int], dict[str, str]] = {}
    for name in held:
        keras = re.fullmatch(r"(conv2d|dense)(?:_(\d+))?/.*?(kernel|bias)(?::0)?", name)
        match = keras or re.fullmatch(r"(conv|fc)_(\d+)\.(weight|bias)", name)
        if match is None:
            raise MienError("weights.wrong-keys", f"{held.where} also holds {name!r}", ANOTHER)
        kind = "convolution" if match[1].startswith("conv") else "dense"
        found.setdefault((kind, int(match[2] or 0)), {})[match[3].replace("weight", "kernel")] = name
    layers: list[list[tuple[str, str]]] = []
    for kind, n in (("convolution", len(CONVOLUTIONS)), ("dense", len(DENSE))):
        numbers = sorted(number for this, number in found if this == kind)
        if len(numbers) != n:
            raise MienError(
                "weights.wrong-keys", f"{held.where} must hold {n} {kind} layers, but has {len(numbers)}", ANOTHER
            )
        for number in numbers:
            lacking = {"kernel", "bias"} - found[kind, number].keys()
            if lacking:
                raise MienError(
                    "weights.wrong-keys", f"{held.where} lacks the {min(lacking)} of {kind} layer {number}", ANOTHER
                )
        layers.append([(found[kind, i]["kernel"], found[kind, i]["bias"]) for i in numbers])
    return layers[0], layers[1]
