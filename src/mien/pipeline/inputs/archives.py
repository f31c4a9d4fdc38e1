"""WebDataset shards: tar files whose members form samples by the name up to the first dot of the file name.

An archive comes from elsewhere: no name in it is ever used as a path on disk, nothing but plain files is read, and
sizes, counts and the ratio of compression are bounded before anything is kept.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from mien.core import Item, MienError, content_id
from mien.pipeline.inputs.entry import MEDIA, Entry, Refused, is_archive, suffix
from mien.pipeline.inputs.mapping import Inputs
from mien.pipeline.inputs.roles import describe, loose
from mien.pipeline.inputs.tables import parse_object
from mien.pipeline.inputs.values import safe
from mien.pipeline.inputs.vault import CHUNK, MAX_MEMBER_BYTES, Vault

MAX_MEMBERS = 100_000
MAX_TOTAL_BYTES = 64 << 30
MAX_TEXT_BYTES = 1 << 20
MAX_RATIO = 200  # of a gzip stream; media hardly shrink, text by 3 to 20
RATIO_FROM_BYTES = 64 << 20
MAX_HEADER_BYTES = 4 << 20
MAX_NAME = 1000
MAX_REFUSED = 20

_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, KeyError, OverflowError, RecursionError)


class Guard(io.RawIOBase):
    """The decompressed bytes of an archive, read forward, with an end to patience.

    Raises:
        MienError: `input.archive-bomb`, when they are too many, or unfold from too few, or one header is too large.
    """

    def __init__(self, file: BinaryIO, packed: bool, name: str) -> None:
        self._raw, self._name = file, name
        self._file = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file
        self._packed, self._at = packed, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise self._bomb(f"one header claims {size:,} bytes")
        data = self._file.read(size)
        self._moved(self._at + len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise OSError("only from the start")
        while self._packed and offset - self._at > CHUNK:  # in steps, so that a bomb is seen while it unfolds
            self._moved(self._file.seek(self._at + CHUNK))
        self._moved(self._file.seek(offset))
        return self._at

    def _moved(self, to: int) -> None:
        self._at = to
        if to > MAX_TOTAL_BYTES:
            raise self._bomb(f"it unfolds to more than {MAX_TOTAL_BYTES >> 30} GiB")
        if self._packed and to > RATIO_FROM_BYTES and to > MAX_RATIO * max(1, self._raw.tell()):
            raise self._bomb(f"it unfolds to more than {MAX_RATIO} times its size")

    def _bomb(self, why: str) -> MienError:
        return MienError("input.archive-bomb", f"{self._name}: {why}", "unpack it yourself, with care")


def read_archive(path: Path, given: str, inputs: Inputs, vault: Vault) -> Iterator[Entry | Refused]:
    """The samples of one shard, in its order."""
    shard = _Shard(path, given, inputs, vault)
    try:
        vault.check(path.name)
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            yield from shard.samples(Guard(file, packed, path.name))
    except MienError as error:
        yield Refused(str(path), error)
    except _BROKEN as error:
        message = f"{path.name} cannot be read to its end: {error or type(error).__name__}"
        yield Refused(str(path), MienError("input.damaged", message, "was its copy finished?"))
    for end, count in sorted(shard.unread.items()):
        message = f"{count} member(s) {end} of {path.name} are neither media, .txt, .json nor .cls, and were not read"
        yield Refused(f"{path}#*{end}", MienError("input.unknown-type", message, "leave them out, or convert them"))


class _Shard:
    """One archive while it is read."""

    def __init__(self, path: Path, given: str, inputs: Inputs, vault: Vault) -> None:
        self._path, self._given, self._vault = path, given, vault
        self._mapping = inputs.of(path.name)
        self.unread: Counter[str] = Counter()
        self._keys: set[str] = set()

    def samples(self, guard: Guard) -> Iterator[Entry | Refused]:
        held: _Sample | None = None
        refused = 0
        with tarfile.open(fileobj=cast(Any, guard), mode="r:", errorlevel=1) as tar:
            for count, member in enumerate(tar, 1):
                cast(Any, tar).members = []  # or it would remember every member
                if count > MAX_MEMBERS:
                    message = f"{self._path.name} has more than {MAX_MEMBERS:,} members"
                    raise MienError("input.archive-bomb", message, "split it into shards")
                if member.isdir():
                    continue
                if why := _unsafe(member):
                    name = safe(member.name[:MAX_NAME])
                    yield Refused(
                        f"{self._path}#{name}",
                        MienError("input.archive-unsafe", f"{self._path.name}: {name[:80]!r} {why}", "do not trust it"),
                    )
                    refused += 1
                    if refused >= MAX_REFUSED:
                        message = f"{self._path.name} has {refused} unsafe members; the rest of it was not read"
                        raise MienError("input.archive-unsafe", message, "do not trust it")
                    continue
                key, end = _split(member.name)
                if held is None or held.key != key:
                    yield from self._close(held)
                    held = _Sample(key)
                self._take(held, end, member, tar)
            yield from self._close(held)

    def _take(self, sample: _Sample, end: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        last, where = suffix(f"x.{end}"), f"{self._path.name}, {safe(member.name)}"
        stream = tar.extractfile(member)
        if stream is None:
            return
        try:
            if last in MEDIA:
                if member.size > MAX_MEMBER_BYTES:
                    raise MienError("input.too-large", f"{where} is larger than {MAX_MEMBER_BYTES >> 30} GiB")
                sample.media.append(self._vault.put(cast(BinaryIO, stream), last, where))
            elif last in (".json", ".txt", ".cls"):
                if member.size > MAX_TEXT_BYTES:
                    raise MienError("input.too-large", f"{where} is larger than {MAX_TEXT_BYTES >> 20} MiB")
                sample.add(end, stream.read().decode("utf-8-sig"), where)
            else:
                self.unread[last or "without an ending"] += 1
        except UnicodeDecodeError:
            sample.problems.append(MienError("input.not-utf8", f"{where} is not UTF-8", "save it as UTF-8"))
        except MienError as error:
            if error.code in ("input.archive-bomb", "store.write-failed"):
                raise
            sample.problems.append(error)

    def _close(self, sample: _Sample | None) -> Iterator[Entry | Refused]:
        if sample is None or not (sample.media or sample.cells or sample.problems):
            return
        key = safe(sample.key)
        if key in self._keys:
            message = f"{self._path.name}: the sample {key[:80]!r} comes again"
            yield Refused(f"{self._path}#{key}", MienError("input.duplicate-id", message, "make keys unique"))
            return
        self._keys.add(key)
        item = Item(content_id("item", str(self._path), key), str(self._path), (), row=key, given=self._given)
        entry = describe(item, sample.cells, loose(self._mapping, sample.cells))
        media = tuple(dict.fromkeys(sample.media))
        yield Entry(item, entry.attributes, media, entry.subject, entry.labels, tuple(sample.problems))


class _Sample:
    """Members of one key that stand together."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.media: list[Path] = []
        self.cells: dict[str, Any] = {}
        self.problems: list[MienError] = []

    def add(self, end: str, text: str, where: str) -> None:
        """`.json` gives its keys, `.txt` the key `text`, `.cls` the key `label`; `caption.txt` the key `caption`."""
        name, _, last = end.lower().rpartition(".")
        if last == "json":
            self.cells |= {f"{name}.{k}" if name else k: v for k, v in parse_object(text, where).items()}
        elif last == "cls":
            text = text.strip()
            self.cells[name or "label"] = json.loads(text) if re.fullmatch(r"0|[1-9]\d{0,17}", text) else text
        else:
            self.cells[name or "text"] = text


def _split(name: str) -> tuple[str, str]:
    """(key, ending) of a member: cut at the first dot of the file name, as WebDataset does."""
    folder, slash, file = name.rpartition("/")
    stem, _, end = file.partition(".")
    return f"{folder}{slash}{stem}", end


def _unsafe(member: tarfile.TarInfo) -> str:
    """Why a member is not read; empty when it may be."""
    name = member.name
    if not member.isreg() or member.issparse():
        kinds = (
            (member.issym(), "is a symbolic link"),
            (member.islnk(), "is a hard link"),
            (member.isdev(), "a device"),
        )
        return next((word for is_so, word in kinds if is_so), "is no plain file")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
        return "points out of the archive"
    if len(name) > MAX_NAME or not name.isprintable():
        return "has a name that no file should have"
    if is_archive(name) or suffix(name) in (".zip", ".gz", ".7z", ".xz", ".bz2", ".zst"):
        return "is an archive within an archive"
    return ""
