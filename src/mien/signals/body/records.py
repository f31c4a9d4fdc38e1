"""What the rules answer: an event with its span, one figure and the sentence that defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core import Span

BodyKind = Literal[
    "rocking", "pacing", "hand_at_ear", "hand_at_head", "hand_near_face", "striking", "reaching", "freezing", "still",
    "self_contact",
]  # fmt: skip
KINDS: tuple[BodyKind, ...] = (
    "rocking", "pacing", "hand_at_ear", "hand_at_head", "hand_near_face", "striking", "reaching", "freezing", "still",
    "self_contact",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BodyEvent:
    """One observable of one body over a span.

    value in unit: what the kind measures (see docs/body.md). quality 0..1: mean visibility of the points used, times
    the share of frames they were seen in. detail: which hand, place or direction ("left", "both", "mouth", "outward").
    reason: the definition that was met, with its figures, in words of geometry.
    """

    kind: BodyKind
    span: Span
    value: float
    unit: str
    quality: float
    detail: str
    reason: str
