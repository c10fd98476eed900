"""Inputs that are broken, of another kind, hostile or missing: one line each, and the others go on."""

import contextlib
import http.server
import os
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
from cli_runner import Outcome, redact, run
from make_media import SAMPLES, frames_of, is_face_visible, make_video, portrait, times_of
from stream_servers import WebServer


def fails(outcome: Outcome, said: str, folder: Path, code: int = 1) -> None:
    """One line, and nothing new beside the inputs."""
    assert (outcome.code, len(outcome.lines)) == (code, 1), outcome.err
    assert said in outcome.err
    assert not [p for p in folder.iterdir() if "out" in p.name or p.name.startswith(".")]


def cut(source: Path, share: float, name: str) -> Path:
    data = source.read_bytes()
    target = source.with_name(name)
    target.write_bytes(data[: round(len(data) * share)])
    return target


def boxes(path: Path) -> dict[bytes, bytes]:
    """Of an MP4: kind -> content, for the outermost."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8]] = data[at + 8 : at + size]
        at += size
    return found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.mp4", b"", "empty"),
        ("words.mp4", b"these are words\n" * 99, "not a video or image in a supported format"),
        ("words.jpg", b"these are words\n" * 99, "not a video or image in a supported format"),
        ("zeros.mkv", bytes(5000), "not a video or image in a supported format"),
        ("begun.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "damaged"),
        ("begun.jpg", b"\xff\xd8\xff\xe0" + bytes(50), "damaged"),
        ("begun.gif", b"GIF89a" + bytes(50), "damaged"),
        ("a.pdf", b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\n", "not a video or image in a supported format"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    fails(redact(tmp_path / name, "-o", tmp_path / f"out{Path(name).suffix}"), said, tmp_path)
    if content:
        assert redact("-", "-o", "-", stdin=content).code == 1


@pytest.mark.posix("named pipes, links and sockets among files")
def test_kinds_of_file(tmp_path: Path) -> None:
    """A pipe that nobody writes to is not waited for."""
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "round.mp4").symlink_to(tmp_path / "round.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.mp4"))
        names = ["pipe.mp4", "link.mp4", "round.mp4", "socket.mp4", "missing.mp4"]
        outcome = redact(*(tmp_path / name for name in names), "-o", tmp_path / "o", seconds=20)
        by_folder = redact(tmp_path, "-o", tmp_path / "o", seconds=20)
    assert outcome.code == 1
    assert len(outcome.lines) == len(names), outcome.err
    assert all(any(name in line for line in outcome.lines) for name in names)
    assert by_folder.code in (1, 3)
    assert redact("/dev/null", "-o", tmp_path / "o.mp4").code == 1


@pytest.mark.parametrize("kind", ["folder", "sound", "still"])
def test_no_moving_pictures(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "a.mp4"
    if kind == "folder":
        source.mkdir()
        fails(redact(source, "-o", tmp_path / "out.mp4"), "no image or video in", tmp_path, code=3)
        return
    if kind == "sound":
        with av.open(str(source), "w") as container:
            stream = container.add_stream("aac", 48000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 48000
            container.mux([*stream.encode(frame), *stream.encode(None)])
        fails(redact(source, "-o", tmp_path / "out.mp4"), "no video stream", tmp_path)
        return
    source.write_bytes((SAMPLES / "portrait.jpg").read_bytes())  # what it is, not what it is called
    fails(redact(source, "-o", tmp_path / "out.mp4"), "end the name in .jpg", tmp_path, code=2)
    assert redact(source, "-o", tmp_path / "photo.jpg").code == 0


def test_cut_before_the_index(tmp_path: Path) -> None:
    source = cut(make_video(tmp_path / "a.mp4", with_sound=True), 0.6, "b.mp4")
    fails(redact(source, "-o", tmp_path / "out.mp4"), "b.mp4", tmp_path)
    assert redact("-", "-o", "-", stdin=source.read_bytes()).code == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_cut_in_the_middle(tmp_path: Path, suffix: str) -> None:
    whole = make_video(tmp_path / f"a{suffix}", 90, face=True, with_sound=True, options={"movflags": "faststart"})
    source, target = cut(whole, 0.6, f"b{suffix}"), tmp_path / f"out.incomplete{suffix}"
    outcome = redact(source, "-o", tmp_path / f"out{suffix}")
    assert outcome.code == 1
    assert "ends earlier than its header or index states" in outcome.err
    assert "b" + suffix in outcome.lines[-1]
    assert str(target) in outcome.lines[-1]
    assert not (tmp_path / f"out{suffix}").exists()
    count = len(frames_of(target))
    assert 30 < count < 80
    assert times_of(target) == times_of(whole)[:count]
    piped = redact("-", "-o", "-", stdin=source.read_bytes())
    assert piped.code == 1
    assert piped.out


def test_matroska_without_its_last_moment(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.mkv", 24, face=True)
    assert redact(whole, "-o", tmp_path / "whole.mkv").code == 0
    outcome = redact(cut(whole, 0.7, "b.mkv"), "-o", tmp_path / "out.mkv")
    assert outcome.code == 1
    assert "ends earlier than its header or index states" in outcome.err
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".avi", "mpeg4", {}),
        (".flv", "libx264", {}),
        (".mkv", "libx264", {}),
        (".mp4", "libx264", {"movflags": "faststart"}),
    ],
)
def test_standard_input_that_is_cut(tmp_path: Path, suffix: str, codec: str, options: dict[str, str]) -> None:
    whole = make_video(tmp_path / f"a{suffix}", 24, face=True, codec=codec, options=options)
    assert redact("-", "-o", tmp_path / "whole.mkv", stdin=whole.read_bytes()).code == 0
    outcome = redact("-", "-o", tmp_path / "out.mkv", stdin=cut(whole, 0.99, f"b{suffix}").read_bytes())
    assert (outcome.code, "ends earlier than its header or index states" in outcome.err) == (1, True), outcome.err
    assert not (tmp_path / "out.mkv").exists()


def test_what_is_incomplete_is_never_taken_for_finished(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = make_video(tmp_path / "whole.mp4", 60, face=True, options={"movflags": "faststart"})
    cut(whole, 0.6, "cut.mp4").replace(folder / "a.mp4")
    assert redact(folder, "-o", out).code == 1
    left = (out / "a.incomplete.mp4").read_bytes()
    again = redact(folder, "-o", out)
    assert again.code == 74
    assert "an earlier run has left a.incomplete.mp4, in which a part of it is missing" in again.err
    assert [path.name for path in out.iterdir()] == ["a.incomplete.mp4"]
    assert (out / "a.incomplete.mp4").read_bytes() == left
    whole.replace(folder / "a.mp4")
    assert redact(folder, "-o", out, "--overwrite").code == 0
    assert [path.name for path in out.iterdir()] == ["a.mp4"]


def test_an_output_of_what_the_input_was_before_is_never_taken_for_finished(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = make_video(folder / "a.mp4", 60, face=True, options={"movflags": "faststart"})
    make_video(folder / "b.mp4", 3)
    damaged = cut(whole, 0.6, "cut.mp4")
    findings = tmp_path / "f.jsonl"
    assert redact(folder / "a.mp4", folder / "b.mp4", "-o", out, "--findings", findings).code == 0
    finished = (out / "a.mp4").read_bytes()
    damaged.replace(folder / "a.mp4")
    assert redact(folder, "-o", out, "--overwrite").code == 1
    assert sorted(path.name for path in out.iterdir()) == ["a.incomplete.mp4", "a.mp4", "b.mp4"]
    commands: list[list[str | Path]] = [
        ["redact"], ["gaze"], ["moderate", "-p", "face", "--action", "blur"], ["render", findings]
    ]  # fmt: skip
    for command in commands:
        again = run(*command, folder, "-o", out)
        assert again.code == 1, command
        assert f"{out / 'a.mp4'}: an earlier run has left a.incomplete.mp4, in which a part of it" in again.err
        assert f"skipped: {out / 'b.mp4'} already exists" in again.err
        alone = run(*command, folder / "a.mp4", "-o", out / "a.mp4")
        assert alone.code == 74, command
        assert "an earlier run has left a.incomplete.mp4, in which a part of it" in alone.err
    assert (out / "a.mp4").read_bytes() == finished


def test_what_is_said_of_an_input_that_ends_early_is_so(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", 60, face=True, options={"movflags": "faststart"})
    findings = tmp_path / "f.jsonl"
    assert redact(whole, "-o", tmp_path / "out.mp4", "--findings", findings).code == 0
    source = cut(whole, 0.6, "a.mp4")
    shown, kept = "where what should be hidden may show", "the output holds what could be read"
    moderating = ["moderate", "-p", "face", "--action"]
    commands: list[tuple[list[str | Path], bool, bool]] = [
        (["redact"], True, True),
        (["gaze"], True, False),
        (["gaze", "--report-only"], False, False),
        ([*moderating, "blur"], True, True),
        ([*moderating, "blur", "--report-only"], False, False),
        ([*moderating, "cut", "--json"], False, False),  # all of it
    ]
    for number, (command, writes, hides) in enumerate(commands):
        target = tmp_path / f"{number}.mp4"
        to: list[str | Path] = [] if "--report-only" in command else ["-o", target]
        outcome = run(*command, source, *to)
        assert outcome.code == 1, command
        assert (f"is in {tmp_path / f'{number}.incomplete.mp4'}" in outcome.lines[-1]) == writes, command
        assert (shown in outcome.lines[-1]) == hides, command
        assert kept not in outcome.err, command
        assert target.with_name(f"{number}.incomplete.mp4").exists() == writes, command
    piped = run("gaze", source, "-o", "-")
    assert kept in piped.err


@pytest.mark.parametrize("style", ["boxes", "solid"])
def test_only_a_style_that_hides_warns_of_what_may_show(tmp_path: Path, style: str) -> None:
    whole = make_video(tmp_path / "whole.mp4", 60, face=True, options={"movflags": "faststart"})
    source, findings = cut(whole, 0.6, "a.mp4"), tmp_path / "f.jsonl"
    assert redact(source, "-o", tmp_path / "out.mp4", "--findings", findings).code == 1
    outcome = run("render", findings, source, "--style", style, "-o", tmp_path / "drawn.mp4")
    assert outcome.code == 1
    assert "what could be read is in" in outcome.lines[-1]
    assert ("where what should be hidden may show" in outcome.lines[-1]) == (style == "solid")


@pytest.mark.parametrize("command", [["redact"], ["gaze"], ["moderate", "-p", "face"], ["detect"]])
def test_a_folder_of_incomplete_outputs_alone_is_said_to_be_one(tmp_path: Path, command: list[str]) -> None:
    make_video(tmp_path / "a.incomplete.mp4", 3)
    for name in (str(tmp_path), f"{tmp_path}/*.mp4"):
        outcome = run(*command, name, *(["face"] if command == ["detect"] else []))
        assert outcome.code == 3
        told = "1 left out: incomplete outputs: 1 (a.incomplete.mp4); one that is named itself is not left out"
        assert outcome.lines[-1] == f"mdtool: no image or video in {name}; {told}"
    (tmp_path / "a.incomplete.mp4").rename(tmp_path / "a.redacted.mp4")
    assert "1 left out: outputs of earlier runs: 1 (a.redacted.mp4)" in run("redact", tmp_path).err
    (tmp_path / "a.redacted.mp4").unlink()
    assert run("redact", tmp_path).lines == [f"mdtool: no image or video in {tmp_path}"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_damage_in_the_middle_shows_no_face(tmp_path: Path, suffix: str) -> None:
    """Every picture that comes out is covered, whatever the decoder made of it."""
    whole = make_video(tmp_path / f"a{suffix}", 60, face=True, size=(192, 128), options={"movflags": "faststart"})
    data = bytearray(whole.read_bytes())
    random = np.random.default_rng(3)
    for at in random.integers(len(data) // 3, len(data) * 2 // 3, 40):
        data[at : at + 3] = random.bytes(3)
    source, target = tmp_path / f"b{suffix}", tmp_path / f"out.incomplete{suffix}"
    source.write_bytes(data)
    outcome = redact(source, "-o", tmp_path / f"out{suffix}", "--style", "solid")
    assert outcome.code == 1
    assert "damaged" in outcome.err
    assert any(char.isdigit() for char in outcome.err)
    assert len(frames_of(target)) > 30
    assert all(is_face_visible(frame) for frame in frames_of(whole))
    assert not any(is_face_visible(frame) for frame in frames_of(target))


@pytest.mark.parametrize("suffix", [".h264", ".ts"])
def test_first_picture_is_no_key_frame(tmp_path: Path, suffix: str) -> None:
    whole = make_video(tmp_path / f"a{suffix}", 60, face=True, options={}, gop_size=20)
    source, target = tmp_path / f"b{suffix}", tmp_path / "out.mkv"
    data = whole.read_bytes()
    source.write_bytes(data[len(data) // 5 // 188 * 188 :])
    outcome = redact(source, "-o", target, "--style", "solid")
    assert outcome.code in (0, 1), outcome.err
    frames = frames_of(target if outcome.code == 0 else tmp_path / "out.incomplete.mkv")
    assert 38 <= len(frames) < 60
    assert not any(is_face_visible(frame) for frame in frames)


def test_header_that_counts_wrong(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.avi", 12, codec="mpeg4")
    data = bytearray(source.read_bytes())
    for at in (data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32):
        assert struct.unpack_from("<I", data, at) == (12,)
        struct.pack_into("<I", data, at, 99999)
    source.write_bytes(data)
    assert redact(source, "-o", tmp_path / "out.mkv", "--max-calls", "3").code == 0
    assert len(frames_of(tmp_path / "out.mkv")) == 12


def test_size_and_format_that_change_midway(tmp_path: Path) -> None:
    parts = [make_video(tmp_path / f"{n}.ts", 20, True, size=size) for n, size in enumerate([(192, 128), (128, 96)])]
    source = tmp_path / "a.ts"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    outcome = redact(source, "-o", tmp_path / "out.mp4", "--style", "solid")
    assert "Traceback" not in outcome.err
    assert outcome.code in (0, 1)
    for frame in frames_of(tmp_path / ("out.mp4" if outcome.code == 0 else "out.incomplete.mp4")):
        assert (frame.width, frame.height) == (192, 128)
        assert not is_face_visible(frame)


def bomb(side: int) -> bytes:
    """A PNG that says it is enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(100_000))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [20_000, 2_000_000_000])
