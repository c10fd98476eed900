"""Fetching images from the hosts that the server's owner lists, and from no others.

A server that fetches what strangers name is a way into the network that it stands in. So the host has to be listed; its
address is checked and then connected to, not resolved a second time; redirects are not followed; and time and size are
bounded.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from mdtool.errors import InputError

SECONDS = 10.0  # in all
MAX_BYTES = 20_000_000
CHUNK = 1 << 16


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked."""

    def __init__(self, url: SplitResult, address: str, port: int) -> None:
        super().__init__(url.hostname or "", port, timeout=SECONDS)
        self._address, self._secure = address, url.scheme == "https"

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def fetch_image(url: str, hosts: Sequence[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Fetch the bytes of an image.

    Args:
        url: An http or https URL.
        hosts: Those that are allowed: "name", "*.name" or "*". Addresses of private networks are refused unless the
            host itself is listed.
        max_bytes: A larger image is refused; so is one above MAX_BYTES.

    Raises:
        InputError: The host is not allowed, or does not answer with an image in time.
    """
    if not hosts:
        raise InputError("this server fetches no URLs; send it as a data URL (data:image/jpeg;base64,...)")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise InputError("its URL is not valid") from error
    if not _is_allowed(host, hosts):
        raise InputError("this server does not fetch from the host of its URL")
    deadline = time.monotonic() + SECONDS
    connection = _Pinned(parts, _address(host, port, listed=host in hosts), port)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "mdtool", "Accept": "image/*"})
        response = connection.getresponse()
        if response.status != 200:
            raise InputError(f"its host answered with status {response.status}")
        return _body(response, min(max_bytes, MAX_BYTES), deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError("its host did not answer as expected") from error
    finally:
        connection.close()


def _body(response: http.client.HTTPResponse, limit: int, deadline: float) -> bytes:
    data = bytearray()
    while part := response.read1(CHUNK):
        data += part
        if len(data) > limit:
            raise InputError(f"it is larger than {limit / 1e6:g} MB")
        if time.monotonic() > deadline:
            raise InputError(f"it was not fetched within {SECONDS:g} s")
    return bytes(data)


def _is_allowed(host: str, hosts: Sequence[str]) -> bool:
    return any(one in ("*", host) or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts if host)


def _address(host: str, port: int, *, listed: bool) -> str:
    """Return an address of a host; all have to be public unless the host is listed by its name."""
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise InputError("the host of its URL is unknown") from error
    if not listed and not all(_is_public(one) for one in found):
        raise InputError("this server does not fetch from private addresses")
    return found[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return address.is_global and not address.is_multicast
