"""A studio project over generated films: planted rows, real files. Explicit and minor cases are figures of a scripted
gate over generated shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import planted as rows

from mien.core import Clip, Span, clip_id
from mien.export.selection.examples import unnamed
from mien.export.selection.scope import scope_of
from mien.export.selection.splits import Splits
from mien.export.trainers import Job, Terms
from mien.media import hash_file
from mien.pipeline import Project
from mien.store import StageResult, Store
from mien.testing.media import Recipe, make

FILM = Recipe(seconds=4, fps=30, width=320, height=256)


def studio(
    root: Path, films: dict[str, dict[str, Any]] | None = None, context: str = "studio", recipe: Recipe = FILM
) -> Project:
    """`films`: name → what is planted for it (`explicit`, `age`, `source`, `recipe`, `clips`, `film`: what makes the
    file in place of the recipe's pictures); None: one film."""
    Project.init(root / "p", context).close()
    with Store(root / "p", write=True) as store:
        for seed, (name, given) in enumerate((films or {"plain": {}}).items()):
            told: dict[str, Any] = {"age": 40.0} | given
            how = replace(told.get("recipe", recipe), seed=seed)
            made = told.get("film") or (lambda place, how=how: make(place, how).path)
            path = made(root / f"{name}.mp4")
            length = round(how.seconds * 1e6)
            size = {"width_px": how.width, "height_px": how.height, "duration_us": length, "fps": how.fps}
            held = rows.source(hash_file(path), context=context)
            fields = {f: getattr(held, f) for f in held.__dataclass_fields__}
            held = type(held)(**(fields | {"path": str(path)} | size | told.get("source", {})))
            spans = told.get("clips", (Span(0, length),))
            clips = [Clip(clip_id(held.sha256, s, "p"), held.sha256, s, "start", "end", "p") for s in spans]
            store.commit(StageResult(held.sha256, "clips", "k", [held, *clips]), **rows.WHEN)
            for clip in clips:
                rows._picture(store, clip, told)
    return Project.open(root / "p")


def job(project: Project, **terms: Any) -> Job:
    """As the command makes it, with everything in `train`."""
    scope = scope_of(project, target="generation")
    shas = {p.source.sha256 for p in scope.parts}
    splits = Splits(dict.fromkeys(shas, "train"), {s: s[:8] for s in shas}, {}, {})
    made = Terms()  # pyright: ignore[reportCallIssue]
    return Job(project, unnamed(scope), splits, made.model_copy(update=terms))
