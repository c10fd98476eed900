"""Memory does not grow with the length of a video."""

import os
import subprocess
from pathlib import Path

import pytest
from cli_runner import COMMAND, FAST_ENCODING
from make_media import make_video

from mdtool.jobs.bench.recipe import loop_clip

GROWTH = 1.1
QUICK_ONE = "few looks allowed"
COMMANDS = {
    "far looks": ["redact", "--sample", "45"],
    "few looks allowed": ["redact", "--max-calls", "6"],
    "from findings": ["redact"],
    "moderate": ["moderate", "-p", "face", "--action", "blur"],
    "moderate and cut": ["moderate", "-p", "face", "--action", "cut", "--only", "0,0,0.3,1"],
    "gaze": ["gaze"],
}


def peak(*arguments: str | Path) -> int:
    """KiB that the program took at most."""
    process = subprocess.Popen([*COMMAND, *arguments, "-q", *FAST_ENCODING])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One of 200 frames, and one ten times as long."""
    folder = tmp_path_factory.mktemp("memory")
    clip = make_video(folder / "clip.mp4", 60, face=True, size=(320, 240), with_sound=False)
    loop_clip(clip, folder / "short.mp4", 200)
    loop_clip(clip, folder / "long.mp4", 2000)
    return folder / "short.mp4", folder / "long.mp4"


@pytest.mark.posix("the memory that a process took")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == QUICK_ONE else pytest.mark.slow) for name in COMMANDS]
)
def test_ten_times_longer_takes_no_more_memory(clips: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    peaks = []
    for clip in clips:
        findings = ["--findings" if name != "from findings" else "--from-findings", clip.with_suffix(".jsonl")]
        peaks.append(peak(*COMMANDS[name], clip, "-o", tmp_path / clip.name, "--overwrite", *findings))
    assert peaks[1] <= GROWTH * peaks[0]
