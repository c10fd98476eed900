"""What a policy hides is hidden as well as `mdtool redact` hides it, so that its bounds hold here too."""

from pathlib import Path

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, redact, run
from make_media import SAMPLES, frames_of, times_of

LONG = ("busy", "blink", "vfr")
BORDER = 0.005  # of a picture: findings are rounded, so that a box may end a row of pixels earlier or later


@pytest.mark.parametrize("clip", [*(pytest.param(f"{name}.mp4", marks=pytest.mark.slow) for name in LONG), "phone.mp4"])
def test_every_frame_is_that_of_redact(tmp_path: Path, clip: str) -> None:
    one, other = tmp_path / "redacted.mkv", tmp_path / "moderated.mkv"
    found, judged = tmp_path / "found.jsonl", tmp_path / "judged.jsonl"
    quality = (*FAST_ENCODING, "--crf", "10")
    assert redact(SAMPLES / clip, "-o", one, "--findings", found, *quality).code == 0
    rule = ("-p", "face", "--action", "blur")
    assert run("moderate", SAMPLES / clip, *rule, "-o", other, "--findings", judged, *quality).code == 0
    assert found.read_text() == judged.read_text()
    assert times_of(one) == times_of(other)
    for redacted, moderated in zip(frames_of(one), frames_of(other), strict=True):
        apart = np.abs(redacted.to_ndarray(format="rgb24").astype(int) - moderated.to_ndarray(format="rgb24"))
        assert (apart > 16).mean() < BORDER
