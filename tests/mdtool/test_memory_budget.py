"""Small files that stand for gigabytes of pixels fail alone, with one line, before they are decoded."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import FAST_ENCODING, run
from make_images import encode_image, smooth
from make_media import make_video
from PIL import Image

from mdtool import memory
from mdtool.media.video.encoding import Encoding
from mdtool.memory import available, budget, choose_budget, parse_size


@pytest.fixture(autouse=True)
def default_again() -> Iterator[None]:
    yield
    choose_budget(None)


def png(width: int, height: int, bits: int = 16) -> bytes:
    """An RGBA picture of which only the header is true: what is too large is not decoded."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def gif(side: int) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("P", (side, side), number) for number in range(2)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("large.png", data)
        file.writestr("small.png", encode_image(smooth(), "PNG"))
    return buffer.getvalue()


LINE = "would take about {} of memory, and the budget is {}; scale it down, or give more with --memory"


@pytest.mark.parametrize(
    ("name", "data", "needed"), [("a.png", png(4000, 4000), "608 MB"), ("a.gif", gif(2000), "512 MB")]
)
@pytest.mark.parametrize("command", [["redact", "in", "-o", "out"], ["moderate", "in", "-p", "face", "--report-only"]])
def test_a_picture_beyond_the_budget(command: list[str], name: str, data: bytes, needed: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "b.png").write_bytes(encode_image(smooth(), "PNG"))
    outcome = run(*command, "--memory", "500MB", cwd=tmp_path)
    assert outcome.code == 1
    assert outcome.lines[0] == f"mdtool: in/{name}: {LINE.format(needed, '500 MB')}"
    assert "b.png" in outcome.err
    if command[0] == "redact":
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.png"]


def test_a_picture_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(png(4000, 4000)))
    outcome = run("detect", "a.zip", "face", "--model", "centerface", "--jsonl", "-", "--memory", "500MB", cwd=tmp_path)
    assert outcome.code == 1
    assert f"a.zip/large.png: {LINE.format('608 MB', '500 MB')}" in outcome.err
    failed, done = outcome.json
    assert (failed["input"], failed["error"]["code"], done["input"]) == ("a.zip/large.png", "input", "a.zip/small.png")


def test_a_video_beyond_the_budget(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 3, size=(640, 480))
    for command in (
        ["redact", "a.mp4", "-o", "out.mp4", *FAST_ENCODING],
        ["moderate", "a.mp4", "-p", "face", "--report-only"],
    ):
        outcome = run(*command, "--memory", "25MB", cwd=tmp_path)
        assert (outcome.code, len(outcome.lines)) == (1, 1), outcome.err
        assert LINE.format("29 MB", "25 MB") in outcome.err
        assert run(*command, "--memory", "30 MB", cwd=tmp_path).code == 0


def test_x264_looks_ahead_less_where_frames_are_large() -> None:
    choose_budget(4 * 10**9)
    assert "rc-lookahead" not in Encoding().options("libx264", pixels=1920 * 1080)
    assert Encoding().options("libx264", pixels=7680 * 4320)["rc-lookahead"] == "5"
    assert "rc-lookahead" not in Encoding(preset="ultrafast").options("libx264", pixels=7680 * 4320)
    choose_budget(16 * 10**9)
    assert "rc-lookahead" not in Encoding().options("libx264", pixels=7680 * 4320)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5g", 15 * 10**8), ("2GiB", 2**31), ("4096", 4096)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2XB", "-1GB", "GB", "0", "0GB", "1e9", "I", "2IB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size of memory; give one such as 2GB"):
        parse_size(text)
    assert run("redact", "a.mp4", "--memory", text).code == 2


def test_the_default_is_a_quarter_of_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert budget() == available() // 4
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(
        memory, "_cgroup_files", lambda: [tmp_path / "none", tmp_path / "missing", tmp_path / "memory.max"]
    )
    assert available.__wrapped__() == 1_000_000_000
