"""What the licences of the models behind a project's rows permit."""

from __future__ import annotations

from functools import lru_cache

from mien.core import Licences
from mien.pipeline import Project
from mien.policy.licences import ingredients_of, permitted
from mien.policy.uses import Permission

RULES = Licences("Apache-2.0 (mien)", "none", "none")  # adapters without weights
UNKNOWN = Licences("not known here", "not known here", "not known here")


def model_permissions(project: Project) -> dict[str, Permission]:
    """Fingerprint → what may be done with the answers of that model, of all that the record names."""
    terms, known = project.config.policy, known_licences()
    return {
        row["fingerprint"]: permitted(ingredients_of(row["name"], known.get(row["name"], UNKNOWN)), terms)
        for row in sorted(project.store.adapters(), key=lambda r: r["fingerprint"])
    }


@lru_cache(maxsize=1)
def known_licences() -> dict[str, Licences]:
    """Name of an adapter → its three licences."""
    from mien.models.weights import load_adapters

    return {n: c.spec.weights.licences if c.spec.weights else RULES for n, c in load_adapters().items()}
