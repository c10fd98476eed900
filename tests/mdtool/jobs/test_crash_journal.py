"""After a crash inside a library the next run names the input that was at work, and goes on behind it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdtool.jobs.crash_journal import CrashJournal, parse_journal
from mdtool.media.sources.inputs import Input

CRASHED = "Fatal Python error: Segmentation fault\n\n"
ROOT = Path(__file__).parents[3]
# Runs the program. Decoding an image with "evil" in it is a fault of a library: in this thread, or in one of its own.
PROGRAM = """
import ctypes, sys, time
import mdtool.cli
from mdtool.media.image import decode_image
from mdtool.media.sources import open_media

def crash():
    if sys.argv[1] == "here":
        ctypes.string_at(0)
    libc = ctypes.CDLL(None)
    libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, ctypes.cast(libc.abort, ctypes.c_void_p), None)
    time.sleep(60)

def faulty(function):
    def decode(image, *others, **options):
        if b"evil" in (image if isinstance(image, bytes) else image.read_bytes()):
            crash()
        return function(image, *others, **options)
    return decode

decode_image._decoded = faulty(decode_image._decoded)
open_media.read_image = faulty(open_media.read_image)
sys.exit(mdtool.cli.run(sys.argv[2:]))
"""


def lines(*entries: object) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def begin(name: str) -> dict[str, object]:
    return {"begin": name, "state": [3, 4]}


def file(folder: Path, name: str = "a.png") -> Input:
    path = folder / name
    path.write_bytes(b"abc")
    return Input(path, Path(name))


def test_only_a_crash_is_blamed_on_an_input() -> None:
    text = lines(begin("a"), {"end": "a"}, begin("b"))
    assert not parse_journal(text).crashed, "killed from outside"
    assert parse_journal(text + CRASHED).crashed["b"]["signal"] == "Segmentation fault"
    assert list(parse_journal(text + CRASHED).crashed) == ["b"]


def test_the_thread_tells_which_of_several() -> None:
    text = lines(begin("a"), begin("b"), {"read": "a", "thread": 16}, {"read": "b", "thread": 17})
    assert list(parse_journal(f"{text}{CRASHED}Current thread 0x0011 (most recent call first):").crashed) == ["b"]


def test_else_all_that_were_read_are_suspects() -> None:
    text = lines(*map(begin, "abc"), {"read": "a", "thread": 16}, {"read": "b", "thread": 17})
    remains = parse_journal(text + CRASHED)
    assert (remains.crashed, remains.suspects) == ({}, {"a", "b"})


def test_lines_may_be_written_into_each_other() -> None:
    text = lines(begin("a"), begin("b")) + "Fatal Python error: " + lines({"end": "a"}) + "Segmentation fault\n"
    assert list(parse_journal(text).crashed) == ["b"]
    reads = {"read": "a", "thread": 16}, {"read": "b", "thread": 0x1234}
    text = lines(begin("a"), begin("b"), *reads) + CRASHED + "Current thread 0x00" + lines({"read": "c", "thread": 18})
    assert list(parse_journal(text + "1234 (most recent call first):").crashed) == ["b"]


@pytest.mark.posix("descriptors")
def test_an_input_is_tried_again_once_it_has_changed(tmp_path: Path) -> None:
    source, path = file(tmp_path), tmp_path / ".journal"
    with CrashJournal(path) as journal:
        journal.begin(source)
        left = path.read_text()
    assert not path.exists(), "nothing is left of a run that ended"
    path.write_text(left + CRASHED)
    with CrashJournal(path) as journal:
        assert "Segmentation fault" in (journal.crash_of(source) or "")
    with CrashJournal(path) as journal:
        assert journal.crash_of(source), "it is known until it changes"
        os.utime(source.path or "", (1, 1))
        assert journal.crash_of(source) is None
        with journal.working(source):
            pass
    assert not path.exists()


@pytest.mark.posix("descriptors")
def test_suspects_outlive_a_kill(tmp_path: Path) -> None:
    one, other, path = file(tmp_path, "a"), file(tmp_path, "b"), tmp_path / ".journal"
    path.write_text(lines(begin(one.name), begin(other.name)) + CRASHED)
    with CrashJournal(path) as journal:
        assert [journal.is_suspect(each) for each in (one, other)] == [True, True]
        with journal.working(one):
            pass
        assert not journal.is_suspect(one)
        left = path.read_text()
    remains = parse_journal(left)
    assert (remains.suspects, remains.crashed) == ({other.name}, {})


@pytest.mark.posix("links")
def test_no_link_is_followed_and_no_error_ends_the_run(tmp_path: Path) -> None:
    target, path = tmp_path / "other", tmp_path / ".journal"
    target.write_text("mine")
    path.symlink_to(target)
    with CrashJournal(path) as journal, journal.working(file(tmp_path)):
        pass
    with CrashJournal(tmp_path / "no" / "folder" / "x"), CrashJournal(None):
        pass
    assert target.read_text() == "mine"


def ended(where: str, *command: str, folder: Path) -> tuple[int, str]:
    """Return how the program ended whose library crashes, and its stderr."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": ""}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, where, *command], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


def with_evil(folder: Path) -> Path:
    """Write images of which one crashes the program."""
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(folder / f"{number}.png")
    with (folder / "2.png").open("ab") as evil:
        evil.write(b"evil")
    return folder


@pytest.mark.slow
@pytest.mark.posix("signals")
def test_redact_names_what_crashed_it_and_goes_on(tmp_path: Path) -> None:
    with_evil(tmp_path / "in")
    command = ("redact", "in", "-o", "out", "--quiet")
    code, _ = ended("here", *command, folder=tmp_path)
    assert code == -11
    for _ in range(2):
        code, err = ended("here", *command, folder=tmp_path)
        assert (code, len(err.splitlines())) == (1, 1), err
        assert "in/2.png: the program crashed while it was read (Segmentation fault)" in err
        assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"{n}.png" for n in (0, 1, 3, 4, 5)]
    (tmp_path / "in" / "2.png").unlink()
    Image.new("RGB", (16, 16)).save(tmp_path / "in" / "2.png")
    assert ended("here", *command, folder=tmp_path) == (0, "")
    assert [path.name for path in (tmp_path / "out").glob(".*")] == []


@pytest.mark.slow
@pytest.mark.posix("signals")
@pytest.mark.parametrize(("where", "signal", "runs"), [("here", 11, 1), ("elsewhere", 6, 2)])
def test_a_batch_records_what_crashed_it_and_goes_on(tmp_path: Path, where: str, signal: int, runs: int) -> None:
    with_evil(tmp_path / "in")
    command = ("caption", "in", "--model", "pocket", "--jsonl", "out.jsonl", "--quiet")
    codes = []
    for _ in range(4):
        code, err = ended(where, *command, folder=tmp_path)
        codes.append(code)
        if code == 1:
            break
    assert codes[-1] == 1, (codes, err)
    assert set(codes[:-1]) <= {-signal, -11}, (codes, err)  # faulthandler walks over stacks in use, and may crash too
    assert len(codes) <= runs + 1, codes
    assert "in/2.png: the program crashed while it was read" in err
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(record["input"] for record in records) == [f"in/{number}.png" for number in range(6)]
    assert [record["input"] for record in records if "error" in record] == ["in/2.png"]
