"""The stage on what happens: overlapping windows of the clip's frames, and the likeliest actions of each.

Windows lie on the source's own clock (they begin at multiples of the step from t = 0), so that a clip cut elsewhere is
read in the same windows. What is left over at either end of a clip, less than one step, is in no window; a clip
shorter than a window is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.core import US, Clip, Frames, Span, Windows
from mien.pipeline.config import Analysis
from mien.pipeline.rows import observe, table
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import Tracked

WINDOW_US, STEP_US = 2 * US, US  # clips of Kinetics are read as about 2 s (16 frames, every fourth; Tong et al., 2022)
CELL_US = WINDOW_US // 16  # one frame of each is kept: as many as the networks take
MOST = 5  # actions kept of each window; all others together are "other"
OTHER = "other"


class ActionsPass:
    """Holds one window of frames and a step more, a frame per cell, and asks as soon as a window is whole."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        self._clip, self._model, self._label = clip, stack.get("actions"), stack.label("actions")
        self._due = spans(clip.span)
        self._frames: list[tuple[int, Any]] = []
        self._rows: list[tuple[Span, int, list[tuple[str, float]]]] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        for t_us, pixels in zip(frames.t_us.tolist(), frames.pixels, strict=True):
            self._ask(before=t_us)
            wanted = bool(self._due) and t_us >= self._due[0].start_us
            if wanted and (not self._frames or t_us // CELL_US != self._frames[-1][0] // CELL_US):
                self._frames.append((t_us, pixels.copy()))  # a view would keep its whole batch alive

    def finish(self) -> tuple[list[Any], dict[str, Any]]:
        self._ask(before=None)
        records: list[Any] = []
        for span, n, said in self._rows:
            reason = None if said else "no-frames"
            records.append(observe(self._clip, "action", span, self._label, dist=tuple(said), n=n, reason=reason))
        flat = [(s, rank, *row) for s, _, said in self._rows for rank, row in enumerate(said) if row[0] != OTHER]
        data: dict[str, Any] = {
            "t_us": np.array([s.start_us for s, *_ in flat], np.int64),
            "end_us": np.array([s.end_us for s, *_ in flat], np.int64),
            "rank": np.array([rank for _, rank, *_ in flat], np.int32),
            "action": [name for *_, name, _ in flat],
            "score": np.array([score for *_, score in flat], np.float32),
        }
        return records, {f"actions/{self._clip.id}": table(data)}

    def _ask(self, before: int | None) -> None:
        """Answer the windows that end by `before` (None: all that are left), and let go of what no later one needs."""
        ripe = [span for span in self._due if before is None or span.end_us <= before]
        if not ripe:
            return
        self._due = self._due[len(ripe) :]
        inside = [[(t, p) for t, p in self._frames if s.start_us <= t < s.end_us] for s in ripe]
        seen = [
            Frames(np.stack([p for _, p in part]), np.array([t for t, _ in part], np.int64)) for part in inside if part
        ]
        given = self._model.run(Windows(tuple(seen))) if seen else None
        row = 0
        for span, part in zip(ripe, inside, strict=True):
            said: list[tuple[str, float]] = []
            if part and given is not None:
                said = likeliest(given.labels, given.probs[row])
                row += 1
            self._rows.append((span, len(part), said))
        first = self._due[0].start_us if self._due else before
        self._frames = [held for held in self._frames if first is not None and held[0] >= first]


def spans(clip: Span) -> list[Span]:
    """The windows of a clip."""
    if clip.duration_us < WINDOW_US:
        return [clip]
    first = -(-clip.start_us // STEP_US) * STEP_US
    whole = [Span(t, t + WINDOW_US) for t in range(first, clip.end_us - WINDOW_US + 1, STEP_US)]
    return whole or [Span(clip.start_us, clip.start_us + WINDOW_US)]


def likeliest(labels: tuple[str, ...], probs: Any) -> list[tuple[str, float]]:
    """The `MOST` likeliest actions, first the likeliest, and what all others have together; [] if not measured."""
    if np.isnan(probs).any():
        return []
    order = np.argsort(-probs, kind="stable")[:MOST]
    said = [(labels[int(i)], float(probs[i])) for i in order]
    rest = 1 - sum(p for _, p in said)
    return [*said, (OTHER, rest)] if len(labels) > MOST and rest > 0 else said
