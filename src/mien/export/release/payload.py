"""What lies in a release beside its own files: one folder per trainer, and the tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.export.release.index import Placed
from mien.export.selection.scope import Progress, Scope
from mien.export.tables.notice import Model
from mien.policy.flow import Target
from mien.store.sealing import walk

if TYPE_CHECKING:
    from mien.export.selection.splits import Splits
    from mien.export.trainers import Trainer

TABLES = "tables"
STAYS = ("items", "attributes", "labels")  # names of files, the user's own columns, who said what when


def trainers_named(names: Sequence[str]) -> tuple[Trainer, ...]:
    """The trainers, by name. Raises MienError `export.unknown-trainer`."""
    from mien.export.trainers import trainer

    return tuple(trainer(name) for name in sorted(set(names)))


def target_of(trainers: Sequence[Trainer]) -> Target:
    """What a release is for: as soon as one trainer makes pictures or sound, all of it must be permitted for that."""
    return "generation" if any(t.track == "studio" for t in trainers) else "understanding"


def write_tables(scope: Scope, models: list[Model], folder: Path) -> None:
    """The long tables, without those that name files, people's words on single rows, or times of day."""
    from mien.export.tables import parquet

    folder.mkdir()
    parquet.write(scope, folder, models)
    for name in STAYS:
        (folder / f"{name}.parquet").unlink(missing_ok=True)


def write_trainers(
    trainers: Sequence[Trainer], scope: Scope, splits: Splits, draft: Path, terms: str, progress: Progress
) -> Iterator[Placed]:
    """Write each trainer's folder and the terms, then give every clip with its split and the files of its own."""
    from mien.export.selection.examples import examples
    from mien.export.trainers import NOTICE, Job, Terms

    held: dict[str, list[str]] = defaultdict(list)
    for one in trainers:
        (draft / one.name).mkdir()
        one.write(Job(scope.project, scope, splits, Terms(), progress), draft / one.name)  # pyright: ignore[reportCallIssue]
        (draft / one.name / NOTICE).write_text(terms, encoding="utf-8")  # a folder may go on without the rest
        for path, _ in walk(draft / one.name):
            held[_stem(path)].append(f"{one.name}/{path}")
    for example in examples(scope, splits):
        yield Placed(example.rows, example.split, example.group, tuple(held.get(example.stem, ())))


def _stem(path: str) -> str:
    """The stem of an example's file: STEM.mp4, and STEM-2.jpg where there are several."""
    return path.rpartition("/")[2].partition(".")[0].partition("-")[0]
