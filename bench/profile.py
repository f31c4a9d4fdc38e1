"""Where the time of `mien run` goes, and what it costs to ask: `python -m bench profile [seconds]`, default 60.

The table is that of `mien run --profile --json`. The partner is the same run without it: both go twice, in turns.
Processor time counts, because wall time on a busy machine says nothing of this.
Neither cost can be seen in runs on a busy machine, so a span is also timed alone, around nothing, with and without a
watcher, and taken times the spans that the run notes.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.run import footage
from mien.cli.watching import HEADERS
from mien.core import probe
from mien.pipeline import Project
from mien.pipeline.watching import Row
from mien.pipeline.watching.profile import cells

TURNS = 2
TWO = {"MIEN_RUN__RUNNER": "process", "MIEN_RUN__WORKERS": "2"}


def main(args: list[str]) -> list[str]:
    seconds = float((args or ["60"])[0])
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        video = footage(folder / "v.mp4", seconds)
        walls, spent = defaultdict[bool, list[float]](list), defaultdict[bool, list[float]](list)
        rows, spans, size = list[Row](), 0, 0
        for turn in range(TURNS):
            for asked in (False, True):
                root = folder / f"{turn}-{asked}"
                wall, processor, told = _run(root, video, asked)
                walls[asked].append(wall)
                spent[asked].append(processor)
                if asked:
                    rows, packed = [Row(**row) for row in told["stages"]], (root / "profile.json.gz").read_bytes()
                    events: list[dict[str, Any]] = json.loads(gzip.decompress(packed))["traceEvents"]
                    spans, size = sum(e["ph"] == "X" for e in events), len(packed)
    finally:
        shutil.rmtree(folder)
    lines = [f"input: the demo composite looped to {seconds:g} s, 640×360; default stack, two workers", ""]
    lines += [f"| {' | '.join(HEADERS)} |", f"|{len(HEADERS) * '---|'}"]
    lines += [f"| {' | '.join(row)} |" for row in cells(rows)]
    ratio = min(spent[True]) / min(spent[False])
    idle_ns, busy_ns = _span_ns(None), _span_ns(probe.Watcher())
    return [
        *lines,
        "",
        "seconds, added up over threads and processes; ms/s: work for each second of media",
        f"without the profile {_said(spent[False])} s of processor ({_said(walls[False])} s of wall), with it "
        f"{_said(spent[True])} ({_said(walls[True])}): {ratio:.3f} (the better of each); load {os.getloadavg()[0]:.1f}",
        f"{spans} spans, {size / 1e3:.0f} kB of trace; a span costs {busy_ns / 1e3:.1f} µs, "
        f"{spans * busy_ns / 1e6:.0f} ms of the run, and where nobody watches {idle_ns:.0f} ns, "
        f"{spans * idle_ns / 1e6:.1f} ms",
    ]


def _said(seconds: list[float]) -> str:
    return " and ".join(f"{s:.1f}" for s in seconds)


def _run(root: Path, video: Path, asked: bool) -> tuple[float, float, dict[str, Any]]:
    """(wall s, processor s of all its processes, what the run said last of its profile)."""
    Project.init(root, "research").close()
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", str(video)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command += ["--profile"] if asked else []
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **TWO})
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, processor, json.loads(done.stdout.splitlines()[-1])


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
