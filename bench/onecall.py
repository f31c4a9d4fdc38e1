"""One adapter in a process of its own: what `bench models` starts, and what it hands over.

`python -m bench.onecall --measure TASK` and `--build ADAPTER FOLDER` answer with JSON on their last line.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.seeded import BUILDERS
from mien.core import (
    Ask,
    Asks,
    Boxes,
    Device,
    Embeddings,
    FacePeople,
    Faces,
    Frames,
    Message,
    MienError,
    People,
    Sound,
    WeightFiles,
    Windows,
)
from mien.models.weights import load_adapters, resolve

Array = npt.NDArray[Any]
Answers = dict[str, Array]

MANY = 8  # of a batch, where the adapter names no size of its own (`AT_ONCE` of its module)
LONG_S = 2.0  # processor time of a call that is not made twice


@dataclass(frozen=True, slots=True)
class Task:
    """What a child process does with one adapter. folder: of seeded run-time files, "" for the real ones; inputs: file
    of one row of each record; answers: where to write those of the largest batch; half: run torch in bfloat16."""

    name: str
    inputs: str
    folder: str = ""
    device: str = "cpu"
    answers: str = ""
    half: bool = False


@dataclass(frozen=True, slots=True)
class Timed:
    """Median processor and wall ms of a call with a batch of `rows` on `threads`, and how many calls that is of."""

    rows: int
    threads: int
    processor_ms: float
    wall_ms: float
    calls: int


# ---------------------------------------------------------------- what goes in


def write_inputs(path: Path) -> dict[str, str]:
    """One row of each record that adapters take, pickled; record's name → what the row is."""
    from bench.stack import real_inputs

    found = {k: v for k, v in real_inputs().items() if isinstance(k, type)}
    frames, faces, people = (found[k][0] for k in (Frames, Faces, People))
    size = found[Frames][1].removeprefix("one frame of ")
    pixels = np.repeat(frames.pixels, 16, axis=0)
    pixels = np.stack([np.roll(p, 4 * i, axis=1) for i, p in enumerate(pixels)])  # a slow pan
    moving = Windows((Frames(pixels, np.arange(16, dtype=np.int64) * 62_500),))
    found[FacePeople] = FacePeople(faces.frames, faces.boxes, people.boxes.xyxy), "a face and its body"
    found[Windows] = moving, f"16 frames of {size}"
    found[Asks] = (
        Asks((Ask((Message("user", "Say in one sentence what calms a child."),), max_tokens=32),)),
        "32 tokens",
    )
    path.write_bytes(pickle.dumps({kind.__name__: record for kind, (record, _) in found.items()}))
    return {kind.__name__: f"{what}, {size}" if kind in (Faces, People) else what for kind, (_, what) in found.items()}


def many(record: Any, n: int) -> Any:
    """The same row n times."""
    match record:
        case Frames():
            record = Frames(np.repeat(record.pixels, n, axis=0), np.arange(n, dtype=np.int64) * 40_000)
        case Faces() | People():
            record = type(record)(record.frames, _again(record.boxes, n))
        case FacePeople():
            record = FacePeople(record.frames, _again(record.boxes, n), np.repeat(record.body, n, axis=0))
        case Windows():
            record = Windows(record.frames * n)
        case Embeddings():
            record = Embeddings(np.repeat(record.vectors, n, axis=0))
        case list():
            record = record * n
    return record


def _again(boxes: Boxes, n: int) -> Boxes:
    return boxes.take(np.zeros(n, np.intp))


# ---------------------------------------------------------------- what comes out


def answers_of(record: Any) -> Answers:
    """The arrays of an answer by field; of replies their texts, as bytes."""
    if hasattr(record, "rows"):
        return {f"text {i}": np.frombuffer(r.text.encode(), np.uint8) for i, r in enumerate(record.rows)}
    assert is_dataclass(record)
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def read_answers(path: Path) -> Answers:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


# ---------------------------------------------------------------- one call


def measure(task: Task) -> dict[str, Any]:
    """Open the adapter and time it; what `child` gives back."""
    import cv2

    cls: Any = load_adapters()[task.name]
    given = pickle.loads(Path(task.inputs).read_bytes())[cls.spec.takes.__name__]  # noqa: S301 - of `write_inputs`
    single = isinstance(given, Sound | Asks)
    own = getattr(sys.modules[cls.__module__], "AT_ONCE", MANY)
    sizes = [1] if single else [1, own]
    timed: list[Timed] = []
    peak = 0.0
    everything = os.cpu_count() or 1
    for threads in sorted({1, everything}):
        cv2.setNumThreads(threads)
        model = opened(cls, task, threads)
        for n in sizes:
            timed.append(clocked(model.run, many(given, n), n, threads))
        if threads == 1:
            peak = peak_mb()
            if task.answers:
                np.savez(task.answers, **answers_of(model.run(many(given, sizes[-1]))))  # pyright: ignore[reportArgumentType]
        model.close()
    return {"timed": [asdict(t) for t in timed], "peak_mb": peak}


def opened(cls: Any, task: Task, threads: int) -> Any:
    weights = cls.spec.weights
    files = {n: Path(task.folder) / n for n in weights.runtime} if task.folder else resolve(weights).files
    model = cls.open(WeightFiles(files), cls.Config(), Device("cuda" if task.device == "cuda" else "cpu", threads))
    if task.half:
        halve(model)
    return model


def halve(model: Any) -> None:
    """Let a torch network run in bfloat16, its input and output as before. Raises MienError `bench.no-torch`."""
    from mien.models.torchnet import TorchNet

    net = getattr(model, "_net", None)
    if not isinstance(net, TorchNet):
        raise MienError("bench.no-torch", f"{model.spec.name} is no torch network")
    import torch

    class Half(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner.bfloat16()

        def forward(self, *given: Any) -> Any:
            return self.inner(*(x.bfloat16() if x.is_floating_point() else x for x in given))

    net._module = Half(net._module)


def clocked(call: Callable[[Any], Any], batch: Any, rows: int, threads: int) -> Timed:
    """Medians of up to 15 calls in a second, after one to warm up; of a call that takes long, the first alone."""
    spent: list[tuple[float, float]] = []
    warm = False
    while not spent or (sum(p for p, _ in spent) < 1 and len(spent) < 15):
        processor, wall = time.process_time(), time.perf_counter()
        call(batch)
        took = time.process_time() - processor, time.perf_counter() - wall
        if warm or took[0] > LONG_S:
            spent.append(took)
        warm = True
    processor_s, wall_s = np.median(spent, axis=0)
    return Timed(rows, threads, 1e3 * float(processor_s), 1e3 * float(wall_s), len(spent))


def peak_mb() -> float:
    """Most memory this process ever held, MB (Linux; NaN elsewhere)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def build(name: str, folder: Path) -> None:
    """Write the seeded files of an adapter."""
    try:
        import torch

        torch.manual_seed(0)
    except ImportError:
        print("torch is not here", file=sys.stderr)
    BUILDERS[name][1](folder)


if __name__ == "__main__":
    order, *rest = sys.argv[1:]
    if order == "--build":
        build(rest[0], Path(rest[1]))
        print("{}")
    else:
        print(json.dumps(measure(Task(**json.loads(rest[0])))))
