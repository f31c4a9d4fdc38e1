"""DETR detectors as ONNX exports of the user's own, whose published weights are permissive: RT-DETR and RF-DETR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    AdapterSpec,
    Asset,
    Boxes,
    Device,
    Frames,
    Licences,
    MienError,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.vision.geometry import U8, Found, as_boxes, resized_rows
from mien.models.vision.net import Net, StandIn, cells, logit
from mien.models.vision.objects.nanodet import COCO
from mien.models.vision.objects.yolo_heads import mask_in

LayoutName = Literal["auto", "rt-detr", "rt-detr-raw", "rf-detr"]
SIDE = 640
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's, of RF-DETR
# RF-DETR counts COCO's 80 classes as their 90 published numbers do; these were never used.
GAPS = {0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_NUMBERS = tuple(i for i in range(91) if i not in GAPS)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one file is used. kind: `rt-detr` (labels, boxes px, scores), `rt-detr-raw` or `rf-detr` (logits, boxes
    cxcywh as shares of the frame, for RF-DETR also masks). at: which outputs those are; classes: the columns of the
    logits that have a name; batch: pictures per call; size: (h, w) px that frames are squeezed to."""

    kind: str
    at: dict[str, int]
    names: tuple[str, ...]
    classes: tuple[int, ...]
    batch: int
    size: tuple[int, int]


class Export(OnnxNet):
    """An ONNX export with one picture `[b 3 h w]`, and perhaps `[b 2]` sizes of frames, as its inputs."""

    def __init__(self, model: Any, device: Device) -> None:
        super().__init__(model, device)
        entries = self._session.get_inputs()
        wide = [e for e in entries if len(e.shape) == 4 and e.shape[1] in (3, "channels", "num_channels")]
        small = [e for e in entries if len(e.shape) == 2 and e.shape[1] in (2, None) and e.type == "tensor(int64)"]
        if len(wide) != 1 or len(entries) != 1 + len(small):
            told = ", ".join(f"{e.name} {list(e.shape)} {e.type}" for e in entries)
            raise _unknown(f"this file takes {told}, not one picture [b 3 h w] with or without sizes [b 2]")
        self.sized = bool(small)
        self.batch, _, self.height, self.width = (v if isinstance(v, int) and v > 0 else 0 for v in wide[0].shape)
        self._first = entries[0] is wide[0]
        self._type: Any = np.float16 if wide[0].type == "tensor(float16)" else np.float32

    def run(self, *inputs: Array) -> list[Array]:
        """Pictures, then sizes (w, h) px of the frames."""
        given = [inputs[0].astype(self._type, copy=False), *inputs[1 : 1 + self.sized]]
        return super().run(*(given if self._first else given[::-1]))


