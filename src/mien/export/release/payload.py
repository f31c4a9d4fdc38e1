"""What lies in a release beside its own files: one folder per trainer, and the tables."""

from __future__ import annotations

import importlib
import importlib.util
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mien.core import MienError
from mien.export.release.index import Placed
from mien.export.selection.scope import Progress, Scope
from mien.export.tables.notice import Model
from mien.pipeline import Project
from mien.policy.flow import Target
from mien.store.sealing import walk

TABLES = "tables"
STAYS = ("items", "attributes", "labels")  # names of files, the user's own columns, who said what when


def trainers_named(names: Sequence[str]) -> dict[str, Any]:
    """Name → trainer, sorted. Raises MienError `export.unknown-trainer`."""
    known = _registry() if names else {}
    for name in names:
        if name not in known:
            raise MienError(
                "export.unknown-trainer", f"there is no trainer {name!r}", f"there are: {', '.join(sorted(known))}"
            )
    return {name: known[name] for name in sorted(set(names))}


def target_of(trainers: dict[str, Any]) -> Target:
    """What a release is for: as soon as one trainer makes pictures or sound, all of it must be permitted for that."""
    return "generation" if any(t.track == "studio" for t in trainers.values()) else "understanding"


def write_tables(scope: Scope, models: list[Model], folder: Path) -> None:
    """The long tables, without those that name files, people's words on single rows, or times of day."""
    from mien.export.tables import parquet

    folder.mkdir()
    parquet.write(scope, folder, models)
    for name in STAYS:
        (folder / f"{name}.parquet").unlink(missing_ok=True)


def write_trainers(
    trainers: dict[str, Any], project: Project, scope: Scope, draft: Path, progress: Progress
) -> Iterator[Placed]:
    """Write each trainer's folder, then give every clip with its split and the files that are its own."""
    if importlib.util.find_spec("mien.export.trainers") is None:
        yield from _plain(scope)
        return
    from mien.export.selection.examples import examples
    from mien.export.selection.splits import splits_of
    from mien.export.trainers import Job

    splits = splits_of(project, scope)
    for name, trainer in trainers.items():
        (draft / name).mkdir()
        trainer.write(Job(project, scope, splits, progress=progress), draft / name)
    held: dict[str, list[str]] = defaultdict(list)
    for name in trainers:
        for path, _ in walk(draft / name):
            held[path.rpartition("/")[2].partition(".")[0]].append(f"{name}/{path}")
    for one in examples(scope, splits):
        yield Placed(one.rows, one.split, one.group, tuple(held.get(one.stem, ())))


def _plain(scope: Scope) -> Iterator[Placed]:
    from mien.export.selection.splits import Draw, Unit, assign

    splits = assign([Unit(s.sha256) for s in scope.sources.values()], {}, Draw())
    for rows in scope.clips():
        sha = rows.part.source.sha256
        yield Placed(rows, splits.of[sha], splits.group[sha])


def _registry() -> dict[str, Any]:
    return dict(importlib.import_module("mien.export.trainers").TRAINERS)
