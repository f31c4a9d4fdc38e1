"""Crops as published packages cut them: whole pixels of a box, not a square, stretched to what the network wants."""

from __future__ import annotations

import numpy as np

from mien.models.onnx import Array
from mien.models.vision.geometry import U8


def inside(pixels: U8, box: Array) -> U8:
    """The pixels `[h w 3]` of a box (xyxy px), its corners truncated to whole pixels and held inside the frame.

    `h` or `w` is 0 where the box lies outside.
    """
    high, wide = pixels.shape[:2]
    x1, y1 = (max(int(v), 0) for v in box[:2])
    return pixels[y1 : max(min(int(box[3]), high), 0), x1 : max(min(int(box[2]), wide), 0)]


def upright(pixels: U8, box: Array, eyes: Array | None) -> U8:
    """A box's own width and height, turned about its middle until the eyes are level; black outside the frame.

    eyes: `[2 2]`, the one on the left of the picture first; None leaves the box level. As DeepFace aligns
    (`modules/detection.py`): cubic, corners and middle in whole pixels.
    """
    import cv2

    x1, y1, x2, y2 = (int(v) for v in box)
    w, h = x2 - x1, y2 - y1
    dx, dy = (1.0, 0.0) if eyes is None else (float(v) for v in eyes[1] - eyes[0])
    middle = (x1 - w // 2 + (w + 2 * (w // 2)) // 2, y1 - h // 2 + (h + 2 * (h // 2)) // 2)
    matrix = cv2.getRotationMatrix2D(middle, float(np.degrees(np.arctan2(dy, dx))), 1.0)
    matrix[:, 2] -= (x1, y1)
    cut = cv2.warpAffine(pixels, matrix, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(cut, np.uint8)
