"""What an episode is, and when a movement of a signal is one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Phase = Literal["before", "escalation", "peak", "resolution", "after"]
PHASES: tuple[Phase, ...] = ("before", "escalation", "peak", "resolution", "after")
Edge = Literal["", "clip-border", "gap"]


@dataclass(frozen=True, slots=True)
class TemporalRules:
    """When a movement of a signal is an episode.

    least: smallest height in the signal's unit; floor: lower values count as this one (silence is no deeper quiet than
    that of a room). on, off: in sd of the quiet. split: a valley lower than this share of the lower peak parts two
    episodes. near_top: from this share of the height on it is at its peak. bridge_us: longer gaps end an episode;
    smooth_us: means over this long; cells: fewer measured ones tell nothing. root: for signals that are sums of small
    movements and never negative: found on the square root, where their noise looks normal, timed on the signal itself.
    """

    least: float = 0.0
    floor: float = -math.inf
    on: float = 6.0
    off: float = 1.5
    split: float = 0.5
    near_top: float = 0.9
    bridge_us: int = 1_000_000
    smooth_us: int = 250_000
    cells: int = 10
    root: bool = False


@dataclass(frozen=True, slots=True)
class Episode:
    """One rise and what followed, in µs of the signal's clock; sd in s.

    onset, peak and offset with their sd; None where it began before or ended after what was measured (`began`, `ended`
    say why: "clip-border" or "gap"). top_from_us, top_until_us: the stretch near the peak: escalation comes before it,
    resolution after it. height over `quiet`, in the signal's unit; least: the height it needed to be one;
    confidence: 0..1, that the height is no noise.
    """

    onset_us: int | None
    peak_us: int
    offset_us: int | None
    top_from_us: int
    top_until_us: int
    onset_sd_s: float
    peak_sd_s: float
    offset_sd_s: float
    height: float
    quiet: float
    noise: float
    least: float
    confidence: float
    began: Edge = ""
    ended: Edge = ""

    def __post_init__(self) -> None:
        times = [self.onset_us, self.top_from_us, self.peak_us, self.top_until_us, self.offset_us]
        known = [t for t in times if t is not None]
        if any(b < a for a, b in pairwise(known)):
            raise ValueError(f"onset, peak and offset must come in this order, but got {known}")

    def phase(self, t_us: int) -> Phase:
        """Where in the episode an instant lies."""
        if t_us < self.top_from_us:
            return "before" if self.onset_us is not None and t_us < self.onset_us else "escalation"
        if t_us <= self.top_until_us:
            return "peak"
        return "after" if self.offset_us is not None and t_us >= self.offset_us else "resolution"

    def phases(self, start_us: int, end_us: int) -> tuple[tuple[Phase, int, int], ...]:
        """(phase, start, end) of the parts of `[start_us, end_us)`, in order, without empty ones."""
        onset = start_us if self.onset_us is None else self.onset_us
        offset = end_us if self.offset_us is None else self.offset_us
        inner = (onset, self.top_from_us, self.top_until_us, offset)
        edges = (start_us, *(min(max(t, start_us), end_us) for t in inner), end_us)
        return tuple((p, a, b) for p, (a, b) in zip(PHASES, pairwise(edges), strict=True) if b > a)
