"""A batch that is killed at any moment and run again ends with each input once, and no torn line."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run
from make_media import make_video, scenery
from PIL import Image

KILLED = Path(__file__).parents[2] / "kill_repeatedly.py"
PICTURES, VIDEOS = 300, 3
SECONDS = 240

pytestmark = [pytest.mark.slow, pytest.mark.posix("fork and signals")]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures and videos, some of them equal and one that is none."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(PICTURES):
        picture = np.roll(scenery(number % 250, 96, 64), number, axis=1)
        Image.fromarray(picture).save(folder / f"{number:03}.{('jpg', 'png', 'webp')[number % 3]}")
    for number in range(VIDEOS):
        make_video(folder / f"v{number}.mp4", 30, size=(64, 48))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


@pytest.mark.parametrize("options", [(), ("--ordered", "--dedupe")], ids=["", "ordered"])
def test_each_input_once(inputs: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    out, crops = tmp_path / "out.jsonl", tmp_path / "crops"
    arguments: list[str | Path] = ["detect", inputs, "face", "--jsonl", out]
    arguments += ["--threshold", "0.05", "--save-crops", crops, *options]
    command: list[str | Path] = [sys.executable, KILLED, "100", "7", *arguments, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5, "it was hardly killed"
    last = run(*arguments, seconds=SECONDS)
    assert last.code == 1, last.err
    lines = out.read_bytes().split(b"\n")
    assert lines.pop() == b""
    records = [json.loads(line) for line in lines]
    of_inputs = [one for one in records if one["schema"] == "mdtool.batch/1"]
    assert len(of_inputs) == PICTURES + VIDEOS + 1
    assert set(Counter(one["input"] for one in of_inputs).values()) == {1}
    frames = Counter((one["source"], one["frame"]) for one in records if one["schema"] != "mdtool.batch/1")
    assert len(frames) == VIDEOS * 30
    assert set(frames.values()) == {1}
    assert [one["input"] for one in of_inputs if "error" in one] == [str(inputs / "broken.jpg")]
    assert not list(tmp_path.rglob("*.part"))
    assert "0 processed, 1 failed, 303 already done" in run(*arguments, seconds=SECONDS).err
