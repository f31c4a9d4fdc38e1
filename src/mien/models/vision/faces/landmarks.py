"""Facial landmarks: MediaPipe FaceMesh, 468 points in three dimensions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Device,
    Faces,
    Landmarks,
    Licences,
    Measured,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.sessions import Written
from mien.models.simplifying import simplified
from mien.models.vision.geometry import around, eyes_of, measurable
from mien.models.vision.net import OnnxAdapter, StandIn

SIDE = 192
POINTS = 468


@adapter
class FaceMesh(OnnxAdapter):
    """Landmarks per face. In: frames with face boxes. Out: points `[n 468 3]` px of the frame, score 0..1 `[n]`.

    The face is cut out as a square (longer side of its box × `enlarge`), upright by the eyes where the detector gave
    them. z has the scale of x and y, 0 near the middle of the head, smaller towards the camera. Kartynnik et al.,
    "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (2019). A box that cannot be measured gives
    NaN points and a NaN score; points are given whatever the score: it is for the caller to gate on it.
    """

    spec: ClassVar = AdapterSpec(
        name="landmarks.facemesh",
        slot="landmarks",
        takes=Faces,
        gives=Landmarks,
        version=2,
        weights=Weights(
            model="facemesh",
            assets=(
                Asset(
                    "facemesh.json", "npm", "@vladmandic/human", "3.3.6", "package/models/facemesh.json",
                    "b60ca26f404724f43bd2b1575761d8265180e1f053cc0731caa68462927309e7", 95_845, "tfjs",
                ),
                Asset(
                    "facemesh.bin", "npm", "@vladmandic/human", "3.3.6", "package/models/facemesh.bin",
                    "3826da640b0a3021161605369ee6af293f75d518040355b960ec71a3390c1c0b", 1_477_958,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", "not published by its makers"),
            runtime=("facemesh.onnx",),
        ),
        measured=(
            Measured(
                "present on 1.00 of faces and 0.00 of empty places; mirrored: apart by 1.7 % of the eyes' distance",
                "224 rated pictures; accuracy against labelled points is not measured",
                "python -m bench gate",
            ),
        ),
    )  # fmt: skip

    class Config(Strict):
        enlarge: Annotated[float, Ge(1), Le(3)] = 1.5

    _config: Config

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(OnnxNet(Written((files.only,), "simplified", lambda: simplified(files.only)), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_middle), cls.Config())

    def run(self, batch: Faces) -> Landmarks:
        found = self._net.map(lambda row: self._face(batch, row), range(len(batch)))
        return Landmarks(
            points=np.array([points for points, _ in found], np.float32).reshape(-1, POINTS, 3),
            score=np.array([score for _, score in found], np.float32),
        )

    def _face(self, faces: Faces, row: int) -> tuple[Array, float]:
        box = faces.boxes.xyxy[row]
        if not measurable(box):
            return np.full((POINTS, 3), np.nan, np.float32), float("nan")
        square = around(box, self._config.enlarge, eyes_of(faces, row))
        cut = square.cut(faces.frames.pixels[faces.boxes.frame[row]], SIDE)
        by_size = {output.size: output for output in self._net.run(cut[None].astype(np.float32) / 255)}
        points = by_size[POINTS * 3].reshape(POINTS, 3).astype(np.float64)
        in_frame = square.to_frame(points[:, :2], SIDE)
        depth = points[:, 2:] * (square.side / SIDE)
        return np.concatenate([in_frame, depth], 1), float(by_size[1].reshape(()))


def _bright_middle(x: Array) -> list[Array]:
    """Stand-in: 468 points on a symmetric grid around the centre of brightness; score: whether there is any light."""
    grey = x[0].mean(-1).astype(np.float64) + 1e-9
    at = np.arange(SIDE) + 0.5
    middle = np.array([grey.sum(0) @ at, grey.sum(1) @ at]) / grey.sum()
    row, column = np.divmod(np.arange(POINTS), 18)
    grid = np.stack([column - 8.5, row - 12.5], 1) * 4 + middle
    points = np.concatenate([grid, np.zeros((POINTS, 1))], 1).reshape(1, -1)
    return [points.astype(np.float32), np.array([[min(1.0, grey.mean() * 10)]], np.float32)]
