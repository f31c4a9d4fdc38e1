"""What a report is made of: core records, their curves, and pictures that the caller has already gated and blurred."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mien.core import (
    Assessment,
    Claim,
    Clip,
    Context,
    Failure,
    Licences,
    Measured,
    MienError,
    Observation,
    Run,
    Signal,
    Source,
    Span,
    Trace,
    Track,
)

F64 = npt.NDArray[np.floating]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

JPEG_MAGIC = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Project:
    """Which project this is. `version`: of the mien that wrote the report."""

    name: str
    context: Context
    created_utc: str
    version: str


@dataclass(frozen=True, slots=True)
class SignalView:
    """A signal with its curve: t_us int64 `[n]` rising, value and sd float `[n]`, gap bool `[n]`.

    In a gap nothing was measured; value and sd may still hold the filter's prediction. NaN is "not measured".
    """

    signal: Signal
    t_us: I64
    value: F64
    sd: F64
    gap: Bools

    def __post_init__(self) -> None:
        want = (self.signal.n,)
        for name in ("t_us", "value", "sd", "gap"):
            got = getattr(self, name).shape
            if got != want:
                raise ValueError(f"{name} must have shape {list(want)}, but got {list(got)}")
        if self.t_us.dtype != np.int64 or self.gap.dtype != np.bool_:
            raise ValueError(f"t_us must be int64 and gap bool, but got {self.t_us.dtype} and {self.gap.dtype}")
        if len(self.t_us) > 1 and int(np.diff(self.t_us).min()) <= 0:
            raise ValueError("t_us must rise from sample to sample")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has a beginning and an end and can be cited: a vocal segment, the presence of a person."""

    id: str
    kind: str
    text: str
    span: Span
    track_id: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One JPEG that the display gate has passed and in which faces are blurred, at t_us of the source."""

    t_us: int
    jpeg: bytes
    caption: str

    def __post_init__(self) -> None:
        if not self.jpeg.startswith(JPEG_MAGIC):
            raise MienError("report.not-jpeg", f"the picture at {self.t_us} µs is not a JPEG", "encode it as JPEG")


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """What recomputing one claim from the record gave. found: supported, contradicted or not checkable.

    against: rows that move the posterior away from the state it names; those it cites itself are `cited`.
    """

    found: str
    why: str = ""
    against: tuple[str, ...] = ()
    cited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipView:
    """One clip and everything said about it. `withheld`: why pictures may not be shown; then there are none.

    checks: claim id → its check. failed: hard checks of the audit that the trace fails; None: it was not audited.
    """

    clip: Clip
    source: Source
    tracks: tuple[Track, ...] = ()
    observations: tuple[Observation, ...] = ()
    signals: tuple[SignalView, ...] = ()
    events: tuple[Event, ...] = ()
    assessments: tuple[Assessment, ...] = ()
    trace: Trace | None = None
    claims: tuple[Claim, ...] = ()
    pictures: tuple[Picture, ...] = ()
    withheld: str | None = None
    checks: dict[str, ClaimCheck] = field(default_factory=dict[str, ClaimCheck])
    failed: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.withheld is not None and self.pictures:
            raise MienError(
                "report.withheld-pictures", f"pictures of {self.clip.id} are withheld ({self.withheld})", "pass none"
            )


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model that was used: slot, fingerprint, three licences, what we measured of it."""

    name: str
    slot: str
    fingerprint: str
    licences: Licences
    measured: tuple[Measured, ...] = ()
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stage that waits for a person, and what it waits for."""

    stage: str
    message: str


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page.

    Raises:
        MienError: `report.pictures-in-care` when a `care` project brings pictures: reports in care hold none.
    """

    project: Project
    runs: tuple[Run, ...] = ()
    sources: tuple[Source, ...] = ()
    clips: tuple[ClipView, ...] = ()
    models: tuple[ModelView, ...] = ()
    failures: tuple[Failure, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        held = [c.clip.id for c in self.clips if c.pictures]
        if self.project.context == "care" and held:
            raise MienError(
                "report.pictures-in-care",
                f"a report of a care project holds no pictures, but {held[0]} brings some",
                "pass no pictures and say why in ClipView.withheld",
            )
