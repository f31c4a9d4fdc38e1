"""What the models of a stack cost on this machine, measured once: memory and speed, in a child process.

What was measured is kept in the cache by machine, weights and settings, and `mien plan` predicts with it. Which models
fit beside each other, and in how many workers, follows from it by `fits`, which measures nothing.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mien.core import (
    VERSION,
    Boxes,
    FacePeople,
    Faces,
    Frames,
    MienError,
    People,
    Sound,
    Strict,
    Windows,
    digest,
)
from mien.models.kept import processor
from mien.models.weights.cache import cache_dir, write_atomic
from mien.pipeline.config import Config
from mien.pipeline.stack import Stack

LIMIT_S = 600.0
HEIGHT, WIDTH = 360, 640
ROWS = 4  # of a call
BASE = "base"
# Memory, fitted by hand to `python -m bench forecast`: within a tenth for the default stack and for sound alone.
BASE_MB = 420.0  # before any model: interpreter, libraries, frames on their way
DECODER_MB = 136.0
MB_PER_MODEL_MB = 3.0  # a model's memory ÷ its files, on average over the default stack; 20 MB at least
FRAMES_MB = 150.0  # on their way from the decoder to the models, and what stages hold of a clip


class Cost(Strict):
    """What one model costs. open_s: processor s; open_mb, call_mb: growth of memory by opening it and by its first
    call; call_ms: processor ms of a second call for one row, or for 2 s of sound; 0 for what is not called here (heads
    over embeddings, models of language). Of the base: open_mb alone."""

    open_s: float
    open_mb: float
    call_mb: float
    call_ms: float

    @property
    def mb(self) -> float:
        return max(0.0, self.open_mb) + max(0.0, self.call_mb)


@dataclass(frozen=True, slots=True)
class Needs:
    """Memory in MB: of a worker without models (base), of its decoding child, of each model by slot."""

    base_mb: float
    decoder_mb: float
    models: Mapping[str, float]

    @property
    def together_mb(self) -> float:
        return self.base_mb + self.decoder_mb + sum(self.models.values())

    @property
    def alone_mb(self) -> float:
        """With the largest model only."""
        return self.base_mb + self.decoder_mb + max(self.models.values(), default=0.0)


@dataclass(frozen=True, slots=True)
class Mode:
    """How to run. `clip`: all models beside each other in each of `workers`; `stage`: one model at a time.

    needed_mb: of all workers together. fits: whether even this may not be enough (False: swapping, or killed).
    """

    order: Literal["clip", "stage"]
    workers: int
    needed_mb: float
    fits: bool


def fits(needs: Needs, free_mb: float, most: int) -> Mode:
    """Which mode `free_mb` of memory allows.

    As many workers as fit with all models each, `most` at the most; where not one fits, stage by stage in one.
    """
    if needs.together_mb <= free_mb:
        workers = int(min(most, max(1.0, free_mb / max(needs.together_mb, 1.0))))
        return Mode("clip", workers, workers * needs.together_mb, True)
    return Mode("stage", 1, needs.alone_mb, needs.alone_mb <= free_mb)


# ---------------------------------------------------------------- what is known


def home() -> Path:
    return cache_dir() / "preflight"


def known(stack: Stack, slots: Iterable[str]) -> dict[str, Cost] | None:
    """What was measured of these slots, and the base; None where something was not measured here."""
    found: dict[str, Cost] = {}
    if not home().is_dir():
        return None
    for slot in (BASE, *slots):
        try:
            found[slot] = Cost.model_validate_json(_place(stack, slot).read_bytes())
        except (OSError, ValueError):
            return None
    return found


def _place(stack: Stack, slot: str) -> Path:
    """Where the cost of a slot's model lies: by machine, runtime, weights, settings and device."""
    import onnxruntime as ort

    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    machine = processor(), len(cores), sys.version_info[:2]
    print_ = "" if slot == BASE else str(stack.fingerprint(slot))
    key = digest(VERSION, ort.__version__, machine, print_, stack.device)
    return home() / f"{key[:24]}.json"


def measure(config: Config, slots: Iterable[str] = ()) -> dict[str, Cost]:
    """Measure the models of a stack (or of `slots`) in a child process and keep what was found.

    Models that cannot be opened here, or that ask an endpoint, are left out.

    Raises:
        MienError: `preflight.failed` where the child dies; nothing is kept.
    """
    stack = Stack(config)
    wanted = list(slots) or stack.slots()
    order = json.dumps({"config": config.model_dump(mode="json"), "slots": wanted})
    command = [sys.executable, "-P", "-m", "mien.pipeline.preflight"]
    still = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    hint = "set run.order and run.workers by hand"
    try:
        done = subprocess.run(
            command, input=order, capture_output=True, text=True, check=False, timeout=LIMIT_S, env=os.environ | still
        )
        told = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        raise MienError("preflight.failed", "measuring the models took too long, or ended the process", hint) from error
    found = {slot: Cost(**cost) for slot, cost in told.items()}
    for slot, cost in found.items():
        write_atomic(_place(stack, slot), [cost.model_dump_json().encode()])
    return found


