"""The stages on the picture as a whole: its quality, what the scene looks like, hashes that find copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mien.core import US, Clip, Frames
from mien.pipeline.config import Analysis
from mien.pipeline.rows import observe, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import Tracked
from mien.signals.neighbours import POSITIONS, frame_hash
from mien.signals.quality import ROWS, picture

QUALITY_RULE = "rule.picture-quality@1"
QUALITY_UNITS = {"sharpness": "1", "luma": "0..1", "contrast": "0..1", "dark": "share", "bright": "share"}
SCENE_EVERY_US = 2 * US


class QualityPass:
    """Sharpness, exposure and contrast of one frame a second."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip = clip
        self._t: list[int] = []
        self._rows: list[tuple[float, ...]] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        if min(frames.pixels.shape[1:3]) < 3:
            return
        for t_us, pixels in zip(frames.t_us.tolist(), frames.pixels, strict=True):
            if not self._t or t_us // US != self._t[-1] // US:
                seen = picture(_small(pixels))
                self._t.append(t_us)
                self._rows.append(tuple(getattr(seen, name) for name in QUALITY_UNITS))

    def finish(self) -> tuple[list[Any], dict[str, Any]]:
        values = np.array(self._rows, np.float64).reshape(-1, len(QUALITY_UNITS))
        records: list[Any] = []
        for k, (name, unit) in enumerate(QUALITY_UNITS.items()):
            known = values[np.isfinite(values[:, k]), k]
            records.append(
                observe(
                    self._clip, f"picture.{name}", self._clip.span, QUALITY_RULE, unit=unit, n=len(known),
                    value=float(known.mean()) if len(known) else math.nan,
                    sd=float(known.std()) if len(known) > 1 else None,
                    reason=None if len(known) else "flat-picture",
                )
            )  # fmt: skip
        data: dict[str, Any] = {"t_us": np.array(self._t, np.int64)}
        data |= {name: values[:, k].astype(np.float32) for k, name in enumerate(QUALITY_UNITS)}
        return records, {f"quality/{self._clip.id}": table(data)}


def _small(pixels: Any) -> Any:
    """The frame at the height sharpness is measured at; a tenth of the work, and the other figures are shares."""
    import cv2

    h, w = pixels.shape[:2]
    return (
        pixels if h <= ROWS else cv2.resize(pixels, (max(3, round(w * ROWS / h)), ROWS), interpolation=cv2.INTER_AREA)
    )


class ScenePass:
    """Mean scene vector of a frame every 2 s, faces covered, and perceptual hashes at fixed shares of the clip.

    In `care` only the hashes are kept: they find copies, and cannot be turned back into a picture.
    """

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._model = clip, stack.get("scene") if stack.context != "care" else None
        span = clip.span
        places = POSITIONS if span.duration_us > 1 else (0.0,)
        self._targets = [span.start_us + int(p * span.duration_us) for p in places]
        self._hashes: list[int | None] = []
        self._vectors: list[Any] = []
        self._cell = -1

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        from mien.models.vision.scene import without

        due: list[int] = []
        for i, (t_us, pixels) in enumerate(zip(frames.t_us.tolist(), frames.pixels, strict=True)):
            while len(self._hashes) < len(self._targets) and t_us >= self._targets[len(self._hashes)]:
                self._hashes.append(frame_hash(pixels))
            if t_us // SCENE_EVERY_US != self._cell:
                self._cell = t_us // SCENE_EVERY_US
                due.append(i)
        if due and self._model is not None and found is not None:
            chosen = Frames(frames.pixels[due], frames.t_us[due])
            boxes = found.boxes.take(np.flatnonzero(np.isin(found.boxes.frame, due)))
            boxes = type(boxes)(
                np.searchsorted(due, boxes.frame).astype(np.int64), boxes.xyxy, boxes.score, boxes.label, boxes.names
            )
            self._vectors.append(self._model.run(without(chosen, boxes)).vectors.copy())

    def finish(self) -> tuple[list[Any], dict[str, Any]]:
        hashes = self._hashes + [None] * (len(self._targets) - len(self._hashes))
        bits: dict[str, Any] = {"hash": [None if h is None else f"{h:016x}" for h in hashes]}
        tables = {f"hashes/{self._clip.id}": table(bits)}
        if self._vectors:
            mean = np.concatenate(self._vectors).mean(0)
            tables[f"scene/{self._clip.id}"] = table({"value": mean.astype(np.float32)})
        return [], tables
