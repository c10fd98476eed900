"""Requests over real sockets: redirects, passwords, cookies, limits, interruptions.

127.0.0.1 stands for a public address here, and 127.0.0.2 for a private one.
"""

import base64
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from loopback_server import serve_loopback

from mdtool.errors import InputError
from mdtool.network.http_client import HttpClient, HttpFailure, Limits, read_all
from mdtool.network.reach import PrivateAddress, Reach
from mdtool.network.sockets import Wait

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
pytestmark = pytest.mark.posix("127.0.0.2 is an address of this machine on Linux")


@dataclass
class Web:
    """A server. pages: path -> status, headers, body."""

    host: str
    pages: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def redirect(self, path: str, to: str) -> None:
        self.pages[path] = (302, {"Location": to}, b"moved")


@contextmanager
def serve(web: Web) -> Iterator[Web]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, dict(self.headers)))
            status, headers, body = web.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serve_loopback(Handler, web.host) as web.port:
        yield web


@pytest.fixture
def public() -> Iterator[Web]:
    with serve(Web(PUBLIC)) as web:
        yield web


@pytest.fixture
def private() -> Iterator[Web]:
    with serve(Web(PRIVATE, {"/": (200, {}, b"secret")})) as web:
        yield web


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def names(host: str, port: int) -> list[str]:
    return {"public.example": [PUBLIC], "rebound.example": [PRIVATE]}[host]


def client(url: str, limits: Limits | None = None, private: bool | None = None) -> HttpClient:
    host = url.partition("://")[2].rpartition("@")[2].partition("/")[0].rpartition(":")[0]
    return HttpClient(url, Reach(host, private, resolver=names, public=lambda address: address == PUBLIC), limits)


def fetch(url: str, limits: Limits | None = None, private: bool | None = None) -> bytes:
    one = client(url, limits, private)
    with one.open(one.url) as response:
        return read_all(response, 1_000_000)


def test_a_page(public: Web) -> None:
    public.pages["/a?x=1"] = (200, {}, b"here")
    assert fetch(f"{public.url}/a?x=1") == b"here"
    assert fetch(f"http://public.example:{public.port}/a?x=1") == b"here"


def test_a_redirect_into_a_private_network(public: Web, private: Web) -> None:
    for to in (
        f"{private.url}/",
        f"http://rebound.example:{private.port}/",
        "http://[::1]/",
        "http://169.254.169.254/",
    ):
        public.redirect("/", to)
        with pytest.raises(PrivateAddress, match="is not what was named; --allow-private allows it"):
            fetch(f"{public.url}/")
    assert private.asked == []
    public.redirect("/", f"{private.url}/")
    assert fetch(f"{public.url}/", private=True) == b"secret"


def test_a_name_that_leads_into_one(private: Web) -> None:
    with pytest.raises(PrivateAddress):
        fetch(f"http://rebound.example:{private.port}/")
    assert fetch(f"{private.url}/") == b"secret"  # as it is typed
    assert len(private.asked) == 1


def test_redirects_are_counted(public: Web) -> None:
    for number in range(7):
        public.redirect(f"/{number}", f"/{number + 1}")
    public.pages["/7"] = (200, {}, b"there")
    assert fetch(f"{public.url}/2") == b"there"
    with pytest.raises(InputError, match="redirects more than 5 times"):
        fetch(f"{public.url}/1")
    with pytest.raises(HttpFailure, match="302"):
        fetch(f"{public.url}/6", Limits(redirects=0))


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/a", "data:,a", "gopher://127.0.0.1/"])
def test_what_is_not_http_is_not_followed(public: Web, to: str) -> None:
    public.redirect("/", to)
    with pytest.raises(InputError):
        fetch(f"{public.url}/")
    with pytest.raises(InputError):
        HttpClient(f"{public.url}/").open(to)


