"""Small files that stand for gigabytes of pixels fail alone, with one line, before they are decoded."""

import gc
import io
import os
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, run, wait_until
from make_images import encode_image, smooth
from make_media import make_video
from PIL import Image

from mdtool import memory
from mdtool.jobs.inference.read_ahead import PollTimeout, read_ahead
from mdtool.media.video.encoding import Encoding
from mdtool.memory import ACCOUNT, available, budget, choose_budget, kept, parse_size, reserve


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


# --- several inputs at once

SIZE = 1_000_000


def read_pixels(item: int) -> np.ndarray:
    """Needs three times while it is read what is left of it."""
    reserve(3 * SIZE)
    peaks.append(ACCOUNT.alive)
    return kept(np.full(SIZE, item, np.uint8))[:10]  # a view, which keeps the whole alive


peaks: list[int] = []


@pytest.fixture
def five_megabytes() -> Iterator[None]:
    gc.collect()
    wait_until(lambda: ACCOUNT.alive == 0)  # threads of the test before may end now
    choose_budget(5 * SIZE)
    peaks.clear()
    yield
    gc.collect()
    wait_until(lambda: ACCOUNT.alive == 0)


def test_inputs_read_ahead_wait_for_each_other(five_megabytes: None) -> None:
    seen = 0
    poll = PollTimeout()
    poll.has_other_work = True  # so that nothing is urgent
    with closing(read_ahead(range(30), read_pixels, 8, poll_timeout=poll)) as results:
        for result in results:
            if result is not None:
                assert result.value is not None
                assert result.value[0] == seen
                seen += 1
            del result
    assert seen == 30
    assert max(peaks) <= 5 * SIZE


def test_what_is_needed_next_is_read_though_nothing_becomes_free(five_megabytes: None) -> None:
    """A consumer that keeps everything would wait for ever else."""
    with closing(read_ahead(range(8), read_pixels, 4)) as results:
        held = [result.value for result in results if result is not None]
    assert [int(one[0]) for one in held if one is not None] == list(range(8))


def test_a_wait_for_memory_is_not_the_inputs_time(five_megabytes: None) -> None:
    poll = PollTimeout()
    poll.has_other_work = True
    with ACCOUNT.holding(5 * SIZE), closing(read_ahead([1], read_pixels, 4, timeout=0.2, poll_timeout=poll)) as results:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert next(results) is None
        poll.has_other_work = False
        (result,) = [one for one in results if one is not None]
    assert result.error is None


def test_an_end_ends_the_waits(five_megabytes: None) -> None:
    threads = threading.active_count()
    poll = PollTimeout()
    poll.has_other_work = True
    with ACCOUNT.holding(5 * SIZE), closing(read_ahead(range(9), read_pixels, 4, poll_timeout=poll)) as results:
        assert next(results) is None
    wait_until(lambda: threading.active_count() <= threads)


UNDER_A_LIMIT = """
import re, resource, sys
import mdtool.cli, torch, cv2, av, pyvips
from pathlib import Path
from mdtool.jobs.batch import coordinator, worker
from engine import load, LoadOptions
load("centerface", LoadOptions(device="cpu"))
now = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]), -1))
sys.exit(mdtool.cli.run(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.posix("limits of a process")
def test_a_folder_of_large_pictures_under_a_limit(tmp_path: Path) -> None:
    """Each may take 650 MB while it is decoded; several at a time do not fit into the limit."""
    (tmp_path / "in").mkdir()
    data = encode_image(np.zeros((6000, 6000, 3), np.uint8), "PNG")
    for number in range(6):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    asking = ("detect", "in", "face", "--model", "centerface", "--jsonl", "out.jsonl", "--memory", "700MB")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, "1000000000", *asking], cwd=tmp_path, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert b"6 processed" in done.stderr


@pytest.mark.slow
@pytest.mark.posix("limits of a process")
def test_no_memory_is_told_as_such(tmp_path: Path) -> None:
    """By whatever library it runs out: "damaged" would be a lie."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.png").write_bytes(encode_image(np.zeros((6000, 6000, 3), np.uint8), "PNG"))
    (tmp_path / "in" / "small.png").write_bytes(encode_image(smooth(), "PNG"))
    asking = ("detect", "in", "face", "--model", "centerface", "--jsonl", "-", "--memory", "4GB")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, "130000000", *asking],
        cwd=tmp_path, env=os.environ | {"MALLOC_ARENA_MAX": "1"},  # each thread would reserve 64 MB of the limit
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert b"in/large.png: out of memory; give a smaller input, or free memory" in done.stderr, done.stderr
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.posix("limits of a process")
def test_no_room_for_a_thread_is_no_memory(tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(encode_image(smooth(), "PNG"))
    program = UNDER_A_LIMIT.replace("sys.exit", "import threading\nthreading.stack_size(4 << 30)\nsys.exit")
    asking = ("detect", "small.png", "face", "--model", "centerface", "--jsonl", "-")
    done = subprocess.run(
        [sys.executable, "-c", program, "1000000000", *asking], cwd=tmp_path, capture_output=True, timeout=300
    )
    said = b"mdtool: out of memory; free some, or raise the limit of this process\n"
    assert (done.returncode, done.stderr) == (1, said)


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
