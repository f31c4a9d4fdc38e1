"""Which models made the rows, and NOTICE.txt: licences of models and recordings, and what stayed behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mien.core import VERSION, Licences, Source
from mien.export.selection.models import UNKNOWN, known_licences
from mien.export.selection.scope import Scope
from mien.pipeline import Stack
from mien.pipeline.plan import STAGES

_RESTRICTED = ("non-commercial", "noncommercial", "-nc", "research", "academic", "not stated", "terms")


@dataclass(frozen=True, slots=True)
class Model:
    """A model whose answers, or whose gate, stand behind the rows."""

    fingerprint: str
    name: str
    slot: str
    weights_sha256: str
    licences: Licences

    @property
    def restricted(self) -> bool:
        """Whether some licence names terms that a reader must look at before using the rows."""
        words = f"{self.licences.code} {self.licences.weights} {self.licences.training_data}".lower()
        return bool(self.licences.accept) or any(word in words for word in _RESTRICTED)


def models_of(scope: Scope) -> list[Model]:
    """Models behind the rows, by slot and name: those that rows name, and those their stages needed beside them (an
    embedding leaves no row of its own)."""
    store = scope.project.store
    labels = [
        str(row[0])
        for table in ("observations", "signals", "assessments")
        for row in store.query(f"SELECT DISTINCT adapter FROM {table}")[1]  # noqa: S608 - our own names
    ]
    held = store.adapters()
    named = [row for row in held if any(row["fingerprint"] in label for label in labels)]
    slots = {row["slot"] for row in named}
    beside = {s for stage in STAGES if slots.intersection(stage.slots) for s in (*stage.slots, *stage.maybe)} - slots
    stack = Stack(scope.project.config)
    current = {stack.label(slot) for slot in beside if stack.has(slot)}
    chosen = named + [row for row in held if row["fingerprint"] in current]
    return [_model(row) for row in sorted(chosen, key=lambda r: (r["slot"], r["name"], r["fingerprint"]))]


def _model(row: dict[str, Any]) -> Model:
    licences = known_licences().get(row["name"])
    return Model(row["fingerprint"], row["name"], row["slot"], row["weights_sha256"], licences or UNKNOWN)


def notice(scope: Scope, models: list[Model]) -> str:
    """The text of NOTICE.txt; the same project gives the same text."""
    lines = [
        f"Made with mien {VERSION}.",
        "",
        "What these rows are: answers of models, with their errors. Signals are consistent with states; nobody is said",
        "to be in one. Weak signals are marked in the tables. Read the measured accuracy before you use a value.",
        "",
        f"Context: {scope.project.config.context}.",
        "",
        "Recordings (licence; consent):",
        *(f"- {name}: {s.licence or 'licence not stated'}; {_consent(scope, s)}" for name, s in scope.sources.items()),
        "",
        "Models whose answers stand behind the rows (code; weights; training data). Derived rows may carry the terms",
        "of weights and of training data; whether they do is not decided here.",
        *(
            f"- {m.name} ({m.slot}): {m.licences.code}; {m.licences.weights}; {m.licences.training_data}"
            + (" [look at these terms before any use beyond research]" if m.restricted else "")
            for m in models
        ),
        "",
        "Left out:",
        *(f"- {w.what}: {w.reason} [{w.code}]" for w in scope.withheld),
        *(["- nothing"] if not scope.withheld else []),
    ]
    return "\n".join(lines) + "\n"


def warnings(scope: Scope, models: list[Model]) -> list[str]:
    """What a person should know at once, in sentences."""
    said: list[str] = []
    unsaid = [n for n, s in scope.sources.items() if not s.consent]
    bare = [n for n, s in scope.sources.items() if not s.licence]
    if unsaid:
        said.append(f"consent is not stated for {len(unsaid)} of {len(scope.sources)} recording(s)")
    if bare:
        said.append(f"no licence is stated for {len(bare)} of {len(scope.sources)} recording(s)")
    names = [m.name for m in models if m.restricted]
    if names:
        said.append(f"terms to look at before any use beyond research: {', '.join(names)}")
    return said


def _consent(scope: Scope, source: Source) -> str:
    said = scope.asked.told(source)
    return f"consent: {said}" if said else "consent not stated"
