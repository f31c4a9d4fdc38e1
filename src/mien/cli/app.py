"""`mien`: the commands, in the order people meet them."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli import annotate, audit, demo, diff, forget, licences, models, out, people, reason, release, train
from mien.cli.talk import State, errors, give, say, table

app = typer.Typer(
    name="mien",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Video and audio into evidence-linked data about emotion and behaviour.",
)
app.add_typer(models.app, name="models", help="Fetch, check and list the weights of models.")
app.add_typer(train.app, name="train", help="Train the small heads that mien ships.")
app.add_typer(demo.app, name="demo", help="Real footage and real sound through the whole pipeline, explained.")
app.add_typer(release.app, name="release", help="Data sets to hand on: build, verify, push, revoke.")
app.add_typer(people.app, name="people", help="Pseudonyms, consent, and who is who in recordings.")
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")
out.register(app)
licences.register(app)
app.command()(annotate.annotate)
app.command()(audit.audit)
app.command()(reason.reason)
app.command()(diff.diff)
app.command()(forget.forget)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def main() -> None:
    """Entry point: expected errors become one line and a hint."""
    code: Any = 0
    try:
        with errors():
            app()
    except SystemExit as stop:
        code = stop.code
    if code is not None and not isinstance(code, int):
        raise SystemExit(code)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is committed. On a busy machine the threads of native libraries sometimes abort the interpreter's
    # teardown ("terminate called without an active exception"), and a command that had worked would report a failure.
    os._exit(code or 0)


def _version(wanted: bool) -> None:
    if wanted:
        from mien.core import VERSION

        print(f"mien {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    folder: Annotated[
        Path, typer.Option("-C", help="Project folder (else found at or above the current one).")
    ] = Path(),
    log_json: Annotated[bool, typer.Option("--log-json", help="Logs as JSON lines on stderr.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Debug log.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    State.folder = folder
    if log_json or verbose:
        from mien.cli.progress import log_setup

        log_setup(log_json, verbose)


def _open(flags: dict[str, Any] | None = None) -> Any:
    from mien.pipeline import Project

    return Project.open(State.folder, flags)


def _given(flags: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The flags that were set."""
    return {t: set_ for t, keys in flags.items() if (set_ := {k: v for k, v in keys.items() if v is not None})}


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make; may exist.")],
    context: Annotated[str | None, typer.Option(help="care, research or studio")] = None,
    name: Annotated[str, typer.Option(help="Name shown in reports.")] = "",
    table_: Annotated[
        Path | None, typer.Option("--from", metavar="TABLE", help="Propose [inputs] from this CSV, JSON or Parquet.")
    ] = None,
) -> None:
    """Make a project. Nothing runs without a context."""
    from mien.pipeline import Project
    from mien.pipeline.inputs import as_toml, propose

    found = propose(table_) if table_ else []
    mapping = as_toml(found, table_.name) if table_ else ""
    project = Project.init(State.folder / folder, context, name, mapping=mapping)
    say(f"made {folder} (context {project.config.context})")
    if table_:
        rows = [[p.column, p.role, "" if p.sure else "commented out", p.why] for p in found]
        table(["column", "role", "", "why"], rows)
        say(f"this stands in {folder}/mien.toml under [inputs.columns]: look it over; other columns become attributes")
    say(f"next: mien -C {folder} run {table_ or 'VIDEO'}")


@app.command()
def run(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, tables, archives; none: what is registered.")
    ] = None,
    as_json: Json = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would run: mien plan.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="cpu or cuda; never a silent fallback.")] = None,
    runner: Annotated[str | None, typer.Option("--runner", help="auto, inline, process or ray.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", help="How many; 0: by cores, cards and memory.")] = None,
    ray_address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A Ray cluster, for --runner ray.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Where the time goes: a table, and a trace for ui.perfetto.dev.")
    ] = False,
    profile_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The trace, .json or .json.gz (default: profile.json.gz in the project). Profiles."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="PORT", help="Serve Prometheus metrics on 127.0.0.1 meanwhile."),
    ] = None,
) -> None:
    """Analyse inputs; a second run does only what is missing or changed."""
    if dry_run:
        out.plan(inputs, as_json=as_json)
        return
    from mien.cli.progress import listening
    from mien.cli.watching import watched

    running = {"runner": runner, "workers": workers, "ray_address": ray_address}
    project = _open(_given({"analysis": {"device": device}, "run": running}))
    asked: dict[str, Any] = {"profile": profile, "trace": profile_out, "port": metrics_port, "as_json": as_json}
    with errors(), listening(as_json) as listener, watched(project.root, listener, **asked) as heard:
        outcome = project.run(inputs or [], listener=heard)
    _ended(project, outcome, as_json)


@app.command()
def retry(
    as_json: Json = False,
    profile: Annotated[bool, typer.Option("--profile", help="Where the time goes, as in mien run.")] = False,
    profile_out: Annotated[Path | None, typer.Option(metavar="FILE", help="The trace. Profiles.")] = None,
) -> None:
    """Do again what failed, and only that."""
    from mien.cli.progress import listening
    from mien.cli.watching import watched

    project = _open()
    asked: dict[str, Any] = {"profile": profile, "trace": profile_out, "port": None, "as_json": as_json}
    with errors(), listening(as_json) as listener, watched(project.root, listener, **asked) as heard:
        outcome = project.retry(listener=heard)
    _ended(project, outcome, as_json)


