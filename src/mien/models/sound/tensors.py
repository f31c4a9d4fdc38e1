"""The safetensors format in numpy: an 8-byte length, a JSON header, raw little-endian arrays. It cannot carry code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from mien.core import MienError

F32 = npt.NDArray[np.float32]


def read(path: Path) -> tuple[dict[str, F32], dict[str, str]]:
    """Tensors by name (float32) and the text metadata of a file. Raises MienError `weights.unreadable`."""
    try:
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        notes = header.pop("__metadata__", {})
        body = raw[8 + size :]
        return {name: _tensor(entry, body) for name, entry in header.items()}, notes
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MienError(
            "weights.unreadable", f"{path.name} is not a usable safetensors file: {error}", "run 'mien models verify'"
        ) from error


def _tensor(entry: dict[str, object], body: bytes) -> F32:
    if entry["dtype"] != "F32":
        raise ValueError(f"tensors must be F32, but got {entry['dtype']}")
    start, end = cast(list[int], entry["data_offsets"])
    return np.frombuffer(body[start:end], "<f4").reshape(cast(list[int], entry["shape"]))


def write(path: Path, tensors: dict[str, F32], notes: dict[str, str]) -> None:
    """The same content gives the same bytes: names are sorted, nothing of the machine is written."""
    header: dict[str, object] = {"__metadata__": dict(sorted(notes.items()))}
    body = b""
    for name in sorted(tensors):
        data = np.ascontiguousarray(tensors[name], "<f4")
        header[name] = {
            "dtype": "F32",
            "shape": list(data.shape),
            "data_offsets": [len(body), len(body) + data.nbytes],
        }
        body += data.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
