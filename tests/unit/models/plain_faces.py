"""Faces of one colour each, and a network that answers with what it was shown: for adapters that embed faces."""

import numpy as np

from mien.core import Boxes, Faces, Frames


class Reader:
    """Answers with the mean of each colour; keeps what it was shown and where it wrote. `axes`: of the picture."""

    def __init__(self, *axes: int):
        self.inputs, self.outs, self._axes = [], [], axes

    def into(self, x, out):
        self.inputs.append(x.copy())
        self.outs.append(out)
        out[:3] = x[0].mean(self._axes)

    def close(self):
        pass


def faces(*colours, side=40.0):
    """One face a frame, `side` px wide, in a frame of its colour."""
    n = len(colours)
    pixels = np.zeros((n, 96, 96, 3), np.uint8)
    pixels[:] = np.array(colours, np.uint8)[:, None, None]
    box = np.array([28, 28, 28 + side, 28 + side], np.float32)
    rows = np.arange(n, dtype=np.int64)
    boxes = Boxes(rows, np.tile(box, (n, 1)), np.ones(n, np.float32), 0 * rows, ("face",))
    return Faces(Frames(pixels, rows * 40_000), boxes)


def noise(n=2, side=60.0):
    """As `faces`, of random pixels."""
    given = faces(*[(0, 0, 0)] * n, side=side)
    pixels = np.random.default_rng(0).integers(0, 255, given.frames.pixels.shape, np.uint8)
    return Faces(Frames(pixels, given.frames.t_us), given.boxes)
