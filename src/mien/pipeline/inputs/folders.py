"""Folders: media with their sidecars, tables that describe them, classes and splits by folder name.

The layout is that of Hugging Face's imagefolder, audiofolder and videofolder, and any other: a folder of files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.core import Attribute, Item, MienError, content_id
from mien.pipeline.inputs.archives import MAX_TEXT_BYTES, read_archive
from mien.pipeline.inputs.entry import MEDIA, TABLES, TEXTS, Entry, Refused, is_archive, suffix
from mien.pipeline.inputs.mapping import Inputs
from mien.pipeline.inputs.roles import describe, loose
from mien.pipeline.inputs.rows import read_table
from mien.pipeline.inputs.tables import parse_object
from mien.pipeline.inputs.vault import Vault

SPLITS: dict[str, str] = {
    folder: split
    for split, folders in (
        ("train", "train training"),
        ("test", "test testing eval"),
        ("validation", "validation valid val dev"),
    )
    for folder in folders.split()
}
OWN = {"mien.toml", "mien.db", "mien.db-wal", "mien.db-shm", "arrays", "media", "releases", "report.html"}
SIDECARS = (".txt", ".json", ".jsonl")


def read_folder(folder: Path, given: str, inputs: Inputs, vault: Vault) -> Iterator[Entry | Refused]:
    """The items below a folder, in name order; in each folder its tables come first, and a file that one of them names
    is no item of its own. Hidden files and what mien itself wrote are left out; linked folders are not followed."""
    yield from _Walk(folder, given, inputs, vault).entries()


def read_file(path: Path, given: str, inputs: Inputs, vault: Vault) -> Iterator[Entry | Refused]:
    """The items of one file that was given by name."""
    end = suffix(path.name)
    if path.exists() and is_archive(path.name):
        yield from read_archive(path, given, inputs, vault)
    elif path.exists() and end in TABLES:
        yield from read_table(path, given, inputs, vault)
    elif path.is_file() and end in TEXTS:
        yield _text(path, given)
    else:
        yield _medium(path, given, inputs)


class _Walk:
    """One walk through a folder and what lies below it."""

    def __init__(self, root: Path, given: str, inputs: Inputs, vault: Vault) -> None:
        self._root, self._given, self._inputs, self._vault = root, given, inputs, vault
        self._claimed: set[str] = set()  # files that a table named
        self._classes: dict[Path, bool] = {}

    def entries(self) -> Iterator[Entry | Refused]:
        found = False
        stack = [self._open(self._root)]
        while stack:
            stems, listing = stack[-1]
            path = next(listing, None)
            if path is None:
                stack.pop()
            elif isinstance(path, Refused):
                found = True
                yield path
            elif path.is_dir() and not path.is_symlink():
                stack.append(self._open(path))
            elif path.is_dir():
                error = MienError("input.link", f"{path.name} links to a folder; it is not followed", "give it by name")
                yield Refused(str(path), error)
            else:
                found = True
                if not _is_sidecar(path, stems):
                    yield from self._file(path)
        if not found:
            message = f"there is no file in {self._root.name or self._root}"
            error = MienError("input.empty-folder", message, "give a video, or a folder of them")
            yield Refused(str(self._root), error)

    @staticmethod
    def _open(folder: Path) -> tuple[frozenset[str], Iterator[Path | Refused]]:
        """(names of media without their endings, what the folder holds)."""
        listing = _listing(folder)
        media = [p for p in listing if isinstance(p, Path) and suffix(p.name) in MEDIA]
        return frozenset(name for p in media for name in (p.stem, p.name)), iter(listing)

    def _file(self, path: Path) -> Iterator[Entry | Refused]:
        end, regular = suffix(path.name), path.is_file()
        if regular and is_archive(path.name):
            yield from read_archive(path, self._given, self._inputs, self._vault)
        elif regular and end in TABLES:
            only_media, (split, _) = path.stem != "metadata", self._place(path)
            rows = read_table(path, self._given, self._inputs, self._vault, split=split, only_media=only_media)
            for entry in rows:
                if isinstance(entry, Entry):
                    self._claimed.update(str(m) for m in entry.media)
                yield entry
        elif regular and end in TEXTS:
            yield _text(path, self._given)
        elif str(path) not in self._claimed:
            yield _medium(path, self._given, self._inputs, *self._place(path))

    def _place(self, path: Path) -> tuple[str | None, str | None]:
        """(split, class) that the folders between the root and a file say."""
        parts = path.parent.relative_to(self._root).parts
        split = SPLITS.get(parts[0].lower()) if parts else None
        rest, top = (parts[1:], self._root / parts[0]) if split else (parts, self._root)
        if top not in self._classes:
            self._classes[top] = _has_classes(top)
        return split, rest[0] if len(rest) == 1 and self._classes[top] else None


def _has_classes(folder: Path) -> bool:
    """Whether two or more folders and no media lie in it: then the folders' names are classes."""
    paths = [p for p in _listing(folder) if isinstance(p, Path)]
    folders = [p for p in paths if p.is_dir() and not p.is_symlink()]
    media = any(suffix(p.name) in MEDIA and p.is_file() for p in paths)
    return len(folders) >= 2 and not media and not any(p.name.lower() in SPLITS for p in folders)


