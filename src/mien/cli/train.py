"""`mien train`: thin commands over `mien.train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """Train the small heads that mien ships."""


@app.command()
def voice(
    data: Annotated[Path, typer.Argument(help="Folder of Parquet files: contributor, category_name, audio.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("voice_affect.safetensors"),
) -> None:
    """Train the vocal polarity and arousal head on prompted vocal bursts, people kept apart."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mien.models.sound.whisper import WhisperVoice
    from mien.models.weights import open_adapter
    from mien.train.voice import train

    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("embedding", total=None)
        embedder = open_adapter("voice.whisper")
        assert isinstance(embedder, WhisperVoice)  # noqa: S101 - the name decides the class
        train(data, out, embedder, progress=lambda done, total: bar.update(task, completed=done, total=total))
    print(out)
