"""`mien annotate`: instruct models fill typed fields for items of text."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from mien.cli.talk import State, errors, give, say


def annotate(
    name: Annotated[str, typer.Argument(help="Which [annotate.NAME] of mien.toml.")],
    retry: Annotated[bool, typer.Option("--retry", help="Ask again where it failed before.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Fill the fields of [annotate.NAME] for every item that has text; a second call asks only what is new."""
    from mien.cli.progress import listening
    from mien.pipeline import Project
    from mien.pipeline.annotate import annotate as work
    from mien.pipeline.events import silent

    project = Project.open(State.folder)
    try:
        with errors(), contextlib.ExitStack() as watching:
            listener = silent if as_json else watching.enter_context(listening(False))
            done = work(project, name, retry=retry, listener=listener)
    finally:
        project.close()
    if as_json:
        give(done)
    else:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(done.states.items())) or "nothing to ask"
        say(f"{counts}; {done.before} stood already, {done.without} without text, {done.waiting} waiting for a person")
        for reason, n in sorted(done.reasons.items()):
            say(f"failed: {n} × {reason}")
        if done.failed:
            say(f"again: mien annotate {name} --retry")
        say("the values: mien query \"SELECT * FROM attributes WHERE key LIKE 'annotate.%'\"")
    raise SystemExit(1 if done.failed else 0)
