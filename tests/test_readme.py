"""The examples of the README's chapter on thousands of pictures, run as they stand there.

Those that the chapter says a Moondream is needed for are answered by `pocket`, which the settings name.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_media"
CHAPTER = "## Thousands of pictures\n"
SECONDS = 60
WATCHED_SECONDS = 12  # after which what goes on for ever is interrupted


def examples() -> list[str]:
    text = (ROOT / "README.md").read_text("utf-8").partition(CHAPTER)[2].partition("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("photos", "copies", "inbox"):
        (folder / name).mkdir()
        shutil.copy(SAMPLES / "scenes" / "one.png", folder / name)
    shutil.copy(SAMPLES / "portrait.jpg", folder / "photos")
    shutil.copy(SAMPLES / "blink.mp4", folder / "clip.mp4")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.write(SAMPLES / "scenes" / "one.png", "one.png")
        archive.write(SAMPLES / "scenes" / "look.png", "look.png")
    (folder / "bin").mkdir()
    program = folder / "bin" / "mdtool"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m mdtool "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("example", examples())
def test_an_example(example: str, here: Path) -> None:
    if " jq " in example and not shutil.which("jq"):
        pytest.skip("jq is not here")
    watches = "--watch" in example
    command = re.sub(r"\s+#.*", "", example)
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MDTOOL_")},
        "PATH": f"{here / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(here),
        "XDG_CONFIG_HOME": str(here / "no-settings"),
        "MDTOOL_CAPTION_MODEL": "pocket",
        "MDTOOL_QUERY_MODEL": "pocket",
    }
    if watches:
        command = f"timeout --signal INT {WATCHED_SECONDS} {command}"
    done = subprocess.run(["bash", "-c", command], cwd=here, env=env, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == (124 if watches else 0), done.stderr
    assert "Traceback" not in done.stderr
    if outcome := re.search(r"--jsonl ([\w.]+\.jsonl)", command):
        assert (here / outcome[1]).read_text().startswith('{"schema":"mdtool.batch/1"')
