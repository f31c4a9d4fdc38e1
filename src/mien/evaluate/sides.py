"""What can be compared: a run of a project as it stood when it ended, or one model run in memory over its media."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core import MienError, Run, Source
from mien.pipeline import Listener, Project, Stack, flatten, silent
from mien.pipeline.config import FILE, Config
from mien.pipeline.plan import STAGES
from mien.store import AsOf, Store


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison. `config`: flat, None where it was not kept; `run_id` None: the record as it stands."""

    key: tuple[str, str]
    name: str
    context: str
    project: Project
    run_id: str | None
    config: dict[str, Any] | None
    notes: tuple[str, ...] = ()

    def view(self) -> AsOf:
        return self.project.store.as_of(self.run_id)


@dataclass(frozen=True, slots=True)
class Listed:
    """A run that may be compared: its number in the project, what was asked, how many results still stand, and whether
    all that stood when it ended is still kept."""

    number: int
    run: Run
    results: int
    readable: bool


def runs_of(project: Project) -> list[Listed]:
    """All runs of a project, oldest first; numbers never change."""
    store = project.store
    made = [held.run_id for held in store.as_of().ledger.values()]
    runs = sorted(store.all(Run), key=lambda r: r.id)
    return [Listed(i, r, made.count(r.id), store.readable(r.id)) for i, r in enumerate(runs, 1)]


def pick(text: str, here: Project | None) -> Side:
    """The side that a word names: a run of this project (its number, or its id or the beginning of it), the newest run
    of the project in a folder (`DIR`), or a run of that one (`DIR@RUN`).

    Raises:
        MienError: `diff.unknown-run`, `diff.not-kept`, `project.not-found`, `config.*`, `store.*`.
    """
    if here is not None and (listed := _meant(runs_of(here), text)) is not None:
        return _side(here, listed, "")
    folder, _, run = text.rpartition("@") if "@" in text else (text, "", "")
    if not (Path(folder) / FILE).is_file():
        what = "no run of this project" if here is not None else "no run (there is no project here)"
        raise MienError("diff.unknown-run", f"{text!r} is {what}, and no folder of one", "mien diff lists the runs")
    project = Project.open(Path(folder))
    runs = runs_of(project)
    if not runs:
        raise MienError("diff.unknown-run", f"nothing was run in {folder}", f"mien -C {folder} run FILES")
    listed = _meant(runs, run) if run else runs[-1]
    if listed is None:
        raise MienError("diff.unknown-run", f"{folder} has no run {run!r}", f"list them: mien -C {folder} diff")
    return _side(project, listed, folder)


def _meant(runs: list[Listed], text: str) -> Listed | None:
    if text.isdecimal():
        return next((r for r in runs if r.number == int(text)), None)
    exact = [r for r in runs if r.run.id == text]
    begun = [r for r in runs if len(text) >= 8 and r.run.id.startswith((text, f"run-{text}"))]
    found = exact or begun
    return found[0] if len(found) == 1 else None


def _side(project: Project, listed: Listed, folder: str) -> Side:
    run = listed.run
    name = f"{folder}{'@' if folder else 'run '}{listed.number}"
    if not listed.readable:
        raise MienError(
            "diff.not-kept",
            f"results of {name} were replaced since, and are kept no more",
            "keep more of them from now on: history.runs in mien.toml",
        )
    held = project.store.config(run.config_sha256)
    notes = () if run.finished_utc else ("the run was interrupted: this is what stood when it stopped",)
    config = flatten(json.loads(held)) if held else None
    return Side((str(project.root), run.id), name, run.context, project, run.id, config, notes)


# ---------------------------------------------------------------- models


def model_sides(
    project: Project,
    slot: str,
    models: Sequence[str],
    inputs: Sequence[str | Path] = (),
    *,
    listener: Listener = silent,
) -> tuple[Side, ...]:
    """Run models of a slot, each alone in it, over the project's media (or `inputs`), in memory: the project's record
    is neither read for results nor written. Only what the slot's stages need runs beside them, as the project has it.

    Raises:
        MienError: `diff.same-run`, `diff.unknown-slot`, `diff.nothing-to-run`, `models.unknown`, `config.wrong-slot`,
            `weights.missing`; all before anything is run.
    """
    if len(set(models)) < len(models):
        raise MienError("diff.same-run", f"both are {models[0]}", "name two models: mien models list")
    configs = [alone(project.config, slot, model) for model in models]
    absent = dict.fromkeys(name for config in configs for name in Stack(config).missing_weights())
    if absent:
        message = f"weights are not here yet: {', '.join(absent)}"
        raise MienError("weights.missing", message, f"mien models pull {' '.join(absent)}")
    files = [*map(str, inputs)] or [s.path for s in project.store.all(Source) if Path(s.path).exists()]
    if not files:
        raise MienError(
            "diff.nothing-to-run", "no source of this project is where it was", "name files after the models"
        )
    return tuple(_ran(slot, model, config, files, listener) for model, config in zip(models, configs, strict=True))


def _ran(slot: str, model: str, config: Config, files: Sequence[str], listener: Listener) -> Side:
    made = Project(None, config, {}, Store(None))
    outcome = made.run(files, listener=listener)
    notes = [f"{f.stage} failed: [{f.code}] {f.message}" for f in outcome.failures]
    if outcome.waiting:
        notes.append(f"{outcome.waiting} stage(s) wait for a person")
    said = flatten(config.model_dump(mode="json"))
    return Side((slot, model), model, config.context, made, None, said, tuple(dict.fromkeys(notes)))


def alone(config: Config, slot: str, model: str) -> Config:
    """The configuration with `model` alone in its slot, and every slot off that no stage of it reads.

    Raises:
        MienError: `diff.unknown-slot`.
    """
    slots = type(config.stack).model_fields
    if slot not in slots:
        close = difflib.get_close_matches(slot, slots, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"slots: {', '.join(slots)}"
        raise MienError("diff.unknown-slot", f"there is no slot {slot!r}", hint)
    wanted = {s.name for s in STAGES if slot in (*s.slots, *s.maybe)}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    kept = {slot} | {n for s in STAGES if s.name in wanted for n in (*s.slots, *s.maybe, *s.also)}
    stack = {name: config.stack.model_dump()[name] if name in kept else "off" for name in slots} | {slot: model}
    opinions = {slot: ()} if slot in type(config.opinions).model_fields else {}
    update = {"stack": type(config.stack)(**stack), "opinions": config.opinions.model_copy(update=opinions)}
    return config.model_copy(update=update)
