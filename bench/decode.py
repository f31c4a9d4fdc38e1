"""What decoding costs: starting a child, a second of media, a run over short clips; each beside the way without.

The partners are our own: a child that is started instead of forked, and two passes (a scan, then frames and sound for
the analysis) instead of one that keeps what it decodes. Processor time counts every process; it is what matters where
the analysis wants the cores, and the machine's other work changes it little.
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

SIZES = ((640, 360), (1920, 1080))
SECONDS, CLIPS, CLIP_S = 30.0, 20, 2.0
FPS, SIDE_PX, LONGEST_US = 5.0, 1280, 60_000_000
STARTED = "from mien.media import spawn; spawn._forked = lambda *_: None; "


def main(args: list[str]) -> list[str]:
    """`[turns]`, default 3: how often each way is measured, in turns."""
    turns = int(args[0]) if args else 3
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    try:
        return [*children(folder), "", *passes(folder, turns), "", *short_clips(folder, turns)]
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


def passes(folder: Path, turns: int) -> list[str]:
    """Shots, frames for the analysis and sound of 30 s, in two passes and in one."""
    once = (
        "import sys; from pathlib import Path; from mien.media import Decoder, Scanning, Spool\n"
        f"with Scanning(Path(sys.argv[1]), {LONGEST_US}, shelf=Spool(None, 2 << 30)"
        f".shelf({FPS}, {SIDE_PX}, {LONGEST_US})) as s:\n"
        "    for cut in s:\n"
        "        kept = s.spooled(cut.span)\n"
        "        assert sum(len(f) for f in kept.frames())\n"
        "        if kept.sound is not None:\n"
        "            assert kept.samples().samples.size\n"
        "        else:\n"
        "            with Decoder(sys.argv[1]) as d:\n"
        "                assert d.sound(cut.span).samples.size\n"
    )
    twice = (
        "import sys; from pathlib import Path; from mien.media import Decoder, Scanning\n"
        f"with Scanning(Path(sys.argv[1]), {LONGEST_US}) as s, Decoder(sys.argv[1]) as d:\n"
        "    for cut in s:\n"
        f"        assert d.sound(cut.span).samples.size and sum(len(f) for f in d.frames(cut.span, {FPS}, {SIDE_PX}))\n"
    )
    idle = "import sys; from pathlib import Path; from mien.media import Decoder, Spool; Decoder(sys.argv[1]).probe()\n"
    lines = [
        f"| {SECONDS:g} s of media | two passes, processor ms per media s | one pass | saved |",
        "|---|---|---|---|",
    ]
    for width, height in SIZES:
        video = footage(folder / f"{height}.mp4", SECONDS, (width, height))
        runs: dict[str, list[float]] = {twice: [], once: [], idle: []}
        for _ in range(turns):
            for code, took in runs.items():
                took.append(spent([sys.executable, "-c", code, str(video)])[1])
        base = min(runs[idle])
        two, one = (1000 * (min(runs[c]) - base) / SECONDS for c in (twice, once))
        lines.append(f"| {width}×{height} | {two:.1f} | {one:.1f} | {1 - one / two:.0%} |")
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
