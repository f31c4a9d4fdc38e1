"""Which sources, people and clips may leave as tables. Pure: decisions over plain values, each with its reason.

Tables carry no pixels, so what `policy.quarantine` says of export decides, not what it says of display; consent and the
context of the recording are asked beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mien.core import UNASSIGNED, Context, Observation, Source, Subject
from mien.policy import quarantine_of

_REFUSED = re.compile(r"(no|none|false|0|refused?|declined|denied|withdrawn|revoked|expired)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Withheld:
    """One thing that stays in the project. `what` names it for people; `code` is stable."""

    what: str
    code: str
    reason: str


def refused(consent: str | None) -> bool:
    """Whether a consent field says no. "Not stated" is not a refusal: it is named in the notice instead."""
    return consent is not None and _REFUSED.match(consent.strip()) is not None


def source_withheld(name: str, source: Source, context: Context) -> Withheld | None:
    """Why a source may not leave at all; None where it may. Care media never flows on, research never into studio."""
    if refused(source.consent):
        return Withheld(name, "consent.refused", f"its consent says {source.consent!r}")
    crossing = source.context != context and (source.context == "care" or context == "studio")
    if crossing:
        return Withheld(name, "context.mixed", f"it was recorded for {source.context}, this project is {context}")
    return None


def clip_withheld(what: str, source: Source, context: Context, observations: Sequence[Observation]) -> Withheld | None:
    """Why a clip may not leave: the explicit-content gate has not run on its picture, or quarantined it."""
    if source.kind == "audio":
        return None
    decision = quarantine_of(context, observations)
    if decision.export:
        return None
    if "explicit-gate-unknown" in decision.reasons:
        return Withheld(what, "gate.not-run", "the explicit-content gate has no answer for its picture")
    if decision.permanent:
        return Withheld(what, "gate.permanent", "explicit content with an apparent or possible minor, or age unknown")
    return Withheld(what, "gate.quarantined", "explicit content: quarantined")


def enrolled(subject_id: str, subjects: dict[str, Subject]) -> bool:
    """Whether a track's subject is a known person who consents: what `care` asks before affect leaves."""
    held = subjects.get(subject_id)
    return subject_id != UNASSIGNED and held is not None and bool(held.consent) and not refused(held.consent)
