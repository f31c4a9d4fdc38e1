"""Media that a worker on another machine fetches by URL, for as long as it works on them.

The machine of the run has them under `run.media_root`; workers find the same files, by the same names, under
`run.media_url` (an address of fsspec). What arrives is held to the digest that was registered, and lies in a file
without a name: a worker that is killed leaves nothing on its disk.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from mien.core import MienError, Source
from mien.core.errors import missing_extra
from mien.pipeline.config import Config
from mien.policy.egress import STORES, Endpoint, check_address, endpoint

CHUNK = 1 << 20
LOCAL = ("file", "memory")  # schemes that leave no machine


def allowed(config: Config) -> None:
    """Whether workers may fetch from `run.media_url`; the rule is that of any endpoint (`[egress]`).

    Raises:
        MienError: `config.invalid`, `egress.*`, `install.missing-extra`.
    """
    url, root = config.run.media_url, config.run.media_root
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme not in (*LOCAL, *STORES, "http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
        raise MienError(
            "config.invalid",
            "run.media_url is no address of media: file, s3, gs, gcs, http or https, without a name, password or query",
            "credentials belong into the environment, as the store's own package reads them",
        )
    if not Path(root).is_absolute():
        raise MienError(
            "config.invalid", f"run.media_root is {root!r}, not a whole path", "the folder that media_url holds"
        )
    if parts.scheme not in LOCAL:
        to = endpoint(STORES.get(parts.scheme, url), config.egress)
        if parts.scheme in ("http", "https"):
            for ip in addresses(to, url):
                check_address(to, ip, config.egress, config.context)
        if config.context == "care" and not (config.egress.agreement.strip() and config.egress.approver.strip()):
            raise MienError(
                "egress.care-refused",
                f"in care media lie on this machine alone, and {parts.netloc} is another",
                "record the agreement under which they lie there: egress.agreement, and egress.approver",
            )
    _fsspec()


def addresses(to: Endpoint, said: str) -> set[str]:
    """Where a name leads. Raises `media.unreachable`."""
    try:
        return {str(a[4][0]) for a in socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise MienError("media.unreachable", f"{said}: {error}", "check run.media_url", retryable=True) from error


class Elsewhere:
    """Where sources lie for a worker: as registered where that is there, else fetched.

    Args:
        held: files that are kept at once; those of clips that are worked on together must fit.
    """

    def __init__(self, root: str, url: str, held: int) -> None:
        self._root, self._url, self._most = Path(root), url.rstrip("/"), held
        self._held: OrderedDict[str, tuple[IO[bytes], Path]] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, source: Source) -> Path:
        """Raises MienError `media.not-found`, `media.unreachable`, `media.changed`, `install.missing-extra`."""
        here = Path(source.path)
        if here.exists():
            return here
        with self._lock:
            if source.sha256 not in self._held:
                while len(self._held) >= self._most:
                    self._held.popitem(last=False)[1][0].close()
                self._held[source.sha256] = self._fetched(source)
            self._held.move_to_end(source.sha256)
            return self._held[source.sha256][1]

    def close(self) -> None:
        """Nothing that was fetched is there any longer."""
        with self._lock:
            while self._held:
                self._held.popitem()[1][0].close()

    def _fetched(self, source: Source) -> tuple[IO[bytes], Path]:
        url = self._address(source)
        system = _fsspec()
        nameless = sys.platform == "linux"  # elsewhere a file of no name cannot be opened by the decoding child
        file: IO[bytes] = tempfile.TemporaryFile() if nameless else tempfile.NamedTemporaryFile()  # noqa: SIM115
        try:
            _copy(system, url, file, source)
        except MienError:
            file.close()
            raise
        except ImportError as error:
            file.close()
            said = f"{url} needs a package that is not installed here: {error}"[:300]
            raise MienError(
                "install.missing-extra", said, "pip install s3fs, gcsfs or aiohttp on every machine"
            ) from error
        except Exception as error:  # of somebody else's client
            file.close()
            # fsspec says of a server that does not answer, too, that the file is not found
            if isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, OSError):
                raise MienError("media.not-found", f"{url} is not there", "copy the media to run.media_url") from error
            said = f"{url}: {type(error).__name__}: {error}"[:300]
            raise MienError("media.unreachable", said, "mien retry, once it can be reached", retryable=True) from error
        return file, Path(f"/proc/{os.getpid()}/fd/{file.fileno()}" if nameless else file.name)

    def _address(self, source: Source) -> str:
        path = Path(source.path)
        if not path.is_relative_to(self._root):
            raise MienError(
                "media.not-found",
                f"{path.name} is not on this machine, and not under run.media_root",
                "put it there, or run with run.runner = 'process'",
            )
        name = path.relative_to(self._root).as_posix()
        return f"{self._url}/{quote(name) if self._url.startswith('http') else name}"


def _copy(system: Any, url: str, file: IO[bytes], source: Source) -> None:
    """All bytes into a file. One that is longer than what was registered is not read to its end."""
    digest, length = hashlib.sha256(), 0
    terms = {"allow_redirects": False} if url.startswith("http") else {}  # another host is another endpoint
    with system.open(url, "rb", **terms) as remote:
        while length <= source.bytes and (chunk := remote.read(CHUNK)):
            digest.update(chunk)
            length += len(chunk)
            file.write(chunk)
    file.flush()
    if length != source.bytes or digest.hexdigest() != source.sha256:
        raise MienError(
            "media.changed",
            f"{url} is not what was registered: {length} of {source.bytes} bytes, or others",
            "copy the media again",
        )


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise missing_extra("fsspec", "ray") from None
    return fsspec
