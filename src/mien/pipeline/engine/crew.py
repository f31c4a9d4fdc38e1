"""Who does the work of a run: this process or several, by the configuration and by what the machine has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mien.pipeline.config import Config
from mien.pipeline.engine.hand import Hand, Inline
from mien.pipeline.engine.process import Processes
from mien.pipeline.engine.task import ClipTask, Crew
from mien.pipeline.stack import Stack

WORTH_S = 90.0  # of media left to do: below, starting workers takes longer than they save
PER_WORKER_MB = 1600.0


def crew_for(config: Config, stack: Stack, left_s: float, progress: Callable[[ClipTask, int], None]) -> Crew:
    """`run.runner` as configured; `auto`: processes where there is enough to do, and cores and memory for two."""
    terms = config.run
    gpus = gpu_names() if config.analysis.device == "cuda" else ()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = terms.workers or len(gpus) or fitting(cores, free_mb())
    if terms.runner == "ray":
        from mien.pipeline.engine.raying import Rays

        return Rays(config, terms.workers if terms.ray_address else workers)
    several = terms.runner == "process" or (terms.runner == "auto" and workers > 1 and left_s >= WORTH_S)
    if several:
        return Processes(config, workers, progress, gpus[:workers])
    return Inline(Hand(stack, config.analysis, side_by_side=(terms.workers or cores) > 1), progress)


def together(config: Config) -> int:
    """How many clips' batches a model gets as one."""
    return config.run.together or (8 if config.analysis.device == "cuda" else 1)


def fitting(cores: int, free: float) -> int:
    """How many workers fit: one per core, as long as there is memory for each."""
    return max(1, min(cores, int(free // PER_WORKER_MB)))


def free_mb() -> float:
    """Memory that can be had without swapping, in MB; without a limit where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) / 1024
    except OSError:
        pass
    return float("inf")


def gpu_names() -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES may be set to, one card each."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return tuple(name for name in said.split(",") if name)
    return tuple(str(i) for i in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))))
