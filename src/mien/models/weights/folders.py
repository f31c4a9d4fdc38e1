"""Models that come as a folder of many files: read where they lie, and held to the sha256 of every file.

`index` hashes a folder once and writes what it found as one small JSON file; that file is what `mien models add`
keeps in the cache, so a fingerprint covers every byte that is read. `opened` gives the folder back if nothing in it
changed. A file is hashed again only when its size or time of change did.
"""

from __future__ import annotations

from pathlib import Path

from mien.core import MienError, Strict
from mien.models.weights import cache
from mien.models.weights.reading import formats

INDEX = "folder.json"
READ = (".safetensors", ".json", ".txt", ".jinja")  # nothing else is hashed, and nothing else may be read
REDIRECT = "adapter_config.json"  # would make transformers load further weights, from a place that it names


class Folder(Strict):
    """Where a model's folder is, and (sha256, bytes) of each of its files that may be read."""

    folder: str
    files: dict[str, tuple[str, int]]


def index(folder: Path) -> bytes:
    """The record of a folder, as JSON: what to add as a model's `folder.json`.

    Raises:
        MienError: `weights.no-file` (no folder, no config.json, no .safetensors), `weights.can-carry-code`,
            `weights.unknown-format`, and what `formats.check` raises.
    """
    names = _names(folder)
    for name in names:
        if name.endswith(".safetensors"):  # by its whole header: the length it starts with may look like a pickle
            formats.DEEPER["safetensors"](folder / name)
        elif not name.endswith(".jinja"):
            formats.check(folder / name)
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        raise MienError(
            "weights.no-file",
            f"{folder} holds no config.json beside .safetensors files",
            "give the folder of a published model; weights in .bin or .pt are not read",
        )
    files = {name: (cache.sha256_of(folder / name), (folder / name).stat().st_size) for name in names}
    return Folder(folder=str(folder.resolve()), files=files).model_dump_json(indent=1).encode()


def opened(record: Path) -> Path:
    """The folder that `record` describes, every file of it checked.

    Raises:
        MienError: `weights.damaged` when the record cannot be read, or a file changed, went or came.
    """
    again = "add the folder again: mien models add MODEL FOLDER"
    try:
        held = Folder.model_validate_json(record.read_bytes())
    except (OSError, ValueError) as error:
        raise MienError("weights.damaged", f"{record.name} is no record of a model's folder", again) from error
    folder = Path(held.folder)
    if set(_names(folder)) != set(held.files):
        odd = sorted(set(_names(folder)) ^ set(held.files))
        raise MienError("weights.damaged", f"{odd[0]} came to {folder} or went since it was added", again)
    for name, (sha256, size) in held.files.items():
        if cache.state_of(record.parent, folder / name, size, sha256) != "ok":
            raise MienError("weights.damaged", f"{name} in {folder} changed since it was added", again)
    return folder


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise MienError("weights.no-file", f"{folder} is no folder")
    if (folder / REDIRECT).exists():
        raise MienError(
            "weights.can-carry-code", f"{REDIRECT} in {folder} names further weights to load", "merge the adapter first"
        )
    return sorted(p.name for p in folder.iterdir() if p.is_file() and p.suffix in READ)
