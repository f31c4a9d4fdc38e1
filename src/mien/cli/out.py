"""What leaves a project and what a run would do: `export`, `labels`, `plan`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table

labels = typer.Typer(no_args_is_help=True, help="Correct what the models say, in a spreadsheet.")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what an older export wrote there.")]
Csv = Annotated[Path, typer.Argument(metavar="CSV", help="A file of comma-separated values, UTF-8.")]


def register(app: typer.Typer) -> None:
    """Put the commands into `mien`."""
    app.command()(export)
    app.add_typer(labels, name="labels")
    app.command()(plan)


def export(
    where: Annotated[
        str | None,
        typer.Argument(metavar="FORMAT|OUT", help="csv, parquet, webvtt, rttm or coco; with --for: the folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder (default: exports/FORMAT in the project).")
    ] = None,
    trainer: Annotated[
        str | None, typer.Option("--for", metavar="TRAINER", help="Write for a trainer; `--for help` lists them.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="With --for: say what would be written; with OUT: a page.")
    ] = False,
    length: Annotated[
        str | None, typer.Option("--length", help="With --for: reasoning as short, medium or long text.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", help="With --for: models to train: wan, hunyuan, ltx, cogvideo, sdxl, flux.")
    ] = "",
    use: Annotated[
        str, typer.Option("--use", help="With --for: share, for another team, or publish, for everybody.")
    ] = "share",
    split: Annotated[
        bool,
        typer.Option("--split-by-licence", help="With --for: a folder for each set of recordings whose terms fit."),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write results for other tools (tables, captions, detections), or what a trainer loads: --for TRAINER OUT."""
    from mien.core import MienError

    with errors():
        if trainer is not None:
            _train(trainer, Path(where) if where else out, preview, length, target, use, split, force, as_json)
            return
        if where is None or preview or length or split or use != "share":
            message = (
                "--preview, --length, --use and --split-by-licence belong to --for"
                if where
                else "name a format, or a trainer: --for"
            )
            raise MienError("input.unknown-format", message, "formats: csv, parquet, webvtt, rttm, coco")
        _tables(where, out, force, as_json)


def _tables(format_: str, out: Path | None, force: bool, as_json: bool) -> None:
    from mien.export.tables import export_tables

    with _project() as project, _progress("exporting", as_json) as progress:
        written = export_tables(project, format_, out, force=force, progress=progress)
    if as_json:
        give(written)
        return
    print(written.out)
    for file in written.files:
        say(f"  {file.name}  {file.rows} rows, {file.bytes} bytes" if file.rows else f"  {file.name}")
    _left(written.withheld, written.warnings)
    say("licences of models and recordings: NOTICE.txt")


