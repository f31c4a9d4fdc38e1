"""`mien people`: pseudonyms, what they agreed to, and who they are in recordings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table

app = typer.Typer(no_args_is_help=True, help="Pseudonyms, consent, and who is who in recordings.")
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Who = Annotated[str, typer.Argument(metavar="PSEUDONYM", help="A code such as P1; never a name.")]
By = Annotated[str, typer.Option("--by", help="Who records this: a name or pseudonym, kept with it.")]


def _open() -> Any:
    from mien.pipeline import Project

    return Project.open(State.folder)


@app.command()
def add(pseudonym: Who, as_json: Json = False) -> None:
    """Make a person known under a pseudonym."""
    from mien.pipeline.enrolling import add as work

    with errors():
        made = work(_open(), pseudonym)
    if as_json:
        give(made)
        return
    print(made.id)
    say(f"next: mien people consent {made.id} --scope analyse --until 2027-12-31 --by NAME")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Everybody, with what their consent permits now."""
    from mien.pipeline.enrolling import people

    with errors():
        found = people(_open())
    if as_json:
        give(found)
        return
    rows = [[p.id, _permits(p.scopes), p.expires_utc or "", str(len(p.assignments))] for p in found]
    table(["person", "permits", "until", "assignments"], rows, right=(3,))


@app.command()
def show(pseudonym: Who, as_json: Json = False) -> None:
    """One person: every consent, every assignment, and the clips they are in."""
    from mien.pipeline.enrolling import person, seen

    with errors():
        project = _open()
        found, clips = person(project, pseudonym), seen(project, pseudonym)
    if as_json:
        give({"person": found, "clips": [{"id": clip.id, "tracks": tracks} for clip, tracks in clips]})
        return
    say(f"{found.id}: permits {_permits(found.scopes)}, in {len(clips)} clip(s)")
    rows = [[c.at_utc[:19], _permits(c.scopes), c.expires_utc or "", c.assent, c.by] for c in found.consents]
    table(["recorded", "permits", "until", "assent", "by"], rows)
    names = project.names({a.source_sha for a in found.assignments})
    held = [[names.get(a.source_sha, a.source_sha[:12]), str(a.span), a.kind, a.by] for a in found.assignments]
    table(["source", "span", "by", "said by"], held)


@app.command()
def consent(
    pseudonym: Who,
    by: By,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="analyse, export, train or publish; again for more.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="From when it holds no longer.")] = None,
    assent: Annotated[
        str, typer.Option(help="What the person showed where another consents: yes, no, not-able, not-asked.")
    ] = "not-asked",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="They agree to nothing any more.")] = False,
    note: Annotated[str, typer.Option(help="A word on it; no names.")] = "",
    as_json: Json = False,
) -> None:
    """Record what a person agrees to. It takes the place of all before; nothing is deleted (that is: mien forget)."""
    from mien.core import MienError
    from mien.pipeline.enrolling import consent as work

    with errors():
        if withdraw == bool(scope):
            raise MienError(
                "people.bad-scope", "say what is agreed to, or that it is withdrawn", "--scope or --withdraw"
            )
        made = work(_open(), pseudonym, scope or (), by, expires=until, assent=assent, note=note)
    if as_json:
        give(made)
    else:
        say(f"{made.subject_id}: permits {_permits(made.scopes)} {f'until {until}' if until else 'with no end'}")
        say("results follow at the next: mien run")


@app.command()
def assign(
    pseudonym: Who,
    source: Annotated[str, typer.Option("--source", metavar="FILE", help="The recording: path, name or sha256.")],
    by: By,
    start: Annotated[float | None, typer.Option("--from", metavar="S", help="From this second.")] = None,
    end: Annotated[float | None, typer.Option("--to", metavar="S", help="To this second.")] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="X1,Y1,X2,Y2", help="Who stays in this place, in shares of the frame.")
    ] = None,
    track: Annotated[str, typer.Option(help='One track, such as "face 1" (numbered per clip).')] = "",
    as_json: Json = False,
) -> None:
    """Say who somebody is. Without --zone or --track: whoever is alone in view, and the sound of the recording.

    'unassigned' as the pseudonym takes it back. Also after the analysis: the next run does again what read it.
    """
    from mien.core import MienError
    from mien.pipeline.enrolling import assign as work

    with errors():
        box: Any = None
        if zone is not None:
            try:
                box = tuple(float(v) for v in zone.split(","))
            except ValueError:
                box = ()
            if len(box) != 4:
                raise MienError("people.bad-zone", f"{zone!r} is not four numbers", "such as --zone 0,0,0.5,1")
        made = work(_open(), pseudonym, source, by, start_s=start, end_s=end, zone=box, track=track)
    if as_json:
        give(made)
    else:
        say(f"{made.kind} {made.span}: {made.subject_id}; results follow at the next: mien run")


def _permits(scopes: Any) -> str:
    return "not recorded" if scopes is None else ", ".join(scopes) or "nothing"
