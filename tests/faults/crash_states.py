"""What a disk may hold after a loss of power, from a log of changes: whatever was synced, and any part of the rest.

The model is that of CrashMonkey (Mohan et al., OSDI 2018) and ALICE (Pillai et al., OSDI 2014), with no more than POSIX
promises: bytes are durable once their file is synced, names once their folder is. Of what is not durable, each state
holds a prefix (the last write perhaps half), or that of one file alone, or of all files but one.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct("<QQQq")
NAMING = "crum"  # changes of a folder: create, rename, unlink, mkdir


@dataclass(frozen=True, slots=True)
class Change:
    """One change. `on`: what must be synced for it to last: a file (its number) or a folder (its path)."""

    kind: str
    path: str
    to: str
    data: bytes
    at: int
    file: int
    on: int | str
    other: str = ""  # the folder that a file was renamed into


@dataclass(frozen=True, slots=True)
class Crash:
    """A disk after record `at` of the log (`kind`): what was synced by then, and of the rest what `picked` holds."""

    at: int
    kind: str
    picked: dict[int, Change]
    known: tuple[str, ...]


def read(log: Path) -> Iterator[tuple[str, str, bytes, int]]:
    """(kind, path, data, offset) of every record."""
    data, at = log.read_bytes(), 0
    while at < len(data):
        kind, path, size, offset = HEAD.unpack_from(data, at)
        at += HEAD.size
        yield chr(kind), data[at : at + path].decode(), data[at + path : at + path + size], offset
        at += path + size


class Log:
    """A run's changes. `before`: files by absolute path, durable when it began."""

    def __init__(self, log: Path, before: dict[str, bytes]) -> None:
        self._before, self._records = before, list(read(log))
        self._durable: dict[int, tuple[int, Change]] = {}  # by number of the record: when it was synced, what it was

    def crashes(self) -> Iterator[Crash]:
        """Every state the disk may be in after every change."""
        names = {path: number for number, path in enumerate(sorted(self._before))}
        count, pending, known = len(names), dict[int, Change](), list[str]()
        for number, (kind, path, data, offset) in enumerate(self._records):
            if kind == "!":
                known.append(data.decode())
            elif kind == "s":
                target = names.get(path, path)
                for i in [i for i, c in pending.items() if target in (c.on, c.other)]:
                    self._durable[i] = number, pending.pop(i)
            else:
                pending[number], count = _change(kind, path, data, offset, names, count)
            for picked in _picked(pending):
                yield Crash(number, kind, picked, tuple(known))

    def disk(self, crash: Crash) -> dict[str, bytes | None]:
        """Path → bytes of a crash state; None for folders."""
        names: dict[str, int | None] = {path: number for number, path in enumerate(sorted(self._before))}
        files = {number: bytearray(self._before[path]) for number, path in enumerate(sorted(self._before))}
        synced = {i: c for i, (when, c) in self._durable.items() if when <= crash.at}
        for _, c in sorted((synced | crash.picked).items()):
            _apply(c, names, files)
        return {path: None if n is None else bytes(files[n]) for path, n in names.items()}


def _change(kind: str, path: str, data: bytes, offset: int, names: dict[str, int], count: int) -> tuple[Change, int]:
    folder = str(Path(path).parent)
    to = ""
    if kind == "c":
        names[path], count = count, count + 1
    file = names.get(path, -1)
    if kind == "r":
        to = data.decode()
        names[to] = names.pop(path)
        return Change(kind, path, to, b"", 0, file, folder, str(Path(to).parent)), count
    if kind == "u":
        names.pop(path)
    return Change(kind, path, to, data, offset, file, folder if kind in NAMING else file), count


def _picked(pending: dict[int, Change]) -> Iterator[dict[int, Change]]:
    """Parts of the pending changes that may have reached the disk."""
    order = list(pending)
    yield {}
    for n in range(1, len(order) + 1):
        whole = {i: pending[i] for i in order[:n]}
        last = pending[order[n - 1]]
        yield whole
        if last.kind == "w" and len(last.data) > 1:
            half = last.data[: len(last.data) // 2]
            torn = Change("w", last.path, "", half, last.at, last.file, last.on)
            yield whole | {order[n - 1]: torn}
    for target in {c.on for c in pending.values()}:
        yield {i: c for i, c in pending.items() if c.on == target}
        yield {i: c for i, c in pending.items() if c.on != target}


def _apply(c: Change, names: dict[str, int | None], files: dict[int, bytearray]) -> None:
    held = files.setdefault(c.file, bytearray())
    match c.kind:
        case "c":
            names[c.path] = c.file
        case "m":
            names[c.path] = None
        case "r":
            names.pop(c.path, None)
            names[c.to] = c.file
        case "u":
            names.pop(c.path, None)
        case _:
            held.extend(bytes(max(0, c.at - len(held))))
            if c.kind == "t":
                del held[c.at :]
            else:
                held[c.at : c.at + len(c.data)] = c.data


def digest(state: dict[str, bytes | None], known: tuple[str, ...]) -> str:
    """The same for states that are alike."""
    sha = hashlib.sha256(repr(known).encode())
    for path in sorted(state):
        sha.update(path.encode())
        sha.update(hashlib.sha256(state[path] or b"").digest())
    return sha.hexdigest()


def lay(state: dict[str, bytes | None], root: Path, target: Path) -> None:
    """Write a state to another folder. A file whose folder did not last is lost with it."""
    folders = {str(root), *(p for p, data in state.items() if data is None)}
    reached = {str(root)}
    for folder in sorted(folders - reached, key=len):
        if str(Path(folder).parent) in reached:
            reached.add(folder)
            (target / Path(folder).relative_to(root)).mkdir()
    for path, data in state.items():
        if data is not None and str(Path(path).parent) in reached:
            (target / Path(path).relative_to(root)).write_bytes(data)
