"""First, middle and last frame of each clip that is shown, exactly as they will be trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.export.diffusion.making import Planned, cutting
from mien.export.diffusion.targets import Target
from mien.export.intact import Intact
from mien.media import Decoder
from mien.media.encoding import pictures, rgb

WIDE_PX = 160


def strips(planned: Sequence[Planned], target: Target) -> Iterator[npt.NDArray[np.uint8] | MienError]:
    """Per clip uint8 `[h w·3 3]` (`[h w 3]` of a picture), or why it will be dropped when it is decoded."""
    intact = Intact()
    for one in planned:
        try:
            yield intact.wrong(one.example.rows.part.source) or _strip(one, target)
        except MienError as error:
            yield error


def _strip(one: Planned, target: Target) -> npt.NDArray[np.uint8]:
    source = one.example.rows.part.source
    w, h = one.piece.size
    size = WIDE_PX, max(2, round(WIDE_PX * h / w / 2) * 2)
    asked = replace(cutting(one, target), width_px=size[0], height_px=size[1], frames=1)
    if not target.still:
        asked = replace(asked, frames=3, fps=Fraction(2 * target.fps, one.piece.frames - 1))
    with Decoder(Path(source.path)) as decoder:
        return np.concatenate([rgb(packed) for _, packed in pictures(decoder, asked)], axis=1)


def sheet(strips_: Sequence[npt.NDArray[np.uint8]], columns: int = 3) -> npt.NDArray[np.uint8]:
    """All strips on one picture, uint8 `[h w 3]`, dark where there is none."""
    if not strips_:
        return np.full((32, 32, 3), 24, np.uint8)
    height, width = max(s.shape[0] for s in strips_) + 4, max(s.shape[1] for s in strips_) + 4
    rows = -(-len(strips_) // columns)
    made = np.full((rows * height, columns * width, 3), 24, np.uint8)
    for i, strip in enumerate(strips_):
        y, x = i // columns * height + 2, i % columns * width + 2
        made[y : y + strip.shape[0], x : x + strip.shape[1]] = strip
    return made


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """A picture uint8 `[h w 3]` RGB as PNG."""
    import cv2

    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        raise MienError("media.no-encoder", "a picture cannot be written as PNG", "install opencv-python-headless anew")
    return data.tobytes()