def _is_sidecar(path: Path, media: frozenset[str]) -> bool:
    """Whether a text or JSON file stands beside a medium of its name: `a.txt` or `a.mp4.txt` beside `a.mp4`."""
    return suffix(path.name) in SIDECARS and path.stem in media


def _listing(folder: Path) -> list[Path | Refused]:
    """What a folder holds, tables first, each part in name order."""
    try:
        names = sorted(n for n in os.listdir(folder) if not n.startswith("."))
    except OSError as error:
        return [
            Refused(str(folder), MienError("input.unreadable", f"{folder.name}: {error.strerror}", "check its rights"))
        ]
    own = OWN if "mien.toml" in names else ()
    out: list[Path | Refused] = []
    for name in sorted(names, key=lambda n: (Path(n).stem != "metadata", suffix(n) not in TABLES, n)):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        if name in own:
            continue
        if shown != name:
            error = MienError("input.bad-path", f"the name of {shown} is not UTF-8", "rename it")
            out.append(Refused(f"{folder}/{shown}", error))
        else:
            out.append(folder / name)
    return out


def _medium(path: Path, given: str, inputs: Inputs, split: str | None = None, label: str | None = None) -> Entry:
    item = Item(content_id("item", str(path)), str(path), (), given=given)
    cells: dict[str, Any] = {}
    problems: list[MienError] = []
    if suffix(path.name) in MEDIA:
        for end in SIDECARS:
            for beside in (path.with_suffix(end), path.with_name(path.name + end)):
                if beside.is_file():
                    try:
                        cells |= _sidecar(beside)
                    except MienError as error:
                        problems.append(error)
    entry = describe(item, cells, loose(inputs.of(path.name), cells))
    held = {a.key for a in entry.attributes}
    named = (("split", split), ("label", label))
    more = tuple(Attribute(item.id, k, "text", v) for k, v in named if v is not None and k not in held)
    return replace(entry, attributes=(*entry.attributes, *more), media=(path,), problems=tuple(problems))


def _text(path: Path, given: str) -> Entry | Refused:
    item = Item(content_id("item", str(path)), str(path), (), given=given)
    try:
        return describe(item, _sidecar(path), loose(Inputs().columns, {}))
    except MienError as error:
        return Refused(str(path), error)


def _sidecar(path: Path) -> dict[str, Any]:
    """The keys a sidecar gives: `text` for a text, its own for JSON. Raises MienError `input.*`."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise MienError("input.too-large", f"{path.name} is larger than {MAX_TEXT_BYTES >> 20} MiB", "cut it")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MienError("input.unreadable", f"{path.name}: {error.strerror}", "check its rights") from error
    except UnicodeError as error:
        raise MienError("input.not-utf8", f"{path.name} is not UTF-8", "save it as UTF-8") from error
    if suffix(path.name) == ".txt":
        return {"text": text.strip()}
    lines = [line for line in text.splitlines() if line.strip()]
    if suffix(path.name) == ".jsonl" and len(lines) != 1:
        message = f"{path.name} stands beside a medium and must hold one object, but has {len(lines)} lines"
        raise MienError("input.bad-json", message, "rename it to read it as a table")
    return parse_object(text, path.name)
