"""One way to run an ONNX file: single-threaded sessions, items of a batch side by side on a thread pool.

Small networks gain more from two items at once than from two threads on one item, and one thread per item makes the
answer independent of the machine's core count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mien.core import Device, probe
from mien.models.sessions import Model, open_session

A = TypeVar("A")
B = TypeVar("B")
Array = npt.NDArray[Any]


class OnnxNet:
    """An ONNX network on the CPU, or with onnxruntime's CUDA provider. `run` is thread-safe; `map` keeps order.

    Raises:
        MienError: `weights.unreadable`, `device.unavailable`, and what writing the network raises.
    """

    def __init__(self, model: Model, device: Device) -> None:
        self._session = open_session(model, device)
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


def stacked(rows: Sequence[Array], width: tuple[int, ...]) -> Array:
    """Rows as one float32 array; an empty batch keeps its shape `[0, *width]`."""
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, *width), np.float32)
