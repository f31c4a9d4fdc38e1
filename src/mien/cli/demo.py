"""`mien demo`: what mien is for, shown on real media through the real pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table
from mien.core import US, Assessment, Dist, MienError

app = typer.Typer(no_args_is_help=True)
SAMPLES = ("sample.demo-video", "sample.demo-groan")


@app.callback()
def demos() -> None:
    """Real footage and real sound through the whole pipeline, explained."""


@dataclass(frozen=True, slots=True)
class Row:
    """One context: how the same sound was read in it. Entropies in nats; vacuity in 0..1.

    Attributes:
        voice: what the voice says by itself at full weight, under the prior; empty where it said nothing.
        voice_weight: λ, how far it counts here: less where the sound may be somebody's who is not in view.
        picture_adds: log-odds per state that all other sources added; empty where nobody was seen.
    """

    context: str
    prior: Dist
    voice: Dist
    voice_weight: float
    picture_adds: Dist
    posterior: Dist
    ambiguity: float
    conflict: float
    vacuity: float
    abstained: bool
    reason: str
    verdict: str
    assessment_id: str


@app.command("moan-vs-groan")
def moan_vs_groan(
    keep: Annotated[
        Path, typer.Option("--keep", metavar="DIR", help="Folder to make and keep: inputs, project, report.")
    ] = Path("demo-moan-vs-groan"),
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Analyse one ambiguous sound four times: under a crying, a calm and a laughing face, and by itself.

    The samples of the sound are the same in all four, so the voice says the same; what differs is the context. Fetches
    what is missing and says sizes first.
    """
    from mien.cli.progress import listening
    from mien.export.report.collect import write
    from mien.pipeline import Project
    from mien.pipeline.events import silent

    with errors():
        root = State.folder / keep
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise MienError(
                "project.exists", f"{root} exists already, and nothing is overwritten", "name another: --keep DIR"
            )
        _fetch()
        say("real footage without sound, and a real groan of somebody else, recorded for a free game: the same samples")
        say("are laid under three parts of the footage, and stand alone once")
        inputs = _compose(root / "inputs")
        project = Project.init(root, "research", "moan-vs-groan")
        try:
            if as_json:
                outcome = project.run(list(inputs.values()), listener=silent)
            else:
                with listening(False) as listener:
                    outcome = project.run(list(inputs.values()), listener=listener)
            if outcome.failures:
                first = outcome.failures[0]
                raise MienError(first.code, first.message, first.hint)
            rows = [row(name, at_sound(_assessments(project, path))) for name, path in inputs.items()]
            page = write(project, root / "report.html")
        finally:
            project.close()
    _tell(rows, page, as_json)


def at_sound(held: Sequence[Assessment]) -> Assessment:
    """The assessment of the moment of the sound; of several people, the one whose evidence weighs most.

    Raises:
        MienError: `demo.not-assessed` when nothing was assessed there.
    """
    from mien.testing.composite import SOUND_AT_S

    at_us = round((SOUND_AT_S + 0.2) * US)
    here = [a for a in held if a.span.start_us <= at_us < a.span.end_us]
    if not here:
        raise MienError("demo.not-assessed", "no assessment covers the sound", "see why: mien status")
    return max(here, key=lambda a: sum(c.weight for c in a.contributions))


def row(context: str, a: Assessment) -> Row:
    """What an assessment says, with the voice and the rest apart."""
    from mien.export.report.contexts import voice_of
    from mien.export.report.steps import added, alone

    heard = voice_of(a)
    seen = [c for c in a.contributions if c is not heard and c.weight > 0 and c.log_odds]
    return Row(
        context,
        a.prior,
        alone(a, heard) if heard else (),
        heard.weight if heard else 0.0,
        added(seen, [s for s, _ in a.prior]) if seen else (),
        a.posterior,
        a.ambiguity,
        a.conflict,
        a.vacuity,
        a.abstained,
        a.reason,
        verdict(a),
        a.id,
    )


def verdict(a: Assessment) -> str:
    """One careful clause: what the signals are consistent with, or why the question stays open."""
    from mien.export.report import words

    if not a.abstained:
        said = words.outcome(a)
        return said[0].lower() + said[1:]
    both = f": {words.readings(a)}" if a.reason == "conflict" else ""
    return f"stays uncertain: {words.why(a.reason)}{both}"


def _fetch() -> None:
    """What the default stack and this demo need; sizes are said before the first byte."""
    from mien.cli import models

    try:
        models.pull(["default", *SAMPLES])
    except typer.Exit as done:
        if done.exit_code:
            raise


def _compose(folder: Path) -> dict[str, Path]:
    from mien.models.weights import resolve, select
    from mien.testing.composite import GROAN, contexts, lump, soundtrack

    video, archive = (resolve(entry.weights).only for entry in select(SAMPLES))
    return contexts(video, soundtrack(*lump(archive, GROAN)), folder)


def _assessments(project: Any, path: Path) -> list[Assessment]:
    from mien.core import Clip, Source

    sha = next(s.sha256 for s in project.store.all(Source) if Path(s.path).name == path.name)
    clips = [c.id for c in project.store.all(Clip) if c.source_sha == sha]
    return [a for a in project.store.all(Assessment) if a.clip_id in clips]


def _tell(rows: Sequence[Row], page: Path, as_json: bool) -> None:
    if as_json:
        give({"contexts": rows, "report": page})
        return
    table(["", "", *(r.context for r in rows)], list(_lines(rows)), right=tuple(range(2, 2 + len(rows))))
    for r in rows:
        print(f"{r.context}: {r.verdict}")
    say("prior × what the picture makes likely × the same voice → posterior; 'picture adds' is in log-odds, and")
    say("'voice alone' is its answer before its weight λ. The figures are about signals, not about what a person felt.")
    say("open in a browser:")
    print(page)


def _lines(rows: Sequence[Row]) -> Iterator[list[str]]:
    """The table: a line per figure and state, a column per context."""
    parts: tuple[tuple[str, list[Dist], str], ...] = (
        ("prior", [r.prior for r in rows], ".2f"),
        ("picture adds", [r.picture_adds for r in rows], "+.2f"),
        ("voice alone", [r.voice for r in rows], ".2f"),
        ("posterior", [r.posterior for r in rows], ".2f"),
    )
    for name, dists, form in parts:
        for n, (state, _) in enumerate(rows[0].prior):
            held = [dict(d).get(state) for d in dists]
            yield ["" if n else name, state, *("–" if p is None else f"{p:{form}}" for p in held)]
    units = {"voice_weight": "λ", "ambiguity": "nats", "conflict": "nats", "vacuity": "0..1"}
    for name, unit in units.items():
        yield [name.replace("_", " "), unit, *(f"{getattr(r, name):.2f}" for r in rows)]
