"""The ledger's line of a stage, and what a stage hands over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StageRow:
    """The ledger's line for one unit and stage. State: ok, failed, waiting-for-person, rejected."""

    unit: str
    stage: str
    key: str
    state: str
    code: str | None
    note: str | None
    attempt: int


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage hands over: records, and tables by name. Committed whole or not at all."""

    unit: str
    stage: str
    key: str
    records: Sequence[Any] = ()
    tables: dict[str, Any] = field(default_factory=dict)
    state: str = "ok"
    code: str | None = None
    note: str | None = None
    ms: float | None = None
