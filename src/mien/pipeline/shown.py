"""Pictures that may be shown: to people in a report, or to a model in a question. One rule for both.

A picture is shown where the display rules let its clip through and the gate has passed the picture itself; faces are
blurred beyond recovery unless somebody asked otherwise. In `care` there are none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Boxes, Clip, Context, Frames, MienError, Observation, Source
from mien.media import Decoder
from mien.pipeline.stack import Stack
from mien.policy import SENTENCES, quarantine_of

BLUR_GROW = 0.35
CELLS = 8  # a blurred face is this many cells high and wide: nothing of it can be computed back


@dataclass(frozen=True, slots=True)
class Shown:
    """frames: those that may be shown, faces blurred where `blurred`; None with the reason why not."""

    frames: Frames | None
    why: str | None
    blurred: bool = False


def stills(
    stack: Stack,
    context: Context,
    source: Source,
    clip: Clip,
    observations: Sequence[Observation],
    *,
    count: int,
    side_px: int,
    blur: bool = True,
) -> Shown:
    """Up to `count` frames, evenly over the clip, that the rules let through."""
    decision = quarantine_of(context, observations)
    if not decision.display:
        return Shown(None, "; ".join(SENTENCES[r] for r in decision.reasons))
    span = clip.span
    times = sorted({span.start_us + span.duration_us * (2 * i + 1) // (2 * count) for i in range(count)})
    try:
        with Decoder(Path(source.path)) as decoder:
            found = decoder.stills(times, side_px)
            gate: Any = stack.get("explicit").run(found)
            boxes: Boxes | None = stack.get("faces").run(found) if blur and stack.has("faces") else None
    except MienError as error:
        return Shown(None, f"pictures could not be made: {error.message}")
    if blur and boxes is None:
        return Shown(None, "faces cannot be blurred: the slot 'faces' is off")
    kept = [i for i in range(len(found)) if quarantine_of(context, observations, float(gate.value[i])).display]
    if not kept:
        return Shown(None, "no single picture passed the explicit-content gate")
    pixels = [found.pixels[i] if boxes is None else blurred(found.pixels[i], boxes.of_frame(i).xyxy) for i in kept]
    return Shown(Frames(np.stack(pixels), found.t_us[kept]), None, boxes is not None)


def blurred(image: npt.NDArray[np.uint8], faces: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """A copy of a picture `[h w 3]` with each box `[n 4]` (xyxy, px), grown by `BLUR_GROW`, made of a few cells."""
    import cv2

    image = image.copy()
    h, w = image.shape[:2]
    for x1, y1, x2, y2 in faces:
        dx, dy = BLUR_GROW * (x2 - x1), BLUR_GROW * (y2 - y1)
        left, top = max(0, int(x1 - dx)), max(0, int(y1 - dy))
        right, bottom = min(w, int(np.ceil(x2 + dx))), min(h, int(np.ceil(y2 + dy)))
        if right > left and bottom > top:
            part = image[top:bottom, left:right]
            size = (min(CELLS, part.shape[1]), min(CELLS, part.shape[0]))
            small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
            wide = cv2.resize(small, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
            image[top:bottom, left:right] = wide
    return image
