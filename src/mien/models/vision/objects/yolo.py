"""The YOLO family as ONNX exports of the user's own: objects with masks, and body points. No code of theirs is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from annotated_types import Ge, Gt, Le

from mien.core import (
    COCO_POINTS,
    AdapterSpec,
    Asset,
    Boxes,
    Device,
    Frames,
    Keypoints,
    Licences,
    MienError,
    People,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.onnx import Array, OnnxNet
from mien.models.vision.geometry import U8, Found, as_boxes, measurable, suppress
from mien.models.vision.net import Net, StandIn, cells
from mien.models.vision.objects.nanodet import COCO
from mien.models.vision.objects.yolo_heads import (
    Layout,
    LayoutName,
    Meta,
    decode,
    mask_in,
    read_meta,
    recognise,
    unknown_layout,
)

GREY = 114  # around the letterboxed picture, as in training
SIDE = 640
LICENCES = Licences(
    code="Apache-2.0",
    weights="AGPL-3.0 (Ultralytics' own); YOLOX: Apache-2.0; else those of your file",
    training_data="COCO: annotations CC-BY-4.0, pictures of mixed Flickr licences; else those of your file",
    accept="AGPL-3.0",
)


class Settings(Strict):
    """What all exports share. layout: only where the file does not tell; side: only of files that take any size;
    names: in place of the file's (COCO's where it has 80 classes and no names)."""

    min_score: Annotated[float, Gt(0), Le(1)] = 0.25
    iou: Annotated[float, Ge(0), Le(1)] = 0.7
    most: Annotated[int, Gt(0)] = 300
    layout: LayoutName = "auto"
    side: Annotated[int, Ge(32), Le(4096)] | None = None
    names: tuple[str, ...] = ()


class Export(OnnxNet):
    """An ONNX export with one picture `[b 3 h w]` as its input; its metadata, and float16 where it wants that."""

    def __init__(self, model: Path | bytes, device: Device) -> None:
        super().__init__(model, device)
        entries = self._session.get_inputs()
        shape, kind = list(entries[0].shape), entries[0].type
        if len(entries) != 1 or len(shape) != 4 or shape[1] != 3 or kind not in ("tensor(float)", "tensor(float16)"):
            told = ", ".join(f"{e.name} {list(e.shape)} {e.type}" for e in entries)
            raise MienError(
                "models.unknown-layout", f"this file takes {told}, not one picture [b 3 h w] of floats", "export it so"
            )
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.batch, _, self.height, self.width = (v if isinstance(v, int) and v > 0 else 0 for v in shape)
        self._type: Any = np.float16 if kind == "tensor(float16)" else np.float32

    def run(self, *inputs: Array) -> list[Array]:
        return [np.asarray(o, np.float32) for o in super().run(*(x.astype(self._type, copy=False) for x in inputs))]


@dataclass(frozen=True, slots=True)
class Plan:
    """How one file is used: its layout and names; pictures per call; the canvas `(h, w)` px, which is the largest one
    where `free` (any multiple of `stride`)."""

    layout: Layout
    names: tuple[str, ...]
    batch: int
    size: tuple[int, int]
    stride: int
    free: bool


class Canvas(NamedTuple):
    """A letterboxed frame: pixels, canvas px per frame px (x, y), offset (x, y) px of the frame in it."""

    pixels: U8
    scale: Array
    offset: Array


class Seen(NamedTuple):
    """What one frame shows, in px of it: boxes by falling score, key points `[n k 2-3]`, one mask per box or none."""

    found: Found
    points: Array
    masks: tuple[Array, ...]


def letterbox(pixels: U8, size: tuple[int, int], *, corner: bool = False) -> Canvas:
    """A frame inside a grey canvas of `size` (h, w) at its own aspect ratio: centred, or (YOLOX) in its corner."""
    import cv2

    h, w = pixels.shape[:2]
    scale = min(size[0] / h, size[1] / w)
    width, height = (max(1, int(v * scale) if corner else round(v * scale)) for v in (w, h))
    # A half px goes to the right and below, as in the networks' training.
    x, y = (0, 0) if corner else (max(0, round((s - v) / 2 - 0.1)) for s, v in ((size[1], width), (size[0], height)))
    canvas = np.full((*size, 3), GREY, np.uint8)
    same = (h, w) == (height, width)
    inner = pixels if same else cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    canvas[y : y + height, x : x + width] = inner
    each = (scale, scale) if corner else (width / w, height / h)
    return Canvas(canvas, np.array(each), np.array([x, y], np.float64))


class Yolo:
    """One export, whatever its head: what both adapters share."""

    Config = Settings
    pose: ClassVar[bool] = False

    def __init__(self, net: Net, config: Any, plan: Plan) -> None:
        self._net, self._config, self._plan = net, config, plan

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        """Raises MienError `weights.unreadable`, `models.unknown-layout`, `models.bad-metadata`, `models.not-finite`,
        `models.wrong-names`."""
        net = Export(files.only, device)
        try:
            return cls(net, config, plan_of(net, config, pose=cls.pose))
        except MienError:
            net.close()
            raise

    def close(self) -> None:
        self._net.close()

    def _see(self, pixels: Sequence[U8]) -> list[Seen]:
        step = self._plan.batch
        groups = [pixels[i : i + step] for i in range(0, len(pixels), step)]
        return [seen for group in self._net.map(self._group, groups) for seen in group]

    def _group(self, pixels: Sequence[U8]) -> list[Seen]:
        plan, raw = self._plan, self._plan.layout.head.startswith("yolox")
        h, w = pixels[0].shape[:2]
        size = smallest(plan, h, w) if plan.free else plan.size
        canvases = [letterbox(p, size, corner=raw) for p in pixels]
        shown = np.full((plan.batch, *size, 3), GREY, np.uint8)
        shown[: len(pixels)] = [c.pixels for c in canvases]
        outputs = self._net.run(as_input(shown, raw=raw))
        return [self._one([o[i] for o in outputs], c, (h, w)) for i, c in enumerate(canvases)]

    def _one(self, outputs: list[Array], canvas: Canvas, frame: tuple[int, int]) -> Seen:
        plan, size = self._plan, (canvas.pixels.shape[0], canvas.pixels.shape[1])
        (table,) = (o for o in outputs if o.ndim == 2)
        given = decode(plan.layout, table, size, self._config.min_score)
        if len(given.label) and (given.label.min() < 0 or given.label.max() >= len(plan.names)):
            raise wrong_names(f"the file answers class {given.label.max()}, but there are {len(plan.names)} names")
        # `suppress` keeps rows together: in the place of points it is given where each came from.
        found = Found(given.xyxy, given.score, given.label, np.arange(len(given.score)))
        if plan.layout.head == "end2end":
            found = Found(*(column[np.argsort(-given.score, kind="stable")] for column in found))
        else:
            found = suppress(found, self._config.iou)
        edges = np.array([frame[1], frame[0]])
        xyxy = np.clip((found.xyxy.reshape(-1, 2, 2) - canvas.offset) / canvas.scale, 0, edges).reshape(-1, 4)
        rows = np.flatnonzero((xyxy[:, 2:] > xyxy[:, :2]).all(1))[: self._config.most]
        extras = given.extras[found.points[rows]]
        points, masks = np.zeros((len(rows), 0, 2), np.float32), ()
        if plan.layout.points:
            points = extras.reshape(len(rows), plan.layout.points, plan.layout.values).astype(np.float64)
            points[..., :2] = (points[..., :2] - canvas.offset) / canvas.scale
        if plan.layout.coefficients:
            (planes,) = (o for o in outputs if o.ndim == 3)
            coarse = (extras @ planes.reshape(len(planes), -1)).reshape(-1, *planes.shape[1:])
            shape = canvas.scale, canvas.offset, size
            masks = tuple(mask_in(box, plane, *shape) for box, plane in zip(xyxy[rows], coarse, strict=True))
        return Seen(Found(xyxy[rows], found.score[rows], found.label[rows], points[..., :2]), points, masks)


@adapter
class YoloObjects(Yolo):
    """Objects per frame. In: uint8 `[n h w 3]` RGB. Out: boxes px of the frame, all classes of the file, by falling
    score; masks and key points where the export has them.

    Takes exports of YOLOv5, v7 to v12, YOLO26 and YOLOX; `yolo_heads.Layout` tells their answers apart.
    """

    spec: ClassVar = AdapterSpec(
        name="object.yolo",
        slot="objects",
        takes=Frames,
        gives=Boxes,
        weights=Weights(
            model="yolo",
            assets=(),
            bring=(Asset("yolo.onnx", "local", "an ONNX export of a YOLO detector", "", "yolo.onnx", "", 0),),
            licences=LICENCES,
            runtime=("yolo.onnx",),
            note="in an environment of its own: yolo export model=yolo11n.pt format=onnx (AGPL-3.0; or take a "
            "published yolox_s.onnx, Apache-2.0); then: mien models add yolo yolo11n.onnx",
        ),
    )

    @classmethod
    def tiny(cls) -> Self:
        return cls(StandIn(_bright_objects), cls.Config(), _small(Layout("decoded", len(COCO)), COCO))

    def run(self, batch: Frames) -> Boxes:
        """Raises MienError `models.not-finite`, `models.wrong-names`."""
        seen = self._see(list(batch.pixels))
        boxes = as_boxes([s.found for s in seen], self._plan.names, self._plan.layout.points)
        return replace(boxes, masks=tuple(mask for s in seen for mask in s.masks))


@adapter
class YoloPose(Yolo):
    """Points of each person. In: frames with people's boxes. Out: `COCO_POINTS` `[n 17 3]`, the detector's score `[n]`.

    The export finds its own people, once per frame; each is given to the box it overlaps most (intersection over union
    of at least `match`, one to one). NaN where there is none. Points outside the frame are not visible.
    """

    class Config(Settings):
        match: Annotated[float, Gt(0), Le(1)] = 0.3

    pose: ClassVar = True
    spec: ClassVar = AdapterSpec(
        name="pose.yolo",
        slot="pose",
        takes=People,
        gives=Keypoints,
        weights=Weights(
            model="yolo-pose",
            assets=(),
            bring=(
                Asset("yolo-pose.onnx", "local", "an ONNX export of a YOLO pose model", "", "yolo-pose.onnx", "", 0),
            ),
            licences=LICENCES,
            runtime=("yolo-pose.onnx",),
            note="in an environment of its own: yolo export model=yolo11n-pose.pt format=onnx (AGPL-3.0); then: mien "
            "models add yolo-pose yolo11n-pose.onnx",
        ),
    )

    @classmethod
    def tiny(cls) -> Self:
        layout = Layout("decoded", 1, len(COCO_POINTS), 3)
        return cls(StandIn(_bright_people), cls.Config(), _small(layout, ("person",)))

    def run(self, batch: People) -> Keypoints:
        """Raises MienError `models.not-finite`, `models.wrong-names`."""
        points = np.full((len(batch), len(COCO_POINTS), 3), np.nan, np.float32)
        score = np.full(len(batch), np.nan, np.float32)
        inside = np.array([measurable(box) for box in batch.boxes.xyxy], bool)
        shown = np.unique(batch.boxes.frame[inside])
        for frame, seen in zip(shown, self._see([batch.frames.pixels[i] for i in shown]), strict=True):
            rows = np.flatnonzero(inside & (batch.boxes.frame == frame))
            edge = np.array([batch.frames.pixels.shape[2], batch.frames.pixels.shape[1]])
            for mine, theirs in matched(batch.boxes.xyxy[rows], seen.found.xyxy, self._config.match):
                body = seen.points[theirs].copy()
                hidden = ~((body[:, :2] >= 0) & (body[:, :2] <= edge)).all(1)
                body[:, 2] = np.where(hidden, 0, np.clip(body[:, 2], 0, 1))
                points[rows[mine]], score[rows[mine]] = body, seen.found.score[theirs]
        return Keypoints(points, COCO_POINTS, score)


def matched(a: Array, b: Array, least: float) -> list[tuple[int, int]]:
    """Pairs (row of a, row of b) of boxes xyxy by falling intersection over union, each box at most once."""
    side = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.prod(np.maximum(side, 0), axis=2)
    area_a, area_b = (np.prod(np.maximum(x[:, 2:] - x[:, :2], 0), axis=1) for x in (a, b))
    overlap = shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-9)
    pairs: list[tuple[int, int]] = []
    while overlap.size and overlap.max() >= least:
        i, j = divmod(int(overlap.argmax()), len(b))
        pairs.append((i, j))
        overlap[i], overlap[:, j] = -1, -1
    return pairs


def as_input(canvases: U8, *, raw: bool = False) -> Array:
    """Canvases `[b h w 3]` RGB as `[b 3 h w]` float32: RGB in 0..1, or (YOLOX) BGR in 0..255."""
    planes = canvases.transpose(0, 3, 1, 2)
    if raw:
        return np.ascontiguousarray(planes[:, ::-1], np.float32)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


def smallest(plan: Plan, h: int, w: int) -> tuple[int, int]:
    """The smallest canvas `(h, w)` of whole strides around a frame fitted into the plan's size."""
    scale = min(plan.size[0] / h, plan.size[1] / w)
    height, width = (-(-max(1, round(side * scale)) // plan.stride) * plan.stride for side in (h, w))
    return height, width


def plan_of(net: Export, config: Settings, *, pose: bool = False) -> Plan:
    """How to use a file: its metadata, and the shapes of its answer to a grey picture.

    Raises:
        MienError: `models.unknown-layout`, `models.bad-metadata`, `models.wrong-names`.
    """
    meta = read_meta(net.metadata)
    free = not (net.height and net.width)
    side = (config.side, config.side) if config.side else meta.side or (SIDE, SIDE)
    whole = tuple(-(-s // meta.stride) * meta.stride for s in side)
    size = (net.height or whole[0], net.width or whole[1])
    batch = net.batch or 1
    shapes = [o.shape for o in net.run(as_input(np.full((batch, *size, 3), GREY, np.uint8)))]
    layout = recognise(shapes, size, meta, config.layout, pose=pose)
    if pose and (layout.points, layout.values) != (len(COCO_POINTS), 3):
        raise unknown_layout(shapes, size, "it does not give COCO's 17 points with their visibility")
    # YOLOX keeps the whole canvas: its pictures were never cut to the smallest.
    plain = free and not layout.head.startswith("yolox") and not (net.height or net.width)
    return Plan(layout, names_of(layout, meta, config), batch, size, meta.stride, plain)


def names_of(layout: Layout, meta: Meta, config: Settings) -> tuple[str, ...]:
    """The user's names, or the file's, or COCO's for 80 classes, or `class-0` …"""
    names = config.names or meta.names
    if names and layout.classes not in (0, len(names)):
        raise wrong_names(f"the file has {layout.classes} classes, but there are {len(names)} names")
    if layout.classes in (0, len(COCO)):
        return names or COCO
    return names or tuple(f"class-{i}" for i in range(layout.classes))


def wrong_names(why: str) -> MienError:
    return MienError("models.wrong-names", why, "set adapters.NAME.names in mien.toml, one name per class")


# ---------------------------------------------------------------- stand-ins


def _small(layout: Layout, names: tuple[str, ...]) -> Plan:
    return Plan(layout, names, 1, (160, 160), 32, True)


def _bright_objects(x: Array) -> list[Array]:
    """Stand-in: at every bright cell of 8 px an object of three cells' side; the 80 classes of COCO, all persons."""
    return [_table(x, np.zeros((len(COCO) - 1, 0)))]


def _bright_people(x: Array) -> list[Array]:
    """Stand-in: at every bright cell a body whose points lie on the diagonal of its box."""
    place = np.linspace(-8, 8, len(COCO_POINTS))
    return [_table(x, np.stack([place, place, np.full_like(place, 0.9)], 1))]


def _table(x: Array, extras: Array) -> Array:
    plane = x[0].mean(0)
    bright = np.clip(2 * cells(plane, 8) - 1, 0, 1)
    row, column = (v.reshape(-1) for v in np.mgrid[: bright.shape[0], : bright.shape[1]])
    middle = np.stack([column, row], 1) * 8.0 + 4
    rows = [middle, np.full_like(middle, 24), bright.reshape(-1, 1)]
    if extras.shape[1]:
        bodies = np.broadcast_to(extras, (len(middle), *extras.shape)).copy()
        bodies[..., :2] += middle[:, None]
        rows.append(bodies.reshape(len(middle), -1))
    else:
        rows.append(np.zeros((len(middle), len(extras))))
    return np.concatenate(rows, 1).T[None].astype(np.float32)
