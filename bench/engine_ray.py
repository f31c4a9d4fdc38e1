"""The Ray crew against one thread: `python -m bench engine_ray [seconds] [rounds]`.

The same footage through `mien run` with two workers of Ray, two of the process crew, and inline held to one thread,
which has the other core for decoding and is therefore also held to one core; partner in the same run: what two
processes with one model loop each get done ÷ one of them, which is what the second core is worth. Wall time holds
starting Ray and loading the models; the rate is counted from the first clip that is done to the last. The canonical
dumps must be equal.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.engine import scaling
from bench.run import footage
from mien.pipeline import Project
from mien.store import Store, canonical_dump

CLIP_S = 4.0
ALONE = {"MIEN_RUN__RUNNER": "inline", "MIEN_RUN__WORKERS": "1", "MIEN_ANALYSIS__THREADS": "1"}
ONE_CORE = "inline, one core"
RUNNERS = {
    ONE_CORE: ALONE,
    "inline, one thread": ALONE,
    "process, 2 workers": {"MIEN_RUN__RUNNER": "process", "MIEN_RUN__WORKERS": "2", "MIEN_ANALYSIS__THREADS": "1"},
    "Ray, 2 workers": {"MIEN_RUN__RUNNER": "ray", "MIEN_RUN__WORKERS": "2", "MIEN_ANALYSIS__THREADS": "1"},
}


def main(args: list[str]) -> list[str]:
    seconds, rounds = float((args or ["120"])[0]), int(args[1]) if len(args) > 1 else 2
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as name:
        folder = Path(name)
        video = footage(folder / "video.mp4", seconds, (640, 360))
        loads, worth = [os.getloadavg()[0]], [scaling()]
        found: dict[str, list[tuple[float, float]]] = {runner: [] for runner in RUNNERS}
        dumps: set[str] = set()
        for turn in range(rounds):
            for n, (runner, env) in enumerate(RUNNERS.items()):
                root = folder / f"{turn}-{n}"
                found[runner].append(timed(root, video, env, cores=1 if runner == ONE_CORE else 2))
                dumps.add(dumped(root))
            loads.append(os.getloadavg()[0])
            worth.append(scaling())
    lines = [
        f"input: the demo composite looped to {seconds:g} s at 640×360, clips of at most {CLIP_S:g} s; 5 frames/s; "
        f"default stack; {os.cpu_count()} cores; {rounds} rounds, runners in turn, the better counts; the machine's "
        f"load before and after each: {', '.join(f'{load:.1f}' for load in loads)}",
        f"two processes with one model loop each do {', '.join(f'{w:.2f}' for w in worth)} times the work of one",
        "",
        "| runner | wall s | × real time | one core ÷ it | media s/s, first clip to last | ÷ one core, ÷ one thread |",
        f"|{6 * '---|'}",
    ]
    best = {runner: (min(w for w, _ in times), max(r for _, r in times)) for runner, times in found.items()}
    for runner, (wall, rate) in best.items():
        cells = (
            f"{', '.join(f'{w:.1f}' for w, _ in found[runner])} | {seconds / wall:.2f} | {best[ONE_CORE][0] / wall:.2f}"
        )
        ratios = ", ".join(f"{rate / best[alone][1]:.2f}" for alone in (ONE_CORE, "inline, one thread"))
        lines.append(f"| {runner} | {cells} | {rate:.2f} | {ratios} |")
    return [*lines, "", f"canonical dumps: {len(dumps)} different over {rounds * len(RUNNERS)} runs"]


def timed(root: Path, video: Path, env: dict[str, str], cores: int) -> tuple[float, float]:
    """Wall seconds of one `mien run` held to some cores, and seconds of media per second from the first clip done to
    the last."""
    Project.init(root, "research").close()
    terms = {"MIEN_ANALYSIS__MAX_CLIP_S": str(CLIP_S)}
    started = time.perf_counter()
    done: list[float] = []
    mine = sorted(os.sched_getaffinity(0))[:cores]
    command = [sys.executable, "-m", "mien", "-C", str(root), "run", "--json", str(video)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **terms, **env}
    ) as run:
        os.sched_setaffinity(run.pid, mine)  # before anything is started from it
        assert run.stdout is not None
        for line in run.stdout:
            event = json.loads(line)
            if event["event"] == "stage" and event["stage"] == "claims":  # the last stage of a clip
                done.append(time.perf_counter() - started)
    wall = time.perf_counter() - started
    if run.returncode:
        raise SystemExit(f"mien run failed with {run.returncode}")
    with Store(root) as store:
        spans = [(row[0], row[1]) for row in store.query("SELECT start_us, end_us FROM clips ORDER BY start_us")[1]]
    mean_s = sum(end - start for start, end in spans) / len(spans) / 1e6
    return wall, mean_s * (len(done) - 1) / (done[-1] - done[0])


def dumped(root: Path) -> str:
    with Store(root) as store:
        return hashlib.sha256(canonical_dump(store).encode()).hexdigest()
