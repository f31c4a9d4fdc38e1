"""The safetensors format in numpy: an 8-byte length, a JSON header, raw little-endian arrays. It cannot carry code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.models.onnx import Array

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


def read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors by name, as stored, and the text metadata of a file.

    Raises:
        MienError: `weights.unreadable`.
    """
    try:
        raw = memoryview(path.read_bytes())
        start = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(bytes(raw[8:start]))
        notes = header.pop("__metadata__", {})
        held: dict[str, Array] = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            values = np.frombuffer(raw[start + first : start + last], TYPES[entry["dtype"]])
            held[name] = values.reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MienError(
            "weights.unreadable", f"{path.name} is not a usable safetensors file: {error!r}", "run 'mien models verify'"
        ) from error
    return held, notes


def write(path: Path, tensors: Mapping[str, npt.NDArray[np.floating]], notes: Mapping[str, str]) -> None:
    """Write as float32, or as float16 what is. The same content gives the same bytes: names are sorted, and nothing of
    the machine is written."""
    header: dict[str, object] = {"__metadata__": dict(sorted(notes.items()))}
    body = b""
    for name in sorted(tensors):
        kind = "F16" if tensors[name].dtype == np.float16 else "F32"
        data = np.ascontiguousarray(tensors[name], TYPES[kind])
        header[name] = {
            "dtype": kind,
            "shape": list(data.shape),
            "data_offsets": [len(body), len(body) + data.nbytes],
        }
        body += data.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
