"""Two runs with the same input and settings give the same bytes, whatever the container."""

from pathlib import Path

import pytest
from cli_runner import redact
from make_media import make_video


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "avi", "ts", "flv", "asf"])
def test_two_runs(tmp_path: Path, ending: str) -> None:
    make_video(tmp_path / "in.mp4", 6, face=True, with_sound=ending not in ("webm", "flv"))
    written = []
    for name in ("one", "two"):
        target = tmp_path / f"{name}.{ending}"
        outcome = redact(tmp_path / "in.mp4", "-o", target)
        assert outcome.code == 0, outcome.err
        written.append(target.read_bytes())
    assert written[0] == written[1]
