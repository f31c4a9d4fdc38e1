"""What every vision adapter runs on: an ONNX file, or a numpy stand-in behind the same pre- and post-processing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from mien.core import Device, Strict, WeightFiles
from mien.models.onnx import Array, OnnxNet

A = TypeVar("A")
B = TypeVar("B")


class Net(Protocol):
    """A network: arrays in, arrays out; `map` keeps order."""

    def run(self, *inputs: Array) -> list[Array]: ...
    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]: ...
    def close(self) -> None: ...


class StandIn:
    """A network made of one numpy function: no weights, no runtime, the same answer everywhere."""

    def __init__(self, forward: Callable[..., list[Array]]) -> None:
        self._forward = forward

    def run(self, *inputs: Array) -> list[Array]:
        return self._forward(*inputs)

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        return [function(item) for item in items]

    def close(self) -> None:
        """Nothing is held."""


class OnnxAdapter:
    """An adapter around one ONNX file: holds the network and the configuration, keeps no state between calls."""

    def __init__(self, net: Net, config: Strict) -> None:
        self._net = net
        self._config: Any = config

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self:
        return cls(OnnxNet(files.only, device), config)

    def close(self) -> None:
        self._net.close()


def cells(plane: Array, step: int) -> Array:
    """Mean of every `step` × `step` cell of `[h w]`: the only layer the stand-ins need."""
    h, w = plane.shape[0] // step, plane.shape[1] // step
    return plane[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3), dtype=np.float64).astype(np.float32)


def logit(p: Array) -> Array:
    """Log-odds, kept finite."""
    q = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(q / (1 - q)).astype(np.float32)
