"""`mien forget`: a person or a recording leaves the project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.talk import State, errors, give, say


def forget(
    target: Annotated[str, typer.Argument(metavar="SUBJECT|SOURCE", help="A pseudonym, or a recording.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    lift: Annotated[
        bool, typer.Option("--lift", help="Let a FILE that was forgotten be given again; nothing is removed.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="With --lift: who answers for it, kept in the log.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Erase everything of a person or a recording. Killed midway, the same command finishes it.

    A recording that was forgotten is refused when it is given again, until somebody lifts that: FILE --lift --by NAME.
    """
    from mien.pipeline import Project
    from mien.pipeline.forgetting import forget as work
    from mien.pipeline.forgetting import lift as lifted

    with errors():
        project = Project.open(State.folder)
        try:
            if lift:
                lifted(project, Path(target), by)
                if as_json:
                    give({"lifted": target})
                say(f"{target} may be given again: mien run {target}")
                return
            receipt = work(project, target, dry_run=dry_run)
        finally:
            project.close()
    if as_json:
        give(receipt)
        return
    counts = ", ".join(f"{n} {what}" for what, n in sorted(receipt.removed.items())) or "no rows"
    say(f"{'would remove' if dry_run else 'removed'}: {counts}, {receipt.files} file(s)")
    for label in receipt.releases:
        say(f"revoked: release {label}; build its successor, then tell whoever has it")
    for path in receipt.outside:
        say(f"remove by hand, it lies outside: {path}")
    for path in receipt.adapters:
        say(f"trained on what was withdrawn: {path}")
    for path in receipt.originals:
        say(f"the recording itself is yours to remove: {path}")
    say(receipt.limits)
    if receipt.commitment:
        print(receipt.commitment)
        say("results of shared recordings are made again by: mien run")
