"""Names for several models at once. What belongs to a preset follows from what the models declare, not from a list."""

from __future__ import annotations

from collections.abc import Iterable

from mien.models.weights.manifest import Entry, manifest

PRESETS: dict[str, str] = {
    "default": "what the default stack runs, and what its report draws with",
    "standard": "every model that asks for no terms to be accepted",
    "research": "standard, and the models for research only, under the AGPL or other terms that must be accepted",
    "tests": "every model that package registries carry, without terms to accept, and the samples: what tests use",
}
REGISTRIES = ("wheel", "npm", "package")


def expand(names: Iterable[str], default: Iterable[str]) -> tuple[str, ...]:
    """Model names, with each preset replaced by its models. `default`: adapters of the default stack.

    A name that is no preset stays as it is.
    """
    entries, defaults = manifest(), set(default)
    found: dict[str, None] = {}
    for name in names:
        if name in PRESETS:
            found |= dict.fromkeys(e.model for e in entries if _belongs(e, name, defaults))
        else:
            found[name] = None
    return tuple(found)


def _belongs(entry: Entry, preset: str, defaults: set[str]) -> bool:
    free, model = not entry.weights.licences.accept, entry.slot not in ("sample", "page")
    if preset == "default":
        return bool(defaults & set(entry.adapters)) or entry.slot == "page"
    if preset == "tests":
        assets = entry.weights.assets
        return free and bool(assets) and all(a.source in REGISTRIES for a in assets)
    return entry.slot != "sample" and (free or (preset == "research" and model))
