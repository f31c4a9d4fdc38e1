"""Where data may go: rules over an address, pure. Nothing leaves for an endpoint that `mien.toml` does not name.

Three questions, each asked of every call: is `host:port` on the list, is the address behind the name one that may be
connected to, does the deployment's context let it go. A name that is on the list does not vouch for a private address
behind it (DNS rebinding): such an address has to be on the list itself.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field

from mien.core import Context, MienError, Strict

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
PORTS = {"http": 80, "https": 443}
STORES = {
    "s3": "https://s3.amazonaws.com",
    "gs": "https://storage.googleapis.com",
    "gcs": "https://storage.googleapis.com",
}
"""The endpoint that stands for an object store's scheme."""
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class EgressTerms(Strict):
    """The table `[egress]` of `mien.toml`."""

    allow: tuple[str, ...] = Field((), description="endpoints that may be called, each host:port; nothing else is")
    agreement: str = Field("", description="in care: the recorded agreement under which data may leave this machine")
    approver: str = Field("", description="in care: who answers for that agreement")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that passed `endpoint`. `host` is lower case, an IPv6 address without its brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def named(self) -> str:
        return named(self.host, self.port)


def named(host: str, port: int) -> str:
    """`host:port` as the allow-list writes it: `example.org:443`, `[::1]:8000`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class EgressRules:
    """The rules of one project, as the client of `mien.models.language.egress` asks them."""

    terms: EgressTerms
    context: Context

    def endpoint(self, url: str) -> Endpoint:
        """Raises MienError `egress.bad-url`, `egress.refused`."""
        return endpoint(url, self.terms)

    def check(self, to: Endpoint, address: str) -> None:
        """Raises MienError as `check_address`."""
        check_address(to, address, self.terms, self.context)


def endpoint(url: str, terms: EgressTerms) -> Endpoint:
    """An address that `terms` names.

    Raises:
        MienError: `egress.bad-url` for anything that two programs could read differently (credentials, octal or short
            numbers for an address, odd characters), `egress.refused` where the list does not name it.
    """
    if any(ord(c) <= 32 or ord(c) >= 127 or c in '\\"<>^`{|}' for c in url):
        raise _bad(url, "holds characters that do not belong into an address")
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").lower()
    except ValueError as error:
        raise _bad(url, "is no address") from error
    if parts.scheme not in ("http", "https"):
        raise _bad(url, "must begin with https:// or http://")
    if "@" in parts.netloc:
        raise _bad(url.replace(parts.netloc, "…"), "holds a user name or password")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise _bad(url, "must end with its path")
    if port == 0 or not _plain_host(host):
        raise _bad(url, f"names the host {host!r} in a way that programs read differently")
    found = Endpoint("https" if parts.scheme == "https" else "http", host, port or PORTS[parts.scheme], parts.path)
    if found.named not in _list(terms):
        raise MienError(
            "egress.refused",
            f"{found.named} is not on the list of endpoints that may be called",
            f'if data may go there: [egress] allow = ["{found.named}"]',
        )
    return found


def check_address(to: Endpoint, address: str, terms: EgressTerms, context: Context) -> None:
    """Whether the address behind an endpoint's name may be connected to.

    Raises:
        MienError: `egress.refused` for addresses that are nobody's (unspecified, multicast, reserved),
            `egress.private-address` for a loopback, private or link-local one that is not named itself,
            `egress.plain-http` without TLS to a public one, `egress.care-refused` beyond this machine in `care`
            without a recorded agreement.
    """
    ip = _unmapped(ipaddress.ip_address(address))
    carried = _carried(ip)
    nobodys = ip.is_unspecified or ip.is_multicast or (ip.is_reserved and not ip.is_loopback and carried is None)
    if nobodys or (carried is not None and not carried.is_global):
        raise MienError("egress.refused", f"{to.named} leads to {ip}, which is no usable address", "check the name")
    if not ip.is_global or (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local):
        by_name = ip.is_loopback and to.host == "localhost"
        if not by_name and named(str(ip), to.port) not in _list(terms):
            raise MienError(
                "egress.private-address",
                f"{to.named} leads to {ip}, an address within this machine or network",
                f'if that is meant, name it as well: [egress] allow = ["{named(str(ip), to.port)}"]',
            )
    elif to.scheme == "http":
        raise MienError("egress.plain-http", f"{to.named} is public, and http is not encrypted", "use https://")
    if context == "care" and not ip.is_loopback and not (terms.agreement.strip() and terms.approver.strip()):
        raise MienError(
            "egress.care-refused",
            f"in care nothing leaves this machine, but {to.named} is another one ({ip})",
            "run the model here, or record the agreement: egress.agreement, and egress.approver for who answers for it",
        )


def _list(terms: EgressTerms) -> set[str]:
    """The allow-list as `named` writes it; an IPv6 address in its shortest form."""
    found: set[str] = set()
    for entry in terms.allow:
        host, _, port = entry.strip().lower().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or not _plain_host(host.strip("[]")):
            raise MienError(
                "config.invalid", f"egress.allow names {entry!r}, which is no host:port", 'e.g. "127.0.0.1:8000"'
            )
        bare = host.strip("[]")
        found.add(named(str(ipaddress.ip_address(bare)) if ":" in bare else bare, int(port)))
    return found


def _plain_host(host: str) -> bool:
    """Whether every program reads this host alike: a plain name, or an address in its one full form.

    What ends in a number is an address to some programs (WHATWG URL), in octal, hexadecimal or short form.
    """
    if ":" in host:
        try:
            return "%" not in host and str(ipaddress.IPv6Address(host)) == host
        except ValueError:
            return False
    if not _HOST.fullmatch(host) or ".." in host:
        return False
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rsplit(".", 1)[-1]):
        try:
            return str(ipaddress.IPv4Address(host)) == host
        except ValueError:
            return False
    return True


def _unmapped(ip: IP) -> IP:
    """`::ffff:1.2.3.4` is 1.2.3.4 to the kernel."""
    return ip if isinstance(ip, ipaddress.IPv4Address) else ip.ipv4_mapped or ip


def _carried(ip: IP) -> IP | None:
    """The IPv4 address to which a gateway would hand on (6to4, Teredo, NAT64)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    teredo = ip.teredo[1] if ip.teredo else None
    return ip.sixtofour or teredo or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)


def _bad(url: str, why: str) -> MienError:
    return MienError("egress.bad-url", f"{url[:100]!r} {why}", "give it as https://host:port/path")
