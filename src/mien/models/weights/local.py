"""Files of the user's own: copied into the cache, never loaded from where they lay, and marked as what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from mien.core import Asset, MienError, Strict, Weights
from mien.models.weights import cache, folders, terms
from mien.models.weights.converting import convert
from mien.models.weights.manifest import select
from mien.models.weights.reading import bringing, formats


class Original(Strict):
    """The file that was read into a run-time file: its name, its sha256, whether it was the one the manifest named."""

    file: str
    sha256: str
    published: bool


class Added(Strict):
    """Which files the user added: name → (sha256, bytes). `originals`: those that were read out of another format."""

    files: dict[str, tuple[str, int]]
    originals: dict[str, Original] = Field(default_factory=dict)


Told = Callable[[str, Original, bringing.Brought], None]
"""Called for each file that was read out of another format: run-time name, original, what was found."""


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


def brought(weights: Weights) -> dict[str, Asset | None]:
    """Run-time files that are not fetched but added → the published file that each is read from, where one is named."""
    given = {a.file for a in weights.assets} | set(convert.made_by(weights))
    free = [name for name in weights.runtime if name not in given]
    return {name: weights.bring[i] if i < len(weights.bring) else None for i, name in enumerate(free)}


def own(weights: Weights, record: Added) -> dict[str, tuple[str, int]]:
    """The added files that are not what the manifest names now."""
    pinned = {name: asset.sha256 for name, asset in brought(weights).items() if asset}
    published = {n for n, o in record.originals.items() if o.published and o.sha256 == pinned.get(n)}
    return {name: file for name, file in record.files.items() if name not in published}


def effective(weights: Weights) -> Weights:
    """The weights as they are on this machine: with the user's files in place of the pinned ones.

    A fingerprint of answers must be made of this, so that a private file is never mistaken for the published one.
    """
    record = added(weights)
    mine = own(weights, record) if record else {}
    if not mine:
        return weights
    local = tuple(Asset(n, "local", "", "", n, sha, size) for n, (sha, size) in sorted(mine.items()))
    if set(mine) >= set(weights.runtime):
        return dataclasses.replace(weights, assets=local, bring=())
    kept = tuple(asset for name, asset in brought(weights).items() if asset and name not in mine)
    return dataclasses.replace(weights, assets=(*weights.assets, *local), bring=kept)


def add_local(model: str, path: Path, key: str = "", told: Told = lambda name, original, found: None) -> Weights:
    """Take a file (or a folder with all run-time files) as the weights of a model.

    The pinned files themselves are recognised by their sha256 and installed as such, and so are published files that
    the manifest names to be brought. Anything else is recorded as the user's own; `effective` of the model then
    differs. PyTorch's and Keras' files are read in a child that runs nothing of them (`bringing`), for models that take
    one .safetensors; nothing else that can carry code is taken.

    Args:
        key: under which key of a PyTorch file (group of a Keras file) the network is; "" finds it.

    Returns:
        the weights in force.

    Raises:
        MienError: `models.unknown`, `licence.not-accepted`, `weights.no-file`, `weights.can-carry-code`,
            `weights.unknown-format`, `weights.external-data`, `weights.custom-op`, `weights.wrong-format`, and what
            `bringing.bring` raises.
    """
    weights = select([model])[0].weights
    terms.require(weights)
    if not path.exists():
        raise MienError("weights.no-file", f"{path} does not exist")
    if weights.assets and _is_pinned(weights, path):
        _forget(weights)
        for asset in weights.assets:
            source = path / asset.file if path.is_dir() else path
            chunks = cache.read_chunks(source)
            cache.write_atomic(cache.place(weights, asset), chunks, sha256=asset.sha256, size=asset.bytes)
        return weights
    chosen = _runtime_files(weights, path)
    for name, file in chosen.items():
        want = Path(name).suffix
        if not (file.is_dir() or _needs_child(name, file)):
            kind = formats.check(file)
            if file.suffix != want:
                wrong = f"{weights.model} takes {want} files, but {file.name} is {kind}"
                raise MienError("weights.wrong-format", wrong)
    home = folder(weights)
    draft = home.with_name(".local.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        text = _fill(weights, chosen, draft, key, told).model_dump_json()
        cache.write_atomic(draft / "added.json", [text.encode()])
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        _sweep(draft.parent)
        raise
    shutil.rmtree(home, ignore_errors=True)
    draft.rename(home)
    return effective(weights)


def _fill(weights: Weights, chosen: dict[str, Path], draft: Path, key: str, told: Told) -> Added:
    """Put the chosen files into the draft, read or copied; those added before stay, where a model takes several."""
    record, originals, before = dict[str, tuple[str, int]](), dict[str, Original](), added(weights)
    if before and len(brought(weights)) > 1:
        for name in before.files.keys() - chosen.keys():
            cache.write_atomic(draft / name, cache.read_chunks(folder(weights) / name), sha256=before.files[name][0])
            record[name] = before.files[name]
            originals |= {name: before.originals[name]} if name in before.originals else {}
    for name, file in chosen.items():
        if _needs_child(name, file):
            originals[name] = _bring(weights, name, file, draft / name, key, told)
        elif file.is_dir():
            cache.write_atomic(draft / name, [folders.index(file)])
        else:
            sha256 = cache.write_atomic(draft / name, cache.read_chunks(file))
            asset = brought(weights).get(name)
            if asset and asset.sha256 == sha256:
                originals[name] = Original(file=file.name, sha256=sha256, published=True)
        # what is checked is what lies in the cache now: the source may have changed meanwhile
        formats.check(draft / name)
        record[name] = (cache.sha256_of(draft / name), (draft / name).stat().st_size)
    return Added(files=record, originals=originals)


def _needs_child(name: str, file: Path) -> bool:
    """Whether a file has to be read out of a format that could carry code, and may be."""
    return Path(name).suffix == ".safetensors" and file.is_file() and bringing.is_brought(file)


def remove_local(model: str) -> bool:
    """Go back to the pinned files. Returns whether there was anything to remove."""
    return _forget(select([model])[0].weights)


def _forget(weights: Weights) -> bool:
    home = folder(weights)
    there = home.exists()
    shutil.rmtree(home, ignore_errors=True)
    return there


def _sweep(folder: Path) -> None:
    """Empty folders of a model that was not taken go, too."""
    for level in (folder, folder.parent):
        try:
            level.rmdir()
        except OSError:
            return


def _bring(weights: Weights, name: str, path: Path, draft: Path, key: str, told: Told) -> Original:
    """Read one published file into the draft. What was hashed is what was read, or it is refused."""
    with path.open("rb") as source:
        before = os.fstat(source.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise MienError("weights.no-file", f"{path} is no regular file")
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
        found = bringing.bring(source, draft, key)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise MienError("weights.damaged", f"{path.name} changed while it was read", "try again", retryable=True)
    asset = brought(weights).get(name)
    original = Original(file=path.name, sha256=sha256, published=bool(asset and not key and asset.sha256 == sha256))
    told(name, original, found)
    return original


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
    free = brought(weights)
    if path.is_dir() and weights.runtime == (folders.INDEX,):
        return {folders.INDEX: path}  # read where it lies; what is kept is the record of its files
    if path.is_dir():
        names = tuple(free) if weights.assets and free else weights.runtime
        chosen = {name: _in_folder(path, name, free.get(name)) for name in names}
    elif len(weights.runtime) == 1 or len(free) == 1:
        chosen = {next(iter(free if len(free) == 1 else weights.runtime)): path}
    elif named := [n for n, asset in free.items() if path.name in (n, asset.file if asset else n)]:
        chosen = {named[0]: path}
    else:
        needed = ", ".join(asset.file if (asset := free.get(n)) else n for n in weights.runtime)
        raise MienError(
            "weights.no-file", f"{weights.model} is made of several files: {needed}", "give a folder with all"
        )
    for file in chosen.values():
        if not file.is_file():
            raise MienError("weights.no-file", f"{file} does not exist; {weights.model} needs it")
    return chosen


def _in_folder(path: Path, name: str, asset: Asset | None) -> Path:
    """The file of a folder that becomes a run-time file: of that name, or the published one that it is read from."""
    others = [path / asset.file] if asset else []
    if name == "model.safetensors":
        others.append(path / "pytorch_model.bin")
    return next((p for p in (path / name, *others) if p.is_file()), path / name)


def _undo(weights: Weights) -> str:
    return f"'mien models add {weights.model} FILE' again, or '--undo' for the published one"
