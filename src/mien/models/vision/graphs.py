"""Published tensors as an ONNX network in memory: each taken once by its name and shape, and none left over.

So networks published for other runtimes run on onnxruntime alone, without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mien.core import MienError
from mien.models.onnx import Array

ANOTHER = "it is a file of another network, or of another version of it"


class Tensors:
    """Named arrays of one file, to be taken by name; `finish` refuses what nobody took.

    Args:
        where: the file's name, for the errors. unused: prefixes of tensors that the network has no use for.
    """

    def __init__(self, held: Mapping[str, Array], where: str, unused: Iterable[str] = ()) -> None:
        skip = tuple(unused)
        # Batch norms count the batches they saw; nothing reads it, and old files lack it.
        self._held = {
            n: v for n, v in held.items() if not (n.endswith("num_batches_tracked") or (skip and n.startswith(skip)))
        }
        self._left, self.where = set(self._held), where

    def __iter__(self) -> Any:
        return iter(sorted(self._held))

    def take(self, name: str, *shape: int) -> Array:
        """The tensor as float64.

        Raises:
            MienError: `weights.wrong-keys`, `weights.wrong-shape`, `weights.not-finite`.
        """
        if name not in self._held:
            raise MienError("weights.wrong-keys", f"{self.where} lacks {name!r}", ANOTHER)
        value = self._held[name].astype(np.float64)
        if value.shape != shape:
            raise MienError(
                "weights.wrong-shape",
                f"{name} in {self.where} must have shape {list(shape)}, but has {list(value.shape)}",
                ANOTHER,
            )
        if not np.isfinite(value).all():
            raise MienError("weights.not-finite", f"{name} in {self.where} holds NaN or Inf", "fetch the file again")
        self._left.discard(name)
        return value

    def finish(self) -> None:
        """Raises MienError `weights.wrong-keys` naming the first tensor that was not taken."""
        if self._left:
            more = f" and {len(self._left) - 1} more" if len(self._left) > 1 else ""
            raise MienError("weights.wrong-keys", f"{self.where} also holds {min(self._left)!r}{more}", ANOTHER)


class Graph:
    """Nodes one after another (opset 18, float32)."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def put(self, value: Array) -> str:
        """A constant, rounded to float32 (whole numbers stay int64)."""
        from onnx import numpy_helper

        kind = np.int64 if value.dtype == np.int64 else np.float32
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node; returns the name of its output."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [f"{kind}{len(self._nodes)}"], **attributes))
        return self._nodes[-1].output[0]

    def model(self, takes: tuple[str, list[int]], gives: tuple[str, list[int]]) -> bytes:
        """The network from one named input to one output, serialised."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "network",
            [helper.make_tensor_value_info(takes[0], TensorProto.FLOAT, takes[1])],
            [helper.make_tensor_value_info(gives[0], TensorProto.FLOAT, gives[1])],
            self._constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return made.SerializeToString()
