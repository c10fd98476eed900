"""Fetching images from listed hosts, and from no others."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from http_server import SCENES, served

from mdtool.errors import InputError
from mdtool.server import image_fetch
from mdtool.server.image_fetch import fetch_image
from mdtool.server.server_settings import ServerSettings

IMAGE = (SCENES / "one.png").read_bytes()


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved.png":
            self.send_response(302)
            self.send_header("Location", "/one.png")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing.png" else 200)
        self.end_headers()
        if self.path == "/endless.png":
            while True:
                self.wfile.write(b"\0" * 4096)
        elif self.path == "/slow.png":
            for _ in range(40):
                self.wfile.write(b"\0")
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(IMAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def pages() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_an_image_of_a_listed_host() -> None:
    with pages() as host:
        assert fetch_image(f"http://{host}/one.png?x=1", ["127.0.0.1"]) == IMAGE


@pytest.mark.parametrize("hosts", [["*"], ["*.0.0.1"], ["localhost"], ["example.com"]])
def test_a_private_address_is_refused_unless_it_is_listed_itself(hosts: list[str]) -> None:
    with pages() as host, pytest.raises(InputError, match="does not fetch from"):
        fetch_image(f"http://{host}/one.png", hosts)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "2130706433",
     "100.64.0.1", "[2002:7f00:1::]", "224.0.0.1"],
)  # fmt: skip
def test_private_addresses_in_any_spelling(address: str) -> None:
    with pytest.raises(InputError, match=r"private addresses|host of its URL is unknown"):
        fetch_image(f"http://{address}/x.png", ["*"])


@pytest.mark.parametrize("url", ["http://", "http://[x/", "http://host:99999/", "https:///x.png"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InputError):
        fetch_image(url, ["host", "*"])


@pytest.mark.parametrize(
    ("path", "message"),
    [("/moved.png", "status 302"), ("/missing.png", "status 404"), ("/endless.png", "larger than 1 MB")],
)
def test_what_a_host_may_not_do(path: str, message: str) -> None:
    with pages() as host, pytest.raises(InputError, match=message):
        fetch_image(f"http://{host}{path}", ["127.0.0.1"], 1_000_000)


def test_a_slow_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_fetch, "SECONDS", 0.3)
    with pages() as host, pytest.raises(InputError, match="not fetched within"):
        fetch_image(f"http://{host}/slow.png", ["127.0.0.1"])


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(InputError, match="did not answer"):
        fetch_image("http://127.0.0.1:1/x.png", ["127.0.0.1"])


def test_a_route_fetches_only_if_hosts_are_listed() -> None:
    with pages() as host, served(settings=ServerSettings(image_hosts=("127.0.0.1",))) as server:
        body = {"image_url": f"http://{host}/one.png", "object": "star"}
        assert server.post("/v1/detect", body).json()["objects"]
        reply = server.post("/v1/detect", body | {"image_url": f"http://{host}/missing.png"})
        assert reply.status_code == 400
        assert "status 404" in reply.json()["error"]["message"]
