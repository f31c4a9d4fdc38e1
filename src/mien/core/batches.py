"""What goes into models and comes out: columnar records, checked once when made.

Pixels are uint8 RGB `[n h w 3]`; boxes float32 xyxy in pixels of the frame they were found in; sound float32 mono at
16 kHz in -1..1; times int64 µs of presentation time. "Not measured" is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

SAMPLE_RATE_HZ = 16_000


def _check(name: str, array: npt.NDArray[np.generic], dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
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
        _check("pixels", self.pixels, np.uint8, (None, None, None, 3))
        _check("t_us", self.t_us, np.int64, (len(self.pixels),))

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections in a batch of frames.

    frame int64 `[n]` (index into the batch, non-decreasing), xyxy float32 `[n 4]` px of the input frame, score float32
    `[n]` in 0..1, label int64 `[n]` (index into `names`), points float32 `[n k 2]` px (k may be 0).
    """

    frame: I64
    xyxy: F32
    score: F32
    label: I64
    names: tuple[str, ...]
    points: F32 = field(default_factory=lambda: np.zeros((0, 0, 2), np.float32))

    def __post_init__(self) -> None:
        n = len(self.frame)
        _check("frame", self.frame, np.int64, (None,))
        _check("xyxy", self.xyxy, np.float32, (n, 4))
        _check("score", self.score, np.float32, (n,))
        _check("label", self.label, np.int64, (n,))
        if len(self.points) not in (0, n):
            raise ValueError(f"points must be [0 ? 2] or [{n} ? 2], but got {list(self.points.shape)}")

    def __len__(self) -> int:
        return len(self.frame)

    def of_frame(self, index: int) -> Boxes:
        return self.take(np.flatnonzero(self.frame == index))

    def take(self, rows: npt.NDArray[np.intp]) -> Boxes:
        points = self.points[rows] if len(self.points) else self.points
        return Boxes(self.frame[rows], self.xyxy[rows], self.score[rows], self.label[rows], self.names, points)

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


# The 17 points of COCO (Lin et al., 2014), in its order: what every body model gives at least.
COCO_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Keypoints:
    """Body points of people, in the order of the boxes that were given. Left and right are the person's own.

    points float32 `[n k 3]`: x, y in px of the frame and visibility 0..1 (a point outside the frame or hidden has a low
    one; a person who could not be measured has NaN); names (k), `COCO_POINTS` among them; score float32 `[n]`: that
    there is a body in the box.
    """

    points: F32
    names: tuple[str, ...]
    score: F32

    def __post_init__(self) -> None:
        _check("points", self.points, np.float32, (None, len(self.names), 3))
        _check("score", self.score, np.float32, (len(self.points),))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """points float32 `[n k 3]` (x, y px of the frame; z relative, same unit), score float32 `[n]`: face presence."""

    points: F32
    score: F32

    def __post_init__(self) -> None:
        _check("points", self.points, np.float32, (None, None, 3))
        _check("score", self.score, np.float32, (len(self.points),))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Distribution:
    """probs float32 `[n c]`, rows sum to 1 (or are all NaN: not measured); labels: c names."""

    probs: F32
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        _check("probs", self.probs, np.float32, (None, len(self.labels)))

    def __len__(self) -> int:
        return len(self.probs)


@dataclass(frozen=True, slots=True)
class Scalars:
    """value float32 `[n]` and its standard deviation sd float32 `[n]` (NaN where the model gives none)."""

    value: F32
    sd: F32

    def __post_init__(self) -> None:
        _check("value", self.value, np.float32, (None,))
        _check("sd", self.sd, np.float32, (len(self.value),))

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True)
class Sound:
    """samples float32 `[s]` mono 16 kHz in -1..1; t0_us: time of the first sample."""

    samples: F32
    t0_us: int

    def __post_init__(self) -> None:
        _check("samples", self.samples, np.float32, (None,))

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True, slots=True)
class Curve:
    """A uniform grid over a sound: values float32 `[n k]`, names (k), hop_us; row i starts at t0_us + i·hop_us."""

    values: F32
    names: tuple[str, ...]
    t0_us: int
    hop_us: int

    def __post_init__(self) -> None:
        _check("values", self.values, np.float32, (None, len(self.names)))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """vectors float32 `[n d]`: in RAM only; no room writes this record to disk, and `store` refuses it."""

    vectors: F32

    def __post_init__(self) -> None:
        _check("vectors", self.vectors, np.float32, (None, None))

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class Words:
    """Words heard in a batch of sounds, in order of time within each.

    sound int64 `[w]` (index into the batch, non-decreasing), span_us int64 `[w 2]` (start and end, half-open,
    presentation time), score float32 `[w]`: mean probability of a word's tokens, 0..1; text: w words as written.
    A transcript says who was meant and what was said: treat it as personal data.
    """

    sound: I64
    span_us: I64
    score: F32
    text: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.text)
        _check("sound", self.sound, np.int64, (n,))
        _check("span_us", self.span_us, np.int64, (n, 2))
        _check("score", self.score, np.float32, (n,))

    def __len__(self) -> int:
        return len(self.text)

    def of_sound(self, index: int) -> Words:
        return self.take(np.flatnonzero(self.sound == index))

    def take(self, rows: npt.NDArray[np.intp]) -> Words:
        return Words(self.sound[rows], self.span_us[rows], self.score[rows], tuple(self.text[int(i)] for i in rows))
