"""FaceNet: an embedding of who a face is, in memory that the caller owns; and what it shows, read off it in RAM.

The network is built from the published tensors for onnxruntime rather than run in torch, whose allocator gives freed
memory back uncleared and never takes the same places again; so the promise is that of `vision.bound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Distribution,
    Embeddings,
    Faces,
    Licences,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models import tensors
from mien.models.onnx import Array
from mien.models.vision import graphs
from mien.models.vision.bound import BoundNet, FaceEmbedder, StandIn
from mien.models.vision.crops import inside
from mien.models.vision.faces.expression import LABELS
from mien.models.vision.faces.facenet_net import SIDE, WIDTH, network
from mien.models.vision.geometry import F32, MIN_FACE_PX, U8, measurable
from mien.models.vision.net import cells

FILE, PROBE_FILE = "facenet.safetensors", "probe.safetensors"
PUBLISHED = Asset(
    "20180402-114759-vggface2.pt", "git", "timesler/facenet-pytorch", "v2.2.9",
    "releases/download/v2.2.9/20180402-114759-vggface2.pt",
    "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b", 111_898_327,
)  # fmt: skip
LICENCES = Licences(
    "MIT",
    "MIT by the LICENSE of facenet-pytorch, which converted them from facenet (MIT)",
    "VGGFace2 (Cao et al., 2018): 3.3 million pictures from web search, since withdrawn; terms not verified",
)


class FaceNetConfig(Strict):
    """margin_px: added around the box, in px of the 160 px picture (facenet-pytorch's own default is 0)."""

    margin_px: Annotated[float, Ge(0), Le(80)] = 0.0
    min_face_px: Annotated[float, Ge(MIN_FACE_PX)] = 32.0


@adapter
class FaceNet(FaceEmbedder):
    """Who a face is, as far as it tells. In: frames with face boxes. Out: vectors `[n 512]` of length one.

    InceptionResnetV1 trained on VGGFace2, in facenet-pytorch's file. Faces are compared by the cosine, which is
    1 - d²/2 of the published Euclidean distance d. A box below `min_face_px`, or outside
    the frame, gives a row of NaN. Always on the CPU.

    The crop is facenet-pytorch's: the box with its margin in whole pixels, level, held inside the frame, stretched to
    160 × 160 by area; (x - 127.5) / 128. Its boxes come from MTCNN, ours from the stack's own detector.

    Raises:
        MienError: from `open`: `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`, `weights.unreadable`;
            from `run` and `embed`: `models.not-finite`.
    """

    spec: ClassVar = AdapterSpec(
        name="identity.facenet",
        slot="identity",
        biometric=True,
        takes=Faces,
        gives=Embeddings,
        version=2,
        weights=Weights(
            model="facenet",
            assets=(),
            licences=LICENCES,
            runtime=(FILE,),
            note="opt-in: biometric processing, in memory only. Fetch 20180402-114759-vggface2.pt from the releases of "
            "facenet-pytorch, then: mien models add facenet FILE. The file trained on CASIA-WebFace has the same keys "
            "and is taken, too; its pictures are for non-commercial research only",
            bring=(PUBLISHED,),
        ),
    )
    Config = FaceNetConfig
    width, shape = WIDTH, (1, 3, SIDE, SIDE)

    @classmethod
    def open(cls, files: WeightFiles, config: FaceNetConfig, device: Device) -> Self:
        held = graphs.Tensors(tensors.read(files[FILE])[0], FILE, unused=("logits.",))
        return cls(BoundNet(network(held), FILE), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_brightness), FaceNetConfig(min_face_px=MIN_FACE_PX))

    def _show(self, faces: Faces, row: int, x: F32) -> bool:
        box = faces.boxes.xyxy[row]
        if not measurable(box) or max(box[2] - box[0], box[3] - box[1]) < self._config.min_face_px:
            return False
        cut = crop(faces.frames.pixels[faces.boxes.frame[row]], box, self._config.margin_px)
        if cut is None:
            return False
        np.subtract(cut.transpose(2, 0, 1), np.float32(127.5), out=x[0])
        np.multiply(x, np.float32(1 / 128), out=x)
        return True


