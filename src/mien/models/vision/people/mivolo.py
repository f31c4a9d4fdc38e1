"""Age from a face and the body it belongs to: MiVOLO, version 2."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    FacePeople,
    Licences,
    Scalars,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array
from mien.models.torchnet import TorchNet, fill, need_torch, read_tensors
from mien.models.vision.geometry import U8, measurable
from mien.models.vision.net import Net, StandIn

REVISION = "53393526c220e34cdd7b722b36d22b6f9e5f4241"
SIDE = 384
MEAN, SD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # RGB in 0..1
MIN_AGE, MAX_AGE, MIDDLE_AGE = 0.0, 122.0, 61.0  # of the published configuration
LEAST_BODY_PX = 50
LEAST_LEFT = 0.4  # share of a body that must be left after others were cut out of it
NEAR_EDGE = 0.3  # a cut that ends within this share of the body's size from its edge goes to the edge
AT_ONCE = 8


@adapter
class MiVolo2:
    """How old a person looks. In: frames with faces and the body of each. Out: years `[n]`, sd `[n]` = `floor_sd`.

    MiVOLO d1 at 384 px (Kuprashevich, Alekseenko & Tolstykh, "Beyond Specialization", 2024). A face without a body is
    judged by the face alone, as its makers do; a face below the measurable size gives NaN. Out of a body are cut all
    faces, its own too, and the other bodies, as its makers do; here those that belong to another face of the frame.
    Years are kept within 0 and 122, the range of its labels. The logits of gender are computed and not given out.

    floor_sd: the network gives no spread. Its makers publish a mean absolute error of 3.65 years and 74.48 % within
    five years: an error of two-sided exponential shape (1 − exp(−5 / 3.65) = 0.746; a normal one would have 0.726),
    whose sd is √2 · 3.65 = 5.2 years. It is an average over their own test pictures; elsewhere it is a lower bound.
    """

    spec: ClassVar = AdapterSpec(
        name="age.mivolo",
        slot="age",
        takes=FacePeople,
        gives=Scalars,
        weights=Weights(
            model="mivolo-v2",
            assets=(
                Asset(
                    "mivolo-v2.safetensors", "hub", "iitolstykh/mivolo_v2", REVISION, "model.safetensors",
                    "96efb47051c038ebeec74b73b4253c5fd000433e5afcab7deee0bd8f3fa7bf18", 115_078_528,
                ),
            ),
            licences=Licences(
                "Apache-2.0 (our own, after the published architecture)",
                "Apache-2.0 by the tag of its page; its makers' repository has its own terms, after CC BY-SA 4.0",
                "proprietary and public pictures, not listed by its makers",
            ),
            runtime=("mivolo-v2.safetensors",),
            note="checksum and size as others published them for this revision; nothing is measured here",
        ),
    )  # fmt: skip

    class Config(Strict):
        floor_sd: Annotated[float, Ge(3.65)] = 5.2

    def __init__(self, net: Net, config: Config) -> None:
        self._net, self._config = net, config

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        need_torch()
        from mien.models.vision.people.mivolo_net import MiVolo

        module = fill(MiVolo(SIDE), read_tensors(files.only), files.only.name)
        return cls(TorchNet(module, device, cls.spec.name), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_brightness), cls.Config())

    def run(self, batch: FacePeople) -> Scalars:
        years = np.full(len(batch), np.nan, np.float32)
        pairs = ((row, picture) for row in range(len(batch)) if (picture := pair_of(batch, row)) is not None)
        held: list[tuple[int, Array]] = []
        for row, picture in pairs:
            held.append((row, picture))
            if len(held) == AT_ONCE:
                self._judge(held, years)
                held = []
        self._judge(held, years)
        sd = np.where(np.isfinite(years), self._config.floor_sd, np.nan).astype(np.float32)
        return Scalars(years, sd)

    def _judge(self, held: list[tuple[int, Array]], years: Array) -> None:
        if held:
            (said,) = self._net.run(np.stack([picture for _, picture in held]))
            scaled = said[:, 2] * (MAX_AGE - MIN_AGE) + MIDDLE_AGE
            years[[row for row, _ in held]] = np.clip(scaled, MIN_AGE, MAX_AGE)

    def close(self) -> None:
        self._net.close()


def pair_of(batch: FacePeople, row: int) -> Array | None:
    """Face and body of a row as the network wants them, float32 `[6 384 384]`; None where the face is not measurable.

    A body that is missing, too small, or too much covered by others is an empty picture.
    """
    if not measurable(batch.boxes.xyxy[row]):
        return None
    pixels = batch.frames.pixels[batch.boxes.frame[row]]
    x1, y1, x2, y2 = _whole(batch.boxes.xyxy[row], pixels)
    face = pixels[y1:y2, x1:x2]
    if face.size == 0:
        return None
    body = body_of(batch, row, pixels)
    return np.concatenate([prepared(face), prepared(body)]).astype(np.float32)


def body_of(batch: FacePeople, row: int, pixels: U8) -> U8 | None:
    """The body of a row, all faces and other bodies in it black, uint8 `[h w 3]`; None where it is of no use."""
    if not np.isfinite(batch.body[row]).all():
        return None
    x1, y1, x2, y2 = _whole(batch.body[row], pixels)
    h, w = y2 - y1, x2 - x1
    if h < LEAST_BODY_PX or w < LEAST_BODY_PX:
        return None
    cut = pixels[y1:y2, x1:x2].copy()
    beside = np.flatnonzero(batch.boxes.frame == batch.boxes.frame[row])
    others = [(batch.boxes.xyxy[other], True) for other in beside]
    others += [(batch.body[other], False) for other in beside if other != row]
    for box, is_face in others:
        if not np.isfinite(box).all():
            continue
        left, top, right, bottom = box.astype(np.int64).tolist()
        left, top, right, bottom = max(left - x1, 0), max(top - y1, 0), min(right - x1, w), min(bottom - y1, h)
        if right <= left or bottom <= top:
            continue
        if not is_face:
            top, left = (0 if top < NEAR_EDGE * h else top), (0 if left < NEAR_EDGE * w else left)
            bottom, right = (h if h - bottom < NEAR_EDGE * h else bottom), (w if w - right < NEAR_EDGE * w else right)
        cut[top:bottom, left:right] = 0
    return cut if np.count_nonzero(cut) >= LEAST_LEFT * cut.size else None


def prepared(picture: U8 | None) -> Array:
    """A picture `[h w 3]` at its own aspect ratio inside a black square, normalised: float32 `[3 384 384]`."""
    import cv2

    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    if picture is not None:
        h, w = picture.shape[:2]
        scale = min(SIDE / h, SIDE / w)
        inner = max(1, round(w * scale)), max(1, round(h * scale))
        x, y = (SIDE - inner[0]) // 2, (SIDE - inner[1]) // 2
        canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
    return ((canvas / 255 - MEAN) / SD).transpose(2, 0, 1).astype(np.float32)


def _whole(box: Array, pixels: U8) -> tuple[int, int, int, int]:
    """A box in whole px within the frame, cut as its makers do: towards 0, and short of the last row and column."""
    h, w = pixels.shape[:2]
    x1, y1, x2, y2 = np.clip(box.astype(np.int64), 0, [w - 1, h - 1, w - 1, h - 1]).tolist()
    return x1, y1, x2, y2


def _brightness(x: Array) -> list[Array]:
    """Stand-in: the brighter the face, the older; a light body adds a little."""
    grey = (x.reshape(len(x), 2, 3, -1).mean((2, 3), dtype=np.float64) + 2) / 5
    raw = (grey[:, 0] - 0.5) * 0.5 + grey[:, 1] * 0.1
    return [np.stack([raw * 0, raw * 0, raw], axis=1).astype(np.float32)]
