"""LICENCES.txt: under which terms a release may be used, and whose work stands behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mien.core import VERSION
from mien.export.selection.gate import Withheld
from mien.export.selection.scope import Scope
from mien.export.tables.notice import Model

_WHY = {  # what single clips and people were left out for stays in the project
    "consent": "somebody's agreement is missing, refused or has ended",
    "context": "it was recorded for another context",
    "gate": "the gates of pictures did not pass it",
    "licence": "its licence, or that of a model that answered, does not permit it",
    "mining": "its file refuses training and mining",
    "split": "it would tie training to test",
}


def summed(withheld: Sequence[Withheld]) -> tuple[Withheld, ...]:
    """What stayed behind as numbers: which clip or person it was, and for which detail, stays in the project."""
    rooms = Counter(w.code.partition(".")[0] for w in withheld)
    return tuple(Withheld(f"{n} time(s)", room, _WHY.get(room, room)) for room, n in sorted(rooms.items()))


def licences(
    scope: Scope, models: Sequence[Model], licence: str, conditions: Sequence[str], notes: Sequence[str]
) -> str:
    """The text; the same project gives the same text. Recordings are counted, never named."""
    held = Counter(s.licence or "licence not stated" for s in scope.sources.values())
    lines = [
        f"Made with mien {VERSION}.",
        "",
        f"Licence of this release: {licence or 'not stated: nobody may publish it'}",
        "",
        "Conditions:",
        *(f"- {c}" for c in conditions or ["none beyond the licence"]),
        *(f"- note: {n}" for n in notes),
        "",
        "Recordings, by licence:",
        *(f"- {n} under {name}" for name, n in sorted(held.items())),
        "",
        "Models whose answers stand behind the examples (code; weights; training data). Derived labels may carry the",
        "terms of weights and of training data.",
        *(
            f"- {m.name} ({m.slot}): {m.licences.code}; {m.licences.weights}; {m.licences.training_data}"
            + (" [look at these terms before any use beyond research]" if m.restricted else "")
            for m in models
        ),
        "",
        "Left out of this release, by reason:",
        *(f"- {w.what}: {w.reason} [{w.code}]" for w in scope.withheld),
        *(["- nothing"] if not scope.withheld else []),
    ]
    return "\n".join(lines) + "\n"
