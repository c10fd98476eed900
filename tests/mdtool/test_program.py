"""A run in the tests' own process gives what one in a process of its own gives, and leaves nothing behind."""

import os
import signal
import sys
import warnings
from pathlib import Path

import pytest
from cli_runner import run, spawn
from make_media import SAMPLES, make_video

PORTRAIT = SAMPLES / "portrait.jpg"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"], ["redact", "--help"], ["caption"], ["nonsense"], ["redact", "missing.mp4", "-o", "-"],
        ["detect", PORTRAIT, "face"], ["detect", PORTRAIT, "face", "--json", "--verbose"],
        ["redact", PORTRAIT, "-o", "-"], ["models", "list"], ["config", "show", "redact"],
    ],
    ids=lambda arguments: " ".join(Path(part).name for part in arguments),
)  # fmt: skip
def test_the_same_as_in_a_process(tmp_path: Path, arguments: list[str | Path]) -> None:
    here, there = (way(*arguments, cwd=tmp_path, env={"COLUMNS": "100"}) for way in (run, spawn))
    assert (here.out, here.code) == (there.out, there.code)
    if "redact" not in arguments:  # which tells how long it took
        assert here.err == there.err


@pytest.mark.parametrize("stdin", [None, b"", PORTRAIT.read_bytes()], ids=["none", "empty", "photo"])
def test_the_same_stdin_as_in_a_process(stdin: bytes | None) -> None:
    there = spawn("detect", "-", "face", stdin=stdin)
    assert [run("detect", "-", "face", stdin=stdin) for _ in range(2)] == [there, there]


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def state() -> list[object]:
        files = [os.fstat(number).st_ino for number in range(3)]
        streams = [sys.stdin, sys.stdout, sys.stderr]
        handlers = [signal.getsignal(asked) for asked in sorted(signal.valid_signals())]
        return [os.getcwd(), dict(os.environ), files, streams, handlers, list(warnings.filters)]

    make_video(tmp_path / "a.mp4", 3)
    before = state()
    assert run("redact", "a.mp4", cwd=tmp_path, env={"MDTOOL_REDACT_STYLE": "solid", "XDG_CACHE_HOME": "x"}).code == 0
    assert run("redact", "-", stdin=bytes(1 << 20)).code != 0  # most of which nobody reads
    assert state() == before
