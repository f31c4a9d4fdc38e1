"""What a project may set about captions: `[captions]` of `mien.toml`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import Field, field_validator

from mien.core import Strict

SLOTS = ("setting", "pose", "tension", "motion", "face", "head", "voice")
Origin = Literal["derived", "imported", "vlm"]
_TRIGGER = re.compile(r"[a-z0-9][a-z0-9 ]{0,15}")


class CaptionTerms(Strict):
    """What a caption holds, and from where it comes (docs/captions.md)."""

    trigger: str = Field("", description="first words of every caption: small letters, digits, spaces; 16 at most")
    source: Literal["derived", "imported", "vlm", "first"] = Field(
        "first", description="first: imported where there is one, else vlm, else derived from the record"
    )
    order: tuple[str, ...] = Field(SLOTS, description="bundles that are told, in this order")
    temporal: bool = Field(True, description="tell how movement and sound run: builds up, settles")
    soft: bool = Field(True, description="tell trends of valence and arousal; never in care or observables_only")
    observables_only: bool = Field(False, description="no inference about feeling in any caption; care: always so")
    unvalidated: bool = Field(False, description="also what was never validated on people (posture tension)")
    readings: bool = Field(True, description="a further caption for each reading where the evidence is ambiguous")
    conflict: Annotated[float, Ge(0), Le(2)] = Field(0.25, description="conflict in nats from which readings differ")
    least_reading: Annotated[float, Ge(0), Le(0.5)] = Field(0.2, description="smallest posterior of a told reading")
    most_tokens: Annotated[int, Ge(8), Le(75)] = Field(40, description="of CLIP's tokenizer, in a derived caption")
    most_given_tokens: Annotated[int, Ge(8), Le(512)] = Field(75, description="of a caption that was given: estimated")
    dropout: Annotated[float, Ge(0), Le(0.5)] = Field(0.05, description="share of clips whose caption is left empty")
    shuffle: Literal[False] = Field(False, description="tags keep their order: trainers' own shuffling is left off")

    @field_validator("trigger")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value and not _TRIGGER.fullmatch(value):
            raise ValueError("a trigger has small letters, digits and spaces, and at most 16 of them")
        return value

    @field_validator("order")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SLOTS]
        if unknown or len(set(value)) != len(value):
            raise ValueError(f"order must name bundles once each, of: {', '.join(SLOTS)}")
        return value
