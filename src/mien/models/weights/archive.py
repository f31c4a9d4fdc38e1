"""One archive with weights for a machine without network; trusted only as far as the manifest pins its content."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mien.core import Asset, MienError, Weights
from mien.models.weights import cache
from mien.models.weights.converting import convert
from mien.models.weights.manifest import Entry, manifest, select

LICENCES = "licences.json"
MAX_MEMBERS = 10_000


@dataclass(frozen=True, slots=True)
class Unbundled:
    """Models now complete, models of which files are still missing, members this version of mien does not know."""

    installed: tuple[str, ...]
    incomplete: tuple[str, ...]
    skipped: tuple[str, ...]


def bundle(path: Path, models: Iterable[str] = ()) -> tuple[str, ...]:
    """Write the pinned files of these models (default: all that are here) and all their licences into one tar file.

    The same files give the same bytes. Files of the user's own (`add_local`) are not included. Returns the models.

    Raises:
        MienError: `weights.missing` when a named model is not here, or nothing is.
    """
    named = list(models)
    # what ships inside mien itself has nothing to carry
    entries = [e for e in select(named) if named or (_complete(e.weights) and list(_carried(e.weights)))]
    absent = [e.model for e in entries if not _complete(e.weights)]
    if absent or not entries:
        what = ", ".join(absent) or "no model"
        raise MienError(
            "weights.missing", f"{what} {'is' if absent else 'at all is'} not on this machine", "mien models pull"
        )
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as out:
            with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                rows = {e.model: asdict(e.weights.licences) for e in entries}
                text = json.dumps(rows, indent=1, sort_keys=True).encode()
                archive.addfile(_header(LICENCES, len(text)), io.BytesIO(text))
                for entry in entries:
                    for asset in _carried(entry.weights):
                        with cache.place(entry.weights, asset).open("rb") as file:
                            archive.addfile(_header(_member(entry.weights, asset), asset.bytes), file)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return tuple(e.model for e in entries)


def unbundle(path: Path) -> Unbundled:
    """Install what a bundle holds. Every file must be one the manifest pins: name, size and sha256.

    Raises:
        MienError: `weights.bundle-unreadable`; `weights.bundle-hostile` for members that a bundle never has (links,
            devices, paths that leave the folder, names twice, more members than there are files), before anything is
            written; `weights.size`, `weights.sha256` for a file that is not the pinned one.
    """
    entries = manifest()
    known = {_member(e.weights, a): (e, a) for e in entries for a in _carried(e.weights)}
    skipped: list[str] = []
    touched: dict[str, Entry] = {}
    try:
        with tarfile.open(path, mode="r:") as archive, cache.only_one(lambda: None):
            members = _safe(archive)
            for info in members:
                if info.name == LICENCES:
                    continue
                if info.name not in known:
                    skipped.append(info.name)
                    continue
                entry, asset = known[info.name]
                if info.size != asset.bytes:
                    raise MienError("weights.size", f"{info.name} must have {asset.bytes} bytes, but got {info.size}")
                touched[entry.model] = entry
                if cache.asset_state(entry.weights, asset) != "ok":
                    target = cache.place(entry.weights, asset)
                    cache.write_atomic(target, _chunks(archive, info), sha256=asset.sha256, size=asset.bytes)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise MienError(
            "weights.bundle-unreadable", f"{path.name} is not a readable bundle: {error}", "copy it over again"
        ) from error
    whole = [e for e in touched.values() if _complete(e.weights)]
    for entry in whole:
        convert.ensure(entry.weights)
    incomplete = tuple(m for m, e in touched.items() if e not in whole)
    return Unbundled(tuple(e.model for e in whole), incomplete, tuple(skipped))


def _carried(weights: Weights) -> list[Asset]:
    """What travels: not what ships with mien, not what is the user's own."""
    return [a for a in weights.assets if a.source not in ("package", "local")]


def _complete(weights: Weights) -> bool:
    return bool(weights.assets) and all(cache.asset_state(weights, a) == "ok" for a in weights.assets)


def _member(weights: Weights, asset: Asset) -> str:
    return f"{weights.model}/{weights.sha256[:12]}/{asset.file}"


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _safe(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    for info in archive:
        odd = not info.isreg() or info.issparse() or info.name.startswith("/") or "\\" in info.name
        if odd or ".." in Path(info.name).parts:
            raise MienError("weights.bundle-hostile", f"the archive holds {info.name!r}, which no bundle has")
        members.append(info)
        if len(members) > MAX_MEMBERS:
            raise MienError("weights.bundle-hostile", f"the archive holds more than {MAX_MEMBERS} members")
    names = [info.name for info in members]
    if len(set(names)) < len(names):
        raise MienError("weights.bundle-hostile", "the archive holds one name twice")
    return members


def _chunks(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file = archive.extractfile(info)
    while file is not None and (chunk := file.read(cache.CHUNK_BYTES)):
        yield chunk
