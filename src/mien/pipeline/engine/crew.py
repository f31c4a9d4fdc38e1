"""Who does the work of a run: this process or several, by the configuration and by what the machine has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from mien.core import MienError
from mien.pipeline.config import Config
from mien.pipeline.engine.hand import Hand, Inline
from mien.pipeline.engine.process import Processes
from mien.pipeline.engine.task import ClipTask, Crew
from mien.pipeline.preflight import Mode, expected, fits, measure
from mien.pipeline.stack import Stack

WORTH_S = 90.0  # of media left to do: below, starting workers takes longer than they save


def crew_for(config: Config, stack: Stack, left_s: float, progress: Callable[[ClipTask, int], None]) -> Crew:
    """`run.runner` as configured; `auto`: processes where there is enough to do, and cores and memory for two."""
    if config.run.runner == "ray":
        from mien.pipeline.engine.raying import Rays

        return Rays(config, config.run.workers if config.run.ray_address else workers_of(config, stack))
    workers = processes_for(config, stack, left_s)
    if workers:
        return Processes(config, workers, progress, _cards(config)[:workers])
    return Inline(Hand(stack, config.analysis, side_by_side=(config.run.workers or _cores()) > 1), progress)


def processes_for(config: Config, stack: Stack, left_s: float) -> int:
    """How many processes do this much media; 0: this one."""
    workers = workers_of(config, stack)
    worth = config.run.runner == "auto" and workers > 1 and left_s >= WORTH_S
    return workers if worth or config.run.runner == "process" else 0


def workers_of(config: Config, stack: Stack) -> int:
    """As configured, else one per card, else one per core that there is memory for."""
    return config.run.workers or len(_cards(config)) or mode_of(config, stack).workers


def mode_of(config: Config, stack: Stack) -> Mode:
    """What the memory of this machine allows. Models are measured first where a guess by their sizes is not enough."""
    needed, measured = expected(stack, stack.slots())
    free = free_mb()
    if not measured and needed.together_mb > free / 2:
        with contextlib.suppress(MienError):  # a guess will do
            measure(config)
            needed, _ = expected(stack, stack.slots())
    return fits(needed, free, _cores())


def _cards(config: Config) -> tuple[str, ...]:
    return gpu_names() if config.analysis.device == "cuda" else ()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_crew(config: Config) -> None:
    """Raise before any work where nobody could do it: `install.missing-extra`, `egress.*` (`raying.allowed`)."""
    if config.run.runner == "ray":
        from mien.pipeline.engine.raying import allowed

        allowed(config)


def together(config: Config) -> int:
    """How many clips' batches a model gets as one."""
    return config.run.together or (8 if config.analysis.device == "cuda" else 1)


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
