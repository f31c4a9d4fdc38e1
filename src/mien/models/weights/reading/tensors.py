"""Tensors on their way from a published file into safetensors: the record, the bounds, the file that is written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from mien.core import MienError

CHUNK_BYTES = 1 << 20
SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
# type as wide, and the bits that are all set in what is no number
_EXPONENTS = {"BF16": ("<u2", 0x7F80), "F8_E4M3": ("u1", 0x7F), "F8_E5M2": ("u1", 0x7C)}
GROWTH = 4  # tied weights are written once each, so the result may be larger than the file, but not without bound


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a published file.

    Attributes:
        name: as published. dtype: safetensors' word (a key of `SIZES`). shape: of the tensor, () for a number.
        chunks: its values as little-endian bytes in C order, a part at a time.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: Callable[[], Iterator[bytes]]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Held:
    """What a reader found. `took`: under which key ("" for the whole file); `dropped`: entries that are no tensors;
    `others`: keys that hold tensors, too, and were not taken."""

    tensors: tuple[Tensor, ...]
    kind: str
    took: str = ""
    dropped: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def unreadable(why: str) -> MienError:
    return MienError("weights.unreadable", f"the file cannot be read: {why}", "fetch it again")


def too_large(why: str) -> MienError:
    return MienError("weights.too-large", f"the file claims too much: {why}", "fetch it again")


def carries_code(what: str) -> MienError:
    return MienError(
        "weights.can-carry-code",
        f"the file asks for {what}, which could run code; nothing of it was run",
        "where you trust its maker, write its state_dict alone with torch.save, or convert it to safetensors",
    )


def bounded(tensors: Sequence[Tensor], file_bytes: int) -> None:
    """Raises MienError `weights.too-large` when the tensors together claim far more than the file could hold."""
    most, total = GROWTH * file_bytes + CHUNK_BYTES, 0
    for tensor in tensors:
        total += tensor.bytes
        if total > most:
            raise too_large(f"with {tensor.name!r} of shape {list(tensor.shape)} its tensors are over {most} bytes")


def write(out: BinaryIO, tensors: Sequence[Tensor], notes: Mapping[str, str]) -> None:
    """Write safetensors: the header in published order, the values widest type first, so that each lies aligned.

    Raises:
        MienError: `weights.no-tensors`, `weights.not-finite` (names the tensor), `weights.unreadable` (a name twice).
    """
    if not tensors:
        raise MienError("weights.no-tensors", "the file holds no tensors", "is it the file of this model?")
    laid = sorted(tensors, key=lambda t: -SIZES[t.dtype])
    starts: dict[str, int] = {}
    at = 0
    for tensor in laid:
        if tensor.name in starts or tensor.name == "__metadata__":
            raise unreadable(f"it holds {tensor.name!r} twice or under a name that is taken")
        starts[tensor.name] = at
        at += tensor.bytes
    header: dict[str, object] = {"__metadata__": dict(sorted(notes.items()))} if notes else {}
    for tensor in tensors:
        first = starts[tensor.name]
        shape, span = list(tensor.shape), [first, first + tensor.bytes]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": span}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)
    for tensor in laid:
        done = 0
        for chunk in tensor.chunks():
            if not finite(chunk, tensor.dtype):
                raise MienError("weights.not-finite", f"{tensor.name} holds NaN or Inf", "fetch the file again")
            done += len(chunk)
            out.write(chunk)
        if done != tensor.bytes:
            raise unreadable(f"{tensor.name} must have {tensor.bytes} bytes, but has {done}")
    out.flush()


def finite(chunk: bytes, dtype: str) -> bool:
    """Whether no value of a chunk is NaN or Inf."""
    if kind := _FLOATS.get(dtype):
        return bool(np.isfinite(np.frombuffer(chunk, kind)).all())
    if dtype in _EXPONENTS:
        kind, bits = _EXPONENTS[dtype]
        return not bool((np.frombuffer(chunk, kind) & bits == bits).any())
    return True
