"""`mien train`: thin commands over `mien.train`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.cues import cues
from mien.cli.talk import State, errors, give, say, table
from mien.core import MienError

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train small heads: those that mien ships, and your own."""


app.command()(cues)


@app.command()
def fusion(
    rows: Annotated[
        Path | None,
        typer.Argument(help="CSV or Parquet: person, label, SOURCE.STATE columns. None: the project's labels."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write (default: fusion.toml in the project).")
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Coverage of the sets of states (default: 0.9 where the people suffice).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Learn how to join the sources, people kept apart, and write fusion.toml with its card beside it.

    Without ROWS: count from the project's labels how far each source can be trusted for each person.
    """
    from mien.train.fusion import train
    from mien.train.learnt import card, card_of, write
    from mien.train.votes import read

    with errors():
        root, base = _fusion_now()
        if rows is None:
            _confirmed(root, out, as_json)
            return
        held = read(rows)
        with _bar("fitting", as_json) as progress:
            trained = train(held, base, level=level, progress=progress)
        path = out or (root or Path()) / "fusion.toml"
        write(path, trained.config, card(trained, held))
        note(path, data=rows, people=set(map(str, held.people)))
    if as_json:
        give({"file": path, "recipe": trained.recipe, "lines": trained.lines, "made": trained.config.made.model_dump()})
        return
    print(path)
    say(f"{len(held)} rows of {len(held.people)} people; every row judged by what other people taught (nats)")
    table(
        ["way to join the sources", "log-loss", "95 % over people", "more than ours", "ECE"],
        [
            [x.name, f"{x.log_loss:.3f}", _ends(x.interval), _ends(x.more_than_ours, "+"), f"{x.ece:.3f}"]
            for x in trained.lines
        ],
        right=(1, 2, 3, 4),
    )
    if trained.note:
        say(trained.note)
    say(f"card: {card_of(path)}; next: mien run (what rests on fusion is done again)")


def _ends(interval: tuple[float, float], sign: str = "") -> str:
    return f"{interval[0]:{sign}.3f} … {interval[1]:{sign}.3f}"


def _fusion_now() -> tuple[Path | None, Any]:
    """The project's folder, if there is one, and what its fusion.toml and mien.toml say of fusion."""
    from mien.fusion import FusionConfig
    from mien.pipeline.config import find_root, load
    from mien.train.learnt import held

    try:
        root = find_root(State.folder)
    except MienError:
        return None, FusionConfig()
    states = load(root)[0].fusion.states
    return root, held(root / "fusion.toml").model_copy(update={"states": states})


def _confirmed(root: Path | None, out: Path | None, as_json: bool) -> None:
    from mien.export.tables.confirmed import confirmed
    from mien.fusion import kind_of
    from mien.pipeline import Project
    from mien.train import learnt

    if root is None:
        raise MienError("train.no-data", "there are no rows and no project", "mien train fusion ROWS.csv")
    project = Project.open(root)
    try:
        found, sha = confirmed(project)
    finally:
        project.close()
    behind = {w.place.partition(" ")[0] for w in found}
    if not found:
        hint = "mien labels export, fill 'your value' on lines of the target 'state', mien labels import"
        raise MienError("train.no-data", "nobody has said a state of an assessed window yet", hint)
    path = out or root / "fusion.toml"
    rows = [learnt.Confirmation(c.person, c.source, c.right) for w in found for c in w.sources]
    named = [learnt.Named(w.posterior, w.label, kind_of([c.source for c in w.sources])) for w in found]
    config = learnt.with_sets(learnt.with_people(learnt.held(path), rows, sha), named)
    learnt.write(path, config)
    note(path, sources=behind)
    if as_json:
        plain = config.model_dump(mode="json")
        sets = {k: v for k, v in (plain["conformal"] or {}).items() if k in ("level", "miss_rate", "confirmed")}
        population = plain["reliability"]["population"]
        give({"file": path, "people": plain["people"], "population": population, "sets": sets or None})
        return
    print(path)
    counts = [
        [who, source, f"{c.right} of {c.windows}"] for who, by in config.people.items() for source, c in by.items()
    ]
    table(["person", "source", "right"], counts, right=(2,))
    for source, share in config.reliability.population.items():
        say(f"{source}: right in {100 * share:.0f} % of confirmed windows of everybody")
    if config.conformal and config.conformal.miss_rate is not None:
        say(
            f"sets of states: {config.conformal.confirmed} confirmed windows moved the miss rate from "
            f"{1 - config.conformal.level:.3f} to {config.conformal.miss_rate:.3f} (lower: larger sets)"
        )
    if not config.reliability.population:
        say(f"nothing moves yet: {learnt.LEAST_CONFIRMED} confirmed windows of a source are the least")


def note(path: Path, **of: Any) -> None:
    """Register what was trained with the project it was trained in, if there is one (`registering.learnt`)."""
    from mien.pipeline import Project
    from mien.pipeline.config import find_root
    from mien.pipeline.registering import learnt

    try:
        project = Project.open(find_root(State.folder))
    except MienError as error:
        if error.code != "project.not-found":
            raise
        return
    try:
        learnt(project, path, **of)
    finally:
        project.close()


@contextmanager
def _bar(doing: str, as_json: bool) -> Iterator[Any]:
    """A bar on stderr where somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
