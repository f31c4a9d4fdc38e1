"""FaceRes: what tells one face from another, in memory that the caller owns and wipes (see `vision.bound`)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

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
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array
from mien.models.vision.bound import BoundNet, FaceEmbedder, StandIn
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


@adapter
class FaceRes(FaceEmbedder):
    """What tells one face from another. In: frames with face boxes. Out: vectors `[n 1024]`, all ≥ 0, not normalised.

    MobileNet of Savchenko, "Efficient facial representations for age, gender and identity recognition in organizing
    photo albums using multi-output ConvNet" (PeerJ Computer Science, 2019), the mean over its last feature map. Faces
    are compared by the cosine. A box below `min_face_px` gives a row of NaN. Always on the CPU.
    """

    spec: ClassVar = AdapterSpec(
        name="identity.faceres",
        slot="identity",
        biometric=True,
        takes=Faces,
        gives=Embeddings,
        version=2,
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

    width, shape = WIDTH, (1, SIDE, SIDE, 3)

    class Config(Strict):
        enlarge: Annotated[float, Ge(0.8), Le(2)] = 1.4
        min_face_px: Annotated[float, Ge(MIN_FACE_PX)] = 32.0

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(BoundNet(files.only, files.only.name), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_brightness), cls.Config(min_face_px=MIN_FACE_PX))

    def _show(self, faces: Faces, row: int, x: F32) -> bool:
        box = faces.boxes.xyxy[row]
        if not measurable(box) or max(box[2] - box[0], box[3] - box[1]) < self._config.min_face_px:
            return False
        square = around(box, self._config.enlarge, eyes_of(faces, row))
        cut = square.cut(faces.frames.pixels[faces.boxes.frame[row]], SIDE)
        np.subtract(cut[:, :, ::-1], MEAN[::-1], out=x[0])  # the network was trained on BGR
        return True


def _brightness(x: F32) -> Array:
    """Stand-in: how bright 32 × 32 places of the cut-out are."""
    return cells(x[0].mean(-1) + 128, SIDE // 32).reshape(-1)