@adapter
class Detr:
    """Objects per frame. In: uint8 `[n h w 3]` RGB. Out: boxes px of the frame, by falling score; masks where the
    export has them.

    Zhao et al., "DETRs Beat YOLOs on Real-time Object Detection" (2024); Robinson et al., "RF-DETR" (2025). A query is
    one box; its classes are independent, and no suppression follows. COCO's classes get its 80 names.
    """

    spec: ClassVar = AdapterSpec(
        name="object.detr",
        slot="objects",
        takes=Frames,
        gives=Boxes,
        weights=Weights(
            model="detr",
            assets=(),
            bring=(Asset("detr.onnx", "local", "an ONNX export of RT-DETR or RF-DETR", "", "detr.onnx", "", 0),),
            licences=Licences(
                code="Apache-2.0",
                weights="Apache-2.0 (RT-DETR; RF-DETR but its XLarge and 2XLarge); else those of your file",
                training_data="COCO: annotations CC-BY-4.0, pictures of mixed Flickr licences; Objects365",
            ),
            runtime=("detr.onnx",),
            note="in an environment of its own: pip install 'rfdetr[onnxexport]', RFDETRNano().export(); or RT-DETR's "
            "tools/export_onnx.py; then: mien models add detr FILE.onnx",
        ),
    )

    class Config(Strict):
        """layout: only where the outputs' names do not tell; side: only of files that take any size; names: one per
        class of the file, from its class 0."""

        min_score: Annotated[float, Gt(0), Le(1)] = 0.5
        most: Annotated[int, Gt(0)] = 300
        layout: LayoutName = "auto"
        side: Annotated[int, Ge(32), Le(4096)] | None = None
        names: tuple[str, ...] = ()

    def __init__(self, net: Net, config: Config, plan: Plan) -> None:
        self._net, self._config, self._plan = net, config, plan

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `models.unknown-layout`, `models.wrong-names`."""
        net = Export(files.only, device)
        try:
            return cls(net, config, plan_of(net, config))
        except MienError:
            net.close()
            raise

    @classmethod
    def tiny(cls) -> Self:
        plan = Plan("rf-detr", {"boxes": 0, "logits": 1}, COCO, COCO_NUMBERS, 1, (96, 160))
        return cls(StandIn(_bright_queries), cls.Config(), plan)

    def close(self) -> None:
        self._net.close()

    def run(self, batch: Frames) -> Boxes:
        """Raises MienError `models.not-finite`, `models.wrong-names`."""
        step = self._plan.batch
        groups = [batch.pixels[i : i + step] for i in range(0, len(batch), step)]
        seen = [s for group in self._net.map(self._group, groups) for s in group]
        boxes = as_boxes([found for found, _ in seen], self._plan.names, 0)
        return replace(boxes, masks=tuple(mask for _, masks in seen for mask in masks))

    def _group(self, pixels: U8) -> list[tuple[Found, tuple[Array, ...]]]:
        plan, (h, w) = self._plan, pixels.shape[1:3]
        shown = np.zeros((plan.batch, 3, *plan.size), np.float32)
        shown[: len(pixels)] = [as_input(p, plan.size, plan.kind == "rf-detr") for p in pixels]
        outputs = self._net.run(shown, np.tile(np.array([[w, h]], np.int64), (plan.batch, 1)))
        named = {name: np.asarray(outputs[at]) for name, at in plan.at.items()}
        if not all(np.isfinite(o[: len(pixels)]).all() for o in named.values()):
            raise MienError(
                "models.not-finite", "the detector answered NaN or Inf", "if it is a float16 export, export it anew"
            )
        return [self._one({n: o[i] for n, o in named.items()}, h, w) for i in range(len(pixels))]

    def _one(self, outputs: dict[str, Array], h: int, w: int) -> tuple[Found, tuple[Array, ...]]:
        plan, boxes = self._plan, outputs["boxes"].astype(np.float64)
        if plan.kind == "rt-detr":
            query, score = np.arange(len(boxes)), outputs["scores"].astype(np.float32)
            label = outputs["labels"].astype(np.int64)
            kept = np.flatnonzero(score > self._config.min_score)
            if len(kept) and not 0 <= label[kept].min() <= label[kept].max() < len(plan.names):
                raise _wrong_names(f"the file answers class {label[kept].max()} of {len(plan.names)} names")
        else:
            boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1) * [w, h, w, h]
            logits = outputs["logits"][:, plan.classes].astype(np.float32)
            likely = 1 / (1 + np.exp(-logits.reshape(-1)))
            query, label = (v.reshape(-1) for v in np.indices(logits.shape))
            score, kept = likely, np.flatnonzero(likely > self._config.min_score)
        rows = kept[np.argsort(-score[kept], kind="stable")]
        xyxy = np.clip(boxes[query[rows]], 0, [w, h, w, h])
        inside = np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(1))[: self._config.most]
        rows, xyxy = rows[inside], xyxy[inside]
        masks: tuple[Array, ...] = ()
        if "masks" in outputs:
            scale, planes = np.array([plan.size[1] / w, plan.size[0] / h]), outputs["masks"].astype(np.float32)
            masks = tuple(
                mask_in(box, planes[q], scale, np.zeros(2), plan.size) for box, q in zip(xyxy, query[rows], strict=True)
            )
        return Found(xyxy, score[rows], label[rows], np.zeros((len(rows), 0, 2))), masks


# ---------------------------------------------------------------- pictures


def as_input(pixels: U8, size: tuple[int, int], normalised: bool) -> Array:
    """A frame squeezed to `size` (h, w), `[3 h w]` RGB in 0..1, or by ImageNet's mean and deviation."""
    planes = squeezed(pixels, size) / 255
    return ((planes - MEAN) / STD if normalised else planes).transpose(2, 0, 1).astype(np.float32)


