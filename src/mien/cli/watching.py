"""Looking at a run: `run --profile`, `run --metrics-port`, `status --watch`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mien.cli.talk import plain, say
from mien.pipeline import Event, Listener
from mien.pipeline.watching import Profile, look
from mien.pipeline.watching.profile import cells

HEADERS = ["stage", "wait", "decode", "load", "preprocess", "infer", "post", "write", "calls", "ms/s"]
WIDTHS = (11, 7, 7, 6, 11, 7, 6, 6, 7, 8)  # narrow enough for 80 columns
SHORT = 3  # clips under way that are named


@contextmanager
def watched(
    root: Path, then: Listener, *, profile: bool, trace: Path | None, port: int | None, as_json: bool
) -> Iterator[Listener]:
    """A listener that also feeds a profile (`trace`, or profile.json.gz in the project) and metrics, where asked."""
    with ExitStack() as open_:
        heard: list[Listener] = [then]
        if port is not None:
            from mien.pipeline.watching.metrics import HOST, Metrics

            metrics = open_.enter_context(Metrics(port))
            say(f"metrics: http://{HOST}:{metrics.port}/metrics")
            heard.append(metrics.listen)
        if profile or trace:
            path = trace or root / "profile.json.gz"
            made, writing = Profile(path), ExitStack()
            heard.append(writing.enter_context(made).listen)
            open_.callback(_told, made, path, as_json)
            open_.push(writing)  # ends before its trace is told of

        def listen(event: Event) -> None:
            for one in heard:
                one(event)

        yield listen if len(heard) > 1 else then


def _told(profile: Profile, path: Path, as_json: bool) -> None:
    rows = profile.rows()
    if as_json:
        print(json.dumps({"event": "profile", "stages": plain(rows), "dropped": profile.dropped}), flush=True)
    elif rows:
        for line in (HEADERS, *cells(rows)):
            first, *others = (cell.rjust(width) for cell, width in zip(line, WIDTHS, strict=True))
            say(first.strip().ljust(WIDTHS[0]) + "".join(others))
        say("seconds, added up over threads and processes; ms/s: work for each second of media analysed now")
    if profile.dropped:
        say(f"{profile.dropped} spans found no room in the trace; the table counts them")
    if profile.broken:
        say(f"the trace ends early ({profile.broken}); the table does not")
    say(f"the trace: {path} (open it in ui.perfetto.dev or chrome://tracing; it stays on this machine)")


def watch(project: Any, every_s: float, as_json: bool) -> None:
    """Look again and again until Ctrl-C: a line of JSON each time, or a screen that is drawn anew."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, markup=False)
    try:
        if as_json or not console.is_terminal:
            while True:
                found = look(project.root, project.store)
                print(json.dumps(plain(found), ensure_ascii=False) if as_json else "; ".join(words(found)), flush=True)
                time.sleep(every_s)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(Text("\n".join(words(look(project.root, project.store)))), refresh=True)
                time.sleep(every_s)
    except KeyboardInterrupt:
        return


def words(found: dict[str, Any]) -> list[str]:
    """What `look` found, in lines for people."""
    clips, failed = found["clips"], found["failures_in_record"]
    said = [f"{clips['known']} clip(s) in the record, {failed} failure(s)"]
    if found["state"] == "idle":
        return ["nothing is running here", *said, "start with: mien run"]
    held = [f"held by {found['holder']['said']}"]
    if (memory := found["memory_mb"]) is not None:
        held.append(f"memory {memory['writer']:.0f} MB, its {memory['processes']} processes {memory['others']:.0f} MB")
    if found["state"] == "writing":
        return ["no run is under way, but something writes (or a run is about to begin)", *held, *said]
    media, rate, eta = found["media_s"], found["times_real_time"], found["eta_s"]
    done = f"{clips['done']} clip(s) done, {clips['left']} left of those found so far"
    speed = "" if rate is None else f", {rate:.2f} × real time"
    left = "" if eta is None else f", about {_clock(eta)} left"
    lines = [f"{done}; {media['done']:.0f} of {media['total']:.0f} s of media{speed}{left}", *held]
    for way in found["under_way"][:SHORT]:
        last = f", last done: {way['last']}" if way.get("last") else ""
        lines.append(f"under way for {way['for_s']:.0f} s: {way['name']} ({len(way['stages'])} stages{last})")
    if found["queue"] > SHORT:
        lines.append(f"and {found['queue'] - SHORT} more")
    codes = ", ".join(f"{n} × {code}" for code, n in sorted(found["failures"].items()))
    return [*lines, f"failed in this run: {codes or 'nothing'}; in the record: {failed}"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