def test_a_password_and_cookies_stay_with_their_server(public: Web, private: Web) -> None:
    public.pages["/"] = (200, {"Set-Cookie": "session=7"}, b"")
    one = client(f"http://user:pa%20ss@{public.host}:{public.port}/", private=True)
    one.open(one.url).close()
    public.redirect("/away", f"{private.url}/")
    one.open(f"{public.url}/away").close()
    (_, first), (_, second) = public.asked
    assert first["Authorization"] == second["Authorization"] == "Basic " + base64.b64encode(b"user:pa ss").decode()
    assert "Cookie" not in first
    assert second["Cookie"] == "session=7"
    assert {"Authorization", "Cookie"}.isdisjoint(private.asked[0][1])
    one.leave(f"{private.url}/list")
    one.open(one.url).close()
    assert "Authorization" not in public.asked[-1][1]


@contextmanager
def talker(*pieces: bytes, pause: float = 0.0, endless: bool = False) -> Iterator[str]:
    """A server that says this, whatever it is asked, and then nothing more, or the last piece for ever."""
    ended = threading.Event()

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    ended.wait(pause)
                while endless and not ended.wait(pause):
                    connection.sendall(pieces[-1])
            except OSError:
                return
            ended.wait(60)

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server((PUBLIC, 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://{PUBLIC}:{listener.getsockname()[1]}/"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def test_silence_ends() -> None:
    with talker(HEAD) as url, pytest.raises(InputError, match=r"no data arrived for 0\.2 seconds"):
        fetch(url, Limits(silent=0.2))
    with talker() as url, pytest.raises(InputError, match=r"no data arrived for 0\.2 seconds"):
        fetch(url, Limits(silent=0.2))


def test_a_drop_at_a_time_ends() -> None:
    with talker(HEAD, b"\0", pause=0.02, endless=True) as url, pytest.raises(InputError, match="not fetched within"):
        fetch(url, Limits(seconds=0.3))


def test_the_mean_speed_counts() -> None:
    fast = Wait(silent=10, seconds=None, check=lambda: None)
    slow = Wait(silent=10, seconds=None, check=lambda: None)

    def drip(wait: Wait, size: int) -> None:
        for _ in range(1000):
            wait.turn()
            wait.received(size, 0.0)

    drip(fast, 200)
    with pytest.raises(InputError, match="less than 1000 bytes a second"):
        drip(slow, 10)


def test_what_is_endless_ends() -> None:
    with talker(HEAD, bytes(1 << 16), endless=True) as url, pytest.raises(InputError, match="larger than 1 MB"):
        fetch(url)
    moved = b"HTTP/1.1 302 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n"
    with talker(moved, bytes(1 << 16), endless=True) as url, pytest.raises(InputError):
        fetch(url)
    with talker(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", endless=True) as url, pytest.raises(InputError):
        fetch(url)


def test_a_lost_connection(public: Web) -> None:
    public.pages["/"] = (200, {"Content-Length": "99"}, b"half")
    with pytest.raises(HttpFailure, match="connection was lost"):
        fetch(f"{public.url}/")
    with pytest.raises(HttpFailure):
        fetch(f"http://{PUBLIC}:1/")


def test_an_interruption_is_heard_within_a_second() -> None:
    interrupted = threading.Event()

    def check() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    with talker(HEAD) as url:
        one = HttpClient(url, Reach(PUBLIC, check=check), Limits(silent=60))
        with one.open(one.url) as response:
            interrupted.set()
            begin = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                read_all(response, 1000)
            assert time.monotonic() - begin < 30  # on a busy machine; it is polled ten times a second


def test_a_proxy_of_the_environment(public: Web, private: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is connected to wherever it is, and asked for the whole URL, unless that is private."""
    monkeypatch.setenv("http_proxy", private.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    private.pages["http://public.example:99/a"] = (200, {}, b"by proxy")
    assert fetch("http://public.example:99/a") == b"by proxy"
    with pytest.raises(PrivateAddress):
        fetch("http://rebound.example:99/a")
    assert len(private.asked) == 1
