"""HSEmotion (now EmotiEffLib): facial expression in eight classes; valence and arousal where the network has them."""

from __future__ import annotations

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
    MienError,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.vision.crops import inside
from mien.models.vision.faces.expression import LABELS as SEVEN
from mien.models.vision.geometry import U8, measurable
from mien.models.vision.net import OnnxAdapter, StandIn, cells

LABELS = (*SEVEN, "contempt")
THEIRS = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
ORDER = [THEIRS.index(name) for name in LABELS]
MEAN = np.array([0.485, 0.456, 0.406])  # RGB, of ImageNet
SD = np.array([0.229, 0.224, 0.225])
COMMIT = "af833487321c3efdcb1768a91a6c656a1986fdf6"


def weights(name: str, sha256: str, size: int) -> Weights:
    """One published ONNX file of EmotiEffLib."""
    file = f"{name}.onnx"
    return Weights(
        model=f"hsemotion-{name}",
        assets=(
            Asset(file, "git", "sb-ai-lab/EmotiEffLib", COMMIT, f"models/affectnet_emotions/onnx/{file}", sha256, size),
        ),
        licences=Licences(
            "Apache-2.0",
            'Apache-2.0 by the LICENSE they lie beside ("no limitation for both academic and commercial usage")',
            "AffectNet: for non-commercial research, by agreement with its makers; before it VGGFace2",
        ),
        runtime=(file,),
    )


class HsEmotionConfig(Strict):
    """temperature: divides the eight logits; 1 is the published softmax. enlarge: side of the cut-out ÷ side of the
    box, about its middle (published: 1)."""

    temperature: Annotated[float, Gt(0), Le(10)] = 1.0
    enlarge: Annotated[float, Ge(0.8), Le(2)] = 1.0


class HsEmotionNet(OnnxAdapter):
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 8]`, valence and
    arousal `[n]` where the network has them (held to -1..1), else NaN; sd is NaN.

    EfficientNets of Savchenko et al., "Classifying emotions and engagement in online learning based on a single facial
    expression recognition neural network" (IEEE Transactions on Affective Computing, 2022). Cut as they publish it: the
    box in whole pixels, level, held inside the frame, without margin, stretched to a square by linear interpolation;
    RGB, ImageNet's mean and sd. Their boxes are AffectNet's own in training and MTCNN's in use; ours are of the stack's
    detector. Not calibrated here.

    Raises:
        MienError: from `open`: `weights.unreadable`, `weights.wrong-shape`; from `run`: `models.not-finite`.
    """

    spec: ClassVar[AdapterSpec]
    side: ClassVar[int]
    affect: ClassVar[bool]
    """Whether valence and arousal follow the eight classes."""

    Config = HsEmotionConfig
    _config: HsEmotionConfig

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        net = OnnxNet(files.only, device)
        cls._check(net, files.only.name)
        return cls(net, config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_places if cls.affect else lambda x: [_places(x)[0][:, : len(THEIRS)]]), cls.Config())

    def run(self, batch: Faces) -> Affect:
        rows = self._net.map(lambda row: self._face(batch, row), range(len(batch)))
        seen = np.array(rows, np.float64).reshape(-1, len(THEIRS) + 2)
        probs = softmax(seen[:, : len(THEIRS)] / self._config.temperature)[:, ORDER]
        valence, arousal = np.clip(seen[:, len(THEIRS) :], -1, 1).astype(np.float32).T.copy()
        sd = np.full((len(seen), 2), np.nan, np.float32)
        return Affect(probs.astype(np.float32), LABELS, valence, arousal, sd)

    def _face(self, faces: Faces, row: int) -> Array:
        """Eight logits in their order, valence, arousal."""
        seen = np.full(len(THEIRS) + 2, np.nan)
        box = faces.boxes.xyxy[row].astype(np.float64)
        if not measurable(box):
            return seen
        more = (box[2:] - box[:2]) * (self._config.enlarge - 1) / 2
        cut = inside(faces.frames.pixels[faces.boxes.frame[row]], np.concatenate([box[:2] - more, box[2:] + more]))
        if not cut.size:
            return seen
        answer = self._net.run(picture(cut, self.side))[0][0]
        if not np.isfinite(answer).all():
            raise MienError(
                "models.not-finite", f"{self.spec.name} answered NaN or Inf", "check its weights, or run it in float32"
            )
        seen[: len(answer)] = answer
        return seen

    @classmethod
    def _check(cls, net: OnnxNet, where: str) -> None:
        """Raises MienError `weights.wrong-shape` when the file is not of this contract."""
        want = [3, cls.side, cls.side]
        shapes, outs = net.input_shapes, len(THEIRS) + 2 * cls.affect
        fits = len(shapes) == 1 and len(net.outputs) == 1 and len(shapes[0]) == len(want) + 1
        if fits and all(isinstance(has, str | None) or has == w for has, w in zip(shapes[0][1:], want, strict=True)):
            got = [list(o.shape) for o in net.run(np.zeros((1, *want), np.float32))]
            if got == [[1, outs]]:
                return
            said = f"answers {got}"
        else:
            said = f"takes {shapes} and has {len(net.outputs)} outputs"
        net.close()
        raise MienError(
            "weights.wrong-shape",
            f"{where} must take [n {' '.join(map(str, want))}] and answer [n {outs}], but {said}",
            "it is a file of another network",
        )


def picture(cut: U8, side: int) -> Array:
    """A cut-out as the networks want it, float32 `[1 3 side side]`."""
    import cv2

    small = np.asarray(cv2.resize(cut, (side, side)), np.float64)
    x = (small / 255 - MEAN) / SD
    return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32)[None]


def softmax(logits: Array) -> Array:
    weight = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return weight / weight.sum(axis=1, keepdims=True)


@adapter
class HsEmotionB0(HsEmotionNet):
    """EfficientNet-B0 on 224 px with valence and arousal (its makers call these two a means to train, not their aim);
    else as `HsEmotionNet` says."""

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="expression.hsemotion-b0-va",
        slot="expression",
        takes=Faces,
        gives=Affect,
        version=2,
        affect=True,
        weights=weights(
            "enet_b0_8_va_mtl", "c43e056ad388d4a8dc911832b8291435b2af537f967e5870ebd731574ec7e812", 16_049_834
        ),
    )
    side, affect = 224, True


@adapter
class HsEmotionB2(HsEmotionNet):
    """EfficientNet-B2 on 260 px, eight classes alone; else as `HsEmotionNet` says."""

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="expression.hsemotion-b2",
        slot="expression",
        takes=Faces,
        gives=Affect,
        version=2,
        affect=True,
        weights=weights("enet_b2_8", "180a9d4845b59393de4511598a0d1d34b705034691ea32959ce5009db7cf52b7", 30_779_724),
    )
    side, affect = 260, False


def _places(x: Array) -> list[Array]:
    """Stand-in: how bright ten places of the cut-out are."""
    grey = (x[0] * SD[:, None, None] + MEAN[:, None, None]).mean(0)
    return [(4 * cells(grey, x.shape[2] // 4).reshape(-1)[None, : len(THEIRS) + 2] - 2).astype(np.float32)]
