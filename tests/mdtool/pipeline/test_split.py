"""A long video whose parts are worked on by themselves gives the copy that it gives as a whole."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from make_media import (
    TICKS,
    add_video,
    constant_rate_times,
    frames_of,
    make_video,
    mux,
    portrait,
    scenery,
    sound,
    times_of,
)  # fmt: skip

from mdtool.console import Console
from mdtool.errors import ExitCode, InputError
from mdtool.jobs.redact.effect import Redaction
from mdtool.jobs.redact.job import RedactJob
from mdtool.media.sources.inputs import find_inputs
from mdtool.media.video.encoding import Encoding
from mdtool.media.video.frame import Frame, planes
from mdtool.media.video.part import Part, PartReader, split_video
from mdtool.media.video.reader import VideoReader
from mdtool.model_selection import load_model
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import LiveSettings, ModelInference, OutputOptions
from mdtool.pipeline.targets import Targets
from mdtool.tracking.detector import object_detector
from recipes.redact import Style

RATE = 6
FRAMES = 390  # 65 s: four segments of the encoder, in two parts of 40 and 25 s
BORDER = 240
SIZE, SIDE = (160, 96), 72
FACE = portrait(SIDE)


def crossing(number: int) -> np.ndarray:
    """A face that passes through the picture around the border, which it reaches in the middle."""
    picture = scenery(0, *SIZE)
    left = round(SIZE[0] / 2 - SIDE / 2 + (number - BORDER) * 6)
    shown = slice(max(0, left), min(SIZE[0], left + SIDE))
    if shown.start < shown.stop:
        picture[12 : 12 + SIDE, shown] = FACE[:, shown.start - left : shown.stop - left]
    return picture


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = add_video(container, size=SIZE, rate=RATE, options={"bf": "2", "g": "50", "x264-params": "open-gop=1"})
        tone: Any = container.add_stream("aac", 8000)
        packets = []
        for number, time in enumerate(constant_rate_times(FRAMES, RATE)):
            frame = av.VideoFrame.from_ndarray(crossing(number), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / TICKS), TICKS
            packets += stream.encode(frame)
        mux(container, [*packets, *stream.encode(None), *sound(tone, FRAMES / RATE)])
    return path


def job(target: Path, part: Part | None = None) -> RedactJob:
    model = load_model("centerface", "detect", ["face"])
    inference = ModelInference(AnalysisRequest(("face",)), object_detector(model, ["face"], None), "centerface")
    targets, console = Targets(str(target), ".redacted", many=False), Console(quiet=True)
    options = OutputOptions(Encoding(preset="ultrafast"))
    return RedactJob(
        Redaction(Style("solid")), inference, ["face"], options, LiveSettings(), targets, console, part=part
    )


def parts_of(clip: Path) -> list[Part]:
    with VideoReader(clip) as reader:
        return split_video(reader, workers=2)


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames that are painted, in the order of their painting."""
    frames: list[int] = []
    paint = Redaction.paint

    def count(self: Redaction, canvas: Any, info: Any, findings: Any) -> None:
        frames.append(info.frame)
        paint(self, canvas, info, findings)

    monkeypatch.setattr(Redaction, "paint", count)
    return frames


@pytest.mark.slow
def test_the_copy_is_that_of_the_whole(clip: Path, tmp_path: Path, painted: list[int]) -> None:
    whole, joined = tmp_path / "whole.mp4", tmp_path / "joined.mp4"
    assert job(whole).run(find_inputs([str(clip)])) == ExitCode.OK
    parts = parts_of(clip)
    assert [(part.begin, part.end) for part in parts] == [(0, BORDER), (BORDER, FRAMES)]
    painted.clear()
    for part in reversed(parts):
        assert job(joined, part).run(find_inputs([str(clip)])) == ExitCode.OK
    assert sorted(painted) == list(range(FRAMES)), "each frame in one part"
    assert not joined.exists()
    painted.clear()

    changed = tmp_path / ".joined.mp4.part2.work" / "masks.txt"
    lines = changed.read_text().splitlines()
    changed.write_text("\n".join([*lines[:-1], lines[-1][:-1] + "_"]) + "\n")  # of the last frame
    assert job(joined).run(find_inputs([str(clip)])) == ExitCode.OK
    assert painted == list(range(360, FRAMES)), "only what had other masks"
    assert joined.read_bytes() == whole.read_bytes()
    assert times_of(joined) == times_of(clip)
    for number, frame in enumerate(frames_of(joined)[BORDER - 8 : BORDER + 8], -8):
        assert planes(frame)[0][32, SIZE[0] // 2 + 6 * number] < 20, "the face is masked on both sides of the border"
    assert {path.name for path in tmp_path.iterdir()} == {"whole.mp4", "joined.mp4"}


def test_frames_of_a_part_are_those_of_the_whole(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "long.mp4", 90, size=(32, 32), rate=1, gop_size=9, max_b_frames=2)
    with VideoReader(clip) as reader:
        whole = [frame for frame in reader if isinstance(frame, Frame)]
    with VideoReader(clip) as reader:
        parts = split_video(reader, workers=3)
    assert [(part.begin, part.end) for part in parts] == [(0, 40), (40, 80), (80, 90)]
    with PartReader(clip, parts[1]) as reader:
        assert reader.first_frame().pts == whole[0].pts
        found = list(reader.frames_between(35, 85))
    assert [frame.index for frame in found] == list(range(35, 85))
    for frame in found:
        same = whole[frame.index]
        assert (frame.pts, frame.image.to_ndarray().tobytes()) == (same.pts, same.image.to_ndarray().tobytes())


@pytest.mark.parametrize(
    ("name", "video", "why"),
    [
        ("one.mp4", {"gop_size": 1000}, "a single keyframe"),
        ("broadcast.ts", {}, "a file of format mpegts has no index"),
        ("short.mp4", {"rate": 30}, "shorter than 20 s"),
    ],
)
def test_what_cannot_be_split(tmp_path: Path, name: str, video: dict[str, Any], why: str) -> None:
    clip = make_video(tmp_path / name, 90, size=(32, 32), **{"rate": 1, "gop_size": 9, **video})
    with VideoReader(clip) as reader, pytest.raises(InputError, match=why):
        split_video(reader, workers=2)
