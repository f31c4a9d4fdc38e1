"""PyTorch's files without PyTorch: the zip of `torch.save`, and the stream it wrote before version 1.6.

Layouts: torch.serialization and torch._utils (2.x). The pickle inside is read by
`mien.models.weights.reading.pickled`, which runs nothing; storages are read as raw numbers, after their claims were
held against the size of the file.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from mien.core import MienError
from mien.models.weights.reading.choosing import choose
from mien.models.weights.reading.pickled import Machine, Name, Torch
from mien.models.weights.reading.tensors import (
    CHUNK_BYTES,
    SIZES,
    Held,
    Tensor,
    bounded,
    carries_code,
    too_large,
    unreadable,
)

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
PICKLE_BYTES = 256 << 20
MAX_MEMBERS = 1 << 20
MAX_DIMS = 32
_TYPES = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16",
    "Char": "I8", "Byte": "U8", "Bool": "BOOL", "Untyped": "U8",
}  # fmt: skip
_DTYPES = {
    "float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16",
    "bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16",
    "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a row that tensors look into: `count` of them. `dtype` "" is one that safetensors does not have.
    `start`: where in the storage of this key the numbers begin (a view of it, in old files)."""

    key: str
    dtype: str
    count: int
    start: int = 0


_ODD_BYTES = {"ComplexFloat": 8, "ComplexDouble": 16, "QInt8": 1, "QUInt8": 1, "QInt32": 4}


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as the file describes it; `why` not empty: it is there, but of a kind that is not taken."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Odd:
    """A tensor of another kind: sparse, quantised, of a backend."""

    why: str


ODD = {
    "torch._utils._rebuild_sparse_tensor": "is sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "is sparse",
    "torch._utils._rebuild_qtensor": "is quantised",
    "torch._utils._rebuild_nested_tensor": "is nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "has no values",
}


class Container(Torch):
    """The calls that make tensors, and storages by persistent id. `widths`: bytes of one number, by storage key."""

    def __init__(self) -> None:
        self.widths: dict[str, int] = {}

    def persistent(self, pid: Any) -> Any:
        given: list[Any] = list(pid) if isinstance(pid, tuple) else []
        if len(given) >= 2 and given[0] == "module" and isinstance(given[1], Name):
            return given[1]  # the old stream carries the source of classes along; it is not looked at
        if len(given) not in (5, 6) or given[0] != "storage":
            return super().persistent(pid)
        kind, key, count = given[1], given[2], _count(given[4])
        if not isinstance(key, str):
            raise unreadable("a storage has no key")
        if not isinstance(kind, Name) or kind.module not in ("torch", "torch.storage", "torch.cuda"):
            raise carries_code(f"a storage of {kind}"[:200])
        word = kind.name.removesuffix("Storage")
        dtype = _TYPES.get(word, "")
        self.widths[key] = SIZES[dtype] if dtype else _ODD_BYTES.get(word, 0)
        view = given[5] if len(given) == 6 else None  # its key, its start and its length within the storage
        start = _count(view[1]) if isinstance(view, tuple) and len(view) == 3 else 0
        return Storage(key, dtype, count, start)

    def call(self, name: Name, args: tuple[Any, ...]) -> Any:
        flags = "has a conjugate or negative bit"
        match str(name):
            case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
                made: Any = _view(*args[:4], why=flags if len(args) > 6 and args[6] else "")
            case "torch._utils._rebuild_tensor_v3":
                made = _view(*args[:4], dtype=args[6], why=flags if len(args) > 7 and args[7] else "")
            case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
                made = args[0]
            case "torch._tensor._rebuild_from_type_v2" if isinstance(args[0], Name) and isinstance(args[2], tuple):
                made = self.call(args[0], args[2])
            case known:
                made = Odd(ODD[known]) if known in ODD else NotImplemented
        return made


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *, dtype: Any = None, why: str = "") -> View:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise unreadable("a tensor is not described as one")
    if len(shape) != len(strides) or len(shape) > MAX_DIMS:
        raise unreadable(f"a tensor has {len(shape)} sides and {len(strides)} strides")
    if isinstance(dtype, Name):  # the third layout counts an untyped storage in bytes
        word = _DTYPES.get(dtype.name, "")
        size = SIZES.get(word, 1)
        if storage.count % size or storage.start:
            raise unreadable("a storage ends within a number")
        storage = Storage(storage.key, word, storage.count // size)
    view = View(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)), why)
    last = sum((n - 1) * step for n, step in zip(view.shape, view.strides, strict=True))
    if math.prod(view.shape) and view.offset + last >= storage.count:
        raise too_large(f"a tensor of shape {list(view.shape)} looks past its storage of {storage.count}")
    return view


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise unreadable("a size is no count")
    return value


