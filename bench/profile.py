"""Where the time of `mien run` goes, and what it costs to ask: `python -m bench profile [seconds]`, default 60.

The table is that of `mien run --profile --json`. The partner is the same run without it: both go three times, in turns.
Neither cost can be seen in runs on a busy machine, so a span is also timed alone, around nothing, with and without a
watcher, and taken times the spans that the run notes.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.run import footage
from mien.cli.watching import HEADERS
from mien.core import probe
from mien.pipeline import Project
from mien.pipeline.watching import Row
from mien.pipeline.watching.profile import cells

TURNS = 3


def main(args: list[str]) -> list[str]:
    seconds = float((args or ["60"])[0])
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        video = footage(folder / "v.mp4", seconds)
        walls: dict[bool, list[float]] = {False: [], True: []}
        rows, spans, size = list[Row](), 0, 0
        for turn in range(TURNS):
            for asked in (False, True):
                root = folder / f"{turn}-{asked}"
                wall, told = _run(root, video, asked)
                walls[asked].append(wall)
                if asked:
                    rows, packed = [Row(**row) for row in told["stages"]], (root / "profile.json.gz").read_bytes()
                    events: list[dict[str, Any]] = json.loads(gzip.decompress(packed))["traceEvents"]
                    spans, size = sum(e["ph"] == "X" for e in events), len(packed)
    finally:
        shutil.rmtree(folder)
    lines = [f"input: the demo composite looped to {seconds:g} s, 640×360; default stack and runner", ""]
    lines += [f"| {' | '.join(HEADERS)} |", f"|{len(HEADERS) * '---|'}"]
    lines += [f"| {' | '.join(row)} |" for row in cells(rows)]
    without, with_ = (", ".join(f"{w:.1f}" for w in walls[asked]) for asked in (False, True))
    ratio = statistics.median(walls[True]) / statistics.median(walls[False])
    idle_ns, busy_ns = _span_ns(None), _span_ns(probe.Watcher())
    return [
        *lines,
        "",
        "seconds, added up over threads and processes; ms/s: work for each second of media",
        f"wall without {without} s, with the profile {with_} s: medians {ratio:.3f}; load {os.getloadavg()[0]:.1f}",
        f"{spans} spans, {size / 1e3:.0f} kB of trace; a span costs {busy_ns / 1e3:.1f} µs, "
        f"{spans * busy_ns / 1e6:.0f} ms of the run, and where nobody watches {idle_ns:.0f} ns, "
        f"{spans * idle_ns / 1e6:.1f} ms",
    ]


def _run(root: Path, video: Path, asked: bool) -> tuple[float, dict[str, Any]]:
    """(wall s, what the run said last of its profile)."""
    Project.init(root, "research").close()
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", str(video)]
    started = time.perf_counter()
    done = subprocess.run([*command, *(["--profile"] if asked else [])], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, json.loads(done.stdout.splitlines()[-1])


def _span_ns(watcher: probe.Watcher | None, n: int = 100_000) -> float:
    """Processor time, so that a busy machine changes little."""
    probe.watch(watcher)
    try:
        started = time.thread_time_ns()
        for _ in range(n):
            with probe.span("stage", "faces"):
                pass
        return (time.thread_time_ns() - started) / n
    finally:
        probe.watch(None)