def test_picture_that_is_a_bomb(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(bomb(side))
    outcome = redact(tmp_path / "a.png", "-o", tmp_path / "out.png", seconds=20)
    assert (outcome.code, len(outcome.lines)) == (1, 1), outcome.err


class Listener(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """Of a server on this machine that notes who calls."""
    server = WebServer(("127.0.0.1", 0), Listener)
    Listener.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def scripts(file: str, address: str) -> dict[str, str]:
    """Texts that make a careless demuxer open what they name."""
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        'bandwidth="1000" codecs="avc1" width="128" height="96"><BaseURL>{}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )
    smil = '<?xml version="1.0"?><SmoothStreamingMedia MajorVersion="2"><StreamIndex Url="{}"/></SmoothStreamingMedia>'
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    asx = '<asx version="3.0"><entry><ref href="{}"/></entry></asx>'
    made = {"sdp": sdp, "concat of a file": f"ffconcat version 1.0\nfile '{file}'\n"}
    for name, place in (("file", f"file:{file}"), ("address", f"{address}/x.ts")):
        made |= {f"hls {name}": hls.format(place), f"dash {name}": dash.format(place)}
        made |= {f"smooth {name}": smil.format(place), f"asx {name}": asx.format(place)}
        made |= {f"url {name}": place, f"reference {name}": f"[Reference]\nRef1={place}\n"}
        made |= {f"concat {name}": f"ffconcat version 1.0\nfile '{place}'\n"}
    return made


def test_scripts_open_nothing_else(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    hidden = make_video(folder / "hidden.nut", face=True)
    texts = list(scripts(hidden.name, address).values()) + list(scripts(str(hidden), address).values())
    names = []
    for number, text in enumerate(texts):
        for suffix in (".mp4", ".mkv", ".m3u8"):
            names.append(folder / f"{number}{suffix}")
            names[-1].write_text(text)
    assert_they_would_elsewhere(folder, texts)
    outcome = redact(*names, "-o", tmp_path / "out", seconds=40)
    assert outcome.code == 1
    assert len(outcome.lines) == len(names), outcome.err
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    for text in texts[: len(texts) // 2]:
        outcome = redact("-", "-o", "-", stdin=text.encode(), cwd=folder, seconds=20)
        assert (outcome.code, outcome.out) == (1, b"")
    assert Listener.asked == []


CARELESS = {"protocol_whitelist": "file,http,tcp", "extension_picky": "0", "allowed_extensions": "ALL"}


def assert_they_would_elsewhere(folder: Path, texts: list[str]) -> None:
    """Opened with no care, some of these do read the file that they name, and ask for the address."""
    opened = 0
    for number in range(len(texts)):
        where = str(folder / f"{number}.m3u8")
        with contextlib.suppress(av.FFmpegError), av.open(where, options=CARELESS) as container:
            opened += bool(container.streams.video)
    assert opened
    assert Listener.asked
    Listener.asked.clear()


def test_quicktime_that_points_elsewhere(tmp_path: Path) -> None:
    """A movie whose media lie in another file, by a data reference."""
    whole, source = make_video(tmp_path / "hidden.mov", 12, face=True), tmp_path / "a.mov"
    found = boxes(whole)
    moov = found[b"moov"]
    at = moov.index(b"dref") - 4
    old = moov[at : at + int.from_bytes(moov[at : at + 4], "big")]
    place = alias(whole)
    new = old[4:16] + struct.pack(">I", 8 + len(place)) + b"alis" + place
    moov = moov.replace(old, struct.pack(">I", 4 + len(new)) + new)
    for parent in (b"trak", b"mdia", b"minf", b"dinf"):
        at = moov.index(parent) - 4
        size = int.from_bytes(moov[at : at + 4], "big") + 4 + len(new) - len(old)
        moov = moov[:at] + struct.pack(">I", size) + moov[at + 4 :]
    content = {b"ftyp": found[b"ftyp"], b"moov": moov, b"mdat": bytes(64)}
    source.write_bytes(b"".join(struct.pack(">I", 8 + len(data)) + kind + data for kind, data in content.items()))
    with av.open(str(source), options={"enable_drefs": "1", "use_absolute_path": "1"}) as careless:
        assert len(list(careless.decode(video=0))) == 12
    fails(redact(source, "-o", tmp_path / "out.mov", seconds=20), "a.mov", tmp_path)


def alias(path: Path) -> bytes:
    """A Macintosh alias record with a path in it, as a QuickTime data reference holds it."""
    place = str(path).encode()
    record = bytes(4) + struct.pack(">IHHH", 0, 0, 2, 0) + b"\x04disk".ljust(28, b"\0") + bytes(12)
    record += b"\x01a".ljust(64, b"\0") + bytes(16) + struct.pack(">hh", 1, 1) + bytes(16)
    record += struct.pack(">hH", 2, len(place)) + place + bytes(len(place) % 2) + struct.pack(">hH", -1, 0)
    return record


@pytest.mark.posix("symbolic links")
def test_folders(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.mp4", "a.mkv", "deep/a.mp4", "deep/deeper/b.mp4", ".c.mp4", ".hidden/d.mp4", "a.redacted.mp4"):
        make_video(folder / name, 3)
    (folder / "A.JPG").write_bytes((SAMPLES / "portrait.jpg").read_bytes())
    (folder / "bad.mp4").write_bytes(b"words")
    (folder / "notes.txt").write_text("words")
    (folder / "deep" / "up").symlink_to(folder)
    outcome = redact(folder, "-o", out)
    assert outcome.code == 1
    told = [line for line in outcome.lines if line.startswith("mdtool:")]
    assert len(told) == 2
    assert told[0] == (
        "mdtool: 5 left out: hidden: 2 (.hidden/, ...), outputs of earlier runs: 1 (a.redacted.mp4), "
        "not known as images or videos: 1 (notes.txt), links to folders: 1 (up/)"
    )
    assert told[1].startswith(f"mdtool: {folder}/bad.mp4: not a video")
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert made == ["A.JPG", "a.mkv", "a.mp4", "deep/a.mp4", "deep/deeper/b.mp4"]
    stamps = {name: (out / name).stat().st_mtime_ns for name in made}
    again = redact(folder, "-o", out)
    assert again.code == 1
    assert again.err.count("skipped") == len(made)
    assert {name: (out / name).stat().st_mtime_ns for name in made} == stamps


def test_outputs_beside_inputs_are_not_redacted_again(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 3)
    make_video(tmp_path / "b.mp4", 3)
    assert redact(tmp_path).code == 0
    names = ["a.mp4", "a.redacted.mp4", "b.mp4", "b.redacted.mp4"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert redact("*.mp4", cwd=tmp_path).code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    out = tmp_path / "out"
    assert redact(tmp_path / "[a-b].mp4", "-o", out).code == 0  # a glob that the shell left alone
    assert sorted(p.name for p in out.iterdir()) == ["a.mp4", "b.mp4"]


def test_output_folder_inside_the_input_folder(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 3)
    for _ in range(2):
        assert redact(tmp_path, "-o", tmp_path / "out").code == 0
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.mp4")) == ["a.mp4", "out/a.mp4"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing/*.mp4"], 3, "nothing/*.mp4"),
        (["."], 3, "no image or video"),
        (["a.mp4", "--nonsense"], 2, "--nonsense"),
        ([], 2, "INPUT"),
        (["a.mp4", "-p", "dog"], 4, "dog"),
        (["a.mp4", "-p", "dog", "--model", "centerface"], 2, "dog"),
        (["a.mp4", "-p", ""], 2, "prompt"),
        (["a.mp4", "--model", "nonsense"], 4, "nonsense"),
        (["a.mp4", "--from", "soon"], 2, "--from"),
        (["a.mp4", "--strength", "9"], 2, "strength"),
        (["a.mp4", "--margin", "-3"], 2, "margin"),
        (["a.mp4", "--color", "nonsense"], 2, "--color"),
        (["a.mp4", "--style", "nonsense"], 2, "--style"),
        (["-", "a.mp4"], 2, "standard input"),
        (["missing.mp4", "-o", "out.mp4"], 1, "no such file"),
        (["missing.mp4"], 1, "no such file"),
        (["a.mp4", "-o", "out.xyz"], 2, "out.xyz"),
        (["a.mp4", "--from-findings", "missing.jsonl"], 1, "missing.jsonl"),
    ],
)
def test_usage(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    if "a.mp4" in arguments:
        make_video(tmp_path / "a.mp4", 3)
    outcome = redact(*arguments, cwd=tmp_path)
    assert (outcome.code, len(outcome.lines)) == (code, 1), outcome.err
    assert said in outcome.err
    assert outcome.out == b""
    assert {p.name for p in tmp_path.iterdir()} <= {"a.mp4"}


def test_version_and_help() -> None:
    for arguments in (["--version"], ["--help"], ["redact", "--help"], ["models", "list"]):
        outcome = run(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out


def test_the_face_that_these_tests_hide_is_found(tmp_path: Path) -> None:
    """Else they would show nothing."""
    source = make_video(tmp_path / "a.mp4", 6, face=True)
    assert portrait(96).std() > 30
    outcome = redact(source, "-o", tmp_path / "out.mp4", "--json")
    assert outcome.json[0]["objects"] >= 1
    assert outcome.json[0]["hidden_frames"] == 0
