"""What is redacted is opened once, however long it is."""

from pathlib import Path
from typing import Any

import av
import pytest
from cli_runner import run
from make_media import SAMPLES

from mdtool.pipeline import resume


@pytest.mark.parametrize("is_long", [False, True])
def test_the_input_is_opened_once(
    is_long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    av_open: Any = av.open

    def counted(where: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode == "r":
            opened.append(str(where))
        return av_open(where, mode, *args, **options)

    monkeypatch.setattr(av, "open", counted)
    monkeypatch.setattr(resume, "MIN_SECONDS", 0.0 if is_long else 3600.0)
    source, target = SAMPLES / "blink.mp4", tmp_path / "out.mp4"
    outcome = run("redact", source, "-o", target, "-p", "face", "--model", "centerface", "--sample", "50")
    assert outcome.code == 0, outcome.err
    assert target.exists()
    assert opened == [f"file:{source}"]
