"""Keras' HDF5 files: arrays by name, with nothing followed out of the file and no filter that is a library of its own.

Layouts: `Model.save_weights` and `Model.save` of Keras 2 (groups per layer, in the order of the attributes
`layer_names` and `weight_names`) and `.weights.h5` of Keras 3 (`…/vars/0`). The configuration of a saved model, which
can carry code, is not looked at. h5py is an extra (`pip install 'mien[h5]'`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from mien.core import missing_extra
from mien.models.weights.reading.tensors import CHUNK_BYTES, Held, Tensor, bounded, carries_code, too_large, unreadable

MAX_DEPTH, MAX_OBJECTS = 32, 1 << 18
_WORDS = {
    "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64",
    "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL",
}  # fmt: skip
_FILTERS = {1, 2, 3}  # gzip, shuffle, fletcher32: part of every HDF5 library
_TRAINING = ("optimizer_weights", "optimizer")


def need_h5py() -> Any:
    """The h5py package.

    Raises:
        MienError: `install.missing-extra`.
    """
    try:
        import h5py
    except ImportError as error:
        raise missing_extra("h5py", "h5") from error
    return h5py


def read(file: IO[bytes], size: int, key: str) -> Held:
    """The arrays of an HDF5 file under their paths, from the group of the weights (`key`: from that group).

    Raises:
        MienError: `install.missing-extra`, `weights.unreadable`, `weights.too-large`, `weights.can-carry-code` (a
            filter or a link that would load something from outside).
    """
    h5py = need_h5py()
    try:
        whole = h5py.File(file, "r")
        took = key or ("model_weights" if _hard(h5py, whole, "model_weights") else "")
        root: Any = whole
        for part in filter(None, took.split("/")):
            root = root[part] if isinstance(root, h5py.Group) and _hard(h5py, root, part) else None
        if not isinstance(root, h5py.Group):
            raise unreadable(f"it has no group {took!r}")
        walk = _Walk(h5py, whole)
        walk.group(root, "", 0, top=True)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise unreadable(f"its HDF5 is damaged ({type(error).__name__}: {error})"[:200]) from error
    tensors = [walk.tensors[name] for name in (*walk.order, *(n for n in walk.tensors if n not in walk.order))]
    bounded(tensors, size * 1000 if walk.packed else size)  # gzip packs numbers at most so far
    return Held(tuple(tensors), "HDF5", took, tuple(walk.dropped))


def _hard(h5py: Any, group: Any, name: str) -> bool:
    """Whether an entry lies in the group itself; links to elsewhere are not followed."""
    return isinstance(group.get(name, getlink=True), h5py.HardLink)


class _Walk:
    """All arrays below a group. `order`: names as the attributes of Keras 2 give them."""

    def __init__(self, h5py: Any, whole: Any) -> None:
        self._h5py, self._whole = h5py, whole
        self._seen: set[int] = set()
        self.tensors: dict[str, Tensor] = {}
        self.order: dict[str, None] = {}
        self.dropped: list[str] = []
        self.packed = False

    def group(self, group: Any, prefix: str, depth: int, *, top: bool = False) -> None:
        if depth > MAX_DEPTH or len(self._seen) > MAX_OBJECTS:
            raise too_large("its groups are nested without end")
        where = self._h5py.h5o.get_info(group.id).addr
        if where in self._seen:
            raise unreadable("a group of it holds itself, or is there twice")
        self._seen.add(where)
        layers = _names(group, "layer_names") if top else []
        for layer in layers:
            inner = group[layer] if _hard(self._h5py, group, layer) else None
            if isinstance(inner, self._h5py.Group):
                self.order |= dict.fromkeys(f"{layer}/{name}" for name in _names(inner, "weight_names"))
        for name in group:
            path = f"{prefix}{name}"
            if not _hard(self._h5py, group, name):
                raise carries_code(f"the link {path!r}, which leads out of its place"[:200])
            if top and name in _TRAINING:
                self.dropped.append(f"{name} (of the training)")
                continue
            held = group[name]
            if isinstance(held, self._h5py.Group):
                self.group(held, f"{path}/", depth + 1)
            elif isinstance(held, self._h5py.Dataset):
                self._dataset(path, held)
            else:
                self.dropped.append(f"{path} (a type)")
        if top:
            self.order = {name: None for name in self.order if name in self.tensors}

    def _dataset(self, path: str, held: Any) -> None:
        h5d, plist = self._h5py.h5d, held.id.get_create_plist()
        if plist.get_layout() == h5d.VIRTUAL or plist.get_external_count():
            raise carries_code(f"{path!r}, whose numbers lie in other files"[:200])
        for index in range(plist.get_nfilters()):
            number = plist.get_filter(index)[0]
            if number not in _FILTERS:
                raise carries_code(f"the filter {number} for {path!r}, which is a library of its own"[:200])
            self.packed = True
        word = _WORDS.get(f"{held.dtype.kind}{held.dtype.itemsize}")
        if word is None or held.shape is None:
            self.dropped.append(f"{path} ({held.dtype})")
            return
        shape = tuple(int(n) for n in held.shape)
        chunks = plist.get_chunk() if plist.get_layout() == h5d.CHUNKED else ()
        if math.prod(chunks) * held.dtype.itemsize > 1 << 30:
            raise too_large(f"{path!r} is kept in blocks of {list(chunks)}")
        self.tensors[path] = Tensor(path, word, shape, functools.partial(_chunks, held, self._whole))


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names in an attribute; Keras splits long ones over `NAME0`, `NAME1` …"""
    keys = [attribute] if attribute in group.attrs else []
    while attribute not in keys and f"{attribute}{len(keys)}" in group.attrs:
        keys.append(f"{attribute}{len(keys)}")
    names = [name for key in keys for name in np.atleast_1d(group.attrs[key]).tolist()]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


def _chunks(held: Any, whole: Any) -> Iterator[bytes]:
    """The values in parts, by rows of the first side. `whole`: the file, which must not close before."""
    if not held.size:
        return
    little = held.dtype.newbyteorder("<")
    if not held.shape:
        yield np.asarray(held[()], little).tobytes()
        return
    rows = max(1, CHUNK_BYTES // max(1, held.dtype.itemsize * math.prod(held.shape[1:])))
    for first in range(0, held.shape[0], rows):
        yield np.ascontiguousarray(held[first : first + rows], little).tobytes()
