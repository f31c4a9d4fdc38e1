"""The trainers that data can be written for, and how one export runs: `mien export --for TRAINER OUT`.

Each trainer is one row: what it is for, in a line, and a writer that fills a folder. The folder is made whole or not at
all, with `export.json` (every file with its sha256) and `NOTICE.txt`; it names no file and no person.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import Field

from mien.core import VERSION, MienError, Strict
from mien.export.selection.examples import unnamed
from mien.export.selection.folder import MANIFEST, File, seal, staging, write_text
from mien.export.selection.gate import Withheld
from mien.export.selection.scope import Progress, Scope, scope_of, unwatched
from mien.export.selection.splits import Splits
from mien.export.selection.together import splits_of
from mien.pipeline import Project
from mien.pipeline.registering import left
from mien.policy.flow import Target
from mien.policy.uses import Use
from mien.reason.training_text import Length
from mien.store.drawn import SPLITS

Track = Literal["care", "studio"]
NOTICE = "NOTICE.txt"
VERSION_OF_LAYOUT = 1
_FOR: dict[Track, Target] = {"care": "understanding", "studio": "generation"}


class Terms(Strict):
    """What a person may ask of an export for training."""

    length: Length = Field("medium", description="how much of the reasoning is told: short, medium or long")
    fps: Annotated[float, Gt(0), Le(60)] = Field(8.0, description="pictures per second of cut clips")
    max_side_px: Annotated[int, Ge(32), Le(4096)] = Field(640, description="longest side of pictures and clips")
    frames: Annotated[int, Ge(1), Le(64)] = Field(4, description="pictures per clip where a trainer takes no video")
    copies: Annotated[int, Ge(1), Le(50)] = Field(5, description="rows a soft label becomes where no weight is known")
    target: str = Field("", description="models to train, for those that make pictures: wan, sdxl, …; its own if empty")


@dataclass(frozen=True, slots=True)
class Job:
    """One export. `notes`: what a writer wants a person to know; `dropped`: clips that are in no file, and why."""

    project: Project
    scope: Scope
    splits: Splits
    terms: Terms
    progress: Progress = unwatched
    notes: list[str] = field(default_factory=list[str])
    dropped: list[Withheld] = field(default_factory=list[Withheld])


Write = Callable[[Job, Path], Mapping[str, int]]
"""Fills a folder; gives the rows of its files by name."""
Preview = Callable[[Job], Any]
"""What would be written, as plain values; writes nothing. None: the files are listed."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """One trainer, or one format that trainers share. track: care (reading affect) or studio (making pictures)."""

    name: str
    track: Track
    line: str
    write: Write
    preview: Preview


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export for a trainer wrote. splits: split → clips; withheld: what stayed behind in the project."""

    trainer: str
    out: Path
    files: tuple[File, ...]
    splits: dict[str, int]
    dropped: tuple[Withheld, ...]
    withheld: tuple[Withheld, ...]
    warnings: tuple[str, ...]


def trainers() -> dict[str, Trainer]:
    """Every trainer by its name."""
    from mien.export import diffusion, vlm

    made: tuple[Trainer, ...] = (*vlm.TRAINERS, *diffusion.TRAINERS)
    return {t.name: t for t in made}


def trainer(name: str) -> Trainer:
    """Raises MienError `export.unknown-trainer`, with the nearest name."""
    known = trainers()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name.lower(), known, 1, 0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise MienError("export.unknown-trainer", f"there is no trainer {name!r}", f"{hint}all: mien export --for help")


def job_of(
    project: Project,
    name: str,
    terms: Terms | None = None,
    *,
    use: Use = "share",
    progress: Progress = unwatched,
    keep: bool = True,
) -> Job:
    """What an export for a trainer works on.

    Args:
        use: `share` for another team, `publish` for a release.
        keep: write what was drawn of splits to the project; off for a preview.

    Raises:
        MienError: `export.unknown-trainer`; of `scope_of`; of `splits_of`.
    """
    scope, splits = _selected(project, name, use, progress, split=False, keep=keep)
    return Job(project, unnamed(scope), splits, terms or Terms(), progress)  # pyright: ignore[reportCallIssue]


