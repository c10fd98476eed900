"""One picture out of a video is the one that is shown at that time."""

from pathlib import Path

import numpy as np
import pytest
from fake_gaze_model import number_of, numbered_clip
from make_media import SAMPLES, times_of
from PIL import Image

from mdtool.errors import InputError
from mdtool.media.sources.inputs import Input
from mdtool.media.video.frame_grabber import grab_frame

RATE = 30


def at(path: Path, seconds: float, stream: int = 0) -> np.ndarray:
    return grab_frame(Input(path, Path(path.name)), stream, seconds)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("start", [0, 5])
def test_of_a_video(tmp_path: Path, suffix: str, start: int) -> None:
    clip = numbered_clip(tmp_path / f"clip{suffix}", 40, start=start, shots=[20])
    begin = float(times_of(clip)[0]) if suffix == ".mp4" else 0.0  # whose delay is shown
    assert [number_of(at(clip, begin + (number - 0.5) / RATE)) for number in (0, 13, 39)] == [0, 13, 39]
    assert number_of(at(clip, begin + 100)) == 39


def test_of_a_stream_that_is_not_there(tmp_path: Path) -> None:
    clip = numbered_clip(tmp_path / "clip.mp4", 2)
    with pytest.raises(InputError, match="its stream 4 has no video frame"):
        at(clip, 0, stream=4)


def test_of_a_turned_video_it_is_upright() -> None:
    assert at(SAMPLES / "phone.mp4", 1).shape == (640, 360, 3)


def test_of_an_animation() -> None:
    with Image.open(SAMPLES / "animation.gif") as picture:
        seconds = 0.0
        for number in range(10):
            picture.seek(number)
            seconds += picture.info["duration"] / 1000
        picture.seek(10)
        assert (at(SAMPLES / "animation.gif", seconds + 0.001) == np.asarray(picture.convert("RGB"))).all()


def test_of_a_photo_it_is_all_of_it() -> None:
    assert at(SAMPLES / "portrait.jpg", 7).shape == (600, 480, 3)


def test_of_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError):
        at(tmp_path / "a.mp4", 0)
