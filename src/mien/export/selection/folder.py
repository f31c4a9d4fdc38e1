"""The folder of an export: made whole beside its place and moved there, or file by file where it replaces an older one.

`export.json` lists the files with their sha256, also those of subfolders (`images/x.jpg`), so that a later export with
`--force` takes back exactly what mien wrote and leaves everything else in the folder alone. Links are never followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core import MienError

MANIFEST = "export.json"


@dataclass(frozen=True, slots=True)
class File:
    """One written file. `rows`: its rows, cues, lines or annotations."""

    name: str
    rows: int
    bytes: int
    sha256: str


@contextmanager
def staging(out: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write into; it takes its place when the block ends well, and is gone when it does not.

    Raises:
        MienError: `export.exists` where `out` holds something and `force` is off; `export.not-writable`.
    """
    if out.exists() and not out.is_dir():
        raise MienError("export.exists", f"{out} is a file", "name a folder with -o")
    if not force and out.is_dir() and any(out.iterdir()):
        raise MienError("export.exists", f"{out} is not empty", "name another folder with -o, or replace it: --force")
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        _move(draft, out)
    except OSError as error:
        raise MienError(
            "export.not-writable", f"cannot write {out}: {error.strerror}", "choose another folder: -o DIR"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move(draft: Path, out: Path) -> None:
    if not out.exists() or not any(out.iterdir()):
        with suppress(FileNotFoundError):
            out.rmdir()
        draft.rename(out)
        return
    older = set(_listed(out))
    fresh = _files(draft)
    for name in fresh:
        if not _inside(out, name):
            raise MienError("export.exists", f"{out / name} would be written through a link", "name another folder")
    for name in sorted(fresh, key=lambda n: n == MANIFEST):  # the list changes last
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).replace(out / name)
    for name in sorted(older - set(fresh)):
        if _inside(out, name):
            (out / name).unlink(missing_ok=True)
            _prune(out, (out / name).parent)


def _files(folder: Path) -> list[str]:
    """The files of a folder and of its subfolders, by their names within it, in one order on every machine."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink())


def _inside(out: Path, name: str) -> bool:
    """Whether no folder on the way to a file is a link (or a file)."""
    folders = [out / parent for parent in Path(name).parents if parent != Path()]
    return not any(f.is_symlink() or (f.exists() and not f.is_dir()) for f in folders)


def _prune(out: Path, folder: Path) -> None:
    """Take away folders that an older export has left empty."""
    while folder != out:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _listed(out: Path) -> list[str]:
    """Files an older export of mien wrote here; names that lead elsewhere are never believed."""
    try:
        names = [str(f["name"]) for f in json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [n for n in names if _plain_path(n)]


def _plain_path(name: str) -> bool:
    parts = name.split("/")
    return all(p == Path(p).name and p not in ("", ".", "..") and "\0" not in p for p in parts)


def seal(draft: Path, about: dict[str, Any], rows: dict[str, int]) -> tuple[File, ...]:
    """Write `export.json` over the files of a draft; everything is synced to disk. Holds no time and no path."""
    files: list[File] = []
    for name in _files(draft):
        path = draft / name
        with path.open("rb") as held:
            sha = hashlib.file_digest(held, "sha256").hexdigest()
            os.fsync(held.fileno())
        files.append(File(name, rows.get(name, 0), path.stat().st_size, sha))
    listed = [{"name": f.name, "rows": f.rows, "bytes": f.bytes, "sha256": f.sha256} for f in files]
    write_text(draft / MANIFEST, [json.dumps({**about, "files": listed}, indent=1, ensure_ascii=False) + "\n"])
    return tuple(files)


def write_text(path: Path, pieces: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        out.writelines(pieces)
        out.flush()
        os.fsync(out.fileno())


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name as one path segment without spaces, control or reserved characters; all different, also where only
    letter case or such characters tell the names apart."""
    made = {name: _plain(name) for name in sorted(names)}
    folded = Counter(m.casefold() for m in made.values())
    return {
        name: m if folded[m.casefold()] == 1 else f"{m}~{hashlib.sha256(name.encode()).hexdigest()[:6]}"
        for name, m in made.items()
    }


def _plain(name: str) -> str:
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' and not c.isspace() else "_" for c in name)
    return kept.lstrip(".") or "_"
