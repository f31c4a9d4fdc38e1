"""Which files may become weights: formats that cannot carry code, told by their content and not by their name."""

from __future__ import annotations

import json
import pickletools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mien.core import MienError

TABLE_BYTES = 64 << 20
PICKLE_BYTES, PICKLE_STEPS = 1 << 20, 64
ONNX_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
ALLOWED = "safetensors, ONNX, tflite, CTranslate2, GGUF, a JSON table, a text vocabulary"

# first bytes of containers that run, or can run, code when they are loaded
CARRIERS = {
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"PK\x03\x04": "a zip archive (PyTorch, Keras, NumPy)",
    b"\x89HDF": "HDF5 (Keras)",
    b"\x1f\x8b": "gzip (joblib)",
    b"ustar": "a tar archive",
    b"\x93NUMPY": "a NumPy file (may hold pickled objects)",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}


def check(path: Path) -> str:
    """The format of a file: safetensors, onnx, tflite, gguf, ctranslate2, json or text.

    Raises:
        MienError: `weights.can-carry-code`, `weights.external-data` (ONNX that points at other files),
            `weights.custom-op` (ONNX that needs a native library), `weights.unknown-format`; `weights.unreadable` for
            what is called like PyTorch's or Keras' files and is none.
    """
    with path.open("rb") as file:
        head = file.read(64)
    tensors = head[8:9] == b"{" and path.suffix == ".safetensors"
    for magic, what in CARRIERS.items() if not tensors else ():  # its length comes first and may look like a pickle
        if head.startswith(magic):
            raise _refused("weights.can-carry-code", path, f"is {what}: such files can run code when they are loaded")
    by_content: tuple[tuple[str, bool], ...] = (
        ("gguf", head[:4] == b"GGUF"),
        ("tflite", head[4:8] == b"TFL3"),
        ("safetensors", tensors),
        ("ctranslate2", path.suffix == ".bin" and _is_ctranslate2(head)),
    )
    for name, hit in by_content:
        if hit:
            DEEPER.get(name, lambda _: None)(path)
            return name
    if path.suffix == ".onnx":
        _onnx(path)
        return "onnx"
    if path.suffix in (".json", ".txt") and path.stat().st_size <= TABLE_BYTES:
        _text(path)
        return "json" if path.suffix == ".json" else "text"
    if path.suffix in (".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".hdf5", ".keras", ".bin", ".npy"):
        if _is_pickle(path):
            raise _refused("weights.can-carry-code", path, "is a pickle: such files can run code when they are loaded")
        raise MienError(
            "weights.unreadable",
            f"{path.name} cannot be read: it does not begin like any file of weights",
            "fetch it again: it may be damaged, cut short, or a page that was saved instead",
        )
    raise _refused("weights.unknown-format", path, "is of no known format")


def _refused(code: str, path: Path, why: str) -> MienError:
    return MienError(code, f"{path.name} {why}", f"convert it to one of: {ALLOWED}")


def _is_pickle(path: Path) -> bool:
    """Whether a file reads as a pickle of the first protocols, which have no mark at their beginning. Runs nothing."""
    with path.open("rb") as file:
        begun = file.read(PICKLE_BYTES)
    steps = 0
    try:
        for _ in pickletools.genops(begun):
            steps += 1
    except ValueError:
        return steps >= PICKLE_STEPS  # the rest lies beyond what was read
    return True


def _is_ctranslate2(head: bytes) -> bool:
    """uint32 version, uint16 length, then the specification's name ("WhisperSpec" and a NUL)."""
    if len(head) < 16:
        return False
    version, length = struct.unpack("<IH", head[:6])
    name = head[6 : 6 + length].rstrip(b"\0")
    return 1 <= version <= 32 and 4 < length <= 58 and name.isalnum() and name.endswith(b"Spec")


def _safetensors(path: Path) -> None:
    """Length of the header (uint64), JSON header, tensors that tile the rest without a gap."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(size - 8, TABLE_BYTES):
            raise _refused("weights.unknown-format", path, "is no safetensors file: its header is longer than the file")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = sorted((int(a), int(b)) for a, b in (t["data_offsets"] for t in header.values()))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _refused("weights.unknown-format", path, f"is no safetensors file: {error!r}") from error
    at = 0
    for first, last in ends:
        if first != at or last < first:
            raise _refused("weights.unknown-format", path, "is no safetensors file: its tensors overlap or leave gaps")
        at = last
    if at != size - 8 - length:
        raise _refused("weights.unknown-format", path, "is no safetensors file: bytes follow its last tensor")


def _onnx(path: Path) -> None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise _refused("weights.unknown-format", path, "is no ONNX file") from error
    if not model.graph.node or not model.opset_import:
        raise _refused("weights.unknown-format", path, "is no ONNX file: it has no graph")
    if any(tensor.external_data for graph in (model.graph, *model.functions) for tensor in _tensors(graph)):
        raise _refused("weights.external-data", path, "keeps its data in other files")
    foreign = {op.domain for op in model.opset_import} - ONNX_DOMAINS
    if foreign:
        raise _refused("weights.custom-op", path, f"needs a native library for {', '.join(sorted(foreign))}")


def _tensors(graph: Any) -> Iterator[Any]:
    """All constants of a graph or function, those of subgraphs too."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for inner in ((attribute.g,) if attribute.HasField("g") else ()) + tuple(attribute.graphs):
            yield from _tensors(inner)


def _text(path: Path) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except ValueError as error:
        raise _refused("weights.unknown-format", path, f"is no readable text: {error}") from error


DEEPER: dict[str, Callable[[Path], None]] = {"safetensors": _safetensors}
