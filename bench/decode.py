"""What a decoding child costs, and a run over short clips; each beside the way without.

The partners are our own: a child that is started instead of forked, and two passes (a scan, then frames and sound for
the analysis) instead of one that keeps what it decodes (`bench passes`: per second of media). Processor time counts
every process; it is what matters where the analysis wants the cores, and other work on the machine changes it little.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.run import footage

CLIPS, CLIP_S = 20, 2.0
STARTED = "from mien.media import spawn; spawn._forked = lambda *_: None; "


def main(args: list[str]) -> list[str]:
    """`[turns]`, default 3: how often each way is measured, in turns."""
    turns = int(args[0]) if args else 3
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        return [*children(folder), "", *short_clips(folder, turns)]
    finally:
        shutil.rmtree(folder)


def children(folder: Path) -> list[str]:
    """Opening a decoder and asking it for a probe, 20 times each way."""
    video = footage(folder / "probe.mp4", CLIP_S)
    lines = [
        "| a decoding child | wall ms, median of 20 | processor ms of all processes, mean |",
        "|---|---|---|",
    ]
    code = (
        "import statistics, sys, time; from mien.media import probe\n"
        "def one():\n    t = time.perf_counter(); probe(sys.argv[1]); return 1000 * (time.perf_counter() - t)\n"
        "one(); print(statistics.median(one() for _ in range(20)) if len(sys.argv) > 2 else 0)"
    )
    for name, before in (("started", STARTED), ("forked", "")):
        out, cpu = spent([sys.executable, "-c", before + code, str(video), "twenty"])
        _, base = spent([sys.executable, "-c", before + code, str(video)])
        lines.append(f"| {name} | {float(out):.1f} | {1000 * (cpu - base) / 20:.1f} |")
    return lines


def short_clips(folder: Path, turns: int) -> list[str]:
    """`mien run` on 20 files of 2 s that differ only in a few unused bytes."""
    from mien.pipeline import Project

    data = footage(folder / "short.mp4", CLIP_S).read_bytes()
    many = folder / "many"
    many.mkdir()
    for i in range(CLIPS):
        (many / f"{i:02}.mp4").write_bytes(data + b"\x00\x00\x00\x0cfree" + i.to_bytes(4, "big"))
    lines = [
        f"| `mien run` on {CLIPS} clips of {CLIP_S:g} s | wall s | processor s |",
        "|---|---|---|",
    ]
    took: dict[str, list[tuple[float, float]]] = {"started children, two passes": [], "forked, one pass": []}
    for turn in range(turns):
        for name, each in took.items():
            old = name.startswith("started")
            root = folder / f"{turn}{old}"
            Project.init(root, "research").close()
            code = (STARTED if old else "") + "import sys; from mien.cli.app import main; sys.exit(main())"
            command = [sys.executable, "-c", code, "-C", str(root), "run", str(many)]
            began = time.perf_counter()
            _, cpu = spent(command, {"MIEN_RUN__SPOOL_MB": "0" if old else "2048", "MIEN_RUN__RUNNER": "inline"})
            each.append((time.perf_counter() - began, cpu))
    for name, each in took.items():
        walls = ", ".join(f"{w:.1f}" for w, _ in each)
        lines.append(f"| {name} | {walls} | {statistics.median(c for _, c in each):.1f} |")
    return lines


def spent(command: list[str], env: dict[str, str] | None = None) -> tuple[str, float]:
    """What a command printed, and the processor seconds of it and all its children."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **(env or {})}
    ) as child:
        assert child.stdout is not None
        out = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} failed with {child.returncode}")
    return out, used.ru_utime + used.ru_stime
