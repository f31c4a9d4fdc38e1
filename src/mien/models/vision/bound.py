"""Embeddings of faces for one short window: in memory that the caller owns and wipes, never kept, never written.

A recognition embedding is biometric data. onnxruntime answers into memory of its own and frees it without clearing it,
so input and output are bound to arrays of ours here, and `forget` runs an empty picture through the network: it takes
the same places for what lies between the layers, and so writes over what the last face left there. What cannot be
promised: registers, the processor's caches, and pages that the system swapped out in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from mien.core import AdapterSpec, Device, Embeddings, Faces, MienError, Strict, probe
from mien.models.onnx import Array
from mien.models.sessions import open_session
from mien.models.vision.geometry import F32


class Net(Protocol):
    """A network that answers into memory of the caller: picture float32 of its own shape, answer float32 `[width]`."""

    def into(self, x: F32, out: F32) -> None: ...
    def close(self) -> None: ...


class BoundNet:
    """An ONNX network (a file, or its bytes) with its input and its output bound to arrays of the caller.

    Always on the CPU and on one thread: every further thread would keep scratch memory of its own, and what lies on
    another device could not be written over.

    Raises:
        MienError: `weights.unreadable`.
    """

    def __init__(self, model: Path | bytes, where: str) -> None:
        try:
            # A memory plan is made by the first run and moves everything in the second; without it, equal runs take
            # equal places, which is what lets `forget` write over them. The arena keeps those places from going back to
            # the heap. Both hold for every session that is opened there.
            self._session: Any = open_session(model, Device(threads=1))
        except MienError as error:
            raise MienError("weights.unreadable", f"{where} makes no usable network: {error}", error.hint) from error
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def into(self, x: F32, out: F32) -> None:
        """Run on `x` and write the answer into `out` (float32 `[width]`)."""
        binding = self._session.io_binding()
        binding.bind_input(self._input, "cpu", 0, np.float32, list(x.shape), x.ctypes.data)
        binding.bind_output(self._output, "cpu", 0, np.float32, [1, out.size], out.ctypes.data)
        with probe.infer(self):
            self._session.run_with_iobinding(binding)

    def close(self) -> None:
        self._session = None


class StandIn:
    """One numpy function instead of a network."""

    def __init__(self, forward: Callable[[F32], Array]) -> None:
        self._forward = forward

    def into(self, x: F32, out: F32) -> None:
        out[:] = self._forward(x)

    def close(self) -> None:
        """Nothing is held."""


class FaceEmbedder:
    """What the adapters of the slot `identity` share; each gives its `width`, its input's `shape` and `_show`.

    `embed` writes into memory of the caller; `run` makes that memory, and whoever gets it must fill it with zeros.
    """

    spec: ClassVar[AdapterSpec]
    width: ClassVar[int]
    shape: ClassVar[tuple[int, ...]]

    def __init__(self, net: Net, config: Strict) -> None:
        self._net = net
        self._config: Any = config
        self._x = np.zeros(self.shape, np.float32)
        self._lock = threading.Lock()
        self.forget()

    def _show(self, faces: Faces, row: int, x: F32) -> bool:
        """Write face `row` into `x` as the network wants it; False where it cannot be measured."""
        raise NotImplementedError

    def run(self, batch: Faces) -> Embeddings:
        """As `embed`, into new memory."""
        out = np.zeros((len(batch), self.width), np.float32)
        self.embed(batch, out)
        return Embeddings(out)

    def embed(self, batch: Faces, out: F32) -> None:
        """Write the embedding of row i into `out[i]` (float32 `[n width]`, C order); nothing else holds it afterwards.

        A face that cannot be measured is a row of NaN. After an error `out` is zero.

        Raises:
            ValueError: `out` has another shape, type or order.
            MienError: `models.not-finite`.
        """
        if out.shape != (len(batch), self.width) or out.dtype != np.float32 or not out.flags.c_contiguous:
            raise ValueError(f"out must be float32 [{len(batch)} {self.width}] in C order, but got {list(out.shape)}")
        with self._lock:
            try:
                for row in range(len(batch)):
                    self._face(batch, row, out[row])
            except BaseException:
                out.fill(0)
                raise
            finally:
                self._x.fill(0)

    def _face(self, batch: Faces, row: int, out: F32) -> None:
        if not self._show(batch, row, self._x):
            out.fill(np.nan)
            return
        self._net.into(self._x, out)
        if not np.isfinite(out).all():
            raise MienError("models.not-finite", f"{self.spec.name} answered NaN or Inf", "check its weights")

    def forget(self) -> None:
        """Write over what the last face left in the network's own memory."""
        with self._lock:
            self._x.fill(0)
            for _ in range(2):  # from the second run on, places repeat
                self._net.into(self._x, np.zeros(self.width, np.float32))

    def close(self) -> None:
        self._net.close()
