"""Videos and playlists on web servers. 127.0.0.1 stands for a public address here, and 127.0.0.2 for a private one."""

import http.server
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import pytest
from cli_runner import redact, run
from loopback_server import serve_loopback
from make_media import SAMPLES, make_video, times_of

from mdtool.errors import InputError
from mdtool.media.sources.address import Address
from mdtool.media.sources.http_file import HttpFile, Transfer
from mdtool.media.sources.web_media import open_web
from mdtool.network.http_client import HttpClient
from mdtool.network.reach import Reach

PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"
TIMEOUTS = (60.0, 60.0)
pytestmark = pytest.mark.posix("127.0.0.2 is an address of this machine on Linux")


@dataclass
class Folder:
    """A server of files. moved: path -> where it redirects. ranges: whether it serves parts."""

    host: str = PUBLIC
    files: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def paths(self) -> set[str]:
        return {path for path, _ in self.asked}


@contextmanager
def serve(folder: Folder) -> Iterator[Folder]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            folder.asked.append((path, dict(self.headers)))
            if path in folder.moved:
                self.answer(302, {"Location": folder.moved[path]}, b"")
            elif path not in folder.files:
                self.answer(404, {}, b"")
            else:
                self.serve(folder.files[path])

        def serve(self, data: bytes) -> None:
            part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not (part and folder.ranges):
                self.answer(200, {}, data)
                return
            start, end = int(part[1]), min(int(part[2] or len(data)) + bool(part[2]), len(data))
            self.answer(206, {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, data[start:end])

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body[: folder.cut])
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with serve_loopback(Handler, folder.host) as folder.port:
        yield folder


@pytest.fixture
def public() -> Iterator[Folder]:
    with serve(Folder()) as folder:
        yield folder