def _train(
    name: str, out: Path | None, preview: bool, length: str | None, target: str, use: str, split: bool, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    from mien.core import MienError
    from mien.export.trainers import Terms, export_apart, export_for, job_of, trainer
    from mien.pipeline.registering import left
    from mien.policy.uses import checked

    if name in ("help", "list", "?"):
        _known(as_json)
        return
    chosen = trainer(name)
    if length not in (None, "short", "medium", "long"):
        raise MienError("input.unknown-length", f"there is no length {length!r}", "short, medium or long")
    wanted = checked(use)
    if wanted not in ("share", "publish") or (preview and split):
        message = "a preview is of all recordings" if split else f"nothing leaves for {use!r}"
        raise MienError("input.unknown-use", message, "--use share or publish; --preview without --split-by-licence")
    terms = Terms.model_validate({"target": target} | ({"length": length} if length else {}))
    with _project() as project, _progress("exporting", as_json or preview) as progress:
        if preview:
            job = job_of(project, name, terms, use=wanted, progress=progress, keep=False)
            if out is None or as_json:
                give(chosen.preview(job))
            else:
                from mien.export.preview import write_preview

                page = write_preview(job, chosen, out, force=force)
                left(project, "export", out, [p.source.sha256 for p in job.scope.parts], page)
                print(page)
            return
        if out is None:
            raise MienError("input.no-folder", "name the folder to write into", f"mien export --for {name} OUT")
        if split:
            made = export_apart(project, name, out, terms, force=force, use=wanted, progress=progress)
        else:
            made = (export_for(project, name, out, terms, force=force, use=wanted, progress=progress),)
    if as_json:
        give(made if split else made[0])
        return
    for written in made:
        _exported(written)


def _known(as_json: bool) -> None:
    from mien.export.trainers import trainers

    known = list(trainers().values())
    if as_json:
        give([{"name": t.name, "track": t.track, "line": t.line} for t in known])
    else:
        table(["trainer", "track", "what"], [[t.name, t.track, t.line] for t in known])


def _exported(written: Any) -> None:
    print(written.out)
    held = [(f.name, f.rows) for f in written.files if f.rows]
    for file, rows in held:
        say(f"  {file}  {rows} rows")
    say(f"  {len(written.files) - len(held)} other files; clips: " + _counts(written.splits))
    for clip in written.dropped:
        say(f"not in it: {clip.what}: {clip.reason} [{clip.code}]")
    _left(written.withheld, written.warnings)
    say("licences of models and recordings: NOTICE.txt; every file with its sha256: export.json")


def _counts(splits: dict[str, int]) -> str:
    return ", ".join(f"{n} {split}" for split, n in splits.items())


def _left(withheld: Any, warnings: Any) -> None:
    for kept in withheld:
        say(f"left out: {kept.what}: {kept.reason} [{kept.code}]")
    for sentence in warnings:
        say(f"note: {sentence}")


@labels.command("export")
def labels_export(path: Csv, force: Force = False, as_json: Json = False) -> None:
    """Write what the models say as a CSV; people fill the column 'your value'."""
    from mien.export.tables.labels import export_labels

    with errors(), _project() as project, _progress("reading", as_json) as progress:
        count = export_labels(project, path, force=force, progress=progress)
    if as_json:
        give({"file": path, "rows": count})
    else:
        print(path)
        say(f"{count} rows; fill 'your value', then: mien labels import {path} --by NAME")


@labels.command("import")
def labels_import(
    path: Csv,
    by: Annotated[str, typer.Option("--by", help="Who says so: a name or pseudonym, kept with each label.")],
    as_json: Json = False,
) -> None:
    """Take corrections into the record. Nothing is deleted, the newest counts; '(none)' withdraws a label."""
    from mien.export.tables.labels import import_labels

    with errors(), _project() as project:
        found = import_labels(project, path, by)
    if as_json:
        give(found)
    else:
        for bad in found.bad:
            say(f"{path.name}, line {bad.line}: {bad.message}")
        say(f"{found.new} new, {found.unchanged} unchanged, {found.empty} left empty, {len(found.bad)} not taken")
    raise SystemExit(1 if found.bad else 0)


def plan(
    inputs: Annotated[list[str] | None, typer.Argument(help="Files or folders; none: what is registered.")] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="First measure what the models cost on this machine (a minute).")
    ] = False,
    as_json: Json = False,
) -> None:
    """What a run would do: stages, time, memory, models, what is missing. Nothing is decoded or written."""
    with errors(), _project() as project:
        if measure:
            _measured(project.config)
        found = project.plan(inputs or [])
    if as_json:
        give(found)
        return
    for entry in found.inputs:
        if entry.state == "rejected":
            say(f"would be refused: {entry.name}: [{entry.code}] {entry.message}")
        else:
            say(f"{entry.state}: {entry.name} ({entry.kind}, {entry.duration_s:.1f} s)")
    names = {m.slot: m.name for m in found.models}
    rows = [
        [
            s.stage,
            s.state,
            ", ".join(f"{n} {state}" for state, n in s.clips.items()),
            f"{s.media_s:.1f} s" if s.media_s else "",
            "" if s.ms_per_s is None else f"{s.ms_per_s:.1f}",
            s.basis,
            ", ".join(names[slot] for slot in s.slots if slot in names),
        ]
        for s in found.stages
    ]
    table(["stage", "state", "clips", "to do", "ms per s", "from", "models"], rows, right=(3, 4))
    _sum(found)
    _models(found)


def _measured(config: Any) -> None:
    """Measure the models of the project, keep what was found in the cache, and say it."""
    from mien.pipeline import preflight

    for slot, cost in preflight.measure(config).items():
        call = f", {cost.call_ms:.1f} ms a call" if cost.call_ms else ""
        say(f"measured: {slot}, {cost.mb:.0f} MB{call}")


def _sum(found: Any) -> None:
    about = "about " if found.clips_estimated else ""
    say(f"{found.sources} source(s), {about}{found.clips} clip(s), {found.media_s:.1f} s of media to do")
    say(f"predicted time {_clock(found.predicted_s)} ({found.time_basis})")
    say(f"predicted memory {found.predicted_mb:.0f} MB ({found.memory_basis})")
    if found.waiting_for:
        say(f"waiting-for-person: {found.waiting_for}")


def _models(found: Any) -> None:
    for model in found.models:
        held, words = model.licences, "no weights"
        if held:
            words = f"code {held.code}; weights {held.weights}; training data {held.training_data}"
        say(f"  {model.name} ({model.slot}): {words}")
    absent = [m for m in found.models if m.missing_bytes]
    if absent:
        size = sum(m.missing_bytes for m in absent) / 1e6
        say(f"missing weights, {size:.1f} MB or more to fetch: mien models pull {' '.join(m.name for m in absent)}")
    for extra in sorted({m.missing_extra for m in found.models if m.missing_extra}):
        say(f"missing packages: pip install 'mien[{extra}]'")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


@contextmanager
def _project() -> Iterator[Any]:
    from mien.pipeline import Project

    project = Project.open(State.folder)
    try:
        yield project
    finally:
        project.close()


@contextmanager
def _progress(doing: str, as_json: bool) -> Iterator[Any]:
    """A bar on stderr where somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)

        def progress(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name[:32] or doing)

        yield progress
