"""Requests to HTTP servers, on behalf of one address that the user typed.

All that the program fetches itself goes through here, except for weights of models: pictures, videos, playlists and
their segments. Redirects are counted, a password stays with its server, addresses are checked, and waits are bounded.
"""

import base64
import http.client
import string
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.cookiejar import CookieJar
from typing import IO, Any, cast
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from mdtool.errors import InputError
from mdtool.network.reach import Reach
from mdtool.network.sockets import PatientSocket, Wait, connect, secured
from mdtool.network.urls import WEB, origin, without_secrets

Response = http.client.HTTPResponse
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        silent: Seconds without a byte.
        seconds: Seconds of waiting in all; None: no limit but a lowest mean speed.
        redirects: How many are followed.
    """

    silent: float = 10.0
    seconds: float | None = None
    redirects: int = 5


class HttpFailure(InputError):
    """A server that can't be reached, or that does not answer as asked.

    Attributes:
        status: The status of its answer; None if there is none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class HttpClient:
    """Requests on behalf of one URL, which share cookies, and its password if they go to the same server."""

    def __init__(
        self, url: str, reach: Reach | None = None, limits: Limits | None = None, *, proxies: bool = True
    ) -> None:
        """Prepare requests; none is made yet.

        Args:
            url: As typed, perhaps with a user and password.
            reach: What may be connected to; None: what the URL names, and public addresses.
            limits: What one request may take.
            proxies: Whether to use those that the environment names, which resolve names themselves.

        Raises:
            InputError: The URL is not valid.
        """
        try:
            self._origin = origin(url)
        except ValueError as error:
            raise HttpFailure("its URL is not valid") from error
        if not self._origin[1]:
            raise HttpFailure("its URL is not valid: it has no host")
        self.url, user = _split_login(url)
        self._reach, self._limits = reach or Reach(self._origin[1]), limits or Limits()
        self._login = f"Basic {base64.b64encode(unquote(user).encode()).decode()}" if user else ""
        self._cookies = CookieJar()
        self._proxies: dict[str, str] | None = None if proxies else {}  # None: as the environment names them

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Response:
        """Request a URL. Close the response after.

        Raises:
            InputError: It may not be reached, or takes too long.
            HttpFailure: The server can't be reached, or refuses.
        """
        wait = Wait(self._limits.silent, self._limits.seconds, self._reach.check)
        opener = urllib.request.OpenerDirector()  # not build_opener, which opens files and FTP too
        for handler in (
            urllib.request.ProxyHandler(self._proxies),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPCookieProcessor(self._cookies),
            _Redirects(self._limits.redirects),
            _Http(self._reach, wait),
            _Https(self._reach, wait),
        ):
            opener.add_handler(handler)
        opener.addheaders = [("User-Agent", "mdtool")]
        try:
            request = urllib.request.Request(_split_login(url)[0], headers=dict(headers or {}))
            if self._login and origin(url) == self._origin:
                request.add_unredirected_header("Authorization", self._login)
            return cast("Response", opener.open(request))
        except urllib.error.HTTPError as error:
            error.close()
            raise HttpFailure(f"HTTP Error {error.code}: {error.reason}", error.code) from error
        except urllib.error.URLError as error:
            reason = error.reason
            message = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
            raise HttpFailure(without_secrets(message)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise HttpFailure(without_secrets(str(error)) or type(error).__name__) from error

    def leave(self, url: str) -> None:
        """Forget the password if a URL, from which a list of further ones comes, is of another server.

        Else that server would choose what is asked of the first one in the user's name.
        """
        if origin(url) != self._origin:
            self._login = ""


def read_part(response: Response, size: int = CHUNK_BYTES) -> bytes:
    """Return the next bytes of a response, as soon as there are some; empty at its end.

    Raises:
        InputError: They take too long.
        HttpFailure: The connection was lost.
    """
    try:
        part = response.read1(size)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise HttpFailure("the connection was lost") from error
    if not part and response.length:
        raise HttpFailure("the connection was lost")
    return part


def read_head(response: Response, size: int) -> bytes:
    """Return the first bytes of a response, fewer if it is shorter. Raises InputError as `read_part`."""
    head = bytearray()
    while len(head) < size and (part := read_part(response, size - len(head))):
        head += part
    return bytes(head)


def read_all(response: Response, limit: int) -> bytes:
    """Return the rest of a response. Raises InputError as `read_part` does, or if that is more than `limit` bytes."""
    data = bytearray()
    while part := read_part(response):
        data += part
        if len(data) > limit:
            raise InputError(f"it is larger than {limit / 1e6:g} MB")
    return bytes(data)


def _split_login(url: str) -> tuple[str, str]:
    """Return a URL without its user, password and fragment, and those two."""
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    path, query = (quote(part, safe=string.punctuation) for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, place, path, query, "")), user


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was checked, which is not resolved a second time."""

    secure = False

    def __init__(self, host: str, *, reach: Reach, wait: Wait, proxied: str = "", **options: Any) -> None:
        super().__init__(host, **options)
        self._reach, self._wait, self._proxied = reach, wait, proxied

    def connect(self) -> None:
        if self._proxied:  # what is connected to is the proxy, which the user chose
            self._reach.check_proxied(self._proxied, self.port)
            reach = Reach(self.host, private=True, resolver=self._reach.resolver, check=self._reach.check)
        else:
            reach = self._reach
        self.sock = _first_connected(reach.addresses(self.host, self.port), self.port, self._wait)
        tunnelled: str | None = getattr(self, "_tunnel_host", None)
        if tunnelled:
            self._tunnel()  # type: ignore[attr-defined]  # as http.client's own connect does
        if self.secure:
            self.sock = secured(self.sock, tunnelled or self.host)


def _first_connected(addresses: Sequence[str], port: int, wait: Wait) -> PatientSocket:
    failed: OSError = OSError("no address")
    for address in addresses:
        try:
            return connect(address, port, wait, wait.silent / len(addresses))
        except OSError as error:
            failed = error
    raise failed


class _SecureConnection(_Connection):
    """The same by TLS."""

    default_port = http.client.HTTPS_PORT
    secure = True


class _Http(urllib.request.HTTPHandler):
    """Opens http URLs by connections to checked addresses."""

    def __init__(self, reach: Reach, wait: Wait) -> None:
        super().__init__()
        self._reach, self._wait = reach, wait

    def http_open(self, req: urllib.request.Request) -> Response:
        return self.do_open(_maker(_Connection, req, self._reach, self._wait), req)


class _Https(urllib.request.HTTPSHandler):
    """Opens https URLs by connections to checked addresses."""

    def __init__(self, reach: Reach, wait: Wait) -> None:
        super().__init__()
        self._reach, self._wait = reach, wait

    def https_open(self, req: urllib.request.Request) -> Response:
        return self.do_open(_maker(_SecureConnection, req, self._reach, self._wait), req)


def _maker(kind: type[_Connection], request: urllib.request.Request, reach: Reach, wait: Wait) -> Any:
    host = urlsplit(request.full_url).hostname or ""
    proxied = request.has_proxy() or getattr(request, "_tunnel_host", None)
    return partial(kind, reach=reach, wait=wait, proxied=host if proxied else "")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows some redirects; keeps the password only while scheme, host and port stay the same."""

    max_redirections = max_repeats = 1000  # this class counts itself

    def __init__(self, most: int) -> None:
        self._most, self._followed = most, 0

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
        if not self._most:
            return None
        fp.close()  # what else it says may have no end, and is not read
        self._followed += 1
        if self._followed > self._most:
            raise InputError(f"redirects more than {self._most} times")
        if urlsplit(newurl).scheme.lower() not in WEB:
            raise InputError(f"redirects to {without_secrets(newurl)}, which is not HTTP")
        following = super().redirect_request(req, fp, code, msg, headers, _split_login(newurl)[0])
        login = req.unredirected_hdrs.get("Authorization")
        if following and login and origin(req.full_url) == origin(newurl):
            following.add_unredirected_header("Authorization", login)
        return following
