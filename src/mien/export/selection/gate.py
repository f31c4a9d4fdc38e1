"""Which sources, people and clips may leave, and for what. Pure: decisions over plain values, each with its reason.

`policy` has the rules; here they are asked of one recording, one clip, one person.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mien.core import Context, Observation, Source
from mien.policy import quarantine_of
from mien.policy.consent import refused
from mien.policy.flow import Target, flow
from mien.policy.licences import Ingredient, permitted
from mien.policy.mining import permission as mining
from mien.policy.uses import Permission, PolicyTerms, Use

__all__ = ["ADULT", "Withheld", "clip_withheld", "refused", "source_rules", "source_withheld"]

ADULT = (
    18.0  # years: an estimate that reaches below it by one sd is of an apparent minor, for models that make pictures
)


@dataclass(frozen=True, slots=True)
class Withheld:
    """One thing that stays in the project. `what` names it for people; `code` is stable."""

    what: str
    code: str
    reason: str


def source_rules(
    name: str,
    source: Source,
    context: Context,
    target: Target,
    consent: Permission,
    mined: Iterable[tuple[str, str]],
    terms: PolicyTerms,
) -> list[Permission]:
    """What each rule says of one recording, in the order in which reasons are named.

    Args:
        context: of the project. consent: of the recording and the people it is about (`policy.consent.permission`).
        mined: what its file says of training and mining.
    """
    return [
        consent,
        flow(name, source.context, context, target),
        mining(name, mined),
        permitted([Ingredient("recording", name, source.licence)], terms),
    ]


def source_withheld(name: str, permissions: Sequence[Permission], use: Use) -> Withheld | None:
    """Why a source may not leave at all; None where it may.

    Args:
        permissions: what each rule says of it, the one to be named first standing first.
    """
    for permission in permissions:
        for reason in permission.why_not(use):
            return Withheld(name, reason.code, reason.text)
    return None


def clip_withheld(
    what: str,
    source: Source,
    context: Context,
    observations: Sequence[Observation],
    use: Use = "share",
    target: Target = "understanding",
) -> Withheld | None:
    """Why a clip may not leave: the explicit-content gate has not run on its picture, or quarantined it; or, for models
    that make pictures, somebody in it may be a minor."""
    if source.kind == "audio":
        return None
    decision = quarantine_of(context, observations)
    if not decision.export or (use == "train" and not decision.train):
        if "explicit-gate-unknown" in decision.reasons:
            return Withheld(what, "gate.not-run", "the explicit-content gate has no answer for its picture")
        if decision.permanent:
            words = "explicit content with an apparent or possible minor, or age unknown"
            return Withheld(what, "gate.permanent", words)
        return Withheld(what, "gate.quarantined", "explicit content: quarantined")
    if target == "generation" and any(_apparent_minor(o) for o in observations):
        return Withheld(
            what, "gate.minor", "somebody in it may be a minor: models that make pictures never learn from it"
        )
    return None


def _apparent_minor(o: Observation) -> bool:
    return o.target == "age" and o.value is not None and not o.value - (o.sd or 0.0) >= ADULT
