"""What there is to fetch: the weights that the filed adapters declare, and two extras. The manifest is code."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from mien.core import Adapter, Licences, MienError, Weights, filed


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the manifest. `slot`: the model's slot, or "sample"/"page". `adapters`: who opens these files."""

    weights: Weights
    slot: str
    adapters: tuple[str, ...]

    @property
    def model(self) -> str:
        return self.weights.model

    @property
    def kept_bytes(self) -> int:
        """Size of the pinned files on disk, without what a converter makes of them."""
        return sum(asset.bytes for asset in self.weights.assets)


def load_adapters() -> dict[str, type[Adapter]]:
    """Import every adapter module (`mien.models.MODULES`, then entry points `mien.models`) and give what is filed.

    Raises:
        MienError: `models.plugin-broken` when a third party's module does not import.
    """
    from mien.models import MODULES

    for module in MODULES:
        importlib.import_module(module if module.startswith("mien.") else f"mien.models.{module}")
    for point in _plugins(tuple(sys.path)):
        try:
            point.load()
        except Exception as error:
            raise MienError(
                "models.plugin-broken",
                f"the plugin {point.name!r} ({point.value}) does not load: {error}",
                "update or uninstall the package that brings it",
            ) from error
    return filed()


@lru_cache(maxsize=4)
def _plugins(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Looking through every installed package takes a fiftieth of a second, and one run asks dozens of times."""
    return tuple(entry_points(group="mien.models"))


def manifest() -> tuple[Entry, ...]:
    """All entries, models by name and then the extras.

    Raises:
        MienError: `weights.duplicate-model` when two adapters pin different files under one model name.
    """
    from mien.models.weights.extras import EXTRAS

    rows: dict[str, Entry] = {}
    for name, cls in sorted(load_adapters().items()):
        weights = cls.spec.weights
        if weights is None:
            continue
        held = rows.get(weights.model)
        if held and held.weights != weights:
            raise MienError(
                "weights.duplicate-model", f"{held.adapters[0]} and {name} pin different files as {weights.model!r}"
            )
        rows[weights.model] = Entry(weights, cls.spec.slot, (*held.adapters, name) if held else (name,))
    models = tuple(rows[model] for model in sorted(rows))
    return models + tuple(Entry(weights, kind, ()) for kind, weights in EXTRAS)


def select(names: Iterable[str]) -> tuple[Entry, ...]:
    """The entries of these models (or of the adapters so named); all of them when no name is given.

    Raises:
        MienError: `models.unknown`, with the nearest name.
    """
    entries = manifest()
    wanted = list(dict.fromkeys(names))
    chosen: dict[str, Entry] = {}
    for name in wanted:
        hits = [e for e in entries if name == e.model or name in e.adapters]
        if not hits:
            raise unknown(name, [e.model for e in entries] + [a for e in entries for a in e.adapters])
        chosen[hits[0].model] = hits[0]
    return tuple(chosen.values()) if wanted else entries


def unknown(name: str, known: Iterable[str]) -> MienError:
    """The error for a name nobody has, with the nearest one as hint."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "'mien models list' shows all"
    return MienError("models.unknown", f"no model is called {name!r}", hint)


def licences() -> dict[str, Licences]:
    """Three licences per model: of the code, of the weights, of their training data."""
    return {entry.model: entry.weights.licences for entry in manifest()}
