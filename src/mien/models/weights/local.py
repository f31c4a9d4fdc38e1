"""Files of the user's own: copied into the cache, never loaded from where they lay, and marked as theirs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from mien.core import Asset, MienError, Strict, Weights
from mien.models.weights import cache, formats
from mien.models.weights.manifest import select


class Added(Strict):
    """Which files stand in for a model's pinned ones: name → (sha256, bytes)."""

    files: dict[str, tuple[str, int]]


def folder(weights: Weights) -> Path:
    """Where the user's own files for this model lie."""
    return cache.folder(weights).parent / "local"


def added(weights: Weights) -> Added | None:
    """What the user added for this model, if anything."""
    try:
        return Added.model_validate_json((folder(weights) / "added.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MienError(
            "weights.damaged", f"the record of your file for {weights.model} is not readable", _undo(weights)
        ) from error


def files(weights: Weights) -> dict[str, Path]:
    """Run-time file name → path of the user's file; empty if the pinned files are in use.

    Raises:
        MienError: `weights.damaged` when a file is no longer the one that was added.
    """
    record, home = added(weights), folder(weights)
    for name, (sha256, size) in record.files.items() if record else ():
        if cache.state_of(home, home / name, size, sha256) != "ok":
            raise MienError(
                "weights.damaged", f"your {name} for {weights.model} has changed or is gone", _undo(weights)
            )
    return {name: home / name for name in record.files} if record else {}


def effective(weights: Weights) -> Weights:
    """The weights as they are on this machine: with the user's files in place of the pinned ones.

    A fingerprint of answers must be made of this, so that a private file is never mistaken for the published one.
    """
    record = added(weights)
    if record is None:
        return weights
    assets = tuple(Asset(n, "local", "", "", n, sha, size) for n, (sha, size) in sorted(record.files.items()))
    return dataclasses.replace(weights, assets=assets)


def add_local(model: str, path: Path) -> Weights:
    """Take a file (or a folder with all run-time files) as the weights of a model.

    The pinned files themselves are recognised by their sha256 and installed as such. Anything else is recorded as the
    user's own; `effective` of the model then differs. Nothing that can carry code is taken.

    Returns:
        the weights in force.

    Raises:
        MienError: `models.unknown`, `weights.no-file`, `weights.can-carry-code`, `weights.unknown-format`,
            `weights.external-data`, `weights.custom-op`, `weights.wrong-format`.
    """
    weights = select([model])[0].weights
    if not path.exists():
        raise MienError("weights.no-file", f"{path} does not exist")
    if _is_pinned(weights, path):
        remove_local(model)
        for asset in weights.assets:
            source = path / asset.file if path.is_dir() else path
            chunks = cache.read_chunks(source)
            cache.write_atomic(cache.place(weights, asset), chunks, sha256=asset.sha256, size=asset.bytes)
        return weights
    chosen = _runtime_files(weights, path)
    for name, file in chosen.items():
        kind, want = formats.check(file), Path(name).suffix
        if file.suffix != want:
            raise MienError("weights.wrong-format", f"{weights.model} takes {want} files, but {file.name} is {kind}")
    home = folder(weights)
    draft = home.with_name(".local.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    record = {n: (cache.write_atomic(draft / n, cache.read_chunks(f)), f.stat().st_size) for n, f in chosen.items()}
    # what was checked is what lies in the cache now: the source may have changed meanwhile
    for name in chosen:
        formats.check(draft / name)
    cache.write_atomic(draft / "added.json", [Added(files=record).model_dump_json().encode()])
    shutil.rmtree(home, ignore_errors=True)
    draft.rename(home)
    return effective(weights)


def remove_local(model: str) -> bool:
    """Go back to the pinned files. Returns whether there was anything to remove."""
    home = folder(select([model])[0].weights)
    there = home.exists()
    shutil.rmtree(home, ignore_errors=True)
    return there


def _is_pinned(weights: Weights, path: Path) -> bool:
    if path.is_file() and len(weights.assets) != 1:
        return False
    for asset in weights.assets:
        file = path / asset.file if path.is_dir() else path
        if asset.source in ("local", "package") or not file.is_file() or file.stat().st_size != asset.bytes:
            return False
        if cache.sha256_of(file) != asset.sha256:
            return False
    return True


def _runtime_files(weights: Weights, path: Path) -> dict[str, Path]:
    if path.is_dir():
        chosen = {name: path / name for name in weights.runtime}
    elif len(weights.runtime) == 1:
        chosen = {weights.runtime[0]: path}
    else:
        needed = ", ".join(weights.runtime)
        raise MienError(
            "weights.no-file", f"{weights.model} is made of several files: {needed}", "give a folder with all"
        )
    for file in chosen.values():
        if not file.is_file():
            raise MienError("weights.no-file", f"{file} does not exist; {weights.model} needs it")
    return chosen


def _undo(weights: Weights) -> str:
    return f"'mien models add {weights.model} FILE' again, or '--undo' for the published one"
