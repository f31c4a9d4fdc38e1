"""What a frame as a whole looks like: pooled features of NanoDet's backbone, for anomaly and likeness of scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from mien.core import (
    AdapterSpec,
    Boxes,
    Device,
    Embeddings,
    Frames,
    Measured,
    MienError,
    Strict,
    WeightFiles,
    adapter,
)
from mien.models.onnx import Array, OnnxNet, stacked
from mien.models.sessions import Written
from mien.models.vision.geometry import U8
from mien.models.vision.net import OnnxAdapter, StandIn, cells
from mien.models.vision.objects.nanodet import MEAN, STD, STRIDES, NanoDet

SIDE = 224
CHANNELS = (128, 256, 512)  # of the backbone's three levels, of strides 8, 16, 32
WIDTH = sum(CHANNELS)
COVER = np.rint(MEAN[::-1]).astype(np.uint8)  # RGB


@adapter
class SceneFeatures(OnnxAdapter):
    """Features of whole frames. In: uint8 `[n h w 3]` RGB. Out: unit vectors `[n 896]`.

    The mean over the picture of the last layer of each of the three levels of NanoDet's backbone, in the weights that
    `object.nanodet` uses. The frame is squeezed to 224 × 224 px, so that its shape does not count. The mean over a
    picture forgets where things are.

    These vectors must not serve as face templates, and yet they tell people apart better than chance where faces are
    large (`measured`): cover the faces first (`without`), which brings that to chance as far as faces are found. They
    stay in RAM, as all `Embeddings` do.
    """

    spec: ClassVar = AdapterSpec(
        name="scene.nanodet",
        slot="scene",
        takes=Frames,
        gives=Embeddings,
        weights=NanoDet.spec.weights,
        measured=(
            Measured(
                "planted odd scenes among portraits: AUC 0.92 over ordinary newcomers (0.97 with faces covered; random "
                "0.56); a colour histogram: 0.92",
                "123 portraits of 97 people not used to choose features or scaling, 10 kinds of planted scenes",
                "python -m bench anomaly",
            ),
            Measured(
                "planted odd scenes among people at a distance: AUC 0.63 (random 0.55; a colour histogram: 0.71)",
                "45 clips of only 5 sources that differ much themselves",
                "python -m bench anomaly",
                weak=True,
            ),
            Measured(
                "same person against another: AUC 0.69 as they are, 0.51 with faces covered (0.5: not told apart)",
                "45 pictures of 19 people",
                "python -m bench anomaly",
            ),
        ),
    )

    class Config(Strict):
        pass

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        return cls(OnnxNet(Written((files.only,), "backbone", lambda: _backbone(files.only)), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_colours), cls.Config())

    def run(self, batch: Frames) -> Embeddings:
        return Embeddings(stacked(self._net.map(self._frame, batch.pixels), (WIDTH,)))

    def _frame(self, pixels: U8) -> Array:
        import cv2

        squeezed = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        planes = (squeezed[:, :, ::-1].astype(np.float32) - MEAN) / STD
        levels = self._net.run(np.ascontiguousarray(planes.transpose(2, 0, 1))[None])
        vector = np.concatenate([level[0].mean((1, 2), dtype=np.float64) for level in levels])
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def without(frames: Frames, boxes: Boxes, margin: float = 0.2) -> Frames:
    """A copy of the frames with every box covered, so that no face enters a vector.

    The cover is the network's mean colour: a colour taken from the frame would still hold something of the face.

    Args:
        boxes: faces in these frames, px.
        margin: how far the cover reaches beyond the box, as a share of its width and height.

    Raises:
        ValueError: a box refers to a frame that is not there, or is not finite: then it is not known what to cover.
    """
    if len(boxes) and not (boxes.frame.min() >= 0 and boxes.frame.max() < len(frames)):
        raise ValueError("boxes must refer to frames of the batch")
    if not np.isfinite(boxes.xyxy).all():
        raise ValueError("boxes must be finite")
    pixels = frames.pixels.copy()
    h, w = pixels.shape[1:3]
    for index, (x1, y1, x2, y2) in zip(boxes.frame, boxes.xyxy.astype(np.float64), strict=True):
        dx, dy = margin * (x2 - x1), margin * (y2 - y1)
        left, top = max(0, int(np.floor(x1 - dx))), max(0, int(np.floor(y1 - dy)))
        right, bottom = min(w, int(np.ceil(x2 + dx))), min(h, int(np.ceil(y2 + dy)))
        pixels[index, top:bottom, left:right] = COVER
    return Frames(pixels, frames.t_us)


def _backbone(path: Path) -> bytes:
    """The published graph up to the last layer of each level, where two branches are joined: at its own size, 416 px,
    128 × 52 × 52, 256 × 26 × 26 and 512 × 13 × 13. Without what follows it takes any multiple of 32 px."""
    import onnx
    from onnx import helper, shape_inference

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise MienError("weights.unreadable", f"{path.name} is not an ONNX file", "run 'mien models verify'") from error
    graph = model.graph
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in shape_inference.infer_shapes(model).graph.value_info
    }
    joined = {shapes.get(n.output[0]): (i, n.output[0]) for i, n in enumerate(graph.node) if n.op_type == "Concat"}
    wanted = [(1, c, 416 // s, 416 // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]
    if not all(shape in joined for shape in wanted):
        raise MienError("weights.unreadable", f"{path.name} is not the NanoDet known here", "run 'mien models verify'")
    ends = [joined[shape] for shape in wanted]
    del graph.node[max(index for index, _ in ends) + 1 :], graph.output[:], graph.value_info[:]
    graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for _, name in ends)
    constants = {tensor.name for tensor in graph.initializer}
    (entry,) = [value for value in graph.input if value.name not in constants]
    for index, name in ((2, "height"), (3, "width")):
        entry.type.tensor_type.shape.dim[index].dim_param = name
    return model.SerializeToString()


def _colours(x: Array) -> list[Array]:
    """Stand-in: the first channels of each level are colour planes averaged in cells of its stride; the rest are 1."""
    levels = []
    for channels, stride in zip(CHANNELS, STRIDES, strict=True):
        planes = np.stack([cells(plane * s + m, stride) / 255 for plane, s, m in zip(x[0], STD, MEAN, strict=True)])
        level = np.ones((1, channels, *planes.shape[1:]), np.float32)
        level[0, :3] = planes
        levels.append(level)
    return levels
