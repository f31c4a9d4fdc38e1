"""`mien licences`: what may be done with each recording and each model's answers, and why not more."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table


def register(app: typer.Typer) -> None:
    """Put the command into `mien`."""
    app.command()(licences)


def licences(
    generation: Annotated[
        bool, typer.Option("--generation", help="Ask for models that make pictures or sound (default: that read them).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """What may be done with recordings and with models' answers: view, train, share, publish, and why not more."""
    from mien.export.selection.overview import permits_of
    from mien.pipeline import Project

    with errors():
        project = Project.open(State.folder)
        try:
            found = permits_of(project, "generation" if generation else "understanding")
        finally:
            project.close()
    if as_json:
        give(found)
        return
    if not found:
        say("nothing is registered yet: mien run VIDEO")
        return
    rows = [[p.kind, p.what, ", ".join(p.uses), ", ".join(p.conditions)] for p in found]
    table(["kind", "what", "permitted", "conditions"], rows)
    for permit in found:
        _reasons(permit)
    say("not legal advice; clips and people in them are asked one by one when something leaves")


def _reasons(permit: Any) -> None:
    """Each reason once, with the uses that it closes."""
    closes: dict[str, list[str]] = {}
    for use, reasons in permit.closed.items():
        for reason in reasons:
            closes.setdefault(reason, []).append(use)
    for reason, uses in closes.items():
        code, _, words = reason.partition(": ")
        words = words.removeprefix(f"{permit.what}: ")
        say(f"{permit.what}: no {', '.join(uses)}: {words} [{code}]")
    for note in permit.notes:
        code, _, words = note.partition(": ")
        say(f"{permit.what}: note: {words} [{code}]")
