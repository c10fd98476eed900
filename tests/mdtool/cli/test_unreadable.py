"""Files and folders that can't be reached: each is one line and a failed input, and the others go on."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_runner import Outcome, spawn
from make_media import SAMPLES

pytestmark = pytest.mark.posix("file permissions")
COMMANDS: list[Sequence[str]] = [("redact",), ("gaze",), ("moderate", "-p", "face", "--action", "blur")]
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def _without_privileges() -> None:
    """Let root be kept out of folders as others are; it still reads the packages in its home."""
    if os.getuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def mdtool(*arguments: str | Path, cwd: Path) -> Outcome:
    return spawn(*arguments, cwd=cwd, before=_without_privileges)


def shut(folder: Path) -> None:
    """Let nobody enter a folder but another user."""
    if os.getuid() == 0:
        os.chown(folder, 65534, 65534)
        folder.chmod(0o700)
    else:
        folder.chmod(0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of media whose subfolder "locked" can't be read."""
    portrait = (SAMPLES / "portrait.jpg").read_bytes()
    folder = tmp_path / "photos"
    (folder / "locked").mkdir(parents=True)
    for name in ("ok.jpg", "locked/hidden.jpg"):
        (folder / name).write_bytes(portrait)
    shut(folder / "locked")
    return folder


def failures(outcome: Outcome) -> list[str]:
    return [line for line in outcome.lines if "can't be" in line or "unexpected" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_can_not_be_read_is_a_failed_input(photos: Path, command: Sequence[str]) -> None:
    said = ["mdtool: photos/locked: can't be read: permission denied"]
    for number, inputs in enumerate([["photos"], ["photos/ok.jpg", "photos/locked/"], ["photos/**/*.jpg"]]):
        out = photos.parent / f"out{number}"
        outcome = mdtool(*command, *inputs, "-o", out, cwd=photos.parent)
        assert (outcome.code, failures(outcome)) == (1, said), inputs
        assert [path.name for path in out.iterdir()] == ["ok.jpg"]


def test_a_folder_that_can_not_be_read_alone(photos: Path) -> None:
    for inputs in (["photos/locked"], ["photos/locked/*.jpg"], ["photos/locked", "--preview"]):
        outcome = mdtool("redact", *inputs, cwd=photos.parent)
        assert outcome.code == 1
        assert outcome.lines == ["mdtool: photos/locked: can't be read: permission denied"]
    outcome = mdtool("redact", "photos", "--dry-run", cwd=photos.parent)
    assert (outcome.code, outcome.lines) == (1, ["mdtool: photos/locked: can't be read: permission denied"])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("photos/locked/hidden.jpg", "permission denied"),
        ("n" * 300 + ".jpg", "file name too long"),
        ("loop.jpg", "too many levels of symbolic links"),
        ("photos/ok.jpg/a.jpg", "not a directory"),
    ],
)
def test_a_file_that_can_not_be_reached(photos: Path, command: Sequence[str], name: str, said: str) -> None:
    (photos.parent / "loop.jpg").symlink_to("loop.jpg")
    for options in ([], ["-o", "out.jpg"]):
        outcome = mdtool(*command, name, *options, cwd=photos.parent)
        assert outcome.code == 1
        assert failures(outcome) == [f"mdtool: {name}: can't be read: {said}"]
        assert not (photos.parent / "out.jpg").exists()


def test_record_files_in_a_folder_that_can_not_be_entered(photos: Path) -> None:
    for options in (
        ("redact", "photos/ok.jpg", "--findings", "photos/locked/f.jsonl"),
        ("moderate", "photos/ok.jpg", "-p", "face", "--report-only", "--report", "photos/locked/f.html"),
        ("gaze", "photos/ok.jpg", "--report-only", "--heatmap", "photos/locked/f.png"),
    ):
        outcome = mdtool(*options, cwd=photos.parent)
        assert outcome.code == 74
        assert failures(outcome) == [f"mdtool: {options[-1]}: can't be written: permission denied"]
