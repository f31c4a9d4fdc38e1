"""Pixels to network inputs and back: letterbox, face crops, non-maximum suppression.

Continuous coordinates: the centre of the top left pixel is (0.5, 0.5), a box over a whole frame is (0, 0, w, h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mien.core import Boxes, Faces
from mien.models.onnx import Array

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

MIN_FACE_PX = 4.0


# ---------------------------------------------------------------- whole frames


def fit(pixels: U8, width: int, height: int, *, centre: bool = False) -> tuple[U8, float, tuple[float, float]]:
    """A frame `[h w 3]` inside a canvas `[height width 3]` at its own aspect ratio, black around it.

    Returns the canvas, the scale (canvas px per frame px) and the offset of the frame's corner in the canvas.
    """
    import cv2

    h, w = pixels.shape[:2]
    scale = min(width / w, height / h)
    inner = max(1, round(w * scale)), max(1, round(h * scale))
    x, y = ((width - inner[0]) // 2, (height - inner[1]) // 2) if centre else (0, 0)
    canvas = np.zeros((height, width, 3), np.uint8)
    small = averaged(pixels, 1 << max(0, int(np.log2(1 / scale))))  # halving is what is quick
    canvas[y : y + inner[1], x : x + inner[0]] = cv2.resize(small, inner, interpolation=cv2.INTER_LINEAR)
    return canvas, scale, (float(x), float(y))


def averaged(pixels: U8, n: int) -> U8:
    """The means of n × n px (of slightly more where that is not a whole number of times in the picture).

    With what bilinear sampling does afterwards, this is as good as averaging over areas that are no whole number of
    px wide, at a fraction of the cost.
    """
    import cv2

    if n <= 1:
        return pixels
    h, w = pixels.shape[:2]
    return np.asarray(cv2.resize(pixels, (max(1, w // n), max(1, h // n)), interpolation=cv2.INTER_AREA), np.uint8)


def resized_rows(rows: Array, length: int) -> F32:
    """A picture `[h w 3]` at another height, `[length w 3]`: bilinear, over as many rows as one new row covers
    (antialiased, as the preprocessing of several published networks is; no OpenCV mode is the same)."""
    if len(rows) == length:
        return rows.astype(np.float32)
    rows = np.ascontiguousarray(rows)  # rows of a transposed picture take twice as long to gather
    total = np.zeros((length, *rows.shape[1:]), np.float32)
    for tap, weight in zip(*_triangle(len(rows), length), strict=True):
        total += rows[tap] * weight[:, None, None]
    return total


@lru_cache(maxsize=24)
def _triangle(length: int, new: int) -> tuple[Array, Array]:
    """Which rows make each new one, `[taps new]`, and their weights, which sum to 1."""
    scale = length / new
    support = max(scale, 1.0)
    centre = (np.arange(new) + 0.5) * scale
    taps = np.floor(centre - support)[None] + np.arange(int(np.ceil(2 * support)) + 1)[:, None]
    weights = np.maximum(1 - np.abs(taps + 0.5 - centre) / support, 0) * ((taps >= 0) & (taps < length))
    return np.clip(taps, 0, length - 1).astype(np.int64), (weights / weights.sum(0)).astype(np.float32)


class Found(NamedTuple):
    """What a detector found in one frame: xyxy `[n 4]` px, score `[n]`, label `[n]`, points `[n k 2]` px."""

    xyxy: Array
    score: Array
    label: Array
    points: Array


def suppress(found: Found, iou: float) -> Found:
    """Greedy non-maximum suppression within each class; the rest in order of falling score."""
    order = np.argsort(-found.score, kind="stable")
    box = found.xyxy[order].astype(np.float64)
    label = found.label[order]
    area = np.prod(np.maximum(box[:, 2:] - box[:, :2], 0), axis=1)
    alive = np.ones(len(order), bool)
    keep: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        keep.append(i)
        side = np.minimum(box[i, 2:], box[i + 1 :, 2:]) - np.maximum(box[i, :2], box[i + 1 :, :2])
        shared = np.prod(np.maximum(side, 0), axis=1)
        union = area[i] + area[i + 1 :] - shared
        alive[i + 1 :] &= (shared <= iou * union) | (label[i + 1 :] != label[i])
    rows = order[keep]
    return Found(found.xyxy[rows], found.score[rows], found.label[rows], found.points[rows])


def to_frame(found: Found, scale: float, offset: tuple[float, float], height: int, width: int) -> Found:
    """From canvas px to px of the frame; boxes end at its edges, those wholly outside are dropped."""
    shift = np.array(offset)
    xyxy = (found.xyxy.reshape(-1, 2, 2) - shift) / scale
    xyxy = np.clip(xyxy, 0, [width, height]).reshape(-1, 4)
    inside = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    points = (found.points - shift) / scale
    return Found(xyxy[inside], found.score[inside], found.label[inside], points[inside])


def as_boxes(frames: Sequence[Found], names: tuple[str, ...], points: int) -> Boxes:
    """The findings of a batch of frames as one record."""
    if not frames:
        empty = Boxes.empty(names)
        return Boxes(empty.frame, empty.xyxy, empty.score, empty.label, names, np.zeros((0, points, 2), np.float32))
    n = sum(len(f.score) for f in frames)
    return Boxes(
        frame=np.repeat(np.arange(len(frames), dtype=np.int64), [len(f.score) for f in frames]),
        xyxy=np.concatenate([f.xyxy for f in frames]).astype(np.float32).reshape(n, 4),
        score=np.concatenate([f.score for f in frames]).astype(np.float32),
        label=np.concatenate([f.label for f in frames]).astype(np.int64),
        names=names,
        points=np.concatenate([f.points for f in frames]).astype(np.float32).reshape(n, points, 2),
    )


# ---------------------------------------------------------------- faces


@dataclass(frozen=True, slots=True)
class Square:
    """A square of a frame: centre (px), side (px) and roll (rad, clockwise as seen), to be cut out upright."""

    x: float
    y: float
    side: float
    roll: float = 0.0

    def to_frame(self, points: Array, size: int) -> Array:
        """Points `[k 2]` of the cut-out (0..size) in px of the frame."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        local = (points - size / 2) * (self.side / size)
        return local @ np.array([[c, s], [-s, c]]) + np.array([self.x, self.y])

    def cut(self, pixels: U8, size: int) -> U8:
        """The cut-out, uint8 `[size size 3]`; black outside the frame. Large faces are averaged first, then sampled."""
        import cv2

        over = max(1, int(self.side // size))
        n = size if over == 1 else 2 * size  # twice as finely, then the mean of four
        corners = np.array([[0.0, 0.0], [n, 0.0], [0.0, n]])
        places = self.to_frame(corners, n)
        if over > 3:
            pixels, origin = self._averaged(pixels, over // 2)
            places = (places - origin) / (over // 2)
        matrix = cv2.getAffineTransform((places - 0.5).astype(np.float32), (corners - 0.5).astype(np.float32))
        cut = cv2.warpAffine(pixels, matrix, (n, n), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return averaged(np.asarray(cut, np.uint8), n // size)

    def _averaged(self, pixels: U8, over: int) -> tuple[U8, Array]:
        """What the frame has of the square's surroundings, as means of `over` × `over` px, and its corner."""
        reach = self.side / 2 * (abs(np.cos(self.roll)) + abs(np.sin(self.roll))) + over
        size = np.array([pixels.shape[1], pixels.shape[0]])
        middle = np.array([self.x, self.y])
        (x1, y1), (x2, y2) = (np.clip(middle + side, 0, size).astype(int) for side in (-reach, reach))
        if x2 <= x1 or y2 <= y1:
            return np.zeros((1, 1, 3), np.uint8), np.zeros(2)
        part = pixels[y1:y2, x1:x2]
        more = [(0, -side % over) for side in part.shape[:2]]
        return averaged(np.pad(part, [*more, (0, 0)]) if any(n for _, n in more) else part, over), np.array([x1, y1])


def around(box: Array, scale: float, eyes: Array | None = None) -> Square:
    """The square around a box (xyxy px), its longer side × `scale`; upright by the eyes `[2 2]`, left eye first."""
    x1, y1, x2, y2 = (float(v) for v in box)
    roll = 0.0
    if eyes is not None:
        dx, dy = (float(v) for v in eyes[1] - eyes[0])
        roll = float(np.arctan2(dy, dx)) if dx or dy else 0.0
    return Square((x1 + x2) / 2, (y1 + y2) / 2, max(x2 - x1, y2 - y1) * scale, roll)


def eyes_of(faces: Faces, row: int) -> Array | None:
    """Both eyes of a face where its detector gave them (detectors of this room put the eyes first), else None."""
    points = faces.boxes.points
    return points[row, :2] if len(points) and points.shape[1] >= 2 else None


def measurable(box: Array) -> bool:
    """Whether a box is finite and at least `MIN_FACE_PX` wide and high; else its answer is NaN."""
    return bool(np.isfinite(box).all() and min(box[2] - box[0], box[3] - box[1]) >= MIN_FACE_PX)
