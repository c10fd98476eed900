"""A little of what `make fuzz`, `make kill` and `make leaks` do, the same each time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATHS = os.pathsep.join(str(path) for path in (HERE.parents[1], HERE.parent / "mdtool"))
SECONDS = 900  # on a busy machine

pytestmark = [pytest.mark.slow, pytest.mark.posix("fork and signals")]


@pytest.mark.parametrize(
    "command",
    [
        ("fuzz.py", "--quick", "--inputs", "750", "--seed", "1", "--save", "found"),
        ("kill.py", "--kills", "15", "--seed", "1"),
        ("leaks.py", "--clips", "12", "--seed", "1", "--save", "found"),
    ],
    ids=["fuzz", "kill", "leaks"],
)
def test_nothing_is_found(command: tuple[str, ...], tmp_path: Path) -> None:
    script, *options = command
    done = subprocess.run(
        [sys.executable, HERE / script, *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
