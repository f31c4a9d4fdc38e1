"""Where onnxruntime's sessions are opened: one set of options for all, and a processor that is asked for by name.

On the processor every session has one thread: items run side by side instead (`mien.models.onnx`), or processes do. The
graph that onnxruntime made of a file is kept for the next opening (`mien.models.kept`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.core import Device, MienError
from mien.models.kept import Kept

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
STILL = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}


@dataclass(frozen=True, slots=True)
class Written:
    """A network that is written from weight files, and only where no graph of it is kept.

    Attributes:
        files: what it is written from, and nothing else.
        how: tells apart what else is written from the same files, and by which settings.
        write: gives the ONNX file's bytes.
    """

    files: tuple[Path, ...]
    how: str
    write: Callable[[], bytes]


Model = Path | bytes | Written


def named(model: Model) -> str:
    """A network's name, for errors."""
    if isinstance(model, bytes):
        return "the model in memory"
    return model.name if isinstance(model, Path) else model.files[0].name


def open_session(model: Model, device: Device) -> Any:
    """An `onnxruntime.InferenceSession` on the device that is asked for, and on no other.

    Raises:
        MienError: `weights.unreadable`, `device.unavailable`, and what writing the network raises.
    """
    import onnxruntime as ort

    wanted = PROVIDERS[device.name]
    if wanted not in ort.get_available_providers():
        raise _no_cuda("this onnxruntime was built without it")
    try:
        session = _on_processor(model) if device.name == "cpu" else _session(_source(model), wanted)
    except MienError:
        raise
    except Exception as error:
        raise MienError(
            "weights.unreadable", f"{named(model)} is not a usable ONNX file: {error}", "run 'mien models verify'"
        ) from error
    if wanted not in session.get_providers():  # onnxruntime would go on quietly on the processor
        raise _no_cuda("its libraries or the driver are missing")
    return session


def _on_processor(model: Model) -> Any:
    """From the kept graph where there is one; else as it is, and its graph is kept."""
    kept = None
    if isinstance(model, Path):
        kept = Kept.of((model,), "")
    elif isinstance(model, Written):
        kept = Kept.of(model.files, model.how)
    wanted = PROVIDERS["cpu"]
    if kept is None:
        return _session(_source(model), wanted)
    if path := kept.found():
        try:
            return _session(path, wanted, optimised=True)
        except Exception:  # noqa: BLE001 - whatever is wrong with a kept graph, it can be made again
            kept.drop()
    source = _source(model)
    with contextlib.suppress(Exception), kept.draft() as draft:  # a full or read-only disk keeps nothing
        return _session(source, wanted, keep_at=draft)
    return _session(source, wanted)


def _source(model: Model) -> Path | bytes:
    return model.write() if isinstance(model, Written) else model


def _session(source: Path | bytes, provider: str, *, optimised: bool = False, keep_at: Path | None = None) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # A memory plan for each input shape is no faster here and costs a process 45 MB (`python -m bench tune`). Without
    # it, equal runs take equal places, which the embedding of faces relies on (`mien.models.vision.bound`).
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = True
    for name, value in STILL.items():
        options.add_session_config_entry(name, value)
    if optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if keep_at:
        options.optimized_model_filepath = str(keep_at)
    return ort.InferenceSession(source if isinstance(source, bytes) else str(source), options, providers=[provider])


def _no_cuda(why: str) -> MienError:
    return MienError(
        "device.unavailable",
        f"onnxruntime cannot use CUDA: {why}",
        "use --device cpu, or: pip install 'mien[cuda]', pip uninstall -y onnxruntime onnxruntime-gpu, pip install "
        "onnxruntime-gpu (the two packages overwrite each other; 'mien doctor' shows which is in force)",
    )
