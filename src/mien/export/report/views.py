"""What the templates show of one clip, already worded and placed: no template computes anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core import Assessment, Claim, Contribution, Dist, Span
from mien.export.report.data import ClaimCheck, ClipView, Picture


@dataclass(frozen=True, slots=True)
class Mark:
    """One span drawn in a lane; x, width and the parts' shares in percent."""

    id: str
    label: str
    text: str
    start_ms: int
    end_ms: int
    x: float
    width: float
    row: int = 0
    parts: tuple[tuple[str, float, float], ...] = ()  # (css class, y %, height %)
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    kind: str  # presence, object, event, moment, evidence
    track_id: str
    marks: tuple[Mark, ...]
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    key: str
    title: str
    unit: str
    who: str
    track_id: str
    signal_id: str
    colour: int
    weak: bool
    accuracy: str
    figures: str
    coverage: float
    more: bool  # folded away below the main ones


@dataclass(frozen=True, slots=True)
class Cell:
    """A source's word on one state: probability and the log-odds it added."""

    p: float | None
    log_odds: float | None


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of the table; `strength` is λ as a share of the largest λ beside it."""

    part: Contribution
    strength: float
    cells: tuple[Cell, ...]
    evidence: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of the figure: what was held before, what a source multiplies by, or what is held after it."""

    kind: Literal["prior", "likelihood", "held", "posterior"]
    name: str
    note: str
    shares: Dist


@dataclass(frozen=True, slots=True)
class Moment:
    assessment: Assessment
    who: str
    outcome: str
    reading: tuple[str, ...]
    bar: tuple[float, float, float, float]
    rows: tuple[tuple[str, float, float], ...]  # state, prior, posterior; the likeliest first
    columns: tuple[SourceColumn, ...]
    steps: tuple[Step, ...]
    top: str
    key: int | None  # 0, 1: its place among the clip's moments to look at first


@dataclass(frozen=True, slots=True)
class Ref:
    """A link to evidence by id. `known` is False where the report holds no such row: said, never hidden."""

    id: str
    href: str
    label: str
    known: bool


@dataclass(frozen=True, slots=True)
class EvidenceRow:
    id: str
    dom: str
    what: str
    who: str
    track_id: str
    span: Span
    answer: str
    measured: bool
    quality: str
    n: str
    source: str
    cited_by: tuple[tuple[str, str], ...]  # (dom id, short name)


@dataclass(frozen=True, slots=True)
class ClaimRow:
    claim: Claim
    dom: str
    kind: str
    who: str
    evidence: tuple[Ref, ...]
    check: ClaimCheck | None = None
    against: tuple[Ref, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    picture: Picture
    uri: str


@dataclass(frozen=True, slots=True)
class ClipPage:
    view: ClipView
    dom: str
    number: int
    title: str
    people: tuple[tuple[str, str], ...]  # (track id, name) of those with signals or assessments
    ticks: tuple[tuple[float, str], ...]
    lanes: tuple[Lane, ...]
    panels: tuple[Panel, ...]
    moments: tuple[Moment, ...]
    claims: tuple[ClaimRow, ...]
    evidence: tuple[EvidenceRow, ...]
    shots: tuple[Shot, ...]
    payload: dict[str, object]
