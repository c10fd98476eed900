"""Frames are spread over a video without decoding much of it."""

from pathlib import Path
from typing import Any

import av
import pytest
from make_media import add_video, constant_rate_times, make_video, mux, pictures

from mdtool.media.video import reader as reader_module
from mdtool.media.video import spread_frames as spread_module
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.spread_frames import spread_frames


def all_times(path: Path) -> list[float]:
    with VideoReader(path) as reader:
        return [event.time for event in reader if isinstance(event, Frame)]


def times(path: Path, count: int = 9, **span: float) -> list[float]:
    with VideoReader(path) as reader:
        return [frame.time for frame in spread_frames(reader, reader.videos[0].index, count, **span)]


def make_clip(path: Path, count: int, interval: int, codec: str = "libx264", start: int = 0) -> Path:
    """A video of 15 frames a second, with a keyframe every `interval` frames."""
    with av.open(str(path), "w") as container:
        stream = add_video(container, codec, (64, 48), 15, options={"g": str(interval), "sc_threshold": "0"})
        mux(container, pictures(stream, constant_rate_times(count, 15, start)))
    return path


@pytest.mark.parametrize("interval", [1, 12, 1000], ids=lambda frames: f"a keyframe in {frames}")
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
def test_one_from_each_part_of_the_time(tmp_path: Path, name: str, interval: int) -> None:
    clip = make_clip(tmp_path / name, 90, interval, "mpeg4" if name == "v.avi" else "libx264")
    begin = all_times(clip)[0]
    found = times(clip)
    parts = [int((time - begin + 0.001) / 6 * 9) for time in found]
    if name in ("v.mp4", "v.mkv"):
        assert parts == list(range(9))
    else:  # where seeking is not exact
        assert len(set(parts)) >= 6
        assert max(abs(part - number) for number, part in enumerate(parts)) <= 3
    assert found == sorted(set(found))


def test_a_late_start_and_a_time_range(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "v.mkv", 90, 15, start=30)
    begin = all_times(clip)[0]
    assert [int((time - begin) / 2) for time in times(clip, 3)] == [0, 1, 2]
    inside = times(clip, 4, start=begin + 2, end=begin + 3)
    assert len(inside) == 4
    assert all(begin + 2 <= time < begin + 3 for time in inside)
    assert times(clip, 4, start=begin + 50) == []


def test_fewer_frames_than_parts(tmp_path: Path) -> None:
    assert len(times(make_video(tmp_path / "v.mp4", 4))) == 4
    assert len(times(make_video(tmp_path / "one.mp4", 1))) == 1


def test_little_of_a_long_video_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "v.mp4", 3000, 250)
    decoded = []
    make: Any = reader_module._Decoder._frame

    def counted(self: Any, image: Any, corrupt: bool) -> Any:
        decoded.append(image.pts)
        return make(self, image, corrupt)

    monkeypatch.setattr(reader_module._Decoder, "_frame", counted)
    assert len(times(clip)) == 9
    assert len(decoded) < 200


def test_where_keyframes_are_rare_the_beginning_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "MAX_DECODED", 20)
    clip = make_clip(tmp_path / "v.mkv", 400, 100_000)
    found = times(clip)
    assert len(found) == 9
    assert found == sorted(set(found))
    assert found[-1] < 13


def test_of_a_stream_of_unknown_duration_the_beginning_is_shown(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "v.h264", 100, format="h264")
    with VideoReader(clip) as reader:
        assert reader.seconds is None
    assert len(times(clip)) == 4
