"""The one way out: HTTP to an endpoint that the policy lets through, and to exactly the address that was checked.

A name is looked up once, every address behind it is checked, and the connection goes to a checked address itself while
the Host header and TLS keep the name (so a second look-up that answers differently changes nothing). Redirects are not
followed, proxies of the environment are not used, compressed answers are refused, and one deadline covers the whole
call: a server that sends a byte now and then is cut off like one that says nothing.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mien.core import MienError

Resolve = Callable[[str, int], list[str]]


class Place(Protocol):
    """Where a call goes. `named` is `host:port`, for messages."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def named(self) -> str: ...


@runtime_checkable
class Rules(Protocol):
    """What decides where calls may go: `mien.policy.egress.EgressRules`. Both raise MienError to refuse."""

    def endpoint(self, url: str) -> Any: ...
    def check(self, to: Any, address: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole. headers: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Egress:
    """A client for the endpoints that `rules` let through; without rules, for none.

    Args:
        timeout_s: of one whole call, looking up and sending included. max_bytes: of an answer's body.
        ca_file: certificates to trust besides the system's. resolve: name → addresses, for tests.
    """

    def __init__(
        self,
        rules: Rules | None,
        *,
        timeout_s: float = 300.0,
        max_bytes: int = 16 << 20,
        ca_file: str = "",
        resolve: Resolve | None = None,
    ) -> None:
        self._rules, self._timeout_s, self._max_bytes = rules, timeout_s, max_bytes
        self._ca_file, self._resolve = ca_file, resolve or _look_up
        self._tls: ssl.SSLContext | None = None

    def check(self, url: str) -> Place:
        """The endpoint of `url`, without looking it up. Raises MienError `egress.bad-url`, `egress.refused`."""
        if self._rules is None:
            raise MienError("egress.refused", "no endpoint may be called", "name it in mien.toml: [egress] allow")
        return self._rules.endpoint(url)

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send `body`.

        Raises:
            MienError: `egress.*` of `mien.policy.egress`; `egress.unreachable`, `egress.timeout` (both retryable),
                `egress.redirect`, `egress.too-large`, `egress.encoded`, `egress.bad-answer`.
        """
        to = self.check(url)
        clock = _Deadline(time.monotonic() + self._timeout_s)
        try:
            sock = self._connect(to, clock)
        except TimeoutError as error:
            raise self._late(to) from error
        try:
            return self._talk(to, _Timed(sock, clock), body, headers)
        except TimeoutError as error:
            raise self._late(to) from error
        except (OSError, http.client.RemoteDisconnected) as error:
            raise _unreachable(to, error) from error
        except http.client.HTTPException as error:
            raise MienError(
                "egress.bad-answer", f"{to.named} does not answer as HTTP does ({type(error).__name__})", "check it"
            ) from error
        finally:
            sock.close()

    # ------------------------------------------------------------ one call

    def _connect(self, to: Place, clock: _Deadline) -> socket.socket:
        """A connection to an address that was checked, with TLS for the endpoint's name."""
        try:
            addresses = list(dict.fromkeys(_within(clock, lambda: self._resolve(to.host, to.port))))
        except TimeoutError:
            raise
        except OSError as error:
            raise _unreachable(to, error) from error
        assert self._rules is not None  # noqa: S101 - `check` came first
        for address in addresses:  # all of them, before any is used: one bad one is reason enough
            self._rules.check(to, address)
        last: OSError = OSError("no address")
        for address in addresses:
            try:
                plain = socket.create_connection((address, to.port), timeout=clock.left())
            except TimeoutError:
                raise
            except OSError as error:
                last = error
                continue
            if to.scheme == "http":
                return plain
            try:
                plain.settimeout(clock.left())
                return self._context_of_tls().wrap_socket(plain, server_hostname=to.host)
            except OSError as error:
                plain.close()
                if isinstance(error, TimeoutError):
                    raise
                raise _unreachable(to, error) from error
        raise _unreachable(to, last) from last

    def _context_of_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            from requests.certs import where  # pyright: ignore[reportPrivateImportUsage]

            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(where())
            if self._ca_file:
                self._tls.load_verify_locations(self._ca_file)
        return self._tls

    def _talk(self, to: Place, sock: _Timed, body: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(to.host, to.port)
        connection.sock = sock  # pyright: ignore[reportAttributeAccessIssue] - what it uses of a socket is there
        own = {"Host": to.named, "Accept-Encoding": "identity", "Connection": "close"}
        connection.request("POST", to.path or "/", body, headers | own)
        with connection.getresponse() as response:
            said = {k.lower(): v for k, v in response.getheaders()}
            if 300 <= response.status < 400:
                raise MienError(
                    "egress.redirect",
                    f"{to.named} sends on to another address; that is not followed",
                    "name the final address of the endpoint",
                )
            if said.get("content-encoding", "identity").lower() != "identity":
                raise MienError("egress.encoded", f"{to.named} sends a compressed answer that nobody asked for")
            length = said.get("content-length", "")
            if length.isdecimal() and int(length) > self._max_bytes:
                raise self._large(to)
            read = response.read(self._max_bytes + 1)
            if len(read) > self._max_bytes:
                raise self._large(to)
            if length.isdecimal() and len(read) < int(length):  # read(n) is silent about a body that ends early
                raise http.client.IncompleteRead(read, int(length) - len(read))
            return Answer(response.status, said, read)

    def _late(self, to: Place) -> MienError:
        return MienError(
            "egress.timeout",
            f"{to.named} did not answer whole within {self._timeout_s:g} s",
            "allow it more time (timeout_s), or ask for less",
            retryable=True,
        )

    def _large(self, to: Place) -> MienError:
        return MienError("egress.too-large", f"{to.named} sends more than {self._max_bytes} bytes", "ask for less")


# ---------------------------------------------------------------- one deadline


class _Deadline:
    def __init__(self, at: float) -> None:
        self._at = at

    def left(self) -> float:
        """Seconds that are left. Raises TimeoutError when none are."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Timed:
    """What `http.client` uses of a socket; every wait counts against one deadline."""

    def __init__(self, sock: socket.socket, clock: _Deadline) -> None:
        self._sock, self._clock = sock, clock

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._clock.left())
        self._sock.sendall(data)  # its timeout is of the whole of it

    def makefile(self, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._clock))

    def close(self) -> None:
        """The caller closes the socket, when the answer is read."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, clock: _Deadline) -> None:
        self._sock, self._clock = sock, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._clock.left())
        return self._sock.recv_into(buffer)


def _look_up(host: str, port: int) -> list[str]:
    return [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _within(clock: _Deadline, work: Callable[[], list[str]]) -> list[str]:
    """`work` in a thread of its own: the system's look-up knows no deadline."""
    said: queue.Queue[list[str] | Exception] = queue.Queue()

    def run() -> None:
        try:
            said.put(work())
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            said.put(error)

    threading.Thread(target=run, name="mien-look-up", daemon=True).start()
    try:
        found = said.get(timeout=clock.left())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


def _unreachable(to: Place, error: Exception) -> MienError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return MienError("egress.unreachable", f"{to.named} cannot be reached ({why})", "is it running?", retryable=True)
