"""What leaves a project is registered with whose data it holds, so that `mien forget` finds it again."""

from __future__ import annotations

import getpass
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from mien.core import Clip, Item, Source, Subject
from mien.media import hash_file
from mien.pipeline.engine.books import utc_now
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project
from mien.store.log import Registered


def left(project: Project, kind: str, path: Path, sources: Collection[str], manifest: Path | None = None) -> None:
    """Register what was written: a folder by its manifest, or a file by itself. In `care` the log also says who read.

    Args:
        kind: `export`, `report`, `adapter` or `profile`. sources: sha256 of the recordings whose data it holds.
    """
    held = manifest or path
    sha = hash_file(held) if held.is_file() else ""
    people = people_in(project, sources)
    project.store.register(kind, path, sources, people, sha, utc_now())
    if project.config.context == "care":
        told = {"kind": kind, "by": _user(), "sources": sorted(sources), "subjects": sorted(people)}
        project.store.note("read", told, utc_now())


def learnt(
    project: Project,
    path: Path,
    *,
    data: Path | None = None,
    sources: Collection[str] = (),
    people: Collection[str] = (),
    kind: str = "adapter",
) -> bool:
    """Register what was trained or computed on people's data (an adapter, a head, a calibration, a cache), so that
    `mien forget` names or removes it; whether anything of this project is in it.

    Args:
        data: the file or folder it was trained on: what is registered there, what its `export.json` or `examples.jsonl`
            lists, and recordings of the project that lie in it. Or, given themselves, sources: sha256; people:
            pseudonyms; what this project does not know is left out, as it may be a name.
        kind: `adapter` is only listed, `profile` is removed with whoever is in it.
    """
    store = project.store
    known = {s.sha256 for s in store.all(Source)}
    shas, named = known.intersection(sources), set(people)
    if data is not None:
        mine = _within(project, data)
        shas |= {s for r in mine for s in r.sources} | known.intersection(_listed(data))
        shas |= _media(store.all(Source), data)
        named |= {s for r in mine for s in r.subjects}
    who = (named & {s.id for s in store.all(Subject)}) | people_in(project, shas)
    if not shas and not who:
        return False
    store.register(kind, path, shas, who, hash_file(path) if path.is_file() else "", utc_now())
    return True


def _within(project: Project, data: Path) -> list[Registered]:
    """What is registered at a path, above it or below it."""
    whole, root = data.resolve(), project.root
    found = list[Registered]()
    for r in project.store.registered():
        if "://" in r.path:
            continue
        held = ((root or Path()) / r.path).resolve()
        if whole.is_relative_to(held) or held.is_relative_to(whole):
            found.append(r)
    return found


def _listed(data: Path) -> set[str]:
    """Recordings that an export or a release says it holds."""
    found = set[str]()
    for folder in (data, *data.parents[:3]) if data.exists() else ():
        with suppress(OSError, ValueError, KeyError, TypeError):
            found |= {str(s["sha256"]) for s in json.loads((folder / "export.json").read_bytes())["sources"]}
        with suppress(OSError, ValueError, KeyError, TypeError), (folder / "examples.jsonl").open("rb") as lines:
            found |= {str(row["source"]) for row in map(json.loads, lines) if "source" in row}
    return found


def _media(sources: Collection[Source], data: Path) -> set[str]:
    """Recordings of the project that lie in a folder, by their bytes."""
    sizes = {s.bytes for s in sources}
    files = (p for p in (data.rglob("*") if data.is_dir() else [data]) if p.is_file() and p.stat().st_size in sizes)
    return {hash_file(p) for p in files} & {s.sha256 for s in sources}


def people_in(project: Project, sources: Collection[str]) -> set[str]:
    """Everybody who was said to be in these recordings."""
    store, marks = project.store, Marks(project.store, project.config.context, now())
    found = {i.subject_id for i in store.all(Item) if not set(sources).isdisjoint(i.source_shas)}
    for sha in sources:
        found |= {a.subject_id for a in marks.assigned(sha)}  # also of whom no detector found a track
        for clip in store.all(Clip, "source_sha = ?", (sha,)):
            cast = marks.cast(clip)
            found |= {*cast.who.values(), cast.alone}
    return found - {"", "unassigned"}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
