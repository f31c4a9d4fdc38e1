"""Progress of a run on a terminal, or as JSON lines."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mien.cli.talk import State, say
from mien.pipeline import Event, Listener


@contextmanager
def listening(as_json: bool) -> Iterator[Listener]:
    """A listener for one run: JSON lines on stdout (each `stage` line is durable by then), or a bar on stderr.

    A Ctrl-C that the interpreter swallowed is raised again at the next event.
    """
    with _shown(as_json) as listener, _interruptible(listener) as heard:
        yield heard


@contextmanager
def _interruptible(listener: Listener) -> Iterator[Listener]:
    """Python prints and forgets a KeyboardInterrupt that comes in a `__del__` or a weakref's callback: remember it."""
    if threading.current_thread() is not threading.main_thread():
        yield listener
        return
    asked = threading.Event()

    def note(signum: int, frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    def listen(event: Event) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        listener(event)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield listen
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def _shown(as_json: bool) -> Iterator[Listener]:
    if as_json:
        yield _json_lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    told: set[str] = set()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("analysing", total=None, speed="")
        started = time.monotonic()

        def listen(event: Event) -> None:
            if event.kind == "plan":
                bar.update(task, total=max(event.total_s, 0.001))
            elif event.kind == "source":
                bar.update(task, description=event.text[:32])
            elif event.kind in ("progress", "done"):
                spent = max(1e-9, time.monotonic() - started)
                bar.update(task, completed=event.done_s, speed=f"{event.done_s / spent:.1f}× real time")
            elif event.kind in ("failed", "waiting") and event.text not in told:
                told.add(event.text)
                bar.console.print(("failed: " if event.kind == "failed" else "waiting for a person: ") + event.text)

        yield listen


def _json_lines(event: Event) -> None:
    print(
        json.dumps(
            {
                "event": event.kind,
                "unit": event.unit,
                "stage": event.stage,
                "done_s": round(event.done_s, 3),
                "total_s": round(event.total_s, 3),
                "text": event.text,
            },
            ensure_ascii=False,
        ),
        flush=True,
    )


def log_setup(as_json: bool, verbose: bool) -> None:
    """Logs go to stderr; one JSON object per line with `--log-json`."""
    import logging

    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            row = {"event": "log", "level": record.levelname, "logger": record.name, "message": record.getMessage()}
            if record.exc_info:
                row["traceback"] = self.formatException(record.exc_info)
            return json.dumps(row, ensure_ascii=False)

    State.log_json = as_json
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if as_json else logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler], force=True)


__all__ = ["listening", "log_setup", "say"]
