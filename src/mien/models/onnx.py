"""One way to run an ONNX file: single-threaded sessions, items of a batch side by side on a thread pool.

Small networks gain more from two items at once than from two threads on one item, and one thread per item makes the
answer independent of the machine's core count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mien.core import Device, MienError, probe

A = TypeVar("A")
B = TypeVar("B")
Array = npt.NDArray[Any]


class OnnxNet:
    """An ONNX network on the CPU, or with onnxruntime's CUDA provider. `run` is thread-safe; `map` keeps order.

    Raises:
        MienError: `weights.unreadable`, `device.unavailable`.
    """

    def __init__(self, model: Path | bytes, device: Device) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        name = "the model in memory" if isinstance(model, bytes) else model.name
        wanted = "CUDAExecutionProvider" if device.name == "cuda" else "CPUExecutionProvider"
        if wanted not in ort.get_available_providers():
            raise _no_cuda("this onnxruntime was built without it")
        try:
            self._session = ort.InferenceSession(source, options, providers=[wanted])
        except Exception as error:
            raise MienError(
                "weights.unreadable", f"{name} is not a usable ONNX file: {error}", "run 'mien models verify'"
            ) from error
        if wanted not in self._session.get_providers():  # onnxruntime would go on quietly on the CPU
            raise _no_cuda("its libraries or the driver are missing")
        self.inputs = [i.name for i in self._session.get_inputs()]
        self.input_shapes = [i.shape for i in self._session.get_inputs()]
        self.outputs = [o.name for o in self._session.get_outputs()]
        self._pool = ThreadPoolExecutor(device.threads) if device.threads > 1 else None

    def run(self, *inputs: Array) -> list[Array]:
        """One call of the network; outputs in the file's order."""
        with probe.infer(self, *inputs):
            outputs = self._session.run(None, dict(zip(self.inputs, inputs, strict=True)))
        return [np.asarray(output) for output in outputs]

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """`function` over items, several at once, results in order."""
        return probe.mapped(self._pool, function, items)

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None


def _no_cuda(why: str) -> MienError:
    return MienError(
        "device.unavailable",
        f"onnxruntime cannot use CUDA: {why}",
        "use --device cpu, or: pip install 'mien[cuda]', pip uninstall -y onnxruntime onnxruntime-gpu, pip install "
        "onnxruntime-gpu (the two packages overwrite each other; 'mien doctor' shows which is in force)",
    )


def stacked(rows: Sequence[Array], width: tuple[int, ...]) -> Array:
    """Rows as one float32 array; an empty batch keeps its shape `[0, *width]`."""
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, *width), np.float32)
