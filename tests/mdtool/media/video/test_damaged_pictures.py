"""A packet that is damaged is noticed in every run, wherever it is in the video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cli_runner import FAST_ENCODING, redact
from make_media import TICKS, add_video, frames_of, mux, overwrite_packet, packets_of
from make_pictures import picture, write

from mdtool.media.video.reader import VideoReader

FRAMES = 24
SIDE = 256  # pixels
# Encoders, their options, and whether half a packet is overwritten, or all of it: the decoders of the last
# three may take any bits behind a packet's headers for a picture.
CODECS: dict[str, tuple[dict[str, str], bool]] = {
    "libx264": ({"bf": "2"}, True),
    "mpeg4": ({"bf": "2"}, True),
    "mpeg2video": ({"bf": "2"}, True),
    "ffv1": ({"slicecrc": "1"}, True),
    "libx265": ({}, False),
    "libvpx-vp9": ({"deadline": "realtime", "cpu-used": "8"}, False),
    "libsvtav1": ({"preset": "11"}, False),
}


def with_damage(path: Path, codec: str, *, last: bool) -> Path:
    """Write a video of noise in which one packet is overwritten."""
    generator = np.random.default_rng(0)
    options, in_half = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = add_video(container, size=(SIDE, SIDE), codec=codec, options=options)
        packets = []
        for number in range(FRAMES):
            noise = generator.integers(0, 255, (SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(Fraction(number, 30) / TICKS), TICKS
            packets += stream.encode(frame)
        mux(container, packets + stream.encode(None))
    sizes = [len(data) for _, data in packets_of(path, "video")[0]]
    largest = max(range(FRAMES // 3, 2 * FRAMES // 3), key=lambda number: sizes[number])
    overwrite_packet(path, len(sizes) - 1 if last else largest, in_half=in_half)
    return path


def told(path: Path) -> str:
    with VideoReader(path) as reader:
        for _ in reader:
            pass
        return str(reader.damage)


@pytest.mark.parametrize("last", [False, True], ids=["in the middle", "the last"])
@pytest.mark.parametrize("codec", CODECS)
def test_it_is_noticed_in_every_run(tmp_path: Path, codec: str, last: bool) -> None:
    path = with_damage(tmp_path / "a.mkv", codec, last=last)
    found = [told(path) for _ in range(5)]
    assert found[0]
    assert found == found[:1] * 5


def test_a_damaged_picture_is_masked_whole(tmp_path: Path) -> None:
    source = with_damage(tmp_path / "a.mkv", "libx264", last=True)
    outcome = redact(source, "-o", tmp_path / "out.mkv", "--style", "solid", *FAST_ENCODING)
    assert outcome.code == 1
    assert "damaged frames: 1" in outcome.err
    brightest = [frame.to_ndarray(format="gray").max() for frame in frames_of(tmp_path / "out.incomplete.mkv")]
    assert [number for number, grey in enumerate(brightest) if grey < 30] == [FRAMES - 2]  # a B picture


@pytest.mark.parametrize(
    ("codec", "suffix"), [("mpeg4", ".avi"), ("mpeg4", ".mp4"), ("flv1", ".flv"), ("msmpeg4", ".avi"), ("wmv2", ".asf")]
)
def test_what_is_predicted_from_a_keyframe_that_was_cut_off_is_masked(codec: str, suffix: str, tmp_path: Path) -> None:
    """Its decoders show grey for that keyframe, and in it whatever moves."""
    whole, cut, out = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}", tmp_path / "out.mkv"
    write(whole, codec, "yuv420p", [picture(number) for number in range(24)], {"g": "12"})
    with av.open(str(whole)) as source, av.open(str(cut), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet in packets[1:]:
            packet.stream = stream
            container.mux(packet)
    assert told(whole) == ""
    assert told(cut) == "damaged frames: 11"
    assert redact(cut, "-o", out, "--style", "solid", *FAST_ENCODING).code == 1
    pictures = frames_of(tmp_path / "out.incomplete.mkv")
    assert [frame.to_ndarray(format="gray").max() < 24 for frame in pictures] == [True] * 11 + [False] * 12
