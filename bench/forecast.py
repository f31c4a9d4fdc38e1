"""What `mien plan` predicts against what `mien run` then takes: wall time of the command and peak memory.

The first input is predicted from reference figures of another day (and perhaps another machine); the second one, the
same footage with the laughter elsewhere, from the ledger of the first; then a sound file alone. Other work on the
machine moves these figures: its load is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main(args: list[str]) -> list[str]:
    """No arguments."""
    from mien.models.weights import resolve, select
    from mien.pipeline import Project
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    video, laugh, speech = (
        resolve(e.weights).only for e in select(["sample.demo-video", "sample.demo-laugh", "sample.demo-speech"])
    )
    folder = Path(tempfile.mkdtemp(prefix="mien-bench-"))
    lines = [
        f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        "",
        "| input | from | predicted s | real s | real ÷ predicted | predicted MB | real MB |",
        "|---|---|---|---|---|---|---|",
    ]
    try:
        inputs = {
            "first video": with_sound(video, laugh, LAUGHING_FROM_S, folder / "first.mp4"),
            "second, similar": with_sound(video, laugh, (3.6,), folder / "second.mp4"),
            "ten seconds of speech": speech,
        }
        root = folder / "project"
        Project.init(root, "research").close()
        for name, path in inputs.items():
            project = Project.open(root)
            said = project.plan([path])
            project.close()
            wall, memory = run(root, path)
            lines.append(
                f"| {name} | {said.time_basis} | {said.predicted_s:.1f} | {wall:.1f} | {wall / said.predicted_s:.2f} | "
                f"{said.predicted_mb:.0f} | {memory:.0f} |"
            )
    finally:
        shutil.rmtree(folder)
    return lines


def run(root: Path, path: Path) -> tuple[float, float]:
    """(wall s, peak MB with children) of `mien run` in a project that is there."""
    import psutil

    started, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", str(path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            try:
                peak = max(peak, sum(p.memory_info().rss for p in (watched, *watched.children(recursive=True))))
            except psutil.Error:
                continue
            time.sleep(0.1)
    if child.returncode:
        raise SystemExit(f"mien run failed with {child.returncode}")
    return time.perf_counter() - started, peak / 1e6
