"""Requests to HTTP servers, whose redirects take no password to another server."""

import base64
import http.client
import urllib.error
import urllib.parse
import urllib.request
from typing import IO

from mdtool.media.sources.address import WEB, Address, without_secrets

PORTS = {"http": 80, "https": 443}


def open_url(address: Address, timeout: float) -> http.client.HTTPResponse:
    """Open a URL; its user and password become an Authorization header.

    Args:
        address: The URL.
        timeout: Seconds that the server may be silent.

    Raises:
        OSError, http.client.HTTPException, ValueError: It can't be opened.
    """
    parts = urllib.parse.urlsplit(address.text)
    user, _, place = parts.netloc.rpartition("@")
    plain = urllib.parse.urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    request = urllib.request.Request(plain)
    if user:
        login = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {login}")
    response: http.client.HTTPResponse = urllib.request.build_opener(_Redirects).open(request, timeout=timeout)
    return response


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects; keeps the password only while scheme, host and port stay the same."""

    def redirect_request(  # noqa: PLR0917  as it is called
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request of the next hop. A server that has been left does not get the password again."""
        if urllib.parse.urlsplit(newurl).scheme.lower() not in WEB:
            message = f"redirects to {without_secrets(newurl)}, which is not HTTP"
            raise urllib.error.HTTPError(newurl, code, message, headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        login = req.unredirected_hdrs.get("Authorization")
        if following and login and _origin(req.full_url) == _origin(newurl):
            following.add_unredirected_header("Authorization", login)
        return following


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port."""
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or PORTS.get(scheme)