@pytest.fixture
def private() -> Iterator[Folder]:
    with serve(Folder(PRIVATE)) as folder:
        yield folder


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def frames(url: str) -> int:
    """The number of frames of what is read as if 127.0.0.1 alone were public."""
    reach = Reach(PUBLIC, public=lambda address: address == PUBLIC)
    container, transfer = open_web(Address(url), TIMEOUTS, reach)
    with closing(container):
        assert not transfer.failure
        return sum(1 for _ in container.decode(video=0))


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two segments of a stream, of 12 frames in all."""
    return split(tmp_path_factory.mktemp("hls"), {})


def split(folder: Path, told: dict[str, str]) -> list[bytes]:
    source: Any = av.open(str(make_video(folder / "a.ts", 12, size=(96, 64), options={}, gop_size=6)))
    options = {"hls_time": "0.1", "hls_list_size": "0", "hls_segment_filename": str(folder / "%d.ts"), **told}
    with source, av.open(str(folder / "list.m3u8"), "w", format="hls", options=options) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    return [(folder / f"{number}.ts").read_bytes() for number in range(2)]


def playlist(*lines: str) -> bytes:
    body = [line if line.startswith("#") else f"#EXTINF:0.3,\n{line}" for line in lines]
    return "\n".join(("#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1", *body, "#EXT-X-ENDLIST", "")).encode()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file(public: Folder, ranges: bool) -> None:
    public.files["/a b.mkv"], public.ranges = make_video(Path("a.mkv"), 12, size=(96, 64)).read_bytes(), ranges
    assert frames(f"{public.url}/a b.mkv?x=1") == 12


def test_a_file_whose_index_is_at_the_end(public: Folder) -> None:
    """Its parts are asked for."""
    public.files["/a.mp4"] = make_video(Path("a.mp4"), 40, face=True, options={}).read_bytes()
    assert public.files["/a.mp4"].index(b"mdat") < public.files["/a.mp4"].index(b"moov")
    outcome = redact(f"{public.url}/a.mp4", "-o", "out.mp4")
    assert outcome.code == 0, outcome.err
    assert times_of(Path("out.mp4")) == times_of(Path("a.mp4"))


def read_whole(file: HttpFile, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := file.read(size - len(data))):
        data += part
    return data


def test_seeking(public: Folder) -> None:
    data = bytes(range(256)) * 4096
    public.files["/a"] = data
    file = HttpFile(HttpClient(public.url), f"{public.url}/a", Transfer())
    assert file.peek(3) == data[:3]
    for at in (0, 5, 700_000, 3, 1_048_570, 1_048_576):
        assert file.seek(at) == file.tell() == at
        assert read_whole(file, 9) == data[at : at + 9]
    assert file.seek(-4, 2) == len(data) - 4
    assert read_whole(file, 9) == data[-4:]
    file.close()
    part = HttpFile(HttpClient(public.url), f"{public.url}/a", Transfer(), start=1000, end=1010)
    assert read_whole(part, 99) == data[1000:1010]
    assert part.read(99) == b""


def test_a_playlist(public: Folder, segments: list[bytes]) -> None:
    """A master of one variant, which redirects; relative names are looked for where that leads."""
    public.files["/m.m3u8"] = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9999\nvariant.m3u8?token=1\n"
    public.moved["/variant.m3u8"] = "/deep/list"
    public.files["/deep/list"] = playlist("0.ts", f"{public.url}/deep/1.ts")
    public.files |= {f"/deep/{number}.ts": data for number, data in enumerate(segments)}
    assert frames(f"{public.url}/m.m3u8") == 12


def test_parts_of_a_file_in_a_playlist(public: Folder, segments: list[bytes]) -> None:
    first, second = map(len, segments)
    ranges = (f"#EXT-X-BYTERANGE:{first}@0", "all.ts", f"#EXT-X-BYTERANGE:{second}@{first}", "all.ts")
    public.files |= {"/list.m3u8": playlist(*ranges), "/all.ts": b"".join(segments)}
    assert frames(f"{public.url}/list.m3u8") == 12


def test_encrypted_segments(public: Folder, segments: list[bytes], tmp_path: Path) -> None:
    key, iv = bytes(range(16)), "07" * 16
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "info").write_text(f"key\n{tmp_path / 'key'}\n{iv}\n")
    encrypted = split(tmp_path, {"hls_key_info_file": str(tmp_path / "info")})
    assert encrypted[0][:9] != segments[0][:9]
    public.files |= {f"/{number}.ts": data for number, data in enumerate(encrypted)}
    public.files["/key"] = key
    public.files["/list.m3u8"] = playlist(f'#EXT-X-KEY:METHOD=AES-128,URI="key",IV=0x{iv}', "0.ts", "1.ts")
    assert frames(f"{public.url}/list.m3u8") == 12


def test_a_playlist_leads_into_no_private_network(public: Folder, private: Folder, segments: list[bytes]) -> None:
    """By no part of it, and by no redirect of a part."""
    public.files |= {"/0.ts": segments[0], "/map.mp4": b""}
    private.files |= {"/1.ts": segments[1], "/key": bytes(16), "/list.m3u8": playlist("1.ts")}
    public.moved |= {"/moved.ts": f"{private.url}/1.ts", "/moved.m3u8": f"{private.url}/list.m3u8"}
    for name, text in {
        "segment": playlist("0.ts", f"{private.url}/1.ts"),
        "redirected": playlist("0.ts", "moved.ts"),
        "key": playlist(f'#EXT-X-KEY:METHOD=AES-128,URI="{private.url}/key"', "0.ts"),
        "map": playlist(f'#EXT-X-MAP:URI="{private.url}/1.ts"', "0.ts"),
        "variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{private.url}/list.m3u8\n".encode(),
        "sound": (
            f'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",DEFAULT=YES,AUTOSELECT=YES,'
            f'URI="{private.url}/list.m3u8"\n#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nplain.m3u8\n'
        ).encode(),
    }.items():
        public.files |= {"/plain.m3u8": playlist("0.ts"), f"/{name}.m3u8": text}
        with pytest.raises(InputError, match="in a private network"):
            frames(f"{public.url}/{name}.m3u8")
    with pytest.raises(InputError, match="in a private network"):
        frames(f"{public.url}/moved.m3u8")
    assert private.asked == []


def test_a_command_says_so_and_can_be_told_otherwise(public: Folder, private: Folder, segments: list[bytes]) -> None:
    """Of two private addresses the one that is typed is reached."""
    public.files |= {"/list.m3u8": playlist("0.ts", f"{private.url}/1.ts"), "/0.ts": segments[0]}
    private.files |= {"/1.ts": segments[1], "/photo.png": (SAMPLES / "group.png").read_bytes()}
    public.moved["/photo.png"] = f"{private.url}/photo.png"
    video = ("redact", f"{public.url}/list.m3u8", "-o", "out.mp4", "-f")
    photo = ("detect", f"{public.url}/photo.png", "face", "--json", "-q")
    for command in (video, photo):
        outcome = run(*command)
        assert (outcome.code, len(outcome.lines)) == (1, 1), outcome.err
        assert "127.0.0.2 is at 127.0.0.2, in a private network, and is not what was named" in outcome.err
        assert private.asked == []
        assert not Path("out.mp4").exists()
    for command in (video, photo):
        outcome = run(*command, "--allow-private")
        assert outcome.code == 0, outcome.err
    assert len(times_of(Path("out.mp4"))) == 12


def test_a_password_follows_no_foreign_playlist(public: Folder, segments: list[bytes]) -> None:
    """The list of another server may name what is on the first one, which then is not asked in the user's name."""
    with serve(Folder()) as other:
        other.files["/list.m3u8"] = playlist(f"{public.url}/0.ts")
        public.files |= {"/0.ts": segments[0], "/own.m3u8": playlist("0.ts")}
        public.moved["/list.m3u8"] = f"{other.url}/list.m3u8"
        for name, gets in (("own", True), ("list", False)):
            public.asked.clear()
            assert frames(f"http://user:secret@{PUBLIC}:{public.port}/{name}.m3u8") == 6
            assert {"Authorization" in headers for path, headers in public.asked if path == "/0.ts"} == {gets}
        assert other.asked
        assert not any("Authorization" in headers for _, headers in other.asked)


def test_a_lost_connection_ends_the_video_where_it_is(public: Folder) -> None:
    data = make_video(Path("a.ts"), 60, face=True).read_bytes()
    public.files["/a.ts"], public.cut = data, len(data) * 2 // 3
    outcome = redact(f"{public.url}/a.ts", "-o", "out.mp4")
    assert outcome.code == 1
    assert "the connection was lost" in outcome.err
    assert 20 < len(times_of(Path("out.incomplete.mp4"))) < 60


@pytest.mark.parametrize("line", ["file:///etc/passwd", "concat:a|b", "tcp://127.0.0.1:1/", "gopher://x/", "subfile:a"])
def test_what_is_not_http_in_a_playlist(public: Folder, segments: list[bytes], line: str) -> None:
    public.files |= {"/list.m3u8": playlist("0.ts", line), "/0.ts": segments[0]}
    with pytest.raises((InputError, av.FFmpegError)):
        frames(f"{public.url}/list.m3u8")
