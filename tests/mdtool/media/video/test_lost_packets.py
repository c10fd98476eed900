"""Packets of a video stream that give no frame are told as damage, but for those that usually give none."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from cli_runner import redact
from make_media import add_video, constant_rate_times, mux, packets_of, pictures, sound, times_of

from mdtool.media.video.lost_packets import MAX_SKIPPED, LostPackets
from mdtool.media.video.reader import VideoReader

RATE = 25


def part(path: Path, start: int, codec: str, size: tuple[int, int], *, with_sound: bool = False) -> bytes:
    with av.open(str(path), "w") as container:
        stream = add_video(container, rate=RATE, codec=codec)
        stream.width, stream.height = size
        frames = (av.VideoFrame.from_ndarray(noise(index, size), format="rgb24") for index in range(20))
        packets = []
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = start * RATE + index, Fraction(1, RATE)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if with_sound:
            for packet in sound(container.add_stream("aac", 48000), 20 / RATE):
                packet.pts += round(start / packet.time_base)
                packet.dts = packet.pts
                packets.append(packet)
        mux(container, packets)
    return path.read_bytes()


def noise(index: int, size: tuple[int, int]) -> np.ndarray:
    generator = np.random.default_rng(0)
    wide = generator.integers(0, 255, (size[1], size[0] + 100, 3), dtype=np.uint8)
    return np.ascontiguousarray(wide[:, index : index + size[0]])


@pytest.fixture
def parts(tmp_path: Path) -> tuple[bytes, bytes]:
    """Two recordings that a program joined, although they have different codecs."""
    h264 = part(tmp_path / "h264.ts", 50, "libx264", (128, 96), with_sound=True)
    return h264, part(tmp_path / "mpeg2.ts", 5, "mpeg2video", (192, 96))


def test_the_packets_of_another_codec_are_told(tmp_path: Path, parts: tuple[bytes, bytes]) -> None:
    source, target = tmp_path / "a.ts", tmp_path / "out.incomplete.mp4"
    source.write_bytes(parts[0] + parts[1])
    outcome = redact(source, "-o", tmp_path / "out.mp4")
    assert len(times_of(target)) == 20  # of 40
    assert outcome.code == 1
    assert "unreadable packets: " in outcome.err
    told = int(re.split("[;,]", outcome.err.split("unreadable packets: ")[1])[0])
    assert told == pytest.approx(20, abs=2)


def test_after_another_codec_picture_and_sound_start_near_0(tmp_path: Path, parts: tuple[bytes, bytes]) -> None:
    source, target = tmp_path / "a.ts", tmp_path / "out.incomplete.mp4"
    source.write_bytes(parts[1] + parts[0])
    assert redact(source, "-o", tmp_path / "out.mp4").code == 1
    starts = [times_of(target)[0], packets_of(target, "audio")[0][0][0]]
    assert max(starts) < 1  # the sound comes with the second part


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "libx265"])
def test_pictures_before_the_first_keyframe_are_no_damage(tmp_path: Path, codec: str) -> None:
    source = tmp_path / "a.ts"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE, codec=codec)
        stream.gop_size = 20
        stream.codec_context.max_b_frames = 2
        mux(container, pictures(stream, constant_rate_times(60, RATE)))
    content = source.read_bytes()
    tables = 188 * 3
    source.write_bytes(content[:tables] + content[len(content) // 6 // 188 * 188 :])
    with VideoReader(source) as reader:
        assert 30 <= sum(1 for _ in reader) < 58  # some are cut away
        assert not reader.damage


def test_hidden_pictures_are_no_damage(tmp_path: Path) -> None:
    """VP8 refers to pictures that are packets of their own, and are never shown."""
    source = tmp_path / "a.mkv"
    options = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"}
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE, codec="libvpx", options=options)
        mux(container, pictures(stream, constant_rate_times(60, RATE)))
    with VideoReader(source) as reader:
        assert sum(1 for _ in reader) == 60
        assert not reader.damage


def lost(shown: list[bool], keyframes: set[int], leading: set[int]) -> int:
    packets = LostPackets("h264")
    for number, gives_frame in enumerate(shown):
        pts = 2 * number - (1000 if number in leading else 0)
        packets.sent(pts, 1000, is_keyframe=number in keyframes)
        if gives_frame:
            packets.received(pts)
    return packets.count


@pytest.mark.parametrize(
    ("shown", "keyframes", "leading", "count"),
    [
        ([False] * 30 + [True] * 5, {30}, set(), 0),  # cut in front
        ([False] * 30 + [True] * 5, {10, 30}, set(), 20),  # a keyframe without a frame, and what follows it
        ([True] * 5 + [False] * MAX_SKIPPED + [True] * 5, {0, 4}, set(range(5, 21)), 0),  # shown before their keyframe
        ([True] * 5 + [False] * (MAX_SKIPPED + 1) + [True] * 5, {0, 4}, set(range(5, 22)), MAX_SKIPPED + 1),
        ([True] * 5 + [False] * 3 + [True] * 5, {0, 4}, set(), 3),
        ([True] * 5 + [False] * 4 + [True] * 5, {0, 4}, {7, 8}, 0),
        ([True, False] * 20, {0}, set(), 0),  # second fields
        ([True, True, False, False] * 20, {0}, set(), 0),  # hidden pictures
        ([True] * 5 + [False] * 3, {0, 5}, set(), 3),
    ],
)
def test_which_packets_count(shown: list[bool], keyframes: set[int], leading: set[int], count: int) -> None:
    assert lost(shown, keyframes, leading) == count


def test_a_picture_that_a_decoder_drops_without_an_error_is_told(tmp_path: Path) -> None:
    """As that of HEVC does with one whose header is damaged."""
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE, codec="libx265", options={"x265-params": "log-level=none:keyint=10"})
        mux(container, pictures(stream, constant_rate_times(40, RATE)))
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][4]
        assert packet.pos is not None
        place, header = packet.pos, bytes(packet)[4:7]
    content = bytearray(source.read_bytes())
    assert bytes(content[place + 4 : place + 7]) == header
    content[place + 4 : place + 7] = bytes(value ^ 0xFF for value in header)
    source.write_bytes(content)
    with VideoReader(source) as reader:
        lost = 40 - sum(1 for _ in reader)
        assert lost > 0
        assert reader.damage.packets == lost
