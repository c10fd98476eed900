"""The delay of a live redaction is measured on pictures that are known again."""

import pytest
from cli_runner import run
from make_media import SAMPLES

pytestmark = pytest.mark.posix("the resource usage that bench reads")


@pytest.mark.live
@pytest.mark.slow
def test_every_picture_read_again_has_its_delay() -> None:
    outcome = run("bench", "live", SAMPLES / "crossing.mp4", "--duration", "10", "--size", "320x240", "--json")
    assert outcome.code == 0, outcome.err
    (report,) = outcome.json
    sent, delays = zip(*report["times"], strict=True)
    assert 45 < len(sent) <= report["sent"]  # the first seconds go into finding out what comes
    assert list(sent) == sorted(sent)
    assert all(0 < delay < 3 for delay in delays)


def test_a_size_that_is_none_is_refused() -> None:
    outcome = run("bench", "live", SAMPLES / "crossing.mp4", "--size", "big")
    assert outcome.code == 2
    assert "such as 1280x720" in outcome.err