def _selected(
    project: Project, name: str, use: Use, progress: Progress, *, split: bool, keep: bool = True
) -> tuple[Scope, Splits]:
    scope = scope_of(project, progress, use=use, target=_FOR[trainer(name).track], split=split)
    splits = splits_of(project, scope, keep=keep)
    left = tuple(Withheld(scope_name(scope, sha), w.code, w.reason) for sha, w in splits.left_out.items())
    scope.withheld += left
    return scope, splits


def scope_name(scope: Scope, sha: str) -> str:
    """What people call a source of the scope."""
    return next(p.name for p in scope.parts if p.source.sha256 == sha)


def export_for(
    project: Project,
    name: str,
    out: Path,
    terms: Terms | None = None,
    *,
    force: bool = False,
    use: Use = "share",
    progress: Progress = unwatched,
) -> Exported:
    """Write a project for a trainer, whole or not at all.

    Raises:
        MienError: `export.unknown-trainer`, `export.exists`, `export.nothing`, `export.all-withheld`,
            `export.not-writable`, `splits.*`, `licence.mixed`.
    """
    trainer(name)
    with staging(out, force=force) as draft:
        return _written(project, name, out, draft, job_of(project, name, terms, use=use, progress=progress))


def export_apart(
    project: Project,
    name: str,
    out: Path,
    terms: Terms | None = None,
    *,
    force: bool = False,
    use: Use = "share",
    progress: Progress = unwatched,
) -> tuple[Exported, ...]:
    """As `export_for`, a folder for each set of recordings whose terms fit together: `out` where all do, else
    `out-KIND`, as releases are parted. Splits are drawn over all of them; what was written before an error stays.

    Raises:
        MienError: as `export_for`.
    """
    scope, splits = _selected(project, name, use, progress, split=True)
    made: list[Exported] = []
    for folder, part in scope.named_groups(out.name):
        place = out.with_name(folder)
        job = Job(project, unnamed(part), splits, terms or Terms(), progress)  # pyright: ignore[reportCallIssue]
        with staging(place, force=force) as draft:
            made.append(_written(project, name, place, draft, job))
    return tuple(made)


def _written(project: Project, name: str, out: Path, draft: Path, job: Job) -> Exported:
    files = fill(job, trainer(name), draft)
    # Registered before it is there: what is withdrawn later must be found.
    left(project, "export", out, [p.source.sha256 for p in job.scope.parts], draft / MANIFEST)
    counts = {s: sum(job.splits.of.get(p.source.sha256) == s for p in job.scope.parts) for s in SPLITS}
    return Exported(name, out, files, counts, tuple(job.dropped), job.scope.withheld, tuple(_warnings(job)))


def fill(job: Job, chosen: Trainer, folder: Path) -> tuple[File, ...]:
    """Write one trainer's files, the notice and `export.json` into an empty folder.

    Raises:
        MienError: `export.nothing-learnable` where the trainer's writer leaves no row.
    """
    from mien.export.tables.notice import models_of, notice

    rows = dict(chosen.write(job, folder))
    write_text(folder / NOTICE, [notice(job.scope, models_of(job.scope))])
    about = {
        "trainer": chosen.name,
        "layout_version": VERSION_OF_LAYOUT,
        "mien": VERSION,
        "context": job.project.config.context,
        "use": job.scope.use,
        "terms": job.terms.model_dump(mode="json"),
        "sources": [{"name": n, "sha256": s.sha256} for n, s in job.scope.sources.items()],
        "withheld": [{"what": w.what, "code": w.code, "reason": w.reason} for w in job.scope.withheld],
    }
    return seal(folder, about, rows)


def _warnings(job: Job) -> list[str]:
    from mien.export.tables.notice import models_of, warnings

    said = [*job.notes, *warnings(job.scope, models_of(job.scope))]
    if job.splits.empty:
        said.append(f"nothing is in the split(s) {', '.join(job.splits.empty)}: there are few groups of people")
    return said