# ---------------------------------------------------------------- the two containers


class Zipped:
    """The zip of torch.save since 1.6: `NAME/data.pkl`, `NAME/data/KEY` (stored, never compressed), `NAME/byteorder`.

    Raises:
        MienError: `weights.unreadable`, `weights.too-large`, `weights.can-carry-code` (a TorchScript program).
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise unreadable(f"it is no whole zip ({error})"[:200]) from error
        infos = archive.infolist()
        self._members = {info.filename: info for info in infos}
        if len(infos) > MAX_MEMBERS or len(self._members) < len(infos):
            raise unreadable("its directory holds one name twice, or too many")
        for info in infos:
            if info.filename.startswith("/") or ".." in info.filename.split("/") or "\\" in info.filename:
                raise unreadable(f"it holds {info.filename!r}"[:200])
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise unreadable("its members are compressed or encrypted, which torch.save never does")
        pickles = [n for n in self._members if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise unreadable("it is a zip, but not one of torch.save")
        self._top = pickles[0].removesuffix("data.pkl")
        if any(n == f"{self._top}constants.pkl" or n.startswith(f"{self._top}code/") for n in self._members):
            raise carries_code("a TorchScript program")
        order = self._read("byteorder") if f"{self._top}byteorder" in self._members else b"little"
        self.big = order == b"big"
        self._places = self._laid()

    def value(self) -> Any:
        return Machine(Container()).read(io.BytesIO(self._read("data.pkl")))

    def _laid(self) -> dict[str, int]:
        """Where the bytes of each member begin; no two may share any."""
        places = {name: self._begin(info) for name, info in self._members.items()}
        spans = sorted((info.header_offset, places[n] + info.file_size) for n, info in self._members.items())
        ends = [end for _, end in spans]
        if any(start < end for end, (start, _) in zip(ends, spans[1:], strict=False)) or max(ends) > self._size:
            raise unreadable("its members lie over each other or past its end")
        return places

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """The first byte of a member: after its header (30 bytes, then name and extra field)."""
        self._file.seek(info.header_offset)
        head = self._file.read(30)
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise unreadable(f"{info.filename!r} is not where the directory says"[:200])
        return info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))

    def _read(self, name: str) -> bytes:
        info = self._members[self._top + name]
        if info.file_size > PICKLE_BYTES:
            raise too_large(f"{name} has {info.file_size} bytes")
        self._file.seek(self._begin(info))
        data = self._file.read(info.file_size)
        if zlib.crc32(data) != info.CRC:
            raise unreadable(f"{name} is damaged")
        return data

    def place(self, storage: Storage) -> int:
        """The first byte of a storage, once its size and checksum have been found right."""
        name = f"{self._top}data/{storage.key}"
        info = self._members.get(name)
        need = storage.count * SIZES[storage.dtype]
        if info is None or info.file_size < need:
            raise too_large(f"a storage claims {need} bytes, its member has {info.file_size if info else 0}")
        if self._sum(self._places[name], info.file_size) != info.CRC:
            raise unreadable(f"{name} is damaged")
        return self._places[name]

    def _sum(self, at: int, size: int) -> int:
        self._file.seek(at)
        total, left = 0, size
        while left and (chunk := self._file.read(min(left, CHUNK_BYTES))):
            total, left = zlib.crc32(chunk, total), left - len(chunk)
        return total


class Stream:
    """The stream of torch.save before 1.6: five pickles (magic, protocol, machine, value, keys), then the storages.

    Raises:
        MienError: as `Zipped`.
    """

    big = False  # storages are written little-endian on every machine

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        file.seek(0)
        part: Any = Bounded(file, min(size, PICKLE_BYTES))
        if Machine().read(part) != MAGIC or Machine().read(part) != PROTOCOL:
            raise carries_code("a pickle of its own, which is no file of torch.save")
        Machine().read(part)
        self._torch = Container()
        self._value = Machine(self._torch).read(part)
        keys = Machine().read(part)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise unreadable("its list of storages is none")
        self._keys: list[str] = keys
        self._start = file.tell()
        self._places: dict[str, tuple[int, int]] | None = None

    def value(self) -> Any:
        return self._value

    def locate(self) -> None:
        """Walk the storages, each a count and its numbers."""
        at, places, storages = self._start, dict[str, tuple[int, int]](), self._torch.widths
        for key in self._keys:
            self._file.seek(at)
            head = self._file.read(8)
            count = int.from_bytes(head, "little")
            at += 8
            if len(head) < 8 or key not in storages or count * storages[key] > self._size - at:
                raise too_large(f"the storage {key!r} claims {count} numbers past the end of the file"[:200])
            places[key] = (at, count)
            at += count * storages[key]
        self._places = places

    def place(self, storage: Storage) -> int:
        at, count = (self._places or {}).get(storage.key, (0, -1))
        if storage.start + storage.count > max(count, 0) and storage.count:
            raise too_large(f"a storage claims {storage.count} numbers, the file has {max(count, 0)}")
        return at + storage.start * SIZES[storage.dtype]


class Bounded:
    """A file of which a pickle may read no more than `most` bytes, and never ask for more memory than there is file."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._left = file, most

    def read(self, size: int = -1) -> bytes:
        return self._took(self._file.read(min(size, self._left) if size >= 0 else self._left))

    def readline(self) -> bytes:
        return self._took(self._file.readline(min(self._left, 1 << 20)))

    def _took(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


# ---------------------------------------------------------------- from views to tensors


def read(file: IO[bytes], size: int, key: str) -> Held:
    """The tensors of a PyTorch file. `key`: where in it, dotted; "" finds the state dict itself.

    Raises:
        MienError: `weights.can-carry-code`, `weights.unreadable`, `weights.too-large`, `weights.unsupported-tensor`,
            `weights.no-tensors`, `weights.ambiguous`, `weights.no-key`.
    """
    file.seek(0)
    head = file.read(4)
    container = Zipped(file, size) if head == b"PK\x03\x04" else Stream(file, size)
    value = container.value()
    chosen = choose(value, key, (View, Odd))
    for name, held in chosen.tensors.items():
        if isinstance(held, Odd) or held.why or not held.storage.dtype:
            why = held.why or "holds numbers that safetensors has no word for"
            raise MienError("weights.unsupported-tensor", f"{name} {why}", "convert it where it was made")
    if isinstance(container, Stream):
        container.locate()
    places: dict[Storage, int] = {}
    tensors = [
        Tensor(name, held.storage.dtype, held.shape, _Values(file, container, places, held).chunks)
        for name, held in chosen.tensors.items()
    ]
    bounded(tensors, size)
    return Held(tuple(tensors), "PyTorch", chosen.took, chosen.dropped, chosen.others)


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of one view, read when they are written."""

    file: IO[bytes]
    container: Zipped | Stream
    places: dict[Storage, int]
    view: View

    def chunks(self) -> Iterator[bytes]:
        view, width = self.view, SIZES[self.view.storage.dtype]
        if not math.prod(view.shape):
            return
        if view.storage not in self.places:
            self.places[view.storage] = self.container.place(view.storage)
        at = self.places[view.storage] + view.offset * width
        if _plain(view):
            left = math.prod(view.shape) * width
            while left:
                self.file.seek(at)
                chunk = self.file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise unreadable("it ends before its last tensor")
                yield self._little(chunk, width)
                at, left = at + len(chunk), left - len(chunk)
            return
        count = 1 + sum((n - 1) * step for n, step in zip(view.shape, view.strides, strict=True))
        self.file.seek(at)
        data = self.file.read(count * width)
        if len(data) < count * width:
            raise unreadable("it ends before its last tensor")
        row = np.frombuffer(data, f"<u{width}")
        laid = np.lib.stride_tricks.as_strided(row, view.shape, [step * width for step in view.strides])
        whole = np.ascontiguousarray(laid).reshape(-1).view(np.uint8)
        for first in range(0, whole.size, CHUNK_BYTES):
            yield self._little(whole[first : first + CHUNK_BYTES].tobytes(), width)

    def _little(self, chunk: bytes, width: int) -> bytes:
        return np.frombuffer(chunk, f">u{width}").astype(f"<u{width}").tobytes() if self.container.big else chunk


def _plain(view: View) -> bool:
    """Whether the values lie in C order without gaps."""
    step = 1
    for n, stride in zip(reversed(view.shape), reversed(view.strides), strict=True):
        if n != 1 and stride != step:
            return False
        step *= n
    return True
