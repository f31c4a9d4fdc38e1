"""The words of the house as records (DESIGN: words): what `store` keeps and reports cite.

Every id is made of content (`content_id`), so that the same input gives the same record on every machine and after
every restart. Distributions are tuples of (label, probability).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core.spans import Span, content_id

Context = Literal["care", "research", "studio"]
Dist = tuple[tuple[str, float], ...]
UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how a source was made, where known."""

    place: str | None = None
    activity: str | None = None
    light: str | None = None
    noise: str | None = None
    sensory_load: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the input; it has zero or more sources.

    `origin`: the file it comes from (a medium, a text, a table, an archive); `row`: its name within a table or archive;
    `given`: the input of a run through which it was found.
    """

    id: str
    origin: str
    source_shas: tuple[str, ...]
    row: str = ""
    given: str = ""
    subject_id: str = UNASSIGNED


@dataclass(frozen=True, slots=True)
class Attribute:
    """One typed key of an item, kept as text with its type."""

    item_id: str
    key: str
    type: Literal["text", "int", "float", "bool", "time"]
    value: str


@dataclass(frozen=True, slots=True)
class Source:
    """One file. `coverage` is decoded span ÷ claimed span: damage is a figure, never silent."""

    sha256: str
    path: str
    kind: Literal["video", "audio", "image"]
    bytes: int
    duration_us: int
    width_px: int | None
    height_px: int | None
    fps: float | None
    audio_rate_hz: int | None
    audio_channels: int | None
    context: Context
    licence: str | None = None
    consent: str | None = None
    setting: Setting = Setting()
    coverage: float | None = None
    state: Literal["ok", "degraded", "rejected"] = "ok"
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A pseudonymous person: assigned by a column or by a person, never found by biometrics."""

    id: str = UNASSIGNED
    consent: str | None = None


ConsentScope = Literal["analyse", "export", "train", "publish"]
Assent = Literal["yes", "no", "not-able", "not-asked"]


@dataclass(frozen=True, slots=True)
class Consent:
    """What one person, or who may speak for them, has agreed to. Only ever added: the newest of a subject counts.

    `scopes`: what may be done; none: a withdrawal. `expires_utc`: from when it holds no longer; None: it has no end.
    `by`: who recorded it (a name or pseudonym); `assent`: what the person themself showed, where another one consents.
    """

    id: str
    subject_id: str
    scopes: tuple[ConsentScope, ...]
    at_utc: str
    expires_utc: str | None
    by: str
    assent: Assent = "not-asked"
    note: str = ""


AssignedBy = Literal["session", "zone", "track"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who somebody in a recording is, as a person said it; keyed on media. Only ever added: the newest counts.

    `kind`: whoever is alone in view, and the sound (`session`); who stays in a place of the frame (`zone`); one track.
    `zone`: box (x1, y1, x2, y2) as a share of the frame; None for a session. `subject_id` `unassigned` takes back.
    """

    id: str
    subject_id: str
    source_sha: str
    span: Span
    kind: AssignedBy
    zone: tuple[float, float, float, float] | None
    by: str
    at_utc: str


@dataclass(frozen=True, slots=True)
class Clip:
    """A span of a source. `starts`, `ends` say why."""

    id: str
    source_sha: str
    span: Span
    starts: str
    ends: str
    cutter: str


def clip_id(source_sha: str, span: Span, cutter: str) -> str:
    return content_id("clip", source_sha, span, cutter)


@dataclass(frozen=True, slots=True)
class Track:
    """One person, face or object within one clip. `geometry`: median box (x1, y1, x2, y2) as a share of the frame."""

    id: str
    clip_id: str
    kind: Literal["person", "face", "object"]
    label: str
    span: Span
    geometry: tuple[float, float, float, float]
    frames: int
    subject_id: str = UNASSIGNED


def label_key(source_sha: str, span: Span, geometry: tuple[float, float, float, float] | None) -> str:
    """The key of a label or verdict: source, span (to 0.1 s) and place (to 5 % of the frame), so that a new cutter or
    tracker orphans nothing."""
    place = None if geometry is None else [round(20 * g) for g in geometry]
    return content_id("label", source_sha, round(span.start_us / 1e5), round(span.end_us / 1e5), place)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person or an audit says of a claim or a label; keyed on media, not on our ids."""

    key: str
    target: str
    value: str
    by: str
    at_utc: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One model's answer over a span.

    `value` ± `sd` in `unit`, or a distribution; `quality` in 0..1; `n` frames pooled. A missing answer has
    `value=None`, `dist=()` and a `reason` code.
    """

    id: str
    clip_id: str
    track_id: str | None
    span: Span
    target: str
    value: float | None
    sd: float | None
    unit: str
    dist: Dist
    quality: float | None
    n: int
    adapter: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A curve on the clip's clock; its values lie in the arrays under `array`. `weak`/`accuracy`: what we measured."""

    id: str
    clip_id: str
    track_id: str | None
    name: str
    unit: str
    t0_us: int
    step_us: int
    n: int
    coverage: float
    array: str
    adapter: str
    accuracy: str = ""
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source did to an assessment: its weight λ, its calibrated distribution, its added log-odds per state."""

    source: str
    weight: float
    dist: Dist
    log_odds: Dist
    evidence_ids: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Fusion's posterior over states for one track and span. Entropies in nats; vacuity in 0..1.

    `posterior` is of this window's evidence alone; `filtered` adds the windows before it, `smoothed` all of the track
    (a sticky chain). `credible`: conformal set at coverage `level`, likeliest first; empty, None: none was calibrated.
    """

    id: str
    clip_id: str
    track_id: str | None
    span: Span
    prior: Dist
    posterior: Dist
    contributions: tuple[Contribution, ...]
    ambiguity: float
    conflict: float
    vacuity: float
    abstained: bool
    reason: str
    adapter: str
    credible: tuple[str, ...] = ()
    level: float | None = None
    filtered: Dist = ()
    smoothed: Dist = ()


ClaimKind = Literal["observation", "inference", "alternative", "uncertainty", "recommendation"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of reasoning and the evidence it stands on. `predicate` is what the audit recomputes."""

    id: str
    trace_id: str
    kind: ClaimKind
    predicate: str
    text: str
    span: Span
    track_id: str | None
    evidence_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The claims about one clip, the engine that wrote them and its conclusion."""

    id: str
    clip_id: str
    engine: str
    conclusion: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One `mien run`: what was asked, when, under which configuration."""

    id: str
    started_utc: str
    finished_utc: str | None
    command: str
    version: str
    context: Context
    config_sha256: str


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that did not work: stage, stable code, sentence, hint, attempt."""

    unit: str
    stage: str
    code: str
    message: str
    hint: str
    attempt: int
    retryable: bool
    at_utc: str
