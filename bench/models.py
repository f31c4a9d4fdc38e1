"""Every adapter on its own: ms and memory of one call, on one thread and on all, and how a GPU's answers differ.

Real weights where they are in the cache, else seeded random ones in the published architecture and size
(`bench.seeded`). Each adapter is opened in a process of its own, so that one that fails stops no other and peak memory
is its own. Processor ms is what counts: a neighbour on the machine moves it less than the clock on the wall.

`python -m bench models [--device cuda] [--together N] [--keep FOLDER] [--limit S] [--list] [NAME …]`; with names, the
lines are shown and not recorded. `--together`: so many adapters at a time, where the machine is shared anyway.
`--keep`: what is measured is kept there, and what lies there is not measured again. `--limit`: seconds of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.onecall import MANY, Answers, Task, Timed, read_answers, write_inputs
from bench.seeded import BUILDERS, REASONS
from mien.core import MienError
from mien.models.weights import load_adapters, resolve, terms, unknown

BAR = 1e-3  # of a GPU's float32 answers against the processor's
LIMIT_S = 1800
MISSED = "not measured: "


@dataclass(frozen=True, slots=True)
class Way:
    """How adapters are measured: the options of the command."""

    device: str = "cpu"
    together: int = 1
    keep: Path | None = None
    limit_s: float = LIMIT_S


def main(args: list[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="python -m bench models")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--limit", type=float, default=LIMIT_S)
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args(args)
    known = load_adapters()
    for name in given.names:
        if name not in known:
            raise unknown(name, known)
    names = given.names or sorted(known)
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    how = Way(given.device, given.together, given.keep, given.limit)
    lines = [f"{n}: {source(n)}" for n in names] if given.list else run(names, how)
    if given.list or given.names:
        print("\n".join(lines))
        raise SystemExit(0)
    return lines


def source(name: str) -> str:
    """`real`, `seeded: NETWORK`, or why an adapter cannot be measured here."""
    weights = load_adapters()[name].spec.weights
    if weights is None:
        return f"{MISSED}asks an endpoint"
    try:
        terms.require(weights)
        resolve(weights)
    except MienError as error:
        if name in BUILDERS:
            return f"seeded: {BUILDERS[name][0]}"
        return MISSED + REASONS.get(name, error.message)
    return "real"


# ---------------------------------------------------------------- the parent


def run(names: list[str], how: Way) -> list[str]:
    """The tables, as lines of Markdown."""
    threads = os.cpu_count() or 1
    head = ["adapter", "weights", "input", "rows", "processor ms, 1 thread", "wall ms"]
    head += [f"processor ms, {threads} threads", "wall ms", "peak MB"]
    if how.device == "cuda":
        head = ["adapter", "weights", "input", "rows", "wall ms, processor", "wall ms, GPU", "peak MB"]
        head += ["float32 apart", "bfloat16 apart"]
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as where, ThreadPoolExecutor(how.together) as pool:
        folder = Path(where)
        told = write_inputs(folder / "inputs.pickle")
        found = list(pool.map(lambda name: one(name, how, folder, told), names))
    missed = [(name, rows) for name, rows in zip(names, found, strict=True) if isinstance(rows, str)]
    shared = f", {how.together} adapters at a time" if how.together > 1 else ""
    lines = [
        "Processor ms count the time of all threads. Seeded: random weights in the published architecture and size. "
        f"Rows: a single one, and the adapter's own batch ({MANY} where it names none). Peak: of the whole process, on "
        f"one thread. Load of the machine at the end: {os.getloadavg()[0]:.1f} on {threads} cores{shared}.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for rows in found if not isinstance(rows, str) for row in rows),
    ]
    if missed:
        lines += ["", "| not measured | why |", "|---|---|", *(f"| `{name}` | {why} |" for name, why in missed)]
    return lines


def one(name: str, how: Way, folder: Path, told: dict[str, str]) -> list[list[str]] | str:
    """Rows of the table, or why there are none."""
    what = source(name)
    kept = how.keep / f"{name}.{how.device}.json" if how.keep else None
    if kept and kept.exists():
        return json.loads(kept.read_text())
    print(f"{name}: {what}", file=sys.stderr, flush=True)
    if what.startswith(MISSED):
        return what.removeprefix(MISSED)
    try:
        at = built(name, folder, how.limit_s) if what != "real" else ""
        task = Task(name, str(folder / "inputs.pickle"), str(at))
        cells = (on_processor if how.device == "cpu" else on_gpu)(task, folder, how.limit_s)
        rows = [[f"`{name}`", what, told[load_adapters()[name].spec.takes.__name__], *row] for row in cells]
        if kept:
            kept.write_text(json.dumps(rows))
        return rows
    except MienError as error:
        print(f"{name}: {error.message}", file=sys.stderr, flush=True)
        return error.message


def built(name: str, folder: Path, limit_s: float) -> Path:
    """A folder with seeded run-time files, made by a child. Raises MienError `bench.failed`."""
    at = folder / name
    at.mkdir()
    child(limit_s, "--build", name, str(at))
    return at


def on_processor(task: Task, folder: Path, limit_s: float) -> Iterable[list[str]]:
    """Cells of the table, a list for each batch."""
    told = child(limit_s, "--measure", json.dumps(asdict(task)))
    timed = [Timed(**t) for t in told["timed"]]
    for rows in sorted({t.rows for t in timed}):
        one, more = (next((t for t in timed if t.rows == rows and (t.threads == 1) == w), None) for w in (True, False))
        cells = [cell for t in (one, more) for cell in ((ms(t.processor_ms), ms(t.wall_ms)) if t else ("", ""))]
        yield [str(rows), *cells, f"{told['peak_mb']:.0f}"]


def on_gpu(task: Task, folder: Path, limit_s: float) -> Iterable[list[str]]:
    """The same on the processor and on CUDA, and how far apart the answers are."""
    said: list[Any] = []
    held: list[Answers | None] = []
    for at, (device, half) in enumerate((("cpu", False), ("cuda", False), ("cuda", True))):
        path = folder / f"{task.name}.{at}.npz"
        try:
            order = replace(task, device=device, half=half, answers=str(path))
            said.append(child(limit_s, "--measure", json.dumps(asdict(order))))
            held.append(read_answers(path))
        except MienError:
            if not half:
                raise
            held.append(None)  # no torch network, so no bfloat16 of ours
    first, second, third = held
    assert first is not None
    assert second is not None
    full = verdict(first, second, BAR)
    reduced = "" if third is None else f"{apart(first, third)[0]:.1e}"
    for rows in sorted({t["rows"] for t in said[0]["timed"]}):
        walls = [min(t["wall_ms"] for t in one["timed"] if t["rows"] == rows) for one in said[:2]]
        yield [str(rows), *map(ms, walls), f"{said[1]['peak_mb']:.0f}", full, reduced]


def child(limit_s: float, *args: str) -> Any:
    """What a fresh process of `bench.onecall` says, as JSON on its last line. Raises MienError `bench.failed`."""
    calm = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "0"}
    command = [sys.executable, "-m", "bench.onecall", *args]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=limit_s, env=os.environ | calm
        )
    except subprocess.TimeoutExpired as error:
        raise MienError("bench.failed", f"took more than {limit_s:g} s") from error
    last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    if done.returncode:
        raise MienError("bench.failed", f"ended with {done.returncode}: {last[:200]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ms(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


# ---------------------------------------------------------------- answers, side by side


def apart(one: Answers, other: Answers) -> tuple[float, str]:
    """Largest difference, as a share of the largest value of its array (of 1 where that is less), and its array.

    Infinite where one answers another number of rows, or measures what the other does not.
    """
    worst, where = 0.0, ""
    for name in sorted(one.keys() | other.keys()):
        a, b = (np.asarray(side.get(name, ()), np.float64) for side in (one, other))
        if a.shape != b.shape or not np.array_equal(np.isnan(a), np.isnan(b)):
            return float("inf"), name
        known = ~np.isnan(a)
        if known.any():
            scale = max(1.0, float(np.abs(a[known]).max()))
            far = float(np.abs(a[known] - b[known]).max()) / scale
            worst, where = (far, name) if far > worst else (worst, where)
    return worst, where


def verdict(one: Answers, other: Answers, bar: float) -> str:
    """How far apart, and whether that is within the bar."""
    far, where = apart(one, other)
    return f"{far:.1e}" + ("" if far <= bar else f" in {where}: above {bar:g}")
