"""Checks where RTSP servers redirect to: FFmpeg follows, into private networks too, and takes the password along."""

import base64
import re
import socket
import ssl
from contextlib import closing, suppress
from urllib.parse import unquote, urlsplit

from mdtool.errors import InputError
from mdtool.media.sources.address import Address
from mdtool.network.reach import Reach
from mdtool.network.urls import PORTS, origin, without_secrets

MAX_REPLY_BYTES = 1 << 16


def check_redirect(address: Address, reach: Reach, timeout: float) -> None:
    """Check where an RTSP server redirects to (RFC 2326, DESCRIBE), if it does.

    The server is asked without a password, and with that of the address if it wants it by the Basic scheme.

    Args:
        address: An RTSP URL.
        reach: What may be connected to on its behalf.
        timeout: Seconds that the server may be silent.

    Raises:
        InputError: It redirects to where the password may not go, or into a private network that the address does not
            name. A server that can't be reached is no error here.
    """
    user, _, _ = urlsplit(address.text).netloc.rpartition("@")
    reply = _describe(address, reach, timeout, "")
    if user and re.match(r"RTSP/\S+ 401", reply) and re.search(r"^WWW-Authenticate: *Basic", reply, re.M | re.I):
        login = base64.b64encode(unquote(user).encode()).decode()
        reply = _describe(address, reach, timeout, f"Authorization: Basic {login}\r\n")
    place = re.search(r"^Location: *(\S+)", reply, re.M | re.I) if re.match(r"RTSP/\S+ 3\d\d", reply) else None
    if place is None:
        return
    to = without_secrets(place[1])
    try:
        elsewhere, host = origin(place[1]) != origin(address.text), urlsplit(place[1]).hostname
    except ValueError as error:
        raise InputError(f"redirects to {to}, which is no address") from error
    if user and elsewhere:
        raise InputError(f"redirects to {to}, which would get the password; give that address")
    if host:
        with suppress(OSError):
            reach.addresses(host, 0)


def _describe(address: Address, reach: Reach, timeout: float, login: str) -> str:
    """Return the head of the reply to a DESCRIBE; "" if there is none."""
    parts = urlsplit(address.text)
    place = parts.netloc.rpartition("@")[2]
    request = f"DESCRIBE {address.scheme}://{place}{parts.path} RTSP/1.0\r\nCSeq: 1\r\n{login}\r\n"
    reply = b""
    try:
        port = parts.port or PORTS[address.scheme]
        found = reach.addresses(address.host, port)[0]
        with closing(socket.create_connection((found, port), timeout)) as connection:
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
