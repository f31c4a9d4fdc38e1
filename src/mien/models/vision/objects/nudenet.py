"""Explicit content by region: NudeNet. A rule for display and export, never a signal about a person. Opt-in: AGPL."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import field_validator

from mien.core import AdapterSpec, Asset, Boxes, Frames, Licences, Scalars, Strict, Weights, adapter
from mien.models.onnx import Array
from mien.models.vision.geometry import U8, Found, as_boxes, suppress
from mien.models.vision.net import OnnxAdapter, StandIn, cells
from mien.models.vision.objects.yolo_heads import Layout, decode, finite

SIDE = 320
Region = Literal[
    "FEMALE_GENITALIA_COVERED", "FACE_FEMALE", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED", "ANUS_EXPOSED", "FEET_EXPOSED", "BELLY_COVERED", "FEET_COVERED", "ARMPITS_COVERED",
    "ARMPITS_EXPOSED", "FACE_MALE", "BELLY_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_COVERED", "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
]  # fmt: skip
REGIONS: tuple[Region, ...] = get_args(Region)  # in the network's order
ALWAYS: tuple[Region, ...] = (
    "FEMALE_GENITALIA_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_EXPOSED", "BUTTOCKS_EXPOSED", "FEMALE_BREAST_EXPOSED",
)  # fmt: skip
LAYOUT = Layout("decoded", len(REGIONS))


@adapter
class NudeNet(OnnxAdapter):
    """How explicit a frame is, and where. In: uint8 `[n h w 3]` RGB. Out: score 0..1 `[n]`; sd NaN, it gives none.

    Praneeth Bedapudi, "NudeNet" 3.4 (2024), a YOLOv8 detector of 18 regions of bodies. The score is the largest one of
    a region that counts as explicit, whatever its size and before any suppression. `regions` gives all regions, for the
    reasons of a quarantine. As in the published package the frame lies in the upper left corner of a black square and
    reaches the network blue first. Pictures that a dressed person's face fills reach 0.2 in one of six cases; frames of
    a street, none.
    """

    spec: ClassVar = AdapterSpec(
        name="explicit.nudenet",
        slot="explicit",
        takes=Frames,
        gives=Scalars,
        weights=Weights(
            model="nudenet",
            assets=(
                Asset(
                    "320n.onnx", "wheel", "nudenet", "3.4.2", "nudenet/320n.onnx",
                    "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f", 12_150_158,
                ),
            ),
            licences=Licences("Apache-2.0", "AGPL-3.0", "not published by its makers", accept="AGPL-3.0"),
            runtime=("320n.onnx",),
            note="the package's metadata says MIT, but the licence it carries, and that of the network, is AGPL-3.0",
        ),
    )  # fmt: skip

    class Config(Strict):
        """counts: which regions are explicit; the five that always are must be among them. min_score, iou: of the
        boxes that `regions` gives (the published package's)."""

        counts: tuple[Region, ...] = ALWAYS
        min_score: Annotated[float, Gt(0), Le(1)] = 0.25
        iou: Annotated[float, Ge(0), Le(1)] = 0.45

        @field_validator("counts")
        @classmethod
        def _never_looser(cls, counts: tuple[Region, ...]) -> tuple[Region, ...]:
            if missing := [r for r in ALWAYS if r not in counts]:
                raise ValueError(f"it must hold {missing[0]}: the gate may be made stricter, never looser")
            return counts

    _config: Config

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_redness), cls.Config())

    def run(self, batch: Frames) -> Scalars:
        """Raises MienError `models.not-finite`."""
        columns = [4 + REGIONS.index(r) for r in self._config.counts]
        tables = self._net.map(self._table, batch.pixels)
        score = np.array([t[columns].max() for t in tables], np.float32)
        return Scalars(score, np.full(len(score), np.nan, np.float32))

    def regions(self, batch: Frames) -> Boxes:
        """All regions of each frame, covered ones too, px of the frame, by falling score; of regions that overlap,
        whatever their names, the likeliest.

        Raises MienError `models.not-finite`.
        """
        return as_boxes(self._net.map(self._regions, batch.pixels), REGIONS, 0)

    def _table(self, pixels: U8) -> Array:
        (table,) = self._net.run(prepared(pixels))
        finite(table)
        return table[0]

    def _regions(self, pixels: U8) -> Found:
        h, w = pixels.shape[:2]
        seen = decode(LAYOUT, self._table(pixels), (SIDE, SIDE), self._config.min_score)
        xyxy = np.clip(seen.xyxy.astype(np.float64) * max(h, w) / SIDE, 0, [w, h, w, h])
        # Regions suppress each other across names; in the place of points each is given where it came from.
        rows = np.arange(len(xyxy))
        kept = suppress(Found(xyxy, seen.score, np.zeros_like(rows), rows), self._config.iou).points
        return Found(xyxy[kept], seen.score[kept], seen.label[kept], np.zeros((len(kept), 0, 2)))


def prepared(pixels: U8) -> Array:
    """A frame as the network wants it: float32 `[1 3 320 320]` BGR in 0..1, black to the right of it or below."""
    import cv2

    h, w = pixels.shape[:2]
    square = np.zeros((max(h, w), max(h, w), 3), np.uint8)
    square[:h, :w] = pixels
    return np.asarray(cv2.dnn.blobFromImage(square, 1 / 255, (SIDE, SIDE), swapRB=True), np.float32)


def _redness(x: Array) -> list[Array]:
    """Stand-in: the more red outweighs blue in a cell of 8 px, the more that cell is each region that always counts."""
    red = np.clip(cells(x[0, 2] - x[0, 0], 8), 0, 1).reshape(-1)
    row, column = (v.reshape(-1) for v in np.mgrid[: SIDE // 8, : SIDE // 8])
    table = np.zeros((4 + len(REGIONS), len(red)), np.float32)
    table[:4] = column * 8 + 4, row * 8 + 4, np.full(len(red), 8), np.full(len(red), 8)
    table[4 + REGIONS.index(ALWAYS[0])] = red
    return [table[None]]
