"""Graphs that onnxruntime has optimised, kept for the next opening: the same answers to the bit, in half the time.

`<cache>/graphs/<model>/<key>-<bytes>-<sha256>.onnx`. The key is over all that a graph depends on: the weight files, the
code that writes networks, onnxruntime's version and the processor, whose instructions decide how it lays out weights.
Everything here can be deleted at any time (`mien models clean`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.core import digest
from mien.models.weights import cache

MOST_BYTES = 256 << 20  # of larger files the optimising is a small part of the opening
GENERATIONS = 6  # graphs that are left of a model when another is added
SWITCH = "MIEN_GRAPHS"  # "off": nothing is kept, nothing kept is used


def home() -> Path:
    return cache.cache_dir() / "graphs"


def clean() -> tuple[int, int]:
    """Delete all kept graphs. Returns (files, bytes)."""
    files = [f for f in home().rglob("*") if f.is_file()] if home().is_dir() else []
    size = sum(f.stat().st_size for f in files)
    shutil.rmtree(home(), ignore_errors=True)
    return len(files), size


@dataclass(frozen=True, slots=True)
class Kept:
    """The place of one graph: what is found under its key is the graph, or a file that fell short of it."""

    folder: Path
    key: str

    @classmethod
    def of(cls, files: tuple[Path, ...], how: str) -> Kept | None:
        """None where graphs are not kept: switched off, or the files are too large or not there."""
        import onnxruntime as ort

        try:
            if os.environ.get(SWITCH) == "off" or sum(f.stat().st_size for f in files) > MOST_BYTES:
                return None
            sums = [cache.known_sha256(f) for f in files]
        except OSError:
            return None
        key = digest(sums, how, ort.__version__, processor(), _code())
        return cls(home() / re.sub(r"[^A-Za-z0-9._-]", "_", files[0].stem), key[:24])

    def found(self) -> Path | None:
        """The kept graph, whole as it was written; what is not is deleted."""
        for path in sorted(self.folder.glob(f"{self.key}-*.onnx")):
            _, size, sha256 = path.stem.split("-")
            if cache.state_of(self.folder, path, int(size), sha256) == "ok":
                return path
            path.unlink(missing_ok=True)
        return None

    @contextlib.contextmanager
    def draft(self) -> Iterator[Path]:
        """A place to write to, which is kept if all went well."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{self.key}.{os.getpid()}.{threading.get_ident()}.tmp"
        try:
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            size, sha256 = draft.stat().st_size, cache.sha256_of(draft)
            os.replace(draft, self.folder / f"{self.key}-{size}-{sha256}.onnx")
            self._prune()
        finally:
            draft.unlink(missing_ok=True)

    def drop(self) -> None:
        for path in self.folder.glob(f"{self.key}-*.onnx"):
            path.unlink(missing_ok=True)

    def _prune(self) -> None:
        held = sorted(self.folder.glob("*.onnx"), key=lambda f: f.stat().st_mtime_ns)
        for path in held[:-GENERATIONS]:
            path.unlink(missing_ok=True)


@functools.cache
def processor() -> str:
    """What decides which kernels are chosen: the instructions that the processor has."""
    with contextlib.suppress(OSError):
        found = re.search(r"^(flags|Features)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return f"{platform.machine()} {found.group(2)}"
    return f"{platform.system()} {platform.machine()} {platform.processor()}"


@functools.cache
def _code() -> str:
    """The state of the code of this room, which writes networks and changes published ones."""
    room = Path(__file__).parent
    stats = ((f.relative_to(room).as_posix(), f.stat()) for f in sorted(room.rglob("*.py")))
    return digest([(name, s.st_size, s.st_mtime_ns) for name, s in stats])
