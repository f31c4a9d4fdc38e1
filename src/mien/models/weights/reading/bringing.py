"""Published files that could carry code, into safetensors: in a child that can open nothing and writes one draft.

`python -P -m mien.models.weights.reading.bringing KEY SIZE LIMITS`, the source on fd 0, the draft on fd 1, the report
(one line of JSON) on fd 2. The child imports what it needs, then gives up memory, time and every further file
descriptor: it can open no file and no socket from there on. Only then does it look at the source.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import resource
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mien.core import MienError
from mien.models.weights.reading import hdf5, pytorch, tensors

KINDS: dict[bytes, str] = {
    b"PK\x03\x04": "PyTorch", b"\x80\x02": "PyTorch", b"\x80\x03": "PyTorch", b"\x80\x04": "PyTorch",
    b"\x80\x05": "PyTorch", b"\x89HDF\r\n\x1a\n": "HDF5",
}  # fmt: skip
SHOWN = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: address space, processor time, time on the clock."""

    memory_bytes: int = 8 << 30
    cpu_s: int = 1200
    wall_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Brought:
    """What was read out of a published file. `kind`: PyTorch or HDF5; `took`: the key under which the network was;
    `dropped`: entries that are no tensors (the first 200 and their count); `others`: further networks in the file."""

    kind: str
    tensors: int
    took: str
    dropped: tuple[str, ...]
    dropped_count: int
    others: tuple[str, ...]


def is_brought(path: Path) -> bool:
    """Whether a file is one that only the child opens, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{" and path.suffix == ".safetensors":
        return False  # its length comes first and may look like a pickle; its header is checked as a whole
    return any(head.startswith(magic) for magic in KINDS)


def bring(source: IO[bytes], draft: Path, key: str = "", limits: Limits | None = None) -> Brought:
    """Read the tensors of an open PyTorch or Keras file and write them to `draft` (safetensors), in a child.

    Raises:
        MienError: `weights.can-carry-code`, `weights.unreadable`, `weights.too-large`, `weights.not-finite`,
            `weights.unsupported-tensor`, `weights.no-tensors`, `weights.ambiguous`, `weights.no-key`,
            `weights.stalled`, `install.missing-extra`. Nothing is left at `draft`.
    """
    limits = limits or Limits()
    found = os.fstat(source.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise tensors.unreadable("it is no regular file")
    source.seek(0)
    if source.read(4) == b"\x89HDF":
        hdf5.need_h5py()  # said here, with the line that installs it
    os.lseek(source.fileno(), 0, os.SEEK_SET)
    few = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    command = [sys.executable, "-P", "-m", __name__, key, str(found.st_size), json.dumps(asdict(limits))]
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft.open("xb") as out:
            done = subprocess.run(
                command,
                stdin=source,
                stdout=out,
                stderr=subprocess.PIPE,
                start_new_session=True,
                timeout=limits.wall_s,
                check=False,
                # no plugin of HDF5 is ever loaded; glibc reserves 64 MiB of address space per thread unless told
                env={**keep, **few, "MALLOC_ARENA_MAX": "2", "HDF5_PLUGIN_PRELOAD": "::"},
            )
            os.fsync(out.fileno())
        report = _report(done, limits)
    except subprocess.TimeoutExpired as error:
        draft.unlink(missing_ok=True)
        took = f"reading it took more than {limits.wall_s:.0f} s"
        raise MienError("weights.stalled", took, "is it the file of this model?") from error
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return report


def _report(done: subprocess.CompletedProcess[bytes], limits: Limits) -> Brought:
    try:
        said: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    except (ValueError, IndexError) as error:
        memory = limits.memory_bytes >> 20
        why = f"reading it ended early (exit {done.returncode}; it may use {memory} MiB and {limits.cpu_s} s)"
        raise MienError("weights.unreadable", why, "fetch it again") from error
    if "code" in said:
        raise MienError(said["code"], said["message"], said["hint"])
    said |= {"dropped": tuple(said["dropped"]), "others": tuple(said["others"])}
    return Brought(**said)


# ---------------------------------------------------------------- the child


def _lock(limits: Limits, size: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, 1100 * size + (64 << 20)),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays open; nothing else can be opened: no file, no socket
    ):
        hard = resource.getrlimit(what)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS has no address-space limit
            resource.setrlimit(what, (value, value))
    os.nice(5)


def main(argv: list[str]) -> None:
    """Convert fd 0 to fd 1; the report goes to fd 2."""
    key, size, limits = argv[0], int(argv[1]), Limits(**json.loads(argv[2]))
    source, out = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb", CHUNK)
    is_hdf5 = source.read(4) == b"\x89HDF"
    for name in ("ascii", "cp437", "latin-1", "raw-unicode-escape", "utf-8"):
        codecs.lookup(name)  # names in pickles and zips; nothing can be imported once the door is shut
    if is_hdf5:
        _warm()
    report = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # whatever a library prints must reach neither the draft nor the report
    os.dup2(null, 2)
    _lock(limits, size)
    try:
        held = (hdf5.read if is_hdf5 else pytorch.read)(source, size, key)
        order = json.dumps([tensor.name for tensor in held.tensors])
        tensors.write(out, held.tensors, {"from": held.kind, "order": order})
        dropped = [text[:SHOWN] for text in held.dropped[:SHOWN]]
        said = asdict(
            Brought(held.kind, len(held.tensors), held.took, tuple(dropped), len(held.dropped), held.others[:SHOWN])
        )
    except MienError as error:
        said = {"code": error.code, "message": error.message[:1000], "hint": error.hint}
    except MemoryError:
        message = f"reading it needs more than {limits.memory_bytes >> 20} MiB"
        said = {"code": "weights.too-large", "message": message, "hint": "is it the file of this model?"}
    except RecursionError:
        said = {"code": "weights.unreadable", "message": "it is nested without end", "hint": "fetch it again"}
    except Exception as error:  # noqa: BLE001 - the boundary: whatever was raised is a code from here on
        message = f"the file cannot be read: {type(error).__name__}: {error}"[:500]
        said = {"code": "weights.unreadable", "message": message, "hint": "fetch it again"}
    os.write(report, json.dumps(said).encode() + b"\n")
    os._exit(0)


CHUNK = 1 << 20


def _warm() -> None:
    """Read a small file of our own, gzip and all, so that whatever h5py loads late is loaded before the lock."""
    import io

    import h5py
    import numpy as np

    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file.create_dataset("g/a", data=np.zeros((4, 4), np.float16), compression="gzip", shuffle=True, fletcher32=True)
        file["g"].attrs["names"] = ["a"]
    with h5py.File(held, "r") as file:
        hdf5.read(held, held.getbuffer().nbytes, "")
        held_group: Any = file["g"]
        _ = held_group.attrs["names"], held_group["a"][0:2]


if __name__ == "__main__":
    main(sys.argv[1:])
