"""What a container or encoder refuses is named by its cause; what it can't hold is re-encoded or left out, and said."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from cli_runner import redact, run
from make_media import (
    ROTATION_MATRICES,
    add_video,
    constant_rate_times,
    make_video,
    mux,
    packets_of,
    pictures,
    sound,
    times_of,
)

from mdtool.errors import OutputError
from mdtool.media.video.muxer_errors import clock
from mdtool.media.video.packet_muxer import PacketMuxer

VARIABLE = [Fraction(n, 1000) for n in (0, 40, 55, 120, 121, 300, 333)]


def with_audio(path: Path, codec: str, rate: int = 48000, layout: str = "stereo") -> Path:
    is_avi = path.suffix == ".avi"
    with av.open(str(path), "w") as container:
        stream = add_video(container, codec="mpeg4" if is_avi else "libx264", rate=25)
        if is_avi:
            stream.codec_context.time_base = Fraction(1, 25)
        tone: Any = container.add_stream(codec, rate)
        tone.codec_context.layout = layout
        mux(container, pictures(stream, constant_rate_times(10, 25)) + sound(tone, 0.4))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "suffix", "written"),
    [
        ("a.mkv", "pcm_s16le", 48000, "stereo", ".mp4", "aac"),
        ("a.mkv", "pcm_s24le", 96000, "5.1", ".ts", "aac"),
        ("a.mkv", "pcm_s16le", 44100, "mono", ".3gp", "aac"),
        ("a.avi", "pcm_mulaw", 8000, "mono", ".flv", "aac"),
        ("a.avi", "pcm_mulaw", 8000, "mono", ".mpg", "mp2"),
        ("a.mkv", "flac", 48000, "stereo", ".ts", "aac"),
        ("a.mkv", "flac", 48000, "stereo", ".mov", "aac"),
        ("a.mkv", "libopus", 48000, "stereo", ".avi", "aac"),
        ("a.mov", "alac", 44100, "stereo", ".ts", "aac"),
        ("a.mov", "alac", 44100, "stereo", ".webm", "libopus"),
    ],
)  # fmt: skip
def test_sound_that_a_container_can_not_hold_is_re_encoded(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, suffix: str, written: str
) -> None:
    source, target = with_audio(tmp_path / name, codec, rate, layout), tmp_path / f"out{suffix}"
    planned = run("redact", source, "-o", target, "--dry-run").out.decode()
    outcome = run("redact", source, "-o", target)
    assert outcome.code == 0, outcome.err
    held = f"can't hold {codec.removeprefix('lib')}"
    assert f"audio stream 1 re-encoded as {written}: " in outcome.err
    assert held in outcome.err
    assert f"re-encoded as {written}: " in planned
    assert held in planned
    with av.open(str(target)) as container:
        (heard,) = container.streams.audio
        seconds = sum(frame.samples for frame in container.decode(heard)) / heard.codec_context.sample_rate
        packet = 1152 / heard.codec_context.sample_rate
    assert seconds == pytest.approx(0.4, abs=0.03 + 2 * packet)  # with what primes the decoder


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("pcm_s16le", ".mov"),
        ("pcm_s16le", ".avi"),
        ("flac", ".mp4"),
        ("libopus", ".ts"),
        ("ac3", ".flv"),
        ("mp2", ".mpg"),
    ],
)
def test_sound_that_it_can_hold_is_copied(tmp_path: Path, codec: str, suffix: str) -> None:
    source, target = with_audio(tmp_path / "a.mkv", codec), tmp_path / f"out{suffix}"
    outcome = run("redact", source, "-o", target)
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.streams.audio[0].codec_context.name == before.streams.audio[0].codec_context.name
    assert packets_of(target, "audio")[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".flv", ".nut"])
def test_chapters_and_rotation_are_kept_or_named(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "a.mov", tmp_path / f"out{suffix}"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=25)
        a, b, c, d = (value << 16 for value in ROTATION_MATRICES["90"])
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        container.set_chapters([
            {"id": n, "start": 200 * n, "end": 200 * (n + 1), "time_base": Fraction(1, 1000), "metadata": {"title": t}}
            for n, t in enumerate(["one", "two"])
        ])  # fmt: skip
        mux(container, pictures(stream, constant_rate_times(10, 25)))
    outcome = run("redact", source, "-o", target)
    assert outcome.code == 0, outcome.err
    with av.open(str(target)) as container:
        has_chapters = len(container.chapters()) == 2
        is_turned = next(container.decode(video=0)).rotation != 0
    assert has_chapters == ("chapters left out: " not in outcome.err)
    assert is_turned == ("rotation left out: " not in outcome.err)
    assert has_chapters == (suffix in (".mp4", ".mkv", ".nut"))
    assert is_turned == (suffix in (".mp4", ".mkv"))


def refused(source: Path, target: Path, *options: str) -> str:
    outcome = run("redact", source, "-o", target, *options)
    assert (outcome.code, len(outcome.lines)) in ((2, 1), (74, 1)), outcome.err
    assert not target.exists()
    return outcome.err


def test_two_frames_in_one_tick(tmp_path: Path) -> None:
    said = refused(make_video(tmp_path / "a.mp4", VARIABLE), tmp_path / "out.avi")
    assert "two frames with equal times in stream 0 at 0:00:00.1" in said
    assert said.endswith("; .mkv can hold them\n")
    assert redact(tmp_path / "a.mp4", "-o", tmp_path / "out.mkv").code == 0


def test_a_frame_rate_that_an_encoder_does_not_know(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 10, rate=Fraction(19))
    said = refused(source, tmp_path / "out.mkv", "--codec", "mpeg2video")
    assert "MPEG-1/2 does not support " in said
    assert ".mkv can" not in said


def test_a_frame_rate_that_the_usual_encoder_does_not_know_fails_that_input(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 10, rate=Fraction(19))
    outcome = run("redact", source, "-o", tmp_path / "out.mpg")
    assert (outcome.code, len(outcome.lines)) == (1, 1), outcome.err
    assert outcome.err.startswith(f"mdtool: {source}: mpeg2video does not support ")


def test_more_streams_than_a_container_takes(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        streams = [add_video(container, rate=25, size=(96, 64)) for _ in range(2)]
        mux(container, [packet for one in streams for packet in pictures(one, constant_rate_times(10, 25))])
    said = refused(source, tmp_path / "out.mxf")
    assert "the mxf muxer refused its streams: there must be exactly one video stream" in said
    assert refused(source, tmp_path / "out.mxf") == said, "each time"
    assert ".mkv can hold them" in said
    assert redact(source, "-o", tmp_path / "out.mkv").code == 0


@pytest.mark.parametrize("muxer", ["mp4", "mpegts", "mov", "matroska", "nut"])
def test_times_that_are_equal_in_the_ticks_of_the_output_go_on_by_one(muxer: str) -> None:
    """As those of packets that came late from a live source."""
    content = io.BytesIO()
    with av.open(io.BytesIO(), "w", format="adts") as made:
        packets = sound(made.add_stream("aac", 48000), 0.2)
    with av.open(content, "w", format=muxer) as container:
        stream: Any = container.add_stream("aac", 48000)
        container.start_encoding()
        out = PacketMuxer(container)
        for number, packet in enumerate(packets):
            packet.stream, packet.time_base = stream, Fraction(1, 90000)
            packet.pts = packet.dts = 3000 * (number // 3) + number % 3
            out.mux(packet)
    content.seek(0)
    with av.open(content, "r") as container:
        times = [packet.dts for packet in container.demux(audio=0) if packet.size and packet.dts is not None]
    assert len(times) == len(packets)
    assert times == sorted(times)


def test_pictures_are_not_moved_by_a_coarse_tick() -> None:
    with av.open(io.BytesIO(), "w", format="avi") as container:
        stream: Any = add_video(container, "mpeg4", rate=25)
        stream.codec_context.time_base = Fraction(1, 25)
        container.start_encoding()
        (packet, *_) = pictures(stream, [Fraction(0)])
        out = PacketMuxer(container)
        out.mux(packet)
        packet.pts = packet.dts = 0
        with pytest.raises(OutputError, match=r"refused two packets with equal times in stream 0 at 0:00:00\.0"):
            out.mux(packet)


def test_a_time_is_told_as_on_a_clock() -> None:
    assert [clock(t) for t in (0, 4.2, 61.96, 3725, None)] == [
        "0:00:00.0", "0:00:04.2", "0:01:02.0", "1:02:05.0", "an unknown time",
    ]  # fmt: skip


def test_times_of_variable_rate_are_held_where_they_can_be(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", VARIABLE, with_sound=True)
    for suffix in (".mkv", ".mov", ".ts", ".flv", ".nut"):
        target = tmp_path / f"out{suffix}"
        assert redact(source, "-o", target).code == 0
        times = times_of(target)
        late = [a - b for a, b in zip(times, times_of(source), strict=True)]
        assert max(late) - min(late) <= Fraction(1, 1000)
