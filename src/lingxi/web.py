"""Fetch a URL that a stranger names, from public addresses alone: for callers who allow fetching at all.

The name is resolved once, every address it has must be public, and the connection goes to one of those: a
name that changes its mind in between gains nothing. Redirects are followed a few times, each checked as the
first; proxies of the environment are not used; bytes, seconds and ports are bounded.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from lingxi.errors import InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LEAVE = "send the file itself, as a data: URL"
_CHUNK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
# Addresses that stand for others: NAT64 and 6to4 carry an IPv4 address within.
_CARRIERS = [ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")]


def is_public(address: Address) -> bool:
    """Whether an address is anybody's on the internet: not private, local, reserved, nor carrying another."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    if address.version == 6 and any(address in network for network in _CARRIERS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolved(host: str, port: int) -> list[Address]:
    """The addresses of a host; raises InputError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(f"{host}: no such host", "check the URL") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be fetched: `allowed` addresses and `ports`, within `seconds`, after at most `redirects`."""

    allowed: Callable[[Address], bool] = is_public
    resolve: Callable[[str, int], Iterable[Address]] = resolved
    ports: frozenset[int] | None = frozenset({80, 443})
    seconds: float = 20.0
    redirects: int = 3


RULES = Rules()


def fetched(url: str, most_bytes: int, rules: Rules = RULES) -> bytes:
    """The bytes behind an http or https URL, at most `most_bytes`.

    Raises InputError for another scheme, an address or port that is not allowed, an answer other than
    200, too many bytes, redirects or seconds.
    """
    until = time.monotonic() + rules.seconds
    for _ in range(rules.redirects + 1):
        found = _answer(url, most_bytes, rules, until)
        if isinstance(found, bytes):
            return found
        url = found
    raise InputError(f"{_shown(url)}: more than {rules.redirects} redirects", _LEAVE)


def _answer(url: str, most_bytes: int, rules: Rules, until: float) -> bytes | str:
    """What is there, or the URL that it sends on to."""
    parts = _checked(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(parts, port, rules)
    connection = _Pinned(parts.hostname or "", port, str(address), parts.scheme == "https", _left(until, url))
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "lingxi"})
        response = connection.getresponse()
        if response.status in _REDIRECTS and response.getheader("Location"):
            return urljoin(url, response.getheader("Location") or "")
        if response.status != 200:
            raise InputError(f"{_shown(url)}: the server answers {response.status}", _LEAVE)
        return _body(response, url, most_bytes, until)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(f"{_shown(url)}: cannot be fetched ({error})", _LEAVE) from None
    finally:
        connection.close()


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it raises where it is no number)
    except ValueError:
        raise InputError(f"{_shown(url)} is no URL", "write https://host/path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{_shown(url)}: only http and https URLs are fetched", _LEAVE)
    if parts.username is not None or any(ord(c) <= 32 or ord(c) > 126 for c in url):
        raise InputError(
            f"{_shown(url)}: holds a password, a space or a bare letter", "write it percent-encoded"
        )
    return parts


def _address(parts: SplitResult, port: int, rules: Rules) -> Address:
    """One address of the host, all of which are allowed."""
    host = parts.hostname or ""
    if rules.ports is not None and port not in rules.ports:
        raise InputError(f"{host}: port {port} is not fetched from", _LEAVE)
    addresses = list(rules.resolve(host, port))
    if not addresses or not all(map(rules.allowed, addresses)):
        raise InputError(f"{host}: not a public address; nothing was fetched", _LEAVE)
    return addresses[0]


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, spoken to (and, over TLS, proved) by the host's name."""

    def __init__(self, host: str, port: int, address: str, secure: bool, seconds: float) -> None:
        super().__init__(host, port, timeout=seconds)
        self._address, self._secure = address, secure
        self.default_port = 443 if secure else 80

    def connect(self) -> None:
        """Connect to the address that was checked; nothing is resolved again."""
        found = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = (
            ssl.create_default_context().wrap_socket(found, server_hostname=self.host)
            if self._secure
            else found
        )


def _body(response: http.client.HTTPResponse, url: str, most_bytes: int, until: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK):
        _left(until, url)
        parts.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            raise InputError(f"{_shown(url)}: more than {most_bytes:,} bytes", "name a smaller file")
    return b"".join(parts)


def _left(until: float, url: str) -> float:
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise InputError(f"{_shown(url)}: takes too long", _LEAVE)
    return seconds


def _shown(url: str) -> str:
    return repr(url if len(url) <= 80 else url[:79] + "…")
