"""Tables into entries: rows with paths, rows with media inside, rows of text alone."""

from __future__ import annotations

import io
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.core import Attribute, Item, MienError, content_id
from mien.pipeline.inputs import tables
from mien.pipeline.inputs.entry import MEDIA, Entry, Refused, suffix
from mien.pipeline.inputs.mapping import Inputs
from mien.pipeline.inputs.roles import SAMPLE, Roles, describe, resolve
from mien.pipeline.inputs.tables import Row
from mien.pipeline.inputs.values import flat, safe, typed
from mien.pipeline.inputs.vault import Vault

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|data:", re.I)


def read_table(
    path: Path, given: str, inputs: Inputs, vault: Vault, *, split: str | None = None, only_media: bool = False
) -> Iterator[Entry | Refused]:
    """The items of one table, row by row.

    Args:
        split: the part of the data set (`train`, `test`) that its folder says it is.
        only_media: refuse a table that names no media (one met in a folder, not given by name).
    """
    try:
        yield from _read(path, given, inputs, vault, split, only_media)
    except MienError as error:
        yield Refused(str(path), error)


def _read(
    path: Path, given: str, inputs: Inputs, vault: Vault, split: str | None, only_media: bool
) -> Iterator[Entry | Refused]:
    rows, native = tables.rows(path), tables.native(path)
    head = list(itertools.islice(rows, SAMPLE))
    good = [row for row in head if row.error is None]
    if not head:
        raise MienError("input.empty-table", f"{path.name} has no rows", "is it the right file?")
    mapping = inputs.of(path.name)
    if good:
        mapping.check(dict.fromkeys(n for row in good for n in (*row.cells, *flat(row.cells))), path.name)
    roles = resolve(mapping, good, native=native)
    if only_media and not roles.media:
        raise MienError(
            "input.table-not-read",
            f"{path.name} names no media, so that it was not read as part of its folder",
            f"give it by name to read its rows as items: mien run {path.name}",
        )
    if any(_holds_bytes(row.cells.get(name)) for row in good for name in roles.media):
        vault.check(path.name)
    for name in tables.binary_columns(path):
        message = f"column {name!r} of {path.name} holds bare bytes, which are not read"
        yield Refused(f"{path}#{name}", MienError("input.unknown-type", message, "use structs {bytes, path}"))
    seen: Counter[str] = Counter()
    for row in itertools.chain(head, rows):
        yield _entry(row, path, given, roles, vault, seen, split)


def _entry(
    row: Row, path: Path, given: str, roles: Roles, vault: Vault, seen: Counter[str], split: str | None
) -> Entry | Refused:
    unit = f"{path}#row {row.number}"
    if row.error is not None:
        return Refused(unit, row.error)
    where = f"{path.name}, row {row.number}"
    media, names, problems = _media(row, roles, path, vault, where)
    named = typed(row.cells.get(roles.id), "text") if roles.id else None
    key = named[1] if named else " + ".join(names) or f"row {row.number}"
    seen[key] += 1
    if seen[key] > 1 and named and roles.unique:
        error = MienError("input.duplicate-id", f"{where}: the id {key!r} comes again", f"make {roles.id!r} unique")
        return Refused(unit, error)
    key = key if seen[key] == 1 else f"{key} ({seen[key]})"
    item = Item(content_id("item", str(path), key), str(path), (), row=key, given=given)
    entry = describe(item, row.cells, roles)
    attributes = (*entry.attributes, Attribute(item.id, "split", "text", split)) if split else entry.attributes
    return replace(entry, attributes=attributes, media=media, problems=problems)


def _media(
    row: Row, roles: Roles, path: Path, vault: Vault, where: str
) -> tuple[tuple[Path, ...], list[str], tuple[MienError, ...]]:
    """(paths, names as the row says them, problems) of the media of a row."""
    media: list[Path] = []
    names: list[str] = []
    problems: list[MienError] = []
    for column in roles.media:
        cell = row.cells.get(column)
        for value in cell if isinstance(cell, list) else [cell]:
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            try:
                found, name = _medium(value, path, vault, where)
                names.append(safe(name))
                if found is not None:
                    media.append(found)
            except MienError as error:
                names.append(safe(value.strip()) if isinstance(value, str) else f"{column} {row.number}")
                problems.append(error)
    return tuple(dict.fromkeys(media)), names, tuple(problems)


def _medium(value: Any, path: Path, vault: Vault, where: str) -> tuple[Path | None, str]:
    if isinstance(value, dict):
        data, name = value.get("bytes"), str(value.get("path") or "")
        if isinstance(data, bytes):
            end = suffix(name)
            kept = vault.put(io.BytesIO(data), end if end in MEDIA else "", where)
            return kept, name or kept.stem
        value = name
        if not value:
            return None, ""
    if not isinstance(value, str):
        raise MienError("input.bad-path", f"{where}: a path must be text, but got {type(value).__name__}")
    return located(value.strip(), path.parent, where), value.strip()


def located(text: str, folder: Path, where: str) -> Path:
    """The absolute path a cell names, relative to its table. The table is the user's own: it may point anywhere on this
    machine, and nowhere else.

    Raises:
        MienError: `input.url`, `input.bad-path`.
    """
    if _ADDRESS.match(text):
        raise MienError("input.url", f"{where}: {text[:80]!r} is an address", "nothing is downloaded: give local files")
    if "\0" in text or len(text) >= 4096 or not _encodable(text):
        raise MienError("input.bad-path", f"{where}: this cannot be a path", "check the column")
    return Path(os.path.normpath(folder / text))


def _encodable(text: str) -> bool:
    try:
        return bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _holds_bytes(cell: Any) -> bool:
    cells = cell if isinstance(cell, list) else [cell]
    return any(isinstance(c, dict) and isinstance(c.get("bytes"), bytes) for c in cells)
