"""Detects RTSP servers that redirect: FFmpeg follows them, and would give the password to another server."""

import base64
import re
import socket
import ssl
from contextlib import closing
from urllib.parse import unquote, urlsplit

from mdtool.errors import InputError
from mdtool.media.sources.address import Address, without_secrets

PORTS = {"rtsp": 554, "rtsps": 322}
MAX_REPLY_BYTES = 1 << 16


def check_no_redirect(address: Address, timeout: float) -> None:
    """Check that an RTSP server does not redirect to another (RFC 2326, DESCRIBE), if the address has a password.

    The server is asked without the password, and with it if it wants that by the Basic scheme.

    Args:
        address: An RTSP URL.
        timeout: Seconds that the server may be silent.

    Raises:
        InputError: It redirects. A server that can't be reached is no error here.
    """
    user, _, _ = urlsplit(address.text).netloc.rpartition("@")
    if not user:
        return
    reply = _describe(address, timeout, "")
    if re.match(r"RTSP/\S+ 401", reply) and re.search(r"^WWW-Authenticate: *Basic", reply, re.M | re.I):
        login = base64.b64encode(unquote(user).encode()).decode()
        reply = _describe(address, timeout, f"Authorization: Basic {login}\r\n")
    place = re.search(r"^Location: *(\S+)", reply, re.M | re.I) if re.match(r"RTSP/\S+ 3\d\d", reply) else None
    if place and _origin(place[1]) != _origin(address.text):
        raise InputError(f"redirects to {without_secrets(place[1])}, which would get the password; give that address")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.hostname, parts.port or PORTS.get(parts.scheme.lower())


def _describe(address: Address, timeout: float, login: str) -> str:
    """Return the head of the reply to a DESCRIBE; "" if there is none."""
    parts = urlsplit(address.text)
    place = parts.netloc.rpartition("@")[2]
    request = f"DESCRIBE {address.scheme}://{place}{parts.path} RTSP/1.0\r\nCSeq: 1\r\n{login}\r\n"
    reply = b""
    try:
        port = parts.port or PORTS[address.scheme]
        with closing(socket.create_connection((parts.hostname or "", port), timeout)) as connection:
            stream = _unverified().wrap_socket(connection) if address.scheme == "rtsps" else connection
            stream.sendall(request.encode())
            while b"\r\n\r\n" not in reply and len(reply) < MAX_REPLY_BYTES and (data := stream.recv(4096)):
                reply += data
    except (OSError, ValueError):
        pass
    return reply.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")


def _unverified() -> ssl.SSLContext:
    """Return a context like FFmpeg's default, which checks no certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
