"""One way to run a tflite file: an interpreter per thread, one thread each, items of a batch side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Device, MienError, probe
from mien.models.onnx import A, Array, B


class LiteNet:
    """A tflite network on the CPU (LiteRT). `run` is thread-safe; `map` keeps order."""

    def __init__(self, model: Path, device: Device) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MienError(
                "models.missing-extra", f"{model.name} needs LiteRT, which is not installed", "pip install mien[litert]"
            ) from error
        self._content, self._name, self._make = model.read_bytes(), model.name, Interpreter
        self._local = threading.local()
        first = self._interpreter()
        self.inputs = [(i["name"], tuple(int(s) for s in i["shape"])) for i in first.get_input_details()]
        self.outputs = [o["name"] for o in first.get_output_details()]
        self._pool = ThreadPoolExecutor(device.threads) if device.threads > 1 else None

    def _interpreter(self) -> Any:
        held = getattr(self._local, "held", None)
        if held is None:
            try:
                held = self._make(model_content=self._content, num_threads=1)
                held.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                raise MienError(
                    "weights.unreadable",
                    f"{self._name} is not a usable tflite file: {error}",
                    "run 'mien models verify'",
                ) from error
            self._local.held = held
        return held

    def run(self, *inputs: Array) -> list[Array]:
        """One call of the network; outputs in the file's order."""
        interpreter = self._interpreter()
        for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], value)
        with probe.infer(self, *inputs):
            interpreter.invoke()
        return [np.array(interpreter.get_tensor(o["index"])) for o in interpreter.get_output_details()]

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """`function` over items, several at once, results in order."""
        return probe.mapped(self._pool, function, items)

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()
            self._pool = None
