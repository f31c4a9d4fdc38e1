"""What YOLO exports answer: which layout a file has, and boxes, key points and masks out of it. numpy alone.

All boxes here are px of the canvas, the letterboxed picture that the network saw.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.models.onnx import Array

LayoutName = Literal[
    "auto", "decoded", "decoded-pose", "decoded-segment", "end2end", "end2end-pose", "end2end-segment", "anchors",
    "anchors-segment", "yolox", "yolox-decoded",
]  # fmt: skip
PYRAMIDS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))  # strides of the levels that published heads have
STRIDES = PYRAMIDS[0]
COCO_POSE = 17
METADATA_CHARS = 1 << 18  # the longest published list of names (4,585 classes) takes half of it
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Meta:
    """What the exporter wrote into the file: class names, input side `(h, w)` px, task, points of a body and values
    of each; empty, None or 0 where it wrote nothing. ended: no suppression is left to do."""

    names: tuple[str, ...] = ()
    side: tuple[int, int] | None = None
    stride: int = 32
    task: str = ""
    points: int = 0
    values: int = 3
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What the columns of an answer mean.

    head: `decoded` `[b 4+c+e a]` (cxcywh, classes, extras; YOLOv8-12), `end2end` `[b n 6+e]` (xyxy, score, class,
    extras; YOLOv10, YOLO26, any export with suppression inside), `anchors` `[b 3a 5+c+e]` (cxcywh, objectness, classes;
    YOLOv5, v7), `yolox` `[b a 5+c]` (offsets and log sizes in strides), `yolox-decoded` (the same in px).
    classes: c, 0 where the shape does not tell; points, values: of a body, in the extras; coefficients: of a mask.
    """

    head: str
    classes: int
    points: int = 0
    values: int = 3
    coefficients: int = 0


class Detected(NamedTuple):
    """xyxy `[n 4]` px of the canvas, score `[n]`, label `[n]`, extras `[n e]` (key points or mask coefficients)."""

    xyxy: Array
    score: Array
    label: Array
    extras: Array


# ---------------------------------------------------------------- the file's metadata


def read_meta(strings: Mapping[str, str]) -> Meta:
    """The metadata strings of an export; values are Python literals, read as data and nothing else.

    Raises:
        MienError: `models.bad-metadata` with the key that cannot be read.
    """
    names, side = _literal(strings, "names"), _literal(strings, "imgsz")
    stride, shape, args = _literal(strings, "stride"), _literal(strings, "kpt_shape"), _literal(strings, "args")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise _bad("names", "its classes are not counted from 0")
        names = [names[i] for i in range(len(names))]
    names = [] if names is None else names
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and 0 < len(n) <= 200 for n in names):
        raise _bad("names", "it must be a list of words")
    if side is not None and not _whole(side, 2):
        raise _bad("imgsz", "it must be two whole numbers")
    if shape is not None and not (_whole(shape, 2) and shape[1] in (2, 3)):
        raise _bad("kpt_shape", "it must be the number of points and 2 or 3")
    if stride is not None and not _whole([stride], 1):
        raise _bad("stride", "it must be a whole number")
    inside = isinstance(args, dict) and bool(args.get("nms"))
    points, values = shape or (0, 3)
    return Meta(
        names=tuple(names),
        side=(side[0], side[1]) if side else None,
        stride=max(32, stride or 32),
        task=strings.get("task", ""),
        points=points,
        values=values,
        ended=inside or strings.get("end2end", "") == "True",
    )


def _literal(strings: Mapping[str, str], key: str) -> Any:
    text = strings.get(key)
    if text is None:
        return None
    if len(text) > METADATA_CHARS:
        raise _bad(key, f"it has {len(text)} characters")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise _bad(key, "it is no Python literal") from error


def _whole(value: Any, count: int) -> bool:
    fits = isinstance(value, list | tuple) and len(cast("Sequence[Any]", value)) == count
    return fits and all(type(v) is int and 0 < v <= 1 << 16 for v in value)


