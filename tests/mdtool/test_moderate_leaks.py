"""What a policy hides is hidden as well as `mdtool redact` hides it, so that its bounds hold here too."""

from pathlib import Path

import numpy as np
import pytest
from media_made import SAMPLES, frames_of, times_of
from program import QUICK, redact, run


@pytest.mark.parametrize("clip", ["busy.mp4", "blink.mp4", "phone.mp4", "vfr.mp4"])
def test_every_frame_is_that_of_redact(tmp_path: Path, clip: str) -> None:
    one, other = tmp_path / "redacted.mkv", tmp_path / "moderated.mkv"
    assert redact(SAMPLES / clip, "-o", one, *QUICK, "--crf", "10").code == 0
    rule = ("-p", "face", "--action", "blur")
    assert run("moderate", SAMPLES / clip, *rule, "-o", other, *QUICK, "--crf", "10").code == 0
    assert times_of(one) == times_of(other)
    for redacted, moderated in zip(frames_of(one), frames_of(other), strict=True):
        assert np.array_equal(redacted.to_ndarray(format="rgb24"), moderated.to_ndarray(format="rgb24"))
