"""What all predicates have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mien.core import Span
from mien.core.records import ClaimKind

Says = tuple[tuple[str, str, float, float], ...]
"""(source, its leading state, that state's probability, λ) of each source of an assessment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """What all have: the span and track that are spoken of (None: the recording), and the rows that are cited."""

    kind: ClassVar[ClaimKind] = "observation"
    notation: ClassVar[str] = ""
    sentence: ClassVar[str] = ""
    span: Span
    track: str | None
    cites: tuple[str, ...] = ()

    @property
    def said_as(self) -> ClaimKind:
        """The kind of the claim: an observation of something inferred is an inference."""
        return self.kind
