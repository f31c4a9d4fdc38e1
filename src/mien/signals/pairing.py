"""Which body a face belongs to, by where the boxes lie. Pure; no appearance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import Boxes

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

UPPER = 0.5
"""A head lies in the upper half of a person who is upright; of one who lies (a box wider than high), anywhere."""
LEAST = 0.5
"""Least share of the face that must be inside. These three are geometry, not fits."""
TIE = 0.1
"""How much the place in the body counts: it decides where two bodies hold the whole face, and little else."""


def pair_faces(faces: Boxes, people: Boxes) -> F32:
    """The body of each face: float32 `[n 4]` xyxy px, NaN where none was found. Each body goes to one face at most.

    In each frame the pairs with the greatest sum of scores (Kuhn, "The Hungarian method", 1955). The score is the share
    of the face inside the body's upper part, less `TIE` × the distance of its centre from where a head would be, in
    sizes of the body; pairs with a share below `LEAST` are none.

    Args:
        faces, people: boxes of the same frames. `people` must hold people only. Boxes that are not finite or have no
            area are never paired.
    """
    from scipy.optimize import linear_sum_assignment

    body = np.full((len(faces), 4), np.nan, np.float32)
    for frame in np.unique(faces.frame):
        mine, theirs = np.flatnonzero(faces.frame == frame), np.flatnonzero(people.frame == frame)
        score = _scores(faces.xyxy[mine].astype(np.float64), people.xyxy[theirs].astype(np.float64))
        for i, j in zip(*linear_sum_assignment(score, maximize=True), strict=True):
            if score[i, j] > 0:
                body[mine[i]] = people.xyxy[theirs[j]]
    return body


def _scores(face: F64, body: F64) -> F64:
    """`[n m]`: above 0 for pairs that may be, 0 for all others."""
    size = body[:, 2:] - body[:, :2]
    upright = size[:, 1] > size[:, 0]
    upper = body.copy()
    upper[:, 3] = np.where(upright, body[:, 1] + UPPER * size[:, 1], body[:, 3])
    low, high = np.maximum(face[:, None, :2], upper[:, :2]), np.minimum(face[:, None, 2:], upper[:, 2:])
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.maximum(high - low, 0).prod(-1) / (face[:, 2:] - face[:, :2]).prod(-1)[:, None]
        head = np.where(upright[:, None], body[:, :2] + size * [0.5, 0.125], body[:, :2] + size / 2)
        away = np.linalg.norm(((face[:, None, :2] + face[:, None, 2:]) / 2 - head) / size, axis=-1)
        score = np.where(share >= LEAST, share - TIE * np.minimum(away, 1), 0)
    return np.nan_to_num(score, nan=0, posinf=0, neginf=0)