def _bad(key: str, why: str) -> MienError:
    return MienError(
        "models.bad-metadata", f"the metadata {key!r} of this export cannot be used: {why}", "export the model again"
    )


# ---------------------------------------------------------------- which layout


def recognise(
    shapes: Sequence[Shape], size: tuple[int, int], meta: Meta, asked: LayoutName = "auto", *, pose: bool = False
) -> Layout:
    """The layout of an export from the shapes of its answer to a canvas of `size` (h, w) px.

    Args:
        asked: what the user says it is; pose: the caller knows that it is a pose model.

    Raises:
        MienError: `models.unknown-layout`, naming the shapes.
    """
    flat, planes = [s for s in shapes if len(s) == 3], [s for s in shapes if len(s) == 4]
    if len(flat) != 1 or len(planes) > 1 or len(shapes) != len(flat) + len(planes):
        raise unknown_layout(shapes, size, "an export of the YOLO family answers one table, and planes for masks")
    a, b = flat[0][1:]
    asked_head, _, asked_task = asked.partition("-") if asked != "yolox-decoded" else (asked, "", "")
    task = (asked_task or "detect") if asked != "auto" else "segment" if planes else meta.task or ("pose" * pose)
    if task not in ("", "detect", "pose", "segment"):
        raise unknown_layout(shapes, size, f"the file says that its task is {task!r}")
    if (task == "segment") != bool(planes):
        raise unknown_layout(shapes, size, "masks need planes beside the table, and nothing else does")
    heads = [asked_head] if asked != "auto" else _heads(a, b, size, meta)
    fits: list[Layout] = []
    for head in heads:
        columns = a if head == "decoded" else b
        fits += _columns(head, columns, task, planes[0][1] if planes else 0, meta)
    if len(fits) != 1:
        why = "no layout of mien fits" if not fits else "it may be " + " or ".join(_told(f) for f in fits)
        raise unknown_layout(shapes, size, why)
    return fits[0]


