"""The delay of a live redaction is measured on pictures that are known again."""

import pytest
from cli_runner import run
from make_media import SAMPLES

pytestmark = pytest.mark.posix("the resource usage that bench reads")


@pytest.mark.live
@pytest.mark.slow
def test_every_picture_read_again_has_its_delay() -> None:
    outcome = run(
        "bench",
        "live",
        SAMPLES / "crossing.mp4",
        "--duration",
        "10",
        "--size",
        "320x240",
        "--fps",
        "5",
        "--json",
        "--",
        "--delay",
        "8",
    )
    assert outcome.code == 0, outcome.err
    (report,) = outcome.json
    sent, delays = zip(*report["times"], strict=True)
    assert 45 < len(sent) <= report["sent"] <= 55
    assert list(sent) == sorted(sent)
    assert all(0 < delay < 20 for delay in delays)


@pytest.mark.live
@pytest.mark.slow
def test_without_a_frame_number_there_is_no_latency() -> None:
    options = ["--duration", "4", "--size", "320x240", "--fps", "5", "--", "--container", "matroska"]
    outcome = run("bench", "live", SAMPLES / "crossing.mp4", *options)
    assert outcome.code == 1
    assert "no frame number could be read" in outcome.err


@pytest.mark.parametrize(("size", "told"), [("big", "such as 1280x720"), ("240x180", "at least 256x16 pixels")])
def test_a_size_that_can_not_be_used_is_refused(size: str, told: str) -> None:
    outcome = run("bench", "live", SAMPLES / "crossing.mp4", "--size", size)
    assert outcome.code == 2
    assert told in outcome.err
