"""Seeded weights and pictures for networks whose published weights are not here: the same numbers on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0, gain: float = 1.0) -> dict[str, F32]:
    """One array per name, from the seed and the name alone. `gain`: how much a layer amplifies what goes in."""
    held: dict[str, F32] = {}
    for name, shape in shapes.items():
        noise = np.random.default_rng([seed, crc32(name.encode())]).standard_normal(shape)
        if name.endswith("running_var"):
            value = 1 + 0.3 * np.tanh(noise)
        elif name.endswith((".bias", "running_mean")):
            value = 0.1 * noise
        elif len(shape) == 1 or "norm" in name:
            value = 1 + 0.1 * noise
        else:
            value = gain * noise / np.sqrt(np.prod(shape[1:]))
        held[name] = value.astype(np.float32)
    return held


def shapes_of(module: object, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """The names (without `prefix`) and shapes of a torch module's tensors, less the counters of batch norms."""
    held = module.state_dict()  # type: ignore[attr-defined]
    return {n.removeprefix(prefix): tuple(t.shape) for n, t in held.items() if not n.endswith("num_batches_tracked")}


class Recorder:
    """Stands in for a published file while a network is built: gives every tensor that is asked for, seeded, and keeps
    it under its name in `given` (float32). Layers are as strong as their rectifiers are weak (He et al., 2015), so that
    answers still differ from picture to picture at the end of a deep network."""

    where = "a seeded file"

    def __init__(self, seed: int = 0) -> None:
        self.given: dict[str, F32] = {}
        self._rng = np.random.default_rng(seed)

    def take(self, name: str, *shape: int) -> npt.NDArray[np.float64]:
        if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            value = self._rng.uniform(0.8, 1.2, shape)
        elif name.endswith("weight"):
            value = self._rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            value = 0.02 * self._rng.standard_normal(shape)
        self.given[name] = value.astype(np.float32)
        return self.given[name].astype(np.float64)

    def finish(self) -> None:
        """Nothing is left over."""


def recorded(network: Any) -> dict[str, F32]:
    """The tensors that a builder takes from its file, seeded, by their published names."""
    recorder = Recorder()
    network(recorder)
    return recorder.given


def pictures(n: int, channels: int, side: int, seed: int = 0) -> F32:
    """Patches of colour `[n channels side side]` in 0..1, each of an eighth of the side."""
    coarse = np.random.default_rng([seed, side]).random((n, channels, 8, 8))
    return np.kron(coarse, np.ones((side // 8, side // 8))).astype(np.float32)
