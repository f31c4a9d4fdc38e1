"""What an affect model may see in `care`: the faces of people who are enrolled, and nothing of anybody else.

Everything is black but the enrolled faces with a margin (networks cut wider than the box); within the margin, other
faces, found or tracked, and the bodies of others are black, too. Where two faces overlap, the part that may be the
other person's is black: the reading gets worse, not the privacy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Boxes, Clip, Frames
from mien.pipeline.stages.boxes import StoredBoxes, Tracked, nobody, people_of, track_id

Array = npt.NDArray[Any]
MARGIN = 0.25  # of the longer side of a box, on each side of it


class Shield:
    """Stands between the frames of one clip and its affect models; asked once for every batch, in order."""

    def __init__(self, clip: Clip, allowed: frozenset[str], objects: Any) -> None:
        self._clip, self._allowed = clip, allowed
        self._bodies = None if objects is None else StoredBoxes(objects)

    def over(self, frames: Frames, found: Tracked | None) -> Tracked:
        """The faces of a batch that may be seen, on frames that hold nothing else."""
        people = people_of(frames, self._bodies.find(frames) if self._bodies else None).boxes
        bodies = [people.of_frame(i) for i in range(len(frames))]
        return masked(self._clip, found or nobody(frames), self._allowed, bodies)


def masked(clip: Clip, seen: Tracked, allowed: frozenset[str], bodies: Sequence[Boxes] = ()) -> Tracked:
    """The rows of allowed face tracks, on frames where all else is black.

    Args:
        seen: all faces of a batch. allowed: ids of face tracks. bodies: people of each frame of the batch.
    """
    names = {int(n): track_id(clip, "face", int(n)) for n in np.unique(seen.track) if n >= 0}
    mine = np.array([names.get(int(n), "") in allowed for n in seen.track], bool)
    pixels = np.zeros_like(seen.frames.pixels)
    for i in np.unique(seen.boxes.frame[mine]):
        here = seen.boxes.frame == i
        own, others = seen.boxes.xyxy[here & mine], seen.boxes.xyxy[here & ~mine]
        people = bodies[i].xyxy if len(bodies) else np.zeros((0, 4), np.float32)
        shown = _shown(seen.frames.pixels.shape[1:3], own, others, people)
        pixels[i][shown] = seen.frames.pixels[i][shown]
    return Tracked(Frames(pixels, seen.frames.t_us), seen.boxes, seen.track).take(np.flatnonzero(mine))


def _shown(size: tuple[int, int], own: Array, others: Array, people: Array) -> npt.NDArray[np.bool_]:
    """Which pixels `[h w]` of one frame may be seen."""
    shown, face = np.zeros(size, bool), np.zeros(size, bool)
    for box in own:
        shown[_part(_grown(box))] = True
        face[_part(box)] = True
    hidden = np.zeros(size, bool)
    for body in _foreign(own, people):
        hidden[_part(body)] = True
    hidden &= ~face  # somebody stands behind: the face in front is the person's own
    for box in others:
        hidden[_part(_grown(box))] = True
    return shown & ~hidden


def _foreign(own: Array, people: Array) -> list[Array]:
    """The bodies that belong to none of the faces: a face belongs to the smallest body around its middle."""
    area = (people[:, 2:] - people[:, :2]).prod(1)
    kept: set[int] = set()
    for x, y in (own[:, :2] + own[:, 2:]) / 2:
        around = (people[:, 0] <= x) & (x <= people[:, 2]) & (people[:, 1] <= y) & (y <= people[:, 3])
        if around.any():
            kept.add(int(np.argmin(np.where(around, area, np.inf))))
    return [body for i, body in enumerate(people) if i not in kept]


def _grown(box: Array) -> Array:
    grow = MARGIN * float(max(box[2] - box[0], box[3] - box[1]))
    return box + np.array([-grow, -grow, grow, grow], box.dtype)


def _part(box: Array) -> tuple[slice, slice]:
    x1, y1 = (max(0, int(np.floor(v))) for v in box[:2])
    x2, y2 = (max(0, int(np.ceil(v))) for v in box[2:])
    return slice(y1, y2), slice(x1, x2)
