"""HTTP as the registry clients are configured (CA, proxy, trusted hosts, netrc), and a byte stream that resumes."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
import requests.auth
import urllib3

from mien.core import MienError

CHUNK_BYTES = 1 << 16
TRIES = 3
OFFLINE_HINT = (
    "without network: run 'mien models bundle FILE' on a machine that has one, carry FILE over, "
    "then 'mien models unbundle FILE' here"
)
CUT = (requests.RequestException, urllib3.exceptions.HTTPError)
Tick = Callable[[int], None]


class Session(requests.Session):
    """A requests session whose CA file wins over REQUESTS_CA_BUNDLE, as pip's and npm's do; closing it closes every
    answer that was left half read, whoever left it."""

    def __init__(
        self, *, cert: str = "", trusted: tuple[str, ...] = (), proxy: str = "", timeout_s: float = 30
    ) -> None:
        super().__init__()
        self._answers: weakref.WeakSet[requests.Response] = weakref.WeakSet()
        self._cert, self._trusted, self._timeout_s = cert, trusted, timeout_s
        if proxy:
            self.proxies = {"http": proxy, "https": proxy}

    def request(self, method: Any, url: Any, **options: Any) -> requests.Response:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = urlsplit(str(url))
        if options.get("verify") is None and (parts.netloc in self._trusted or parts.hostname in self._trusted):
            options["verify"] = False
        elif options.get("verify") is None and self._cert:
            options["verify"] = self._cert
        if options.get("timeout") is None:
            options["timeout"] = self._timeout_s
        response = super().request(method, url, **options)
        self._answers.add(response)
        return response

    def close(self) -> None:
        for response in list(self._answers):
            response.close()
        super().close()


class Bearer(requests.auth.AuthBase):
    """`Authorization: Bearer TOKEN`. As an auth object it wins over .netrc; another host never gets it."""

    def __init__(self, token: str, scheme: str = "Bearer") -> None:
        self._value = f"{scheme} {token}"

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers["Authorization"] = self._value
        return r


def shown(url: str) -> str:
    """An address without its credentials and query, for messages."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def failure(url: str, error: Exception) -> MienError:
    """A transport error as ours."""
    reason = type(error).__name__ if isinstance(error, CUT) else str(error)
    return MienError("weights.network", f"{shown(url)} cannot be reached ({reason})", OFFLINE_HINT, retryable=True)


def refused(url: str, status: int) -> MienError:
    """An HTTP status as ours."""
    if status in (401, 403, 407):
        return MienError(
            "weights.forbidden", f"{shown(url)} answered {status}", "check the registry's credentials (.netrc, token)"
        )
    if status in (404, 410):
        return MienError("weights.not-found", f"{shown(url)} does not exist ({status})")
    return MienError("weights.network", f"{shown(url)} answered {status}", OFFLINE_HINT, retryable=True)


def get_json(session: requests.Session, url: str, *, auth: Any = None, accept: str = "application/json") -> Any:
    """A small JSON document.

    Raises:
        MienError: `weights.network`, `weights.not-found`, `weights.forbidden`.
    """
    try:
        with session.get(url, headers={"Accept": accept}, auth=auth) as response:
            if response.status_code != requests.codes.ok:
                raise refused(url, response.status_code)
            return response.json()
    except (*CUT, ValueError) as error:
        raise failure(url, error) from error


def size_of(session: requests.Session, url: str, *, auth: Any = None) -> int | None:
    """Content-Length by HEAD; None where the server does not say.

    Raises:
        MienError: as `get_json`.
    """
    try:
        with session.head(url, auth=auth, allow_redirects=True, headers={"Accept-Encoding": "identity"}) as response:
            if response.status_code in (405, 501):  # HEAD is not known here; the GET will tell
                return None
            if response.status_code != requests.codes.ok:
                raise refused(url, response.status_code)
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else None
    except CUT as error:
        raise failure(url, error) from error


def stream(
    session: requests.Session,
    url: str,
    part: Path,
    *,
    first: int = 0,
    count: int | None = None,
    auth: Any = None,
    tick: Tick = lambda done: None,
) -> Generator[bytes, None, None]:
    """Bytes `first`, `first + 1`, … of `url` (`count` of them, or all), in chunks.

    What an earlier attempt left in `part` comes first, then the rest over the network, which is appended to `part`. A
    connection that breaks is taken up again, `TRIES` times without progress. `part` stays: the caller deletes it when
    it has checked the content. A server without ranges sends everything again and the known head is skipped.

    Raises:
        MienError: `weights.network` (retryable), `weights.not-found`, `weights.forbidden`.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    if part.exists() and count is not None and part.stat().st_size > count:
        part.unlink()
    done = 0
    with part.open("a+b") as kept:
        kept.seek(0)
        while chunk := kept.read(CHUNK_BYTES):
            done += len(chunk)
            tick(done)
            yield chunk
        idle = 0
        while count is None or done < count:
            try:
                for chunk in _rest(session, url, first, done, count, auth):
                    kept.write(chunk)
                    done, idle = done + len(chunk), 0
                    tick(done)
                    yield chunk
                if count is None or done >= count:
                    return
                raise urllib3.exceptions.ProtocolError("the answer is shorter than it should be")
            except CUT as error:
                kept.flush()
                idle += 1
                if idle >= TRIES:
                    raise failure(url, error) from error
                time.sleep(0.2 * idle)


def _rest(session: requests.Session, url: str, first: int, done: int, count: int | None, auth: Any) -> Iterator[bytes]:
    start = first + done
    stop = "" if count is None else str(first + count - 1)
    headers = {"Accept-Encoding": "identity"}
    if start or stop:
        headers["Range"] = f"bytes={start}-{stop}"
    with session.get(url, headers=headers, auth=auth, stream=True) as response:
        status = response.status_code
        if status == requests.codes.range_not_satisfiable:
            if done and response.headers.get("Content-Range", "").rpartition("/")[2] == str(start):
                return  # nothing is left to send: the part was complete
            raise refused(url, status)
        if status not in (requests.codes.ok, requests.codes.partial_content):
            if status >= 500 or status == 429:
                raise requests.ConnectionError(f"HTTP {status}")
            raise refused(url, status)
        partial = status == requests.codes.partial_content
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise requests.ConnectionError("the server sent another range than asked")
        skip, left = (0 if partial else start), None if count is None else count - done
        announced = response.headers.get("Content-Length", "")
        got = 0
        # raw bytes: some servers call a .tgz "Content-Encoding: gzip" and requests would unpack it
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            got += len(chunk)
            if skip:
                chunk, skip = chunk[skip:], max(0, skip - len(chunk))  # noqa: PLW2901 - the tail of this very chunk
            if left is not None:
                chunk = chunk[:left]  # noqa: PLW2901
                left -= len(chunk)
            if chunk:
                yield chunk
            if left == 0:
                return
        if announced.isdigit() and got < int(announced):
            raise urllib3.exceptions.ProtocolError("the connection broke")
