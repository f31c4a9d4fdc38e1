"""A second opinion on facial expression: the MobileNetV2 of the package facex."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Gt, Le

from mien.core import AdapterSpec, Asset, Device, Distribution, Faces, Licences, Measured, WeightFiles, Weights, adapter
from mien.models.onnx import Array
from mien.models.vision.faces.expression import ExpressionConfig, ExpressionNet, quarters
from mien.models.vision.geometry import U8
from mien.models.vision.net import StandIn


@adapter
class FaceX(ExpressionNet):
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 7]`.

    A MobileNetV2 (Sandler et al., CVPR 2018) with 7 classes; its training pictures are not published. The package cuts
    level squares and gives them in grey, 0..1, three times; so do we. It answers far too surely, hence T = 6.3.

    Raises:
        MienError: `models.missing-extra` from `open` when LiteRT is not installed.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.facex",
        slot="expression",
        takes=Faces,
        gives=Distribution,
        version=2,
        affect=True,
        weights=Weights(
            model="facex",
            assets=(
                Asset(
                    "facex.tflite", "wheel", "facex", "1.1.0", "facex/assets/model_optimized.tflite",
                    "181e9dc6b5b19b7a4a3ee661d8de9969249b72c317b2080d79ac12d2b7027da5", 2_615_520,
                ),
            ),
            licences=Licences("MIT", "not stated (the package is MIT)", "not stated"),
            runtime=("facex.tflite",),
        ),
        measured=(
            Measured(
                "accuracy 0.48, mean recall of 7 classes 0.49, log-loss 1.51 and ECE 0.08; each face judged by what "
                "other people chose: 0.44 and 0.48",
                "117 pictures of held-out people, one noisy rater; crop and T = 6.3 chosen on 103 pictures of other "
                "people. Its own training pictures are unknown",
                "python -m bench opinions",
                weak=True,
            ),
            Measured(
                "recall: fear 0.71, sadness 0.65, disgust 0.57, happiness 0.53, anger 0.42, surprise 0.25, "
                "neutral 0.23",
                "220 pictures, each judged by what other people chose; 14 of disgust, 7 of fear",
                "python -m bench opinions",
                weak=True,
            ),
        ),
    )  # fmt: skip

    side = 200
    order = (0, 1, 2, 3, 5, 6, 4)  # it says: anger, disgust, fear, happy, neutral, sadness, surprised

    class Config(ExpressionConfig):
        temperature: Annotated[float, Gt(0), Le(10)] = 6.3
        upright: bool = False
        mirror: bool = True

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        from mien.models.litert import LiteNet

        return cls(LiteNet(files.only, device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(quarters), cls.Config())

    def _input(self, cut: U8) -> Array:
        import cv2

        grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        return np.repeat(grey[None, :, :, None], 3, axis=3)
