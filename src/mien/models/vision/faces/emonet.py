"""Expression, valence and arousal of a face: EmoNet with eight and with five classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    AdapterSpec,
    Affect,
    Asset,
    Device,
    Faces,
    Licences,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array
from mien.models.torchnet import TorchNet, fill, need_torch, read_tensors
from mien.models.vision.geometry import around, measurable
from mien.models.vision.net import Net, StandIn

COMMIT = "49eef301513686d6cfd8304682d3ba7216baf398"
# sha256 and bytes as two who keep copies state them; the sizes differ by the three classes' 129 numbers each.
PUBLISHED = {
    5: ("1d8fac689dc04fc65a8a25c050bd5888e1fc794fcf71c2b20a1f2e6b78d933dd", 56_085_615),
    8: ("52918cffba56f31886e6959f6837266a5f7ef5c0a552baf4c6dabe1e8fa9bc97", 56_087_163),
}
SIDE = 256
AT_ONCE = 8
Width = Annotated[float, Gt(0), Le(2)]


class EmoNetConfig(Strict):
    """What both may be told. The defaults are the published crop, calibration and errors.

    temperature: divides the logits of expression (Guo et al., 2017); 1 gives the network's own softmax. enlarge, lower:
    side of the square that is cut out, and how far its middle lies below that of the box, in longer sides of the box.
    Its makers cut (w + h) / 1.1 around the box of 68 landmarks; the defaults are the medians that give the same square
    around our detector's boxes (222 faces; 1.40 to 1.60 and 0.11 to 0.16 in 10-90 %). mirror: valence and arousal are
    the mean with the mirrored face, as in the published evaluation. sd_valence, sd_arousal: the network gives no
    spread; the published root mean square errors, on the test pictures of its makers, cleaned by them: a lower bound
    elsewhere.
    """

    temperature: Annotated[float, Gt(0), Le(10)] = 1.0
    enlarge: Annotated[float, Ge(0.5), Le(3)] = 1.5
    lower: Annotated[float, Ge(-1), Le(1)] = 0.14
    mirror: bool = False
    sd_valence: Width = 0.29
    sd_arousal: Width = 0.27


class EmoNetBase:
    """One face → a distribution over `labels`, valence and arousal. A box that cannot be measured gives NaN."""

    spec: ClassVar[AdapterSpec]
    labels: ClassVar[tuple[str, ...]]
    Config: ClassVar[type[EmoNetConfig]]

    def __init__(self, net: Net, config: EmoNetConfig) -> None:
        self._net, self._config = net, config

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        need_torch()
        from mien.models.vision.faces.emonet_net import EmoNet

        # Trained on several devices at once, the published names may begin with "module.".
        held = {name.removeprefix("module."): tensor for name, tensor in read_tensors(files.only).items()}
        return cls(TorchNet(fill(EmoNet(len(cls.labels)), held, files.only.name), device, cls.spec.name), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(lambda x: _strips(x, len(cls.labels))), cls.Config())

    def run(self, batch: Faces) -> Affect:
        c = len(self.labels)
        said = np.full((len(batch), c + 2), np.nan)
        rows = [row for row in range(len(batch)) if measurable(batch.boxes.xyxy[row])]
        for first in range(0, len(rows), AT_ONCE):
            some = rows[first : first + AT_ONCE]
            said[some] = self._judge(np.stack([self._picture(batch, row) for row in some]))
        logits = said[:, :c] / self._config.temperature
        weight = np.exp(logits - logits.max(1, keepdims=True))
        probs = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
        both = np.clip(said[:, c:], -1, 1).astype(np.float32)
        spread = np.array([self._config.sd_valence, self._config.sd_arousal], np.float32)
        sd = np.where(np.isfinite(both), spread, np.float32(np.nan))
        return Affect(probs, self.labels, both[:, 0].copy(), both[:, 1].copy(), sd)

    def _picture(self, batch: Faces, row: int) -> Array:
        """The cut-out of a face, RGB, float32 `[3 256 256]` in 0..1; black outside the frame."""
        box = batch.boxes.xyxy[row]
        square = around(box, self._config.enlarge)
        square = replace(square, y=square.y + self._config.lower * float(max(box[2:] - box[:2])))
        cut = square.cut(batch.frames.pixels[batch.boxes.frame[row]], SIDE)
        return (cut.astype(np.float32) / 255).transpose(2, 0, 1)

    def _judge(self, pictures: Array) -> Array:
        (said,) = self._net.run(pictures)
        if self._config.mirror:
            (other,) = self._net.run(np.ascontiguousarray(pictures[..., ::-1]))
            said = said.copy()
            said[:, -2:] = (said[:, -2:] + other[:, -2:]) / 2
        return said

    def close(self) -> None:
        self._net.close()


def _weights(classes: int) -> Weights:
    name = f"emonet_{classes}"
    return Weights(
        model=f"emonet-{classes}",
        assets=(),
        licences=Licences(
            "Apache-2.0 (our own, after the published architecture)",
            "CC BY-NC-ND 4.0",
            "AffectNet, for research only; what its landmarks were trained on is not stated",
            accept="research-only",
        ),
        runtime=(f"{name}.safetensors",),
        bring=(
            Asset(f"{name}.pth", "git", "face-analysis/emonet", COMMIT, f"pretrained/{name}.pth", *PUBLISHED[classes]),
        ),
        note=f"fetch pretrained/{name}.pth of face-analysis/emonet, then: mien models add emonet-{classes} {name}.pth",
    )


@adapter
class EmoNet8(EmoNetBase):
    """What a face shows in eight classes, and its valence and arousal, measured. In: frames with face boxes.

    Toisoul et al., "Estimation of continuous valence and arousal levels from faces in naturalistic conditions", Nature
    Machine Intelligence (2021). Valence and arousal are cut off at -1 and 1, as published. Published, on AffectNet's
    test pictures cleaned by the makers: accuracy 0.75; CCC 0.82 and 0.75, RMSE 0.29 and 0.27 (valence, arousal).
    """

    spec: ClassVar = AdapterSpec(
        name="expression.emonet8",
        slot="expression",
        takes=Faces,
        gives=Affect,
        affect=True,
        version=2,
        weights=_weights(8),
    )
    labels = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")

    Config = EmoNetConfig


@adapter
class EmoNet5(EmoNetBase):
    """What a face shows in five classes, and its valence and arousal, measured. In: frames with face boxes.

    As `EmoNet8`. Published: accuracy 0.82; CCC 0.90 and 0.80, RMSE 0.24 and 0.24. The fifth class is anger by the
    makers' reader of AffectNet, which gives its published accuracy; their page calls it fear. We follow the reader.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.emonet5",
        slot="expression",
        takes=Faces,
        gives=Affect,
        affect=True,
        version=2,
        weights=_weights(5),
    )
    labels = ("neutral", "happiness", "sadness", "surprise", "anger")

    class Config(EmoNetConfig):
        sd_valence: Width = 0.24
        sd_arousal: Width = 0.24


def _strips(x: Array, classes: int) -> list[Array]:
    """Stand-in: logits from the brightness of strips of the picture, valence from the whole, arousal from contrast."""
    strips = np.array_split(x.mean(1), classes, axis=1)
    logits = 4 * np.stack([s.mean((1, 2)) for s in strips], axis=1)
    whole = x.reshape(len(x), -1)
    return [np.concatenate([logits, 2 * whole.mean(1, keepdims=True) - 1, whole.std(1, keepdims=True)], 1)]
