"""`mien models`: list weights, fetch and check them, add your own, carry them to a machine without network."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from mien.core import MienError
from mien.models import weights as room

app = typer.Typer(help="Weights: list, pull, verify, add, licences, bundle, unbundle.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models or adapters; default: all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Data for machines.")]


@app.command("list")
def list_models(models: Names = None, as_json: AsJson = False) -> None:
    """Which models there are, how big they are, whether they are here, under which licence."""
    with _errors():
        rows = [_row(entry) for entry in room.select(models or [])]
    if as_json:
        return _data(rows)
    table = Table("model", "slot", "kept MB", "here", "licence of the weights", box=None, pad_edge=False)
    for r in rows:
        here = {"ok": "yes", "own": "yes, your own file", "missing": "no"}[r["state"]]
        table.add_row(r["model"], r["slot"], f"{r['kept_bytes'] / 1e6:.1f}", here, escape(r["licences"]["weights"]))
    _print(table)


@app.command()
def pull(
    models: Names = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A bundle, instead of the network.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch what is missing. Says sizes and licences first; goes on where it was interrupted."""
    if source is not None:
        return unbundle(source, as_json)
    with _errors():
        entries = room.select(models or [])
        with _Bars() as bars:
            result = room.pull([e.weights for e in entries], bars.step, lambda plan: _plan(plan, entries))
    for model, error in result.failed.items():
        _talk(f"[red]{model}[/red] {escape(str(error))}")
    failed = {m: {"code": e.code, "message": e.message, "hint": e.hint} for m, e in result.failed.items()}
    if as_json:
        _data({"fetched": result.fetched, "present": result.present, "failed": failed})
    else:
        n = len(result.fetched), len(result.present), len(failed)
        _talk(f"{n[0]} fetched, {n[1]} were here, {n[2]} failed; they lie in {escape(str(room.cache_dir()))}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def verify(models: Names = None, as_json: AsJson = False) -> None:
    """Hash every file again. Exit 1 if a file is damaged, or a named model is missing."""
    with _errors():
        checks = [check for entry in room.select(models or []) for check in room.verify(entry.weights)]
    if as_json:
        _data([asdict(check) for check in checks])
    else:
        table = Table("model", "file", "state", box=None, pad_edge=False)
        for check in checks:
            table.add_row(check.model, check.file, check.state)
        _print(table)
    bad = {"damaged", "missing"} if models else {"damaged"}
    raise typer.Exit(1 if any(check.state in bad for check in checks) else 0)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="Which model the file is for.")],
    path: Annotated[Path | None, typer.Argument(help="A file, or a folder with all files of the model.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the published files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Use a file of your own as a model's weights. Formats that can carry code are refused."""
    if (path is None) == (not undo):
        raise typer.BadParameter("give either a file or --undo")
    with _errors():
        if path is None:
            there = room.remove_local(model)
            _talk(f"{model}: {'your file is removed' if there else 'there was no file of yours'}")
            return
        weights = room.add_local(model, path)
    own = any(asset.source == "local" for asset in weights.assets)
    if as_json:
        _data({"model": weights.model, "own": own, "sha256": {a.file: a.sha256 for a in weights.assets}})
    elif own:
        _talk(f"{weights.model}: your file is in use; answers carry its own fingerprint. Its licence is yours to know.")
    else:
        _talk(f"{weights.model}: this is the published file, and is installed as such")


@app.command()
def path(model: Annotated[str, typer.Argument(help="A model or sample that has been pulled.")]) -> None:
    """Where the files of one model lie, a line each."""
    with _errors():
        (entry,) = room.select([model])
        files = room.resolve(entry.weights).files
    for file in files.values():
        print(file)


@app.command()
def licences(models: Names = None, as_json: AsJson = False) -> None:
    """Three licences per model: of the code, of the weights, of their training data."""
    with _errors():
        rows = {entry.model: asdict(entry.weights.licences) for entry in room.select(models or [])}
    if as_json:
        return _data(rows)
    table = Table("model", "code", "weights", "training data", box=None, pad_edge=False)
    for model, row in rows.items():
        table.add_row(model, *(escape(row[key]) for key in ("code", "weights", "training_data")))
    _print(table)


@app.command()
def bundle(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The archive to write (.tar).")],
    models: Names = None,
    as_json: AsJson = False,
) -> None:
    """Write the weights that are here into one archive, for a machine without network."""
    with _errors():
        held = room.bundle(path, models or [])
    if as_json:
        return _data({"file": str(path), "bytes": path.stat().st_size, "models": held})
    _talk(f"{len(held)} models, {path.stat().st_size / 1e6:.1f} MB in {escape(str(path))}")


@app.command()
def unbundle(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that 'mien models bundle' wrote.")],
    as_json: AsJson = False,
) -> None:
    """Install the weights of an archive. Every file must be one that this version of mien pins."""
    with _errors():
        result = room.unbundle(path)
    if as_json:
        _data(asdict(result))
    else:
        for name in result.skipped:
            _talk(f"skipped, unknown to this version of mien: {escape(name)}")
        for model in result.incomplete:
            _talk(f"incomplete: {model}")
        _talk(f"{len(result.installed)} models installed in {escape(str(room.cache_dir()))}")
    raise typer.Exit(1 if result.incomplete else 0)


def _row(entry: room.Entry) -> dict[str, Any]:
    own = room.effective(entry.weights) is not entry.weights
    return {
        "model": entry.model,
        "slot": entry.slot,
        "adapters": entry.adapters,
        "kept_bytes": entry.kept_bytes,
        "state": "own" if own else "ok" if room.present(entry.weights) else "missing",
        "sha256": room.effective(entry.weights).sha256,
        "licences": asdict(entry.weights.licences),
        "note": entry.weights.note,
    }


def _plan(plan: tuple[room.Download, ...], entries: tuple[room.Entry, ...]) -> None:
    """Before the first byte: what will be fetched, how much of it is kept, under which licences."""
    for d in plan:
        size = "?" if d.download_bytes is None else f"{d.download_bytes / 1e6:.1f}"
        _talk(f"{d.label}: at most {size} MB to fetch, {d.kept_bytes / 1e6:.1f} MB kept, for {', '.join(d.models)}")
    if plan:
        total = sum(d.download_bytes or 0 for d in plan) / 1e6
        _talk(f"together at most {total:.1f} MB to fetch, {sum(d.kept_bytes for d in plan) / 1e6:.1f} MB kept")
    wanted = {model for d in plan for model in d.models}
    for entry in (e for e in entries if e.model in wanted):
        held = entry.weights.licences
        words = f"code {held.code}; weights {held.weights}; training data {held.training_data}"
        _talk(f"  {entry.model}: {escape(words)}")


class _Bars:
    """One progress bar per package, on stderr."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bars = Progress(*columns, console=_stderr(), transient=True)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def step(self, step: str, what: str, done: int, total: int | None) -> None:
        if step == "wait":
            self._bars.console.print(f"{what}; waiting for it")
        elif step == "fetch":
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done)
        elif step == "done" and what in self._tasks:
            self._bars.remove_task(self._tasks.pop(what))


def _stderr() -> Console:
    return Console(file=sys.stderr, soft_wrap=True, highlight=False)


def _talk(text: str) -> None:
    _stderr().print(text)


def _print(table: Table) -> None:
    """A table as data: on a pipe it is as wide as it needs to be."""
    console = Console(file=sys.stdout, highlight=False)
    console.print(table, width=None if console.is_terminal else 1_000, no_wrap=not console.is_terminal)


def _data(value: object) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


@contextmanager
def _errors() -> Iterator[None]:
    """A user's mistake is a sentence and an exit code, never a traceback."""
    try:
        yield
    except MienError as error:
        _talk(f"[red]error[/red] {escape(str(error))}")
        raise typer.Exit(2 if error.code in ("models.unknown", "weights.no-file") else 1) from error