def crop(pixels: U8, box: Array, margin_px: float) -> U8 | None:
    """The face as facenet-pytorch cuts it, uint8 `[160 160 3]`; None where the box lies outside the frame."""
    import cv2

    grow = (box[2:] - box[:2]) * (margin_px / (SIDE - margin_px) / 2)
    cut = inside(pixels, np.concatenate([box[:2] - grow, box[2:] + grow]))
    if not cut.size:
        return None
    return np.asarray(cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _brightness(x: F32) -> Array:
    """Stand-in: how bright 16 × 32 places of the picture are, of length one."""
    grey = x[0].mean(0, dtype=np.float64) + 1
    places = cells(np.repeat(grey, 2, axis=1), SIDE // 16).reshape(-1)
    return (places / max(float(np.linalg.norm(places)), 1e-12)).astype(np.float32)


# ---------------------------------------------------------------- a probe on the embedding


@dataclass(frozen=True, slots=True)
class Probe:
    """Multinomial logistic regression on the embedding: weight float32 `[7 512]`, bias `[7]`, in the order of `LABELS`;
    logits are divided by temperature `[1]` (Guo et al., 2017). Made by `mien.train.probe`."""

    weight: F32
    bias: F32
    temperature: F32

    def __post_init__(self) -> None:
        for name, shape in (("weight", (len(LABELS), WIDTH)), ("bias", (len(LABELS),)), ("temperature", (1,))):
            value = getattr(self, name)
            if value.shape != shape or value.dtype != np.float32:
                raise ValueError(f"{name} must be float32 {list(shape)}, but got {value.dtype} {list(value.shape)}")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises MienError `weights.unreadable`, `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`."""
        held = graphs.Tensors(tensors.read(path)[0], path.name)
        shapes = {"weight": (len(LABELS), WIDTH), "bias": (len(LABELS),), "temperature": (1,)}
        parts = {name: held.take(name, *shape).astype(np.float32) for name, shape in shapes.items()}
        held.finish()
        return cls(**parts)

    def write(self, path: Path, notes: dict[str, str]) -> None:
        tensors.write(path, {name: getattr(self, name) for name in self.__slots__}, notes)

    @classmethod
    def seeded(cls) -> Self:
        """Random numbers, the same every time."""
        weight = np.random.default_rng(0).standard_normal((len(LABELS), WIDTH)).astype(np.float32)
        return cls(8 * weight, np.zeros(len(LABELS), np.float32), np.ones(1, np.float32))

    def probs(self, vectors: F32) -> F32:
        """Probabilities float32 `[n 7]`; a row of NaN stays NaN. No embedding is copied: a matrix product would pack
        them into buffers of the linear algebra library, so there is one dot product of two rows at a time."""
        logits = np.array([[float(np.dot(v, w)) for w in self.weight] for v in vectors]).reshape(-1, len(LABELS))
        logits = (logits + self.bias) / self.temperature
        weight = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


@adapter
class FaceNetExpression:
    """What a face shows, not what a person feels. In: frames with face boxes. Out: probabilities `[n 7]`.

    A logistic probe on FaceNet's embedding, in one call: the embeddings are zero again, and the network has seen an
    empty picture, before `run` comes back. It is biometric processing all the same.
    """

    spec: ClassVar = AdapterSpec(
        name="expression.facenet",
        slot="expression",
        biometric=True,
        takes=Faces,
        gives=Distribution,
        version=2,
        affect=True,
        weights=Weights(
            model="facenet-probe",
            assets=(),
            licences=LICENCES,
            runtime=(FILE, PROBE_FILE),
            note="opt-in: biometric processing, in memory only. No probe is published: mien.train.probe makes one. "
            "mien models add facenet-probe FILE, once with FaceNet's file and once with probe.safetensors",
            bring=(PUBLISHED,),
        ),
    )

    class Config(FaceNetConfig):
        temperature: Annotated[float, Gt(0), Le(10)] = 1.0

    def __init__(self, face: FaceNet, probe: Probe, config: Config) -> None:
        self._face, self._config = face, config
        self._probe = Probe(probe.weight, probe.bias, probe.temperature * np.float32(config.temperature))

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        return cls(FaceNet.open(files, config, device), Probe.read(files[PROBE_FILE]), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(FaceNet.tiny(), Probe.seeded(), cls.Config(min_face_px=MIN_FACE_PX))

    def run(self, batch: Faces) -> Distribution:
        vectors = np.zeros((len(batch), WIDTH), np.float32)
        try:
            self._face.embed(batch, vectors)
            return Distribution(self._probe.probs(vectors), LABELS)
        finally:
            vectors.fill(0)
            self._face.forget()

    def close(self) -> None:
        self._face.close()