def _heads(a: int, b: int, size: tuple[int, int], meta: Meta) -> list[str]:
    """Heads whose number of rows fits the canvas."""
    if meta.ended:
        return ["end2end"]
    grids = {sum((size[0] // s) * (size[1] // s) for s in strides) for strides in PYRAMIDS}
    if meta.task and (b in grids or b > a):
        return ["decoded"]  # who writes a task writes no YOLOX
    found = ["decoded"] if b in grids else []
    found += ["yolox"] if a in grids else []
    found += ["anchors"] if a in {3 * g for g in grids} else []
    return found or ["end2end"]


def _columns(head: str, columns: int, task: str, coefficients: int, meta: Meta) -> list[Layout]:
    """The layouts of one head that a table of so many columns can have; of several, the file's names decide."""
    before = {"decoded": 4, "end2end": 6}.get(head, 5)
    known = len(meta.names)
    if head == "end2end":
        extras = columns - before
        if task == "segment":
            return [Layout(head, known, coefficients=coefficients)] if extras == coefficients else []
        if extras == 0 and task != "pose":
            return [Layout(head, known)]
        values = meta.values
        points = meta.points or extras // values
        whole = points > 0 and extras == points * values
        return [Layout(head, known, points, values)] if task in ("", "pose") and whole else []
    fits: list[Layout] = []
    if task in ("", "detect", "segment"):
        fits.append(Layout(head, columns - before - coefficients, coefficients=coefficients))
    if task in ("", "pose") and head == "decoded":
        points = meta.points or (columns - before - (known or 1)) // meta.values
        layout = Layout(head, columns - before - points * meta.values, points, meta.values)
        # Unless the file says so, only one class with COCO's points is taken for a body.
        if points > 0 and (task == "pose" or points == COCO_POSE) and layout.classes == (known or 1):
            fits.append(layout)
    return [f for f in fits if f.classes > 0 and (not known or f.classes == known)]


def _told(layout: Layout) -> str:
    extras = "-segment" * bool(layout.coefficients) + "-pose" * bool(layout.points)
    return f"{layout.head}{extras} with {layout.classes} classes"


def unknown_layout(shapes: Sequence[Shape], size: tuple[int, int], why: str) -> MienError:
    told = ", ".join(str(list(s)) for s in shapes)
    return MienError(
        "models.unknown-layout",
        f"this file answers {told} to a picture of {size[0]} × {size[1]} px: {why}",
        "set adapters.NAME.layout in mien.toml to what the file is; 'mien models list --json' shows the words",
    )


# ---------------------------------------------------------------- boxes and masks


def decode(layout: Layout, table: Array, size: tuple[int, int], min_score: float) -> Detected:
    """One picture's table as the network gave it (`Layout.head`) to what scores above `min_score`, in its order.

    Raises:
        MienError: `models.not-finite`.
    """
    rows = np.asarray(table.T if layout.head == "decoded" else table, np.float32)
    finite(rows)
    if layout.head == "end2end":
        kept = rows[rows[:, 4] > min_score]
        return Detected(kept[:, :4], kept[:, 4], np.rint(kept[:, 5]).astype(np.int64), kept[:, 6:])
    before = 4 if layout.head == "decoded" else 5
    scores = rows[:, before : before + layout.classes]
    best = scores.max(1) * (1.0 if layout.head == "decoded" else rows[:, 4])
    likely = np.flatnonzero(best > min_score)  # few of the rows: look no further
    box = rows[likely, :4]
    if layout.head == "yolox":
        corner, stride = _grid(size)
        with np.errstate(over="ignore"):  # a decoded table read as a raw one: told below
            middle, reach = (box[:, :2] + corner[likely]) * stride[likely], np.exp(box[:, 2:]) * stride[likely]
        box = np.concatenate([middle, reach], 1)
        finite(box)
    xyxy = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
    return Detected(xyxy, best[likely], scores[likely].argmax(1), rows[likely, before + layout.classes :])


def _grid(size: tuple[int, int]) -> tuple[Array, Array]:
    """Column and row of every cell `[a 2]` of the three levels, and their strides `[a 1]`."""
    corners, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        corners.append(np.stack([x, y], -1).reshape(-1, 2).astype(np.float32))
        strides.append(np.full((x.size, 1), stride, np.float32))
    return np.concatenate(corners), np.concatenate(strides)


def finite(values: Array) -> None:
    """Raises MienError `models.not-finite`."""
    if not np.isfinite(values).all():
        raise MienError(
            "models.not-finite",
            "the detector answered NaN or Inf",
            "if it is a float16 export, export it in float32; if YOLOX, set layout = 'yolox-decoded' where it was "
            "exported with its boxes decoded",
        )


def mask_in(box: Array, plane: Array, scale: Array, offset: Array, canvas: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """A mask over the whole pixels that a box of the frame touches, `[h w]`.

    Logits above 0, read between the cells of a coarse plane `[mh mw]` over the canvas (Bolya et al., "YOLACT", 2019).

    Args:
        box: xyxy px of the frame, within it; scale: canvas px per frame px (x, y); offset: of the frame in the canvas.
    """
    finite(plane)
    x1, y1, x2, y2 = np.floor(box[:2]).tolist() + np.ceil(box[2:]).tolist()
    (x, x_next, fx), (y, y_next, fy) = (
        _between((np.arange(low, high) + 0.5) * scale[axis] + offset[axis], plane.shape[1 - axis], canvas[1 - axis])
        for axis, low, high in ((0, x1, x2), (1, y1, y2))
    )
    rows = plane[y] * (1 - fy)[:, None] + plane[y_next] * fy[:, None]
    return (rows[:, x] * (1 - fx) + rows[:, x_next] * fx) > 0


def _between(at: Array, cells: int, length: int) -> tuple[Array, Array, Array]:
    """The two cells around each place of a canvas of `length` px, and how far it is to the second."""
    place = np.clip(at * cells / length - 0.5, 0, cells - 1)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)
