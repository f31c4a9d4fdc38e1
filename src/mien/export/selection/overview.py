"""What may be done with each recording and with each model's answers, and why not more: `mien licences`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mien.core import Licences, Source
from mien.export.selection.gate import source_rules
from mien.export.selection.models import UNKNOWN, known_licences, model_permissions
from mien.export.selection.people import mining_of, people_of
from mien.export.selection.scope import source_names
from mien.pipeline import Project
from mien.policy.flow import Target
from mien.policy.uses import USES, Permission, Use, together


@dataclass(frozen=True, slots=True)
class Permit:
    """One ingredient of whatever leaves.

    Attributes:
        kind: `recording` or `model`.
        uses: what is permitted with it alone; clips and people are asked besides.
        conditions: of the widest of these uses.
        closed: use → code and sentence of each reason why it is closed. notes: what closes nothing.
    """

    what: str
    kind: str
    licence: str
    uses: tuple[Use, ...]
    conditions: tuple[str, ...]
    closed: dict[Use, tuple[str, ...]]
    notes: tuple[str, ...]


def permits_of(project: Project, target: Target = "understanding", at: datetime | None = None) -> tuple[Permit, ...]:
    """Recordings by name, then the models that the record names."""
    store, config = project.store, project.config
    people, mined = people_of(store, config.context, at or datetime.now(UTC)), mining_of(store)
    sources = store.all(Source)
    names = source_names(sources)
    made: list[Permit] = []
    for source in sorted(sources, key=lambda s: names[s.sha256]):
        name, said = names[source.sha256], mined.get(source.sha256, ())
        consent = people.permission(name, source)
        rules = source_rules(name, source, config.context, target, consent, said, config.policy)
        made.append(_permit(name, "recording", source.licence or "not stated", together(rules)))
    known = known_licences()
    allowed = model_permissions(project)
    for row in sorted(store.adapters(), key=lambda r: (r["name"], r["fingerprint"])):
        licences: Licences = known.get(row["name"], UNKNOWN)
        words = f"code {licences.code}; weights {licences.weights}; training data {licences.training_data}"
        made.append(_permit(row["name"], "model", words, allowed[row["fingerprint"]]))
    return tuple(made)


def _permit(what: str, kind: str, licence: str, permission: Permission) -> Permit:
    uses: tuple[Use, ...] = tuple(u for u in USES if permission.allows(u))
    closed: dict[Use, tuple[str, ...]] = {
        u: tuple(f"{r.code}: {r.text}" for r in permission.why_not(u)) for u in USES if u not in uses
    }
    conditions = permission.conditions(uses[-1]) if uses else ()
    return Permit(what, kind, licence, uses, conditions, closed, tuple(f"{r.code}: {r.text}" for r in permission.notes))