def squeezed(pixels: U8, size: tuple[int, int]) -> Array:
    """A picture `[h w 3]` at another size (h, w), float32."""
    return resized_rows(resized_rows(pixels, size[0]).transpose(1, 0, 2), size[1]).transpose(1, 0, 2)


# ---------------------------------------------------------------- which file


def plan_of(net: Export, config: Detr.Config) -> Plan:
    """How to use a file: from the names of its outputs, and their shapes for a black picture.

    Raises:
        MienError: `models.unknown-layout`, `models.wrong-names`.
    """
    size = net.height or config.side or SIDE, net.width or config.side or SIDE
    batch = net.batch or 1
    probe = np.zeros((batch, 3, *size), np.float32)
    outputs = net.run(probe, np.tile(np.array([size[::-1]], np.int64), (batch, 1)))
    shapes = [o.shape for o in outputs]
    at = _named(net.outputs, shapes)
    told = ", ".join(f"{n} {list(s)}" for n, s in zip(net.outputs, shapes, strict=True))
    if net.sized and at.keys() >= {"labels", "boxes", "scores"}:
        kind, columns = "rt-detr", 0
    elif not net.sized and at.keys() >= {"logits", "boxes"}:
        columns = shapes[at["logits"]][2]
        # Both families are exported under these names by the hub's tools; only RF-DETR has a logit for each number.
        kind = "rf-detr" if "dets" in net.outputs or columns == len(COCO_NUMBERS) + len(GAPS) else "rt-detr-raw"
    else:
        raise _unknown(f"this file answers {told}: neither labels, boxes, scores nor boxes [b q 4] and logits [b q c]")
    if config.layout != "auto" and (kind == "rt-detr") != (config.layout == "rt-detr"):
        raise _unknown(f"this file answers {told}, which is no {config.layout}")
    kind = kind if config.layout == "auto" else config.layout
    keys = ("labels", "boxes", "scores") if kind == "rt-detr" else ("boxes", "logits", "masks")
    names, classes = _classes(columns, config.names)
    return Plan(kind, {k: at[k] for k in keys if k in at}, names, classes, batch, size)


def _named(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Which output is what: RF-DETR calls its logits `labels`, the hub's tools their boxes `pred_boxes`."""
    at: dict[str, int] = {}
    for i, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if len(shape) == 3 and shape[2] == 4 and name in ("boxes", "dets", "pred_boxes"):
            at["boxes"] = i
        elif len(shape) == 3 and name in ("labels", "logits", "pred_logits"):
            at["logits"] = i
        elif len(shape) == 2 and name in ("labels", "scores"):
            at[name] = i
        elif len(shape) == 4 and name in ("masks", "pred_masks"):
            at["masks"] = i
    return at


def _classes(columns: int, given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names, and the logits they belong to; `columns` is 0 where the file answers no logits."""
    if given and columns not in (0, len(given)):
        raise _wrong_names(f"the file has {columns} classes, but there are {len(given)} names")
    if given:
        return given, tuple(range(len(given)))
    if columns == len(COCO_NUMBERS) + len(GAPS):
        return COCO, COCO_NUMBERS
    if columns in (0, len(COCO)):
        return COCO, tuple(range(len(COCO)))
    return tuple(f"class-{i}" for i in range(columns)), tuple(range(columns))


def _unknown(why: str) -> MienError:
    return MienError(
        "models.unknown-layout", why, "export RT-DETR or RF-DETR with their own tools, or set adapters.NAME.layout"
    )


def _wrong_names(why: str) -> MienError:
    return MienError("models.wrong-names", why, "set adapters.NAME.names in mien.toml, one name per class")


def _bright_queries(x: Array, sizes: Array) -> list[Array]:
    """Stand-in: a query at every cell of 8 px, three cells wide; the brighter, the more a person."""
    plane = x[0].transpose(1, 2, 0) * STD + MEAN
    bright = cells(plane.mean(-1), 8)
    row, column = (v.reshape(-1) for v in np.mgrid[: bright.shape[0], : bright.shape[1]])
    centre = (np.stack([column, row], 1) + 0.5) / np.array(bright.shape[::-1])
    reach = np.broadcast_to(3 / np.array(bright.shape[::-1]), centre.shape)
    logits = np.full((len(centre), 91), -9, np.float32)
    logits[:, 1] = logit(np.clip(bright.reshape(-1), 0, 1))
    return [np.concatenate([centre, reach], 1)[None].astype(np.float32), logits[None]]