def expected(stack: Stack, slots: Iterable[str]) -> tuple[Needs, bool]:
    """What a worker with the models of these slots needs, and whether that was measured on this machine."""
    slots = [slot for slot in slots if stack.has(slot)]
    if found := known(stack, slots):
        return needs(found, DECODER_MB, FRAMES_MB), True
    held = {slot: weights for slot in slots if (weights := stack.spec(slot).weights)}
    models = {slot: max(20.0, MB_PER_MODEL_MB * sum(a.bytes for a in w.assets) / 1e6) for slot, w in held.items()}
    return Needs(BASE_MB, DECODER_MB, models), False


def needs(found: Mapping[str, Cost], decoder_mb: float, frames_mb: float) -> Needs:
    """Memory of a worker from what was measured. frames_mb: for what is on its way between decoder and models."""
    models = {slot: cost.mb for slot, cost in found.items() if slot != BASE}
    return Needs(found[BASE].open_mb + frames_mb, decoder_mb, models)


# ---------------------------------------------------------------- the child


def main() -> None:
    """Read an order on stdin; the last line of stdout is JSON: slot → cost."""
    import cv2

    from mien.pipeline.engine.heap import one_heap

    one_heap()
    cv2.setNumThreads(1)
    order = json.loads(sys.stdin.read())
    stack = Stack(Config(**order["config"]), threads=1)
    _libraries()
    given = inputs()
    told = {BASE: Cost(open_s=0, open_mb=_mb(), call_mb=0, call_ms=0)}
    for slot in order["slots"]:
        with suppress(MienError):
            told[slot] = _cost(stack, slot, given.get(stack.spec(slot).takes))
    print(json.dumps({slot: cost.model_dump() for slot, cost in told.items()}))


def _cost(stack: Stack, slot: str, record: Any) -> Cost:
    before, began = _mb(), time.process_time()
    model = stack.get(slot)
    open_s, opened = time.process_time() - began, _mb()
    if record is None:  # heads over embeddings, and models of language: nothing here to show them
        return Cost(open_s=open_s, open_mb=opened - before, call_mb=0, call_ms=0)
    model.run(record)
    called = _mb()
    began = time.process_time()
    model.run(record)
    rows = 1 if isinstance(record, Sound) else len(record)
    ms = 1000 * (time.process_time() - began) / rows
    return Cost(open_s=open_s, open_mb=opened - before, call_mb=called - opened, call_ms=ms)


def _libraries() -> None:
    """What a worker holds whatever its models are."""
    for name in ("av", "onnxruntime", "pyarrow"):
        importlib.import_module(name)


def inputs() -> dict[type, Any]:
    """A seeded record of each kind that models take: what a call costs does not depend on what is seen in it."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 255, (ROWS, HEIGHT // 20, WIDTH // 20, 3)), np.ones((1, 20, 20, 1)))
    frames = Frames(smooth.astype(np.uint8), np.arange(ROWS, dtype=np.int64) * 200_000)
    at = np.arange(ROWS, dtype=np.int64)
    face, body = ((220, 40, 380, 220), (120, 20, 460, 350))

    def boxes(box: tuple[int, int, int, int], points: int) -> Boxes:
        xyxy = np.tile(np.array(box, np.float32), (ROWS, 1))
        eyes = np.tile(np.array([[265, 110], [335, 110]], np.float32), (ROWS, 1, 1))[:, :points]
        return Boxes(at, xyxy, np.full(ROWS, 0.9, np.float32), np.zeros(ROWS, np.int64), ("it",), eyes)

    faces, people = boxes(face, 2), boxes(body, 0)
    sound = Sound(0.1 * rng.standard_normal(32_000).astype(np.float32), 0)
    return {
        Frames: frames,
        Faces: Faces(frames, faces),
        People: People(frames, people),
        FacePeople: FacePeople(frames, faces, people.xyxy),
        Windows: Windows((Frames(np.tile(frames.pixels, (4, 1, 1, 1)), np.arange(16, dtype=np.int64) * 125_000),)),
        Sound: sound,
        list: [sound],
    }


def _mb() -> float:
    """Resident memory now, after what is free was given back (glibc)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
