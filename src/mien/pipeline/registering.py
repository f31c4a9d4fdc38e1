"""What leaves a project is registered with whose data it holds, so that `mien forget` finds it again."""

from __future__ import annotations

import getpass
from collections.abc import Collection
from pathlib import Path

from mien.core import Clip, Item
from mien.media import hash_file
from mien.pipeline.engine.books import utc_now
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project


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
