"""Time and identity: half-open spans in µs of presentation time, and ids made of content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

US = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A half-open interval `[start_us, end_us)` of presentation time of one source, in µs."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise ValueError(f"a span must end after it starts, but got [{self.start_us}, {self.end_us})")

    @property
    def duration_us(self) -> int:
        return self.end_us - self.start_us

    @property
    def duration_s(self) -> float:
        return self.duration_us / US

    def overlap_us(self, other: Span) -> int:
        return max(0, min(self.end_us, other.end_us) - max(self.start_us, other.start_us))

    def contains(self, t_us: int) -> bool:
        return self.start_us <= t_us < self.end_us

    def __str__(self) -> str:
        return f"{clock(self.start_us)}-{clock(self.end_us)}"


def clock(t_us: int) -> str:
    """`0:07.40`: minutes, seconds and hundredths, for people."""
    minutes, rest = divmod(max(0, t_us), 60 * US)
    return f"{minutes}:{rest / US:05.2f}"


def content_id(kind: str, *parts: object) -> str:
    """A short id made of what the thing is (never random), e.g. `clip-3f2a91c07b44`.

    Sixty bits of SHA-256 over the JSON of the parts; the same content has the same id on every machine.
    """
    payload = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return f"{kind}-{hashlib.sha256(payload.encode()).hexdigest()[:15]}"


def digest(*parts: object) -> str:
    """SHA-256 (hex) over the canonical JSON of the parts: the key of a stage's result."""
    payload = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(payload.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Span):
        return [value.start_us, value.end_us]
    if isinstance(value, Sequence):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise TypeError(f"an id is made of plain values, but got {type(value).__name__}")
