"""Face detection, light: BlazeFace (full range back camera), several times faster than the default, less recall."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import AdapterSpec, Asset, Boxes, Frames, Licences, Measured, Strict, Weights, adapter
from mien.models.onnx import Array
from mien.models.vision.geometry import U8, Found, as_boxes, fit, suppress, to_frame
from mien.models.vision.net import OnnxAdapter, StandIn, cells, logit

SIDE = 256
LEVELS = ((16, 2), (8, 6))  # cells a side, anchors a cell


@adapter
class BlazeFace(OnnxAdapter):
    """Faces per frame. In: uint8 `[n h w 3]` RGB. Out: boxes px of the frame, by falling score, with 6 points each.

    Points: eyes (left of the picture first), nose, mouth, ears. Bazarevsky et al., "BlazeFace" (2019). The picture is
    seen at 256 × 256 px whatever its size, so small faces of a wide frame are lost.
    """

    spec: ClassVar = AdapterSpec(
        name="face.blazeface",
        slot="faces",
        takes=Frames,
        gives=Boxes,
        version=2,
        weights=Weights(
            model="blazeface",
            assets=(
                Asset(
                    "blazeface.json", "npm", "@vladmandic/human", "3.3.6", "package/models/blazeface.json",
                    "cd7bbfc078270572beb39f9e5ae67aadbd50b5e67cff37e6d4f6b3ea39312e5f", 79_038, "tfjs",
                ),
                Asset(
                    "blazeface.bin", "npm", "@vladmandic/human", "3.3.6", "package/models/blazeface.bin",
                    "dc9a97fdc50bc43216554bdd69aa3e7b9361a519ee7bdd996a2f69a98a6f9b72", 538_928,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", "not published by its makers"),
            runtime=("blazeface.onnx",),
        ),
        measured=(
            Measured(
                "recall 0.97 of large faces, 0.85 at 48 px of a 640x360 frame, but 286 false boxes in 300 frames",
                "226 rated pictures, 300 planted faces, two videos; score 0.35",
                "python -m bench faces",
                weak=True,
            ),
        ),
    )  # fmt: skip

    class Config(Strict):
        min_score: Annotated[float, Gt(0), Le(1)] = 0.5
        iou: Annotated[float, Ge(0), Le(1)] = 0.3

    _config: Config

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_anchors), cls.Config())

    def run(self, batch: Frames) -> Boxes:
        return as_boxes(self._net.map(self._frame, batch.pixels), ("face",), 6)

    def _frame(self, pixels: U8) -> Found:
        canvas, scale, offset = fit(pixels, SIDE, SIDE, centre=True)
        outputs = self._net.run(canvas[None].astype(np.float32) / 127.5 - 1)
        found = suppress(self._decode(outputs), self._config.iou)
        return to_frame(found, scale, offset, *pixels.shape[:2])

    def _decode(self, outputs: list[Array]) -> Found:
        """Logits `[1 a 1]` and boxes `[1 a 16]` (x, y, w, h, 6 points; px from the anchor) of two levels."""
        shaped = {o.shape[1:]: o[0] for o in outputs}
        logits = np.concatenate([shaped[side * side * many, 1] for side, many in LEVELS])[:, 0]
        values = np.concatenate([shaped[side * side * many, 16] for side, many in LEVELS])
        score = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        rows = np.flatnonzero(score > self._config.min_score)
        placed = values[rows].reshape(-1, 8, 2).astype(np.float64)
        centre, size = placed[:, 0] + ANCHORS[rows], np.abs(placed[:, 1])
        return Found(
            np.concatenate([centre - size / 2, centre + size / 2], 1),
            score[rows],
            np.zeros(len(rows), np.int64),
            placed[:, 2:] + ANCHORS[rows, None],
        )


def _anchors() -> Array:
    grids = []
    for side, many in LEVELS:
        y, x = np.divmod(np.arange(side * side), side)
        grids.append(np.repeat(np.stack([x, y], 1) + 0.5, many, axis=0) * (SIDE / side))
    return np.concatenate(grids)


ANCHORS = _anchors()


def _bright_anchors(x: Array) -> list[Array]:
    """Stand-in: a face of two cells at every bright cell."""
    grey = (x[0].mean(-1) + 1) / 2
    outputs = []
    for side, many in LEVELS:
        step = SIDE // side
        bright = np.repeat(cells(grey, step).reshape(-1), many)
        box = np.zeros((1, len(bright), 8, 2), np.float32)
        box[:, :, 1] = 2 * step
        box[:, :, 2:] = np.array([[-8, -8], [8, -8], [0, 0], [0, 8], [-14, 0], [14, 0]])
        outputs += [logit(bright)[None, :, None], box.reshape(1, -1, 16)]
    return outputs
