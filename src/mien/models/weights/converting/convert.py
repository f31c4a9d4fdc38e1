"""Converters by name: pinned assets in, run-time file out. The version is part of what is remembered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mien.core import Asset, MienError, Weights
from mien.models.weights import cache


def _tfjs(json_file: Path, siblings: Mapping[str, Path]) -> bytes:
    from mien.models.weights.converting.tfjs import to_onnx

    return to_onnx(json_file, siblings)


# name → (version, suffix of the run-time file, function). A new version makes every cached result again.
CONVERTERS: dict[str, tuple[int, str, Callable[[Path, Mapping[str, Path]], bytes]]] = {"tfjs": (1, ".onnx", _tfjs)}


def made_by(weights: Weights) -> dict[str, Asset]:
    """Run-time file name → the asset it is made from."""
    return {Path(a.file).stem + _converter(a.convert)[1]: a for a in weights.assets if a.convert}


def ensure(weights: Weights, *, again: bool = False) -> tuple[str, ...]:
    """Make the run-time files that are missing, damaged or made by another converter version. Returns their names.

    The pinned assets must have been checked before.
    """
    home, done = cache.folder(weights), []
    for name, asset in made_by(weights).items():
        version, _, function = _converter(asset.convert)
        by = f"{asset.convert}@{version}"
        made = cache.remembered(home).made.get(name)
        fresh = made is not None and made.by == by and not again
        if fresh and made and cache.state_of(home, home / name, made.bytes, made.sha256) == "ok":
            continue
        siblings = {a.file: cache.place(weights, a) for a in weights.assets}
        data = function(siblings[asset.file], siblings)
        sha256 = cache.write_atomic(home / name, [data])
        memory = cache.remembered(home)
        made = cache.Made(by=by, sha256=sha256, bytes=len(data))
        cache.remember(home, cache.Memory(checked=memory.checked, made=memory.made | {name: made}))
        done.append(name)
    return tuple(done)


def _converter(name: str) -> tuple[int, str, Callable[[Path, Mapping[str, Path]], bytes]]:
    try:
        return CONVERTERS[name]
    except KeyError:
        raise MienError("weights.unknown-converter", f"there is no converter {name!r}", "update mien") from None
