"""Facial expression in seven classes: mini-XCEPTION after a temperature."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import AdapterSpec, Asset, Distribution, Faces, Licences, Measured, Strict, Weights, adapter
from mien.models.onnx import Array
from mien.models.vision.geometry import U8, around, eyes_of, measurable
from mien.models.vision.net import OnnxAdapter, StandIn, cells

LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


class ExpressionConfig(Strict):
    """What every network of this slot may be told; each has its own defaults, chosen on people it is not judged on.

    temperature: divides the log-probabilities (Guo et al., "On Calibration of Modern Neural Networks", 2017); 1 gives
    the network's own softmax. enlarge: side of the square that is cut out ÷ longer side of the box. upright: turned by
    the eyes where the detector gave them. mirror: the geometric mean of the answers to the cut-out and to its mirror.
    """

    temperature: Annotated[float, Gt(0), Le(10)] = 1.0
    enlarge: Annotated[float, Ge(0.5), Le(3)] = 1.0
    upright: bool = True
    mirror: bool = False


class ExpressionNet(OnnxAdapter):
    """A network from one cut-out face to the seven classes of `LABELS`. A box that cannot be measured gives NaN."""

    side: ClassVar[int]
    order: ClassVar[tuple[int, ...]] = tuple(range(len(LABELS)))
    """Where the network itself puts each of `LABELS`."""

    _config: Any

    def run(self, batch: Faces) -> Distribution:
        rows = self._net.map(lambda row: self._face(batch, row), range(len(batch)))
        return Distribution(np.array(rows, np.float32).reshape(-1, len(LABELS)), LABELS)

    def _face(self, faces: Faces, row: int) -> Array:
        box = faces.boxes.xyxy[row]
        if not measurable(box):
            return np.full(len(LABELS), np.nan)
        eyes = eyes_of(faces, row) if self._config.upright else None
        square = around(box, self._config.enlarge, eyes)
        x = self._input(square.cut(faces.frames.pixels[faces.boxes.frame[row]], self.side))
        seen = [x, np.ascontiguousarray(x[:, :, ::-1])] if self._config.mirror else [x]
        return tempered(geometric_mean([self._net.run(v)[0][0] for v in seen]), self._config.temperature)[[*self.order]]

    @abstractmethod
    def _input(self, cut: U8) -> Array:
        """The cut-out `[side side 3]` as the network wants it, float32 `[1 side side c]`."""


@adapter
class MiniXception(ExpressionNet):
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 7]`.

    Arriaga et al., "Real-time Convolutional Neural Networks for Emotion and Gender Classification" (2017), trained on
    FER2013.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.minixception",
        slot="expression",
        takes=Faces,
        gives=Distribution,
        version=2,
        affect=True,
        weights=Weights(
            model="minixception",
            assets=(
                Asset(
                    "emotion.json", "npm", "@vladmandic/human", "3.3.6", "package/models/emotion.json",
                    "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2", 17_980, "tfjs",
                ),
                Asset(
                    "emotion.bin", "npm", "@vladmandic/human", "3.3.6", "package/models/emotion.bin",
                    "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987", 820_516,
                ),
            ),
            licences=Licences("MIT", "MIT", "FER2013: pictures from web search, terms of the challenge"),
            runtime=("emotion.onnx",),
        ),
        measured=(
            Measured(
                "accuracy 0.54, mean recall of 7 classes 0.43, log-loss 1.38 and ECE 0.12 (1.76 and 0.15 at T = 1)",
                "117 pictures of held-out people, one noisy rater; crop and T = 2.6 chosen on 103 pictures of other "
                "people, split by parity of the SHA-256 of the name",
                "python -m bench expression",
                weak=True,
            ),
            Measured(
                "recall: happiness 0.78, anger 0.68, sadness 0.65, neutral 0.44, surprise 0.35, disgust and fear 0.00",
                "220 pictures, both halves, most of them news pictures of adults",
                "python -m bench expression",
                weak=True,
            ),
            Measured(
                "each face judged by what other people chose: accuracy 0.52, mean recall 0.41 (0.36-0.46); the mean "
                "with the mirrored face is no better",
                "220 pictures of 178 people",
                "python -m bench opinions",
                weak=True,
            ),
        ),
    )  # fmt: skip

    side = 64

    class Config(ExpressionConfig):
        temperature: Annotated[float, Gt(0), Le(10)] = 2.6
        contrast: Literal["none", "stretch", "equalise"] = "stretch"

    _config: Config

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(quarters), cls.Config())

    def _input(self, cut: U8) -> Array:
        return (self._grey(cut).astype(np.float32) / 127.5 - 1)[None, :, :, None]

    def _grey(self, cut: U8) -> Array:
        import cv2

        grey = cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)
        if self._config.contrast == "equalise":
            return cv2.equalizeHist(grey)
        if self._config.contrast == "stretch":
            low, high = np.percentile(grey, (1, 99))
            return np.clip((grey - low) * (255 / max(high - low, 1)), 0, 255)
        return grey


def tempered(probs: Array, temperature: float) -> Array:
    """Probabilities `[... c]` with their log divided by `temperature`, summing to 1."""
    logs = np.log(np.clip(probs.astype(np.float64), 1e-12, 1)) / temperature
    weight = np.exp(logs - logs.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def geometric_mean(rows: Sequence[Array]) -> Array:
    """The distributions' geometric mean, summing to 1: their log-linear pool with equal weights `[c]`."""
    return rows[0] if len(rows) == 1 else tempered(np.exp(np.log(np.clip(rows, 1e-12, 1)).mean(0)), 1)


def quarters(x: Array) -> list[Array]:
    """Stand-in: a softmax over the brightness of seven places of the cut-out."""
    places = cells((x[0, :, :, 0] + 1) / 2, x.shape[1] // 4).reshape(-1)[: len(LABELS)]
    weight = np.exp(4 * places)
    return [(weight / weight.sum())[None].astype(np.float32)]
