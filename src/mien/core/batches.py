"""What goes into models: columnar records of pictures, checked once when made.

Pixels are uint8 RGB `[n h w 3]`; boxes float32 xyxy in pixels of the frame they were found in; times int64 µs of
presentation time. "Not measured" is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


def check(name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    if array.dtype != dtype:
        raise ValueError(f"{name} must be {np.dtype(dtype).name}, but got {array.dtype}")
    fits = len(array.shape) == len(shape) and all(w is None or w == g for w, g in zip(shape, array.shape, strict=True))
    if not fits:
        want = " ".join("?" if s is None else str(s) for s in shape)
        raise ValueError(f"{name} must have shape [{want}], but got {list(array.shape)}")


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one source in order. pixels uint8 `[n h w 3]` RGB, upright; t_us int64 `[n]`."""

    pixels: U8
    t_us: I64

    def __post_init__(self) -> None:
        check("pixels", self.pixels, np.uint8, (None, None, None, 3))
        check("t_us", self.t_us, np.int64, (len(self.pixels),))

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections in a batch of frames.

    frame int64 `[n]` (index into the batch, non-decreasing), xyxy float32 `[n 4]` px of the input frame, score float32
    `[n]` in 0..1, label int64 `[n]` (index into `names`), points float32 `[n k 2]` px (k may be 0). masks: one bool
    array per box where the network gives them, `[h w]` over the whole pixels that the box touches; else none.
    """

    frame: I64
    xyxy: F32
    score: F32
    label: I64
    names: tuple[str, ...]
    points: F32 = field(default_factory=lambda: np.zeros((0, 0, 2), np.float32))
    masks: tuple[npt.NDArray[np.bool_], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.frame)
        check("frame", self.frame, np.int64, (None,))
        check("xyxy", self.xyxy, np.float32, (n, 4))
        check("score", self.score, np.float32, (n,))
        check("label", self.label, np.int64, (n,))
        if len(self.points) not in (0, n):
            raise ValueError(f"points must be [0 ? 2] or [{n} ? 2], but got {list(self.points.shape)}")
        if len(self.masks) not in (0, n):
            raise ValueError(f"masks must be none or {n}, but got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.frame)

    def of_frame(self, index: int) -> Boxes:
        return self.take(np.flatnonzero(self.frame == index))

    def take(self, rows: npt.NDArray[np.intp]) -> Boxes:
        points = self.points[rows] if len(self.points) else self.points
        masks = tuple(self.masks[int(i)] for i in rows) if self.masks else ()
        return Boxes(self.frame[rows], self.xyxy[rows], self.score[rows], self.label[rows], self.names, points, masks)

    @classmethod
    def empty(cls, names: tuple[str, ...]) -> Boxes:
        i, f = np.zeros(0, np.int64), np.zeros(0, np.float32)
        return cls(i, np.zeros((0, 4), np.float32), f, i, names)


@dataclass(frozen=True, slots=True)
class Faces:
    """Frames with the face boxes found in them: what every face model takes."""

    frames: Frames
    boxes: Boxes

    def __post_init__(self) -> None:
        if len(self.boxes) and int(self.boxes.frame.max()) >= len(self.frames):
            raise ValueError("boxes must refer to frames of the batch")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class People:
    """Frames with the boxes of the people found in them: what every body model takes."""

    frames: Frames
    boxes: Boxes

    def __post_init__(self) -> None:
        if len(self.boxes) and int(self.boxes.frame.max()) >= len(self.frames):
            raise ValueError("boxes must refer to frames of the batch")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class FacePeople:
    """Faces and the body each belongs to. body float32 `[n 4]` xyxy px of the frame, NaN where none was found."""

    frames: Frames
    boxes: Boxes
    body: F32

    def __post_init__(self) -> None:
        check("body", self.body, np.float32, (len(self.boxes), 4))
        if len(self.boxes) and int(self.boxes.frame.max()) >= len(self.frames):
            raise ValueError("boxes must refer to frames of the batch")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches of one source, each some frames in order: what a model of actions takes."""

    frames: tuple[Frames, ...]

    def __len__(self) -> int:
        return len(self.frames)
