"""A password in an address goes to its own server alone, wherever that one redirects to."""

import base64
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cli_runner import run
from loopback_server import serve_loopback
from make_media import SAMPLES

LOGIN = "Basic " + base64.b64encode(b"user:se%cret").decode()
ADDRESS = "http://user:se%25cret@127.0.0.1:{}"


@dataclass
class Web:
    """A server. `to`: path -> where it redirects; every other path is a file of the samples."""

    to: dict[str, str] = field(default_factory=dict)
    protected: bool = False
    seen: list[tuple[str, str | None]] = field(default_factory=list)  # path, Authorization
    port: int = 0

    @property
    def logins(self) -> list[str | None]:
        return [login for _, login in self.seen]


@contextmanager
def serve(web: Web) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            login = self.headers.get("Authorization")
            web.seen.append((self.path, login))
            if web.protected and login != LOGIN:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="here"')
                self.end_headers()
            elif self.path in web.to:
                self.send_response(302)
                self.send_header("Location", web.to[self.path])
                self.end_headers()
            else:
                data = (SAMPLES / Path(self.path).name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

    with serve_loopback(Handler) as web.port:
        yield web


@pytest.fixture
def first() -> Iterator[Web]:
    with serve(Web(protected=True)) as web:
        yield web


@pytest.fixture
def other() -> Iterator[Web]:
    with serve(Web()) as web:
        yield web


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)


def faces(web: Web, name: str) -> int:
    """The exit code of a command on an image, which must have been seen if it is 0."""
    outcome = run("detect", f"{ADDRESS.format(web.port)}/{name}", "face")
    assert "se%cret" not in outcome.err + outcome.out.decode()
    assert (outcome.code == 0) == (outcome.out.count(b"face") == 4), outcome.err
    return outcome.code


def test_without_a_redirect_the_server_gets_it(first: Web) -> None:
    assert faces(first, "group.png") == 0
    assert set(first.logins) == {LOGIN}


@pytest.mark.parametrize(
    "to", ["/group.png", "http://127.0.0.1:{first}/group.png", "HTTP://127.0.0.1:{first}/group.png"]
)
def test_on_the_same_server_it_stays(first: Web, to: str) -> None:
    first.to["/moved.png"] = to.format(first=first.port)
    assert faces(first, "moved.png") == 0
    assert set(first.logins) == {LOGIN}


@pytest.mark.parametrize("to", ["http://127.0.0.1:{other}/group.png", "http://localhost:{other}/group.png"])
def test_another_port_or_host_does_not_get_it(first: Web, other: Web, to: str) -> None:
    first.to["/moved.png"] = to.format(other=other.port)
    assert faces(first, "moved.png") == 0
    assert set(first.logins) == {LOGIN}
    assert other.seen
    assert set(other.logins) == {None}


def test_another_name_of_the_same_server_does_not_get_it(other: Web) -> None:
    other.to["/moved.png"] = f"http://localhost:{other.port}/group.png"
    assert faces(other, "moved.png") == 0
    assert set(other.seen) == {("/moved.png", LOGIN), ("/group.png", None)}


def test_the_way_back_does_not_bring_it_back(first: Web, other: Web) -> None:
    """Else the other server would choose what is asked of the first one in the user's name."""
    first.to["/moved.png"] = f"http://127.0.0.1:{other.port}/back.png"
    other.to["/back.png"] = f"http://127.0.0.1:{first.port}/group.png"
    assert faces(first, "moved.png") == 1
    assert set(other.logins) == {None}
    assert ("/group.png", None) in first.seen
    assert ("/group.png", LOGIN) not in first.seen


def test_another_scheme_does_not_get_it(first: Web) -> None:
    """On the port of the same server, which does not speak TLS: nothing of the request may be sent in the clear."""
    first.to["/moved.png"] = f"https://127.0.0.1:{first.port}/group.png"
    assert faces(first, "moved.png") == 1
    assert [path for path, _ in first.seen] == ["/moved.png"] * len(first.seen)


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "data:image/png;base64,AAAA"])
def test_what_is_not_http_is_not_followed(first: Web, to: str) -> None:
    first.to["/moved.png"] = to
    assert faces(first, "moved.png") == 1


def test_a_video(first: Web, other: Web) -> None:
    """Which FFmpeg reads."""
    first.to["/moved.mp4"] = f"http://127.0.0.1:{other.port}/shapes.mp4"
    outcome = run("redact", f"{ADDRESS.format(first.port)}/moved.mp4", "-o", "out.mp4", "--to", "0.2")
    assert outcome.code == 0, outcome.err
    assert other.seen
    assert set(other.logins) == {None}
    assert set(first.logins) <= {LOGIN, None}
    assert LOGIN in first.logins


def test_many_redirects_end(first: Web) -> None:
    first.to["/moved.png"] = "/moved.png"
    assert faces(first, "moved.png") == 1


@contextmanager
def serve_rtsp(to: str, after_login: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Serve an RTSP server that redirects every DESCRIBE, or asks for a password; yields its port, and the requests."""
    seen: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while lines := list(iter(lambda: self.rfile.readline().strip().decode(), "")):
                seen.append("\n".join(lines))
                number = next(line for line in lines if line.startswith("CSeq"))
                known = any(line.startswith("Authorization") for line in lines)
                status = f"302 Moved\r\nLocation: {to}" if to else ""
                if not to or (after_login and not known):
                    status = '401 Unauthorized\r\nWWW-Authenticate: Basic realm="here"'
                if lines[0].startswith("OPTIONS"):
                    status = "200 OK\r\nPublic: DESCRIBE"
                self.wfile.write(f"RTSP/1.0 {status}\r\n{number}\r\n\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1], seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("after_login", [False, True])
def test_an_rtsp_server_that_redirects_is_refused(after_login: bool) -> None:
    """FFmpeg would follow, and send the password along."""
    with serve_rtsp("") as (other, seen), serve_rtsp(f"rtsp://127.0.0.1:{other}/a", after_login) as (port, _):
        outcome = run("redact", f"rtsp://user:secret@127.0.0.1:{port}/a", "-o", "out.mp4")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"redirects to rtsp://127.0.0.1:{other}/a, which would get the password" in outcome.err
    assert "secret" not in outcome.err
    assert seen == []


def test_an_rtsp_redirect_without_a_password_is_followed() -> None:
    with serve_rtsp("") as (other, seen), serve_rtsp(f"rtsp://127.0.0.1:{other}/a") as (port, _):
        assert run("redact", f"rtsp://127.0.0.1:{port}/a", "-o", "out.mp4").code == 1
    assert seen
    assert "Authorization" not in "".join(seen)
