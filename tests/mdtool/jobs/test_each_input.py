"""Whatever one input has a library raise is the failure of that input: the others are done, in every command."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import pyvips
from cli_runner import FAST_ENCODING, run
from make_media import SAMPLES, make_video
from PIL import Image
from tokenizers import models

from mdtool.errors import InputError
from mdtool.jobs.each_input import error_message
from mdtool.media.video import frame
from mdtool.media.video.frame import has_plain_planes
from mdtool.server.api_error import ApiError

WIDTH = 66  # of the pictures and frames at which the library fails
COMMANDS: dict[str, list[str]] = {
    "redact": ["redact", "in", "-o", "out", *FAST_ENCODING],
    "dry run": ["redact", "in", "--dry-run"],
    "preview": ["redact", "in", "-o", "out", "--preview"],
    "moderate": ["moderate", "in", "-p", "face", "--report-only"],
    "gaze": ["gaze", "in", "-o", "out", *FAST_ENCODING],
    "detect": ["detect", "in", "face", "--model", "centerface", "--json"],
    "detect --jsonl": ["detect", "in", "face", "--model", "centerface", "--jsonl", "out.jsonl"],
    "detect --tiles": ["detect", "in", "face", "--model", "centerface", "--jsonl", "out.jsonl", "--tiles", "2x2"],
}


def out_of_memory() -> None:
    raise MemoryError


def library_out_of_memory() -> None:
    raise cv2.error("alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 4915200 bytes")


def endless() -> None:
    endless()


def exits() -> None:
    sys.exit(3)


def panics() -> None:
    models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")], continuing_subword_prefix="####")


def index_error() -> None:
    [].pop()


FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    "Exception": (index_error, "unexpected IndexError: pop from empty list"),
    "MemoryError": (out_of_memory, "out of memory"),
    "cv2.error": (library_out_of_memory, "out of memory"),
    "RecursionError": (endless, "unexpected RecursionError: maximum recursion depth"),
    "PanicException": (panics, "unexpected PanicException: range"),
    "SystemExit": (exits, "unexpected SystemExit: 3"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inputs = tmp_path / "in"
    inputs.mkdir()
    shutil.copy(SAMPLES / "portrait.jpg", inputs / "a.jpg")
    Image.new("RGB", (WIDTH, 40)).save(inputs / "bad.png")
    shutil.copy(SAMPLES / "portrait.jpg", inputs / "c.jpg")
    return tmp_path


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_pictures(command: str, fault: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cause, said = FAULTS[fault]
    numpy, fetch = pyvips.Image.numpy, pyvips.Region.fetch

    def faulty(image: Any, *arguments: Any) -> Any:
        if image.width == WIDTH:
            cause()
        return numpy(image, *arguments)

    def faulty_fetch(region: Any, *place: int) -> Any:
        if place[2] == WIDTH:
            cause()
        return fetch(region, *place)

    monkeypatch.setattr(pyvips.Image, "numpy", faulty)
    monkeypatch.setattr(pyvips.Region, "fetch", faulty_fetch)
    outcome = run(*COMMANDS[command], cwd=folder)
    assert outcome.code == 1, outcome.err
    assert f"mdtool: in/bad.png: {said}" in outcome.err
    assert outcome.err.count("unexpected") + outcome.err.count("out of memory") == 1
    if command.startswith("detect --"):
        failed = [line for line in (folder / "out.jsonl").read_text().splitlines() if "error" in line]
        done = (folder / "out.jsonl").read_text().replace("".join(failed), "")
        assert [name in done for name in ("in/a.jpg", "in/bad.png", "in/c.jpg")] == [True, False, True]
    elif command in ("redact", "gaze"):
        assert sorted(path.name for path in (folder / "out").iterdir()) == ["a.jpg", "c.jpg"]
    elif command == "preview":
        assert "2 frames by centerface" in outcome.err
    else:
        assert all(f"in/{name}" in outcome.err + outcome.out.decode() for name in ("a.jpg", "c.jpg"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("command", ["redact", "moderate", "detect --jsonl"])
def test_videos(command: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails in the thread that decodes."""
    cause, said = FAULTS[fault]

    def faulty(layout: Any) -> bool:
        if layout.width == WIDTH:
            cause()
        return has_plain_planes(layout)

    monkeypatch.setattr(frame, "has_plain_planes", faulty)
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "bad.mp4", size=(WIDTH, 40), times=4)
    make_video(tmp_path / "in" / "c.mp4", size=(64, 40), times=4)
    outcome = run(*COMMANDS[command], cwd=tmp_path)
    assert outcome.code == 1, outcome.err
    assert f"mdtool: in/bad.mp4: {said}" in outcome.err
    if command == "redact":
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.mp4"]
    elif command == "moderate":
        assert "in/c.mp4" in outcome.err
    else:
        records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [record["source"] for record in records if "frame" in record] == ["in/c.mp4"] * 4


def test_a_message_of_a_library_is_shown_without_objects() -> None:
    quoted = f"cannot identify image file {io.BytesIO()!r}"
    assert str(InputError(f"damaged: {quoted}")) == "damaged: cannot identify image file"
    shown = error_message(RuntimeError(f"no codec for {object()!r} in {print!r}"))
    assert shown.startswith("unexpected RuntimeError: no codec for in <built-in function print>")
    assert ApiError(400, quoted).line == "cannot identify image file"
