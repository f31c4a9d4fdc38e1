"""What the passes over tracked faces share: rows collected per face and frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Clip, Span
from mien.pipeline.config import Analysis
from mien.pipeline.rows import windows
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import Tracked, track_id
from mien.pipeline.stages.identity import renumber

Array = npt.NDArray[Any]


class PerFace:
    """Collects values per tracked face and frame."""

    def __init__(self, clip: Clip, stack: Stack, slot: str, analysis: Analysis) -> None:
        self._clip, self._slot, self._analysis = clip, slot, analysis
        self._model, self._label = stack.get(slot), stack.label(slot)
        self._t: list[Array] = []
        self._track: list[Array] = []
        self._values: list[Array] = []
        self._quality: list[Array] = []

    def _add(self, seen: Tracked, values: Array) -> None:
        self._t.append(seen.t_us)
        self._track.append(seen.track)
        self._values.append(values)
        self._quality.append(seen.boxes.score)

    def renumber(self, joined: dict[int, int]) -> None:
        """Tracks that turned out to be of one person get one number."""
        self._track = [renumber(track, joined) for track in self._track]

    def _gathered(self, width: int) -> tuple[Array, Array, Array, Array]:
        return (
            np.concatenate(self._t or [np.zeros(0, np.int64)]),
            np.concatenate(self._track or [np.zeros(0, np.int64)]),
            np.concatenate(self._values or [np.zeros((0, width), np.float32)]),
            np.concatenate(self._quality or [np.zeros(0, np.float32)]),
        )

    def _windows(self, t: Array, track: Array) -> Iterable[tuple[str, Span, Array]]:
        """(track id, window, rows) wherever a track was seen."""
        for index in np.unique(track):
            for span in windows(self._clip.span, self._analysis.window_s):
                rows = np.flatnonzero((track == index) & (t >= span.start_us) & (t < span.end_us))
                if len(rows):
                    yield track_id(self._clip, "face", int(index)), span, rows
