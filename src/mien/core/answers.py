"""What comes out of models, one row for each of what went in. "Not measured" is NaN, never 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.core.batches import F32, check

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
        check("points", self.points, np.float32, (None, len(self.names), 3))
        check("score", self.score, np.float32, (len(self.points),))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """points float32 `[n k 3]` (x, y px of the frame; z relative, same unit), score float32 `[n]`: face presence."""

    points: F32
    score: F32

    def __post_init__(self) -> None:
        check("points", self.points, np.float32, (None, None, 3))
        check("score", self.score, np.float32, (len(self.points),))

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Distribution:
    """probs float32 `[n c]`, rows sum to 1 (or are all NaN: not measured); labels: c names."""

    probs: F32
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        check("probs", self.probs, np.float32, (None, len(self.labels)))

    def __len__(self) -> int:
        return len(self.probs)


@dataclass(frozen=True, slots=True)
class Affect:
    """A facial expression whose network also measures valence and arousal.

    probs float32 `[n c]` and labels as in `Distribution`; valence and arousal float32 `[n]` in -1..1 (NaN: not
    measured), sd float32 `[n 2]` of the two (NaN where the network gives none).
    """

    probs: F32
    labels: tuple[str, ...]
    valence: F32
    arousal: F32
    sd: F32

    def __post_init__(self) -> None:
        n = len(self.probs)
        check("probs", self.probs, np.float32, (n, len(self.labels)))
        check("valence", self.valence, np.float32, (n,))
        check("arousal", self.arousal, np.float32, (n,))
        check("sd", self.sd, np.float32, (n, 2))

    def __len__(self) -> int:
        return len(self.probs)


@dataclass(frozen=True, slots=True)
class Scalars:
    """value float32 `[n]` and its standard deviation sd float32 `[n]` (NaN where the model gives none)."""

    value: F32
    sd: F32

    def __post_init__(self) -> None:
        check("value", self.value, np.float32, (None,))
        check("sd", self.sd, np.float32, (len(self.value),))

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """vectors float32 `[n d]`: in RAM only; no room writes this record to disk, and `store` refuses it."""

    vectors: F32

    def __post_init__(self) -> None:
        check("vectors", self.vectors, np.float32, (None, None))

    def __len__(self) -> int:
        return len(self.vectors)
