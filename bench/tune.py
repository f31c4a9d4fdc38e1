"""What the opening of sessions, simpler graphs and int8 give: processor time of the default stack, start, memory.

The partner in the same run is the stack as it was opened before: no kept graphs, published graphs as they are, a memory
plan for each shape. Each way is a fresh process that does the same media one stage after another on one thread; ways
take turns, and the better of two counts. int8 is compared on pictures that it was not calibrated on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.run import footage
from mien.models import variants
from mien.models.weights import load_adapters, resolve

SECONDS, ROUNDS = 20.0, 2
WAYS = ("before", "now", "now, int8")
SMALL = ("face.centerface", "object.nanodet", "explicit.opennsfw")
PICTURES, MOST = "face_expression_muxspace", 30
OTHERS = "video_faces/single_face.mp4", "tracking/vtest.avi"


def main(args: list[str]) -> list[str]:
    """`[SECONDS]` of media, default 20. Pictures of other people are looked for in MIEN_SHARED_DATA."""
    seconds = float(args[0]) if args else SECONDS
    lines = [f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", "", *small()]
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as where:
        video = footage(Path(where) / "demo.mp4", seconds)
        told: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                told[way].append(child(way, video))
    lines += ["", f"{seconds:g} s of the demo composite, 640×360, one thread, one stage after another:", ""]
    heads = ["open all models, processor s", "MB then", "runtime calls", "whole run"]
    lines += [f"| stack | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for way, rounds in told.items():
        best = {key: min(r[key] for r in rounds) for key in rounds[0]}
        calls, whole = (1000 * best[k] / seconds for k in ("calls_s", "run_s"))
        cells = [f"{best['open_s']:.2f}", f"{best['open_mb']:.0f}"]
        lines.append(f"| {way} | {' | '.join(cells)} | {calls:.0f} ms/s | {whole:.0f} ms/s |")
    same = told["before"][0]["rows"] == told["now"][0]["rows"]
    lines += ["", "Runtime calls and whole run: processor ms per second of media, without the decoding children. "]
    lines[-1] += f"Before and now make {'as many' if same else 'NOT as many'} observations."
    return lines


# ---------------------------------------------------------------- int8


def small() -> list[str]:
    """Gain and parity of every int8 network, on the demonstration video and on pictures of other people."""
    from mien.cli.tuning import frames_for

    learn, checks = frames_for(others(), 32)
    heads = ["model", "way", "float32 ms", "int8 ms", "gain", "frames", "same decisions", "IoU", "score apart"]
    lines = [f"| {' | '.join([*heads, 'points apart', 'kept'])} |", "|---|---|" + "---|" * len(heads)]
    for name in SMALL:
        cls: Any = load_adapters()[name]
        found = variants.tune(cls, cls.network(resolve(cls.spec.weights)), cls.Config(), learn, checks)
        for v in found.variants:
            p = v.parity
            figures = f"{p.rows} | {p.agreed:.3f} | {p.iou:.3f} | {p.apart:.3f} | {p.points:.3f}".replace("nan", "")
            kept = "yes" if found.kept == v.way else ""
            lines.append(
                f"| `{name}` | {v.way} | {found.ms:.1f} | {v.ms:.1f} | {found.ms / v.ms:.2f} | {figures} | {kept} |"
            )
    where = f"{len(others())} other files" if others() else "no other files: MIEN_SHARED_DATA is not there"
    return [*lines, "", f"Compared on other frames of the demonstration video and {where}."]


def others() -> Sequence[Path]:
    at = Path(os.environ.get("MIEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    pictures = sorted((at / PICTURES).rglob("*.jpg"))
    step = max(1, len(pictures) // MOST)
    return [*pictures[::step][:MOST], *(at / name for name in OTHERS if (at / name).is_file())]


# ---------------------------------------------------------------- one process


def child(way: str, video: Path) -> dict[str, float]:
    calm = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if way == "before":
        calm["MIEN_GRAPHS"] = "off"
    command = [sys.executable, "-m", "bench.tune", way, str(video)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | calm)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(way: str, video: Path) -> dict[str, float]:
    """Open the default stack, then run it over the video, all in this process."""
    from mien.models.onnx import OnnxNet
    from mien.models.sound.whisper import WhisperVoice
    from mien.pipeline import Project, Stack

    if way == "before":
        as_before()
    flags: dict[str, Any] = {"run": {"runner": "inline", "workers": 1}, "analysis": {"threads": 1}}
    if way == WAYS[-1]:
        flags["adapters"] = {name: {"precision": "int8"} for name in SMALL if here(name)}
    spent = 0.0
    run = OnnxNet.run

    def timed(self: Any, *inputs: Any) -> Any:
        nonlocal spent
        began = time.thread_time()
        answer = run(self, *inputs)
        spent += time.thread_time() - began
        return answer

    OnnxNet.run = timed
    assert WhisperVoice  # its network is an OnnxNet, too
    project = Project.in_memory("research", flags)
    try:
        began = time.process_time()
        stack = Stack(project.config, threads=1)
        for slot in stack.slots():
            stack.get(slot)
        told = {"open_s": time.process_time() - began, "open_mb": rss_mb()}
        stack.close()
        began = time.process_time()
        project.run([video])
        told |= {"run_s": time.process_time() - began, "calls_s": spent}
        told["rows"] = project.store.query("SELECT count(*) FROM observations")[1][0][0]
    finally:
        project.close()
    return told


def as_before() -> None:
    """Graphs as they were published, and a memory plan for each shape of input."""
    import onnxruntime as ort

    from mien.models.vision.faces import landmarks
    from mien.models.vision.people import pose

    plain = ort.InferenceSession

    def planned(source: Any, options: Any, **more: Any) -> Any:
        options.enable_mem_pattern = True
        return plain(source, options, **more)

    ort.InferenceSession = planned  # pyright: ignore[reportAttributeAccessIssue]
    landmarks.simplified = lambda path: Path(path).read_bytes()  # pyright: ignore[reportAttributeAccessIssue]
    pose.simplified = lambda model: model  # pyright: ignore[reportAttributeAccessIssue]


def here(name: str) -> bool:
    cls: Any = load_adapters()[name]
    return variants.place(cls.network(resolve(cls.spec.weights))).is_file()


def rss_mb() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 1e6


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