def _ended(project: Any, outcome: Any, as_json: bool) -> None:
    if not as_json:
        for name in outcome.gone[:20]:
            say(f"no longer there: {name} (its results are kept)")
        if len(outcome.gone) > 20:
            say(f"… and {len(outcome.gone) - 20} more: mien status")
        say(f"{outcome.done} stage(s) done, {outcome.failed} failed, {outcome.waiting} waiting for a person")
        say("next: mien report" if not outcome.failures else "see why: mien status; again: mien retry")
    project.close()
    raise SystemExit(1 if outcome.failed else 0)


@app.command()
def status(
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="What a run in another process does, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds between two looks.")] = 2.0,
) -> None:
    """What is done, what waits and what failed."""
    if watch:
        from mien.cli.watching import watch as look_on

        look_on(_open(), every, as_json)
        return
    found = _open().status()
    if as_json:
        give(found)
        return
    say(f"{found['project']} (context {found['context']})")
    rows = [
        [
            s["name"],
            s["state"],
            s["code"],
            f"{s['duration_s']:.1f} s",
            s["clips"],
            "" if s["coverage"] is None else f"{100 * s['coverage']:.1f} %",
        ]
        for s in found["sources"]
    ]
    if rows:
        table(["source", "state", "code", "duration", "clips", "decoded"], rows, right=(3, 4, 5))
    if found["items"]["gone"]:
        say(f"{len(found['items']['gone'])} item(s) are no longer in their input; their results are kept")
    say("stages: " + (", ".join(f"{n} {state}" for state, n in sorted(found["stages"].items())) or "none yet"))
    if found["waiting"]["stages"]:
        say(f"waiting-for-person: {', '.join(found['waiting']['stages'])} on {found['waiting']['clips']} clip(s)")
        say(f"  → {found['waiting']['needs']}")
    if found["quarantined_clips"]:
        say(f"quarantined by the explicit-content gate: {', '.join(found['quarantined_clips'])}")
    for f in found["failures"]:
        say(f"failed (attempt {f['attempt']}): {f['stage']} of {f['name']}: [{f['code']}] {f['message']}")
        if f["hint"]:
            say(f"  → {f['hint']}")
    if found["history"]["bytes"]:
        kept = found["history"]
        say(f"history: {kept['bytes'] / 1e3:.1f} kB that the last {kept['runs']} run(s) replaced (mien diff)")
    if found["unfinished_runs"]:
        say(f"{len(found['unfinished_runs'])} run(s) were interrupted; 'mien run' goes on from there")


@app.command()
def show(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="Any id, or its beginning.")],
    why: Annotated[bool, typer.Option("--why", help="What it stands on.")] = False,
    as_json: Json = False,
) -> None:
    """Show one record, and with --why the evidence behind it."""
    from mien.cli.look import explain

    found = explain(_open(), record_id, why)
    if as_json:
        give(found)
    else:
        from mien.cli.look import tell

        tell(found)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help='e.g. "SELECT target, count(*) FROM observations GROUP BY 1"')],
    as_json: Json = False,
    limit: Annotated[int, typer.Option(help="Rows at most; 0 for all.")] = 200,
) -> None:
    """Ask the project in SQL (read-only)."""
    names, rows = _open().store.query(sql, limit=limit or None)
    if as_json:
        give([dict(zip(names, row, strict=True)) for row in rows])
        return
    table(names, [list(row) for row in rows])
    if limit and len(rows) == limit:
        say(f"the first {limit} rows; all of them: --limit 0")


@app.command()
def report(
    out: Annotated[Path | None, typer.Option(help="File to write (default: report.html in the project).")] = None,
    pictures: Annotated[bool, typer.Option(help="Pictures that passed the gate, faces blurred.")] = True,
    show_faces: Annotated[bool, typer.Option("--show-faces", help="Do not blur faces (never in care).")] = False,
) -> None:
    """Write one self-contained HTML file."""
    from mien.export.report.collect import write

    project = _open()
    path = out or project.root / "report.html"
    if show_faces and project.config.context == "care":
        from mien.core import MienError

        raise MienError("config.care-blurs", "in care, reports hold no pictures of people", "leave out --show-faces")
    write(project, path, pictures=pictures, blur=not show_faces)
    print(path)


@app.command()
def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget damaged results, so that 'mien run' makes them again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the installation, the weights and the project."""
    from mien.cli.look import checkup

    rows = checkup(State.folder, repair)
    if as_json:
        give(rows)
    else:
        table(["check", "state", "what to do"], [[r["check"], r["state"], r["hint"]] for r in rows])
    raise SystemExit(1 if any(r["bad"] for r in rows) else 0)


@config_app.command("show")
def config_show(as_json: Json = False) -> None:
    """Every value and where it comes from."""
    from mien.pipeline import flatten

    project = _open()
    values = flatten(project.config.model_dump(mode="json"))
    rows = [{"key": k, "value": v, "origin": project.origins[k]} for k, v in values.items()]
    if as_json:
        give(rows)
    else:
        table(["key", "value", "origin"], [[r["key"], str(r["value"]), r["origin"]] for r in rows])
