"""`mien train cues`: a head of vocal cues on your labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from mien.cli.talk import errors, give, say


def cues(
    data: Annotated[Path, typer.Argument(help="Folder of sound files, or of Parquet files that hold them.")],
    labels: Annotated[Path | None, typer.Option(help="CSV of the sound files: file, label, person.")] = None,
    label: Annotated[str, typer.Option(help="Column of the label (label; Parquet: category_name).")] = "",
    person: Annotated[str, typer.Option(help="Column of the person (person; Parquet: contributor).")] = "",
    sound: Annotated[str, typer.Option(help="Column of the sound (file; Parquet: audio).")] = "",
    group: Annotated[list[str] | None, typer.Option(help="Column to break the card's figures down by.")] = None,
    taxonomies: Annotated[Path | None, typer.Option(help="JSON of coarser labels: {name: {label: group}}.")] = None,
    kind: Annotated[Literal["logistic", "mlp", "attentive"], typer.Option(help="mlp, attentive: need torch.")] = "mlp",
    embedding: Annotated[str, typer.Option(help="voice.whisper, states.wav2vec2, states.hubert …")] = "voice.whisper",
    out: Annotated[Path, typer.Option(help="Head to write; the card goes beside it.")] = Path("voice_cues.safetensors"),
    card: Annotated[Path | None, typer.Option(help="Where the card goes instead.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep embeddings in this .npz: public data only.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Train a head of vocal cues on your labels, people kept apart, calibrated on other people; write it and its card.

    In a run: mien models add voice-cues FILE (heads on voice.whisper, logistic or mlp).
    """
    from mien.cli.train import note
    from mien.models.weights import open_adapter
    from mien.train.cues_heads import Recipe
    from mien.train.cues_run import Ask, run

    ask = Ask(data, out, labels, label, person, sound, tuple(group or ()), taxonomies, cache, card, Recipe(kind=kind))
    with errors():
        model = open_adapter(embedding)
        try:
            with _bar("embedding") as progress:
                made, trained = run(ask, model, progress)
        finally:
            model.close()
        for path in (made.head, *([made.arousal] if made.arousal else [])):
            note(Path(path), data=data, people=set(map(str, trained.development.person)))
        if cache is not None:  # `mien forget` removes it
            everybody = {*map(str, trained.development.person), *map(str, trained.measured.person)}
            note(cache, data=data, people=everybody, kind="profile")
    if as_json:
        give(made)
        return
    for f in made.figures:
        say(
            f"{f.taxonomy}: recall {f.uar:.3f} over {len(f.names)} names, tenth-percentile person {f.tenth:.3f}, "
            f"calibration error {f.ece:.3f}; answers {f.answered:.0%}"
        )
    print(made.head)
    print(made.card)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
