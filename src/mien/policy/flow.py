"""Which recordings may flow where: one table, and what it does not list is closed.

Care media stay in care, whatever anybody agreed to; research never feeds generation elsewhere; only a project of the
recording's own context publishes it.
"""

from __future__ import annotations

from typing import Literal

from mien.core import Context
from mien.policy.uses import EVERY, FREE, USES, Permission, Reason, Use, barred

Target = Literal["understanding", "generation"]
"""What the data are for: models that read emotion and behaviour, or models that make pictures and sound."""
TARGETS: tuple[Target, ...] = ("understanding", "generation")

_WORK: frozenset[Use] = frozenset(("view", "train", "share"))
FLOWS: dict[tuple[Context, Context, Target], frozenset[Use]] = {
    # (recorded for, project, target): uses
    ("care", "care", "understanding"): _WORK,
    ("research", "research", "understanding"): EVERY,
    ("research", "research", "generation"): _WORK,
    ("research", "care", "understanding"): _WORK,
    ("studio", "studio", "understanding"): EVERY,
    ("studio", "studio", "generation"): EVERY,
    ("studio", "research", "understanding"): _WORK,
    ("studio", "research", "generation"): _WORK,
    ("studio", "care", "understanding"): _WORK,
}


def flow(what: str, source: Context, project: Context, target: Target = "understanding") -> Permission:
    """What may be done with a recording of one context in a project of another."""
    open_ = FLOWS.get((source, project, target), frozenset[Use]())
    shut: tuple[Use, ...] = tuple(u for u in USES if u not in open_)
    if not shut:
        return FREE
    if not open_ and source == project:
        words = f"{source} recordings train no model that makes pictures or sound"
        return barred(Reason("context.generation", what, words, shut))
    if not open_:
        words = f"it was recorded for {source}, this project is {project}"
        return barred(Reason("context.mixed", what, words, shut))
    words = f"recorded for {source}, in a {project} project: it is not published"
    return barred(Reason("context.not-published", what, words, shut))
