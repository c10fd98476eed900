"""What gives access to an address is in no message, record, report or file name; two addresses keep two names."""

import http.server
import threading
from pathlib import Path

import pytest
from cli_runner import run
from make_media import SAMPLES

from mdtool.media.sources.address import Address
from mdtool.media.sources.inputs import Input
from mdtool.network.urls import without_secrets

SECRETS = [
    "https://user:SECRET@example.org/a.mp4",
    "https://example.org/a.mp4?token=SECRET",
    "https://example.org/a.mp4?id=7&Access_Token=SECRET&x=1",
    "https://example.org/a.mp4?X-Amz-Signature=SECRET&X-Amz-Credential=SECRET",
    "https://example.org/a.mp4?sv=1&sig=SECRET%3D",
    "https://example.org/a.mp4?%74oken=SECRET",
    "https://example.org/a.mp4#access_token=SECRET",
    "https://example.org/a.mp4?a=1;api_key=SECRET",
    "rtsp://user:SECRET@camera/live?auth=SECRET",
    "srt://host:9000?passphrase=SECRETSECRET&streamid=SECRET",
    "rtmp://live.example.org/app/SECRET-stream-key",
    "rtmps://live.example.org/app/SECRET-stream-key?x=1",
]


@pytest.mark.parametrize("url", SECRETS)
def test_secrets_are_masked(url: str) -> None:
    address = Address(url)
    for told in (
        str(address),
        str(address.file_name),
        without_secrets(f"can't open '{url}': no"),
        Input(None, Path(), url, address).name,
    ):
        assert "SECRET" not in told
        assert "example.org" in told or "camera" in told or "host" in told or "stream" in told
    assert str(Address(url.replace("SECRET", "OTHER"))) != str(address) or "://user" in url


def test_a_masked_url_is_the_same_in_a_message_and_alone() -> None:
    url = "https://example.org/a.mp4?token=SECRET"
    assert without_secrets(f"{url}: can't be read") == f"{without_secrets(url)}: can't be read"


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a.mp4?id=7&page=2",
        "rtsp://camera/live",
        "rtmp://host/app/short",
        "a?token=of a file.mp4",
        "camera:0",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


class _Photo(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if "SECRET" in self.path else 403)
        self.end_headers()
        self.wfile.write((SAMPLES / "portrait.jpg").read_bytes())

    def log_message(self, *_: object) -> None:
        pass


def test_no_command_writes_a_token(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Photo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://u:SECRET@127.0.0.1:{server.server_port}/a.jpg?token=SECRET"
        told = b""
        for command in (
            ["redact", url, "-o", "out.jpg", "--json"],
            ["redact", url, "-o", "out/", "-f", "--findings", "findings.jsonl"],
            ["redact", url, "-o", "out/", "--dry-run"],
            ["moderate", url, "-p", "face", "--report-only", "--report", "page.html", "--json"],
            ["detect", url, "face", "--model", "centerface", "--jsonl", "records.jsonl"],
            ["detect", url, "face", "--model", "centerface", "--json"],
        ):
            outcome = run(*command, cwd=tmp_path)
            assert outcome.code == 0, outcome.err
            told += outcome.out + outcome.err.encode()
        server.shutdown()
    told += run("redact", url, "-o", "x.mp4", cwd=tmp_path).err.encode()
    told += run("redact", "ftp://u:SECRET@h/a?token=SECRET", "-o", "x.mp4", cwd=tmp_path).err.encode()
    for path in tmp_path.rglob("*"):
        told += str(path).encode() + (path.read_bytes() if path.is_file() else b"")
    assert b"127.0.0.1" in told
    assert b"SECRET" not in told
