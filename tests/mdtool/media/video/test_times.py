"""Times count from the start of the file and go on where the source's clock jumps; picture and sound stay together."""

import io
import json
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cli_runner import redact, run
from make_edit_list import Edit, with_edits
from make_media import (
    add_video,
    constant_rate_times,
    frames_of,
    is_face_visible,
    make_video,
    mux,
    packets_of,
    pictures,
    sound,
    subtitles,
    time_of,
    times_of,
)

from mdtool.media.sources.inputs import Input
from mdtool.media.video.frame_grabber import grab_frame
from mdtool.media.video.reader import VideoReader

RATE = 25
STEP = Fraction(1, RATE)
MILLISECOND = Fraction(1, 1000)
WRAP = Fraction(2**33, 90000)  # seconds after which the clock of MPEG-TS begins anew


def part(
    path: Path,
    start: Fraction | float = 0,
    count: int = 30,
    *,
    face: bool = False,
    with_sound: bool = True,
    options: dict[str, str] | None = None,
    encoder: dict[str, str] | None = None,
    **video: Any,
) -> Path:
    """Write picture and sound that begin at the same time, `start`, on the container's clock."""
    with av.open(str(path), "w", container_options=options or {}) as container:
        stream = add_video(container, rate=RATE, options=encoder, **video)
        packets = pictures(stream, constant_rate_times(count, RATE, Fraction(start)), face)
        if with_sound:
            for packet in sound(container.add_stream("aac", 48000), count / RATE):
                packet.pts += round(Fraction(start) / packet.time_base)
                packet.dts = packet.pts
                packets.append(packet)
        mux(container, packets)
    return path


def joined(path: Path, *parts: Path) -> Path:
    """Join MPEG transport streams as a program would that remultiplexes them, with continuity counters that go on."""
    counters: dict[int, int] = {}
    made = bytearray()
    for content in (one.read_bytes() for one in parts):
        for at in range(0, len(content), 188):
            packet = bytearray(content[at : at + 188])
            pid = (packet[1] & 0x1F) << 8 | packet[2]
            if packet[3] & 0x10:  # it has a payload
                counters[pid] = (counters.get(pid, -1) + 1) % 16
            packet[3] = packet[3] & 0xF0 | counters.get(pid, 0)
            made += packet
    path.write_bytes(made)
    return path


def steps(times: Sequence[Fraction]) -> set[float]:
    """The distances between times, in milliseconds."""
    return {round(float(b - a) * 1000) for a, b in pairwise(times)}


def sounds(path: Path) -> list[Fraction]:
    return [time for time, _ in packets_of(path, "audio")[0]]


# -- clocks that start at any time

CLOCKS = [
    pytest.param("a.ts", Fraction(37, 25), id="MPEG-TS"),
    pytest.param("a.mkv", 100, id="Matroska"),
    pytest.param("a.flv", 7, id="FLV"),
    pytest.param("a.nut", 12, id="NUT"),
    pytest.param("a.ts", WRAP - Fraction(1, 2), id="MPEG-TS, whose clock wraps"),
]


@pytest.mark.parametrize(("name", "start"), CLOCKS)
def test_a_time_span_counts_from_the_start_of_the_file(tmp_path: Path, name: str, start: Fraction) -> None:
    source, target = part(tmp_path / name, start, face=True), tmp_path / "out.mp4"
    findings = tmp_path / "found.jsonl"
    outcome = redact(source, "-o", target, "--to", "0.6", "--style", "solid", "--findings", findings, "--json")
    assert outcome.code == 0, outcome.err
    hidden = [not is_face_visible(frame) for frame in frames_of(target)]
    assert hidden.index(False) == pytest.approx(0.6 * RATE, abs=1)
    assert not any(hidden[hidden.index(False) :])
    assert outcome.json[0]["duration"] == pytest.approx(30 / RATE, abs=0.05)
    told = [json.loads(line)["time"] for line in findings.read_text().splitlines() if '"time"' in line]
    assert told[0] < 0.03
    assert told[-1] == pytest.approx(29 / RATE, abs=0.03)


@pytest.mark.parametrize(("name", "start"), CLOCKS)
def test_in_another_container_picture_and_sound_start_at_0(tmp_path: Path, name: str, start: Fraction) -> None:
    source, target = part(tmp_path / name, start), tmp_path / "out.mp4"
    assert redact(source, "-o", target).code == 0
    assert abs(times_of(target)[0]) < Fraction(3, 100)
    assert abs(sounds(target)[0]) < Fraction(3, 100)
    assert steps(times_of(target)) == {40}
    before, after = (float(times_of(path)[0] - sounds(path)[0]) for path in (source, target))
    assert after == pytest.approx(before, abs=0.002)


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_in_the_same_container_they_start_where_they_did(tmp_path: Path, name: str) -> None:
    source, target = part(tmp_path / name, 9), tmp_path / f"out{Path(name).suffix}"
    assert redact(source, "-o", target).code == 0
    assert times_of(target) == times_of(source)
    assert packets_of(target, "audio") == packets_of(source, "audio")


def test_fragments_of_a_longer_mp4_start_at_0(tmp_path: Path) -> None:
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    whole = part(tmp_path / "whole.mp4", count=75, options=flags, gop_size=25).read_bytes()
    source, target = tmp_path / "a.mp4", tmp_path / "out.mp4"
    first = whole.index(b"moof") - 4
    second = whole.index(b"moof", first + 8) - 4
    source.write_bytes(whole[:first] + whole[second:])
    assert times_of(source)[0] >= 1
    outcome = redact(source, "-o", target)
    assert outcome.code == 0, outcome.err
    assert abs(times_of(target)[0]) < Fraction(5, 100)
    assert len(times_of(target)) == 50


def test_chapters_count_from_the_start_too(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE)
        container.set_chapters([
            {"id": n, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": "words"}}
            for n, (start, end) in enumerate([(10_000, 10_400), (10_400, 11_000)])
        ])  # fmt: skip
        mux(container, pictures(stream, constant_rate_times(25, RATE, 10)))
    for suffix, start in ((".mp4", 0.4), (".mkv", 10.4)):
        target = tmp_path / f"out{suffix}"
        assert redact(source, "-o", target).code == 0
        with av.open(str(target)) as container:
            found = container.chapters()[1]
        assert found["time_base"]
        assert float(found["start"] * found["time_base"]) == pytest.approx(start)


@pytest.mark.parametrize("options", [("--from", "5"), ("--from", "0.301", "--to", "0.302")])
@pytest.mark.parametrize("command", ["redact", "detect"])
def test_a_time_span_without_a_frame_is_an_error(tmp_path: Path, command: str, options: tuple[str, ...]) -> None:
    source = part(tmp_path / "a.ts", 7, with_sound=False)
    to = ("-o", tmp_path / "out.ts") if command == "redact" else ("face", "--jsonl", tmp_path / "found.jsonl")
    outcome = run(command, source, *to, *options)
    assert outcome.code == 1
    assert any("a.ts: no frame is in the time span" in line for line in outcome.lines), outcome.err
    assert not (tmp_path / "out.ts").exists()


# -- edit lists


def edited(path: Path, edits: dict[int, list[Edit]], **how: Any) -> Path:
    return with_edits(part(path, count=60, gop_size=12, **how), edits)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize(
    ("edits", "seconds"),
    [
        pytest.param({0: [(0.96, 1.4)], 1: [(0.96, 1.4)]}, 1.4, id="both"),
        pytest.param({0: [(1.0, 1.2)], 1: [(1.0, 1.2)]}, 1.2, id="within a group of pictures"),
        pytest.param({1: [(0.96, 1.4)]}, 2.4, id="sound"),
        pytest.param({0: [(0.4, 0.6), (1.6, 0.6)], 1: [(0.4, 0.6), (1.6, 0.6)]}, 1.2, id="two pieces"),
        pytest.param({0: [(1.6, 0.6), (0.4, 0.6)], 1: [(1.6, 0.6), (0.4, 0.6)]}, 1.2, id="two pieces, exchanged"),
    ],
)
def test_what_an_edit_list_cuts_away_is_not_in_the_output(
    tmp_path: Path, suffix: str, edits: dict[int, list[Edit]], seconds: float
) -> None:
    source, target = edited(tmp_path / "a.mp4", edits), tmp_path / f"out{suffix}"
    outcome = redact(source, "-o", target)
    assert outcome.code == 0, outcome.err
    times = times_of(target)
    assert (len(times), steps(times)) == (round(seconds * RATE), {40})
    shown = sum(length for _, length in edits[1])
    assert len(sounds(target)) <= shown * 48000 / 1024 + 2 * len(edits[1])
    packet = Fraction(1024, 48000)
    assert abs(times[0]) <= packet + MILLISECOND
    assert abs(sounds(target)[0]) <= packet + MILLISECOND


def test_the_sound_that_is_cut_away_is_not_heard(tmp_path: Path) -> None:
    """A tone of 440 Hz before the edit, of 2000 Hz in it."""
    source, target = tmp_path / "a.mp4", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE)
        tone = container.add_stream("aac", 48000)
        pitch = np.repeat([440, 2000], 48000)
        wave = (np.sin(np.arange(96000) * pitch * 2 * np.pi / 48000) / 2).astype(np.float32)
        for at in range(0, 96000 - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(np.stack([wave[at : at + 1024]] * 2), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, at, Fraction(1, 48000)
            container.mux(tone.encode(frame))
        container.mux(tone.encode(None))
        mux(container, pictures(stream, constant_rate_times(50, RATE)))
    with_edits(source, {0: [(1.0, 1.0)], 1: [(1.04, 0.9)]})
    assert redact(source, "-o", target).code == 0
    with av.open(str(target)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    loud = np.abs(np.fft.rfft(heard[2048:]))
    hertz = np.fft.rfftfreq(len(heard) - 2048, 1 / 48000)
    assert loud[np.abs(hertz - 440) < 20].max() < loud[np.abs(hertz - 2000) < 20].max() / 100


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_delay_in_an_edit_list_stays(tmp_path: Path, suffix: str) -> None:
    source, target = edited(tmp_path / "a.mp4", {0: [(None, 0.52), (0, 2.4)]}), tmp_path / f"out{suffix}"
    assert redact(source, "-o", target).code == 0
    assert float(times_of(target)[0] - sounds(target)[0]) == pytest.approx(0.52 + 0.021, abs=0.003)
    source = edited(tmp_path / "b.mp4", {1: [(None, 0.7), (0.6, 1.5)]})
    target = tmp_path / f"late{suffix}"
    assert redact(source, "-o", target).code == 0
    assert times_of(target)[0] == 0
    assert float(sounds(target)[0]) == pytest.approx(0.7, abs=0.022)


def test_what_primes_the_decoder_stays(tmp_path: Path) -> None:
    source, target = part(tmp_path / "a.mp4"), tmp_path / "out.mp4"
    assert sounds(source)[0] < 0
    assert redact(source, "-o", target).code == 0
    assert packets_of(target, "audio") == packets_of(source, "audio")


# -- clocks that jump


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
@pytest.mark.parametrize(
    "starts",
    [
        pytest.param((1.4, 1.4), id="to the start"),
        pytest.param((500, 2), id="far back"),
        pytest.param((1.4, 3600), id="far ahead"),
        pytest.param((9, 5, 1), id="twice"),
    ],
)
def test_after_a_jump_of_the_clock_it_goes_on(tmp_path: Path, suffix: str, starts: tuple[float, ...]) -> None:
    parts = [part(tmp_path / f"{number}.ts", start) for number, start in enumerate(starts)]
    source, target = joined(tmp_path / "a.ts", *parts), tmp_path / f"out{suffix}"
    outcome = redact(source, "-o", target)
    assert outcome.code == 0, outcome.err
    assert "its clock jumps" in outcome.err
    times = times_of(target)
    assert (len(times), steps(times)) == (30 * len(starts), {40})
    heard = sounds(target)
    assert len(heard) == sum(len(sounds(one)) for one in parts)
    distances = [(time - times[0], heard_at - heard[0]) for time, heard_at in ((times[-1], heard[-1]),)]
    assert all(abs(float(shown - sounded)) < 0.07 for shown, sounded in distances)


@pytest.mark.parametrize("with_b_frames", [(True, True), (True, False), (False, True)])
def test_reordered_frames_go_on_with_the_usual_step(tmp_path: Path, with_b_frames: tuple[bool, bool]) -> None:
    parts = [
        part(tmp_path / f"{number}.ts", 2, encoder={"preset": "fast" if has else "ultrafast"})
        for number, has in enumerate(with_b_frames)
    ]
    source, target = joined(tmp_path / "a.ts", *parts), tmp_path / "out.mkv"
    assert redact(source, "-o", target).code == 0
    assert (len(times_of(target)), steps(times_of(target))) == (60, {40})


def test_picture_and_sound_stay_together_where_the_sound_pauses(tmp_path: Path) -> None:
    parts = [part(tmp_path / f"{number}.ts", 1.4, 50, with_sound=number != 1) for number in range(3)]
    source, target = joined(tmp_path / "a.ts", *parts), tmp_path / "out.mkv"
    assert redact(source, "-o", target).code == 0
    assert steps(times_of(target)) == {40}
    heard = sounds(target)
    gap = max(b - a for a, b in pairwise(heard))
    assert float(gap) == pytest.approx(2, abs=0.05)
    assert float(heard[-1] - heard[0]) == pytest.approx(float(times_of(target)[-1] - times_of(target)[0]), abs=0.06)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts", ".flv", ".nut"])
def test_frames_in_another_order_are_no_jump(tmp_path: Path, suffix: str) -> None:
    """Some containers state no decoding times, which FFmpeg learns from the first frames."""
    source, target = part(tmp_path / f"a{suffix}", encoder={"preset": "medium"}), tmp_path / f"out{suffix}"
    outcome = redact(source, "-o", target)
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    assert times_of(target) == times_of(source)


@pytest.mark.parametrize("hole", ["picture", "sound"])
def test_a_gap_of_one_stream_alone_stays(tmp_path: Path, hole: str) -> None:
    source, target = tmp_path / "a.ts", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = add_video(container, rate=RATE)
        ends = 12 if hole == "picture" else 400
        later = constant_rate_times(10, RATE, 16) if hole == "picture" else []
        packets = pictures(stream, constant_rate_times(ends, RATE, 1) + later)
        for number, packet in enumerate(sound(container.add_stream("aac", 48000), 3 if hole == "sound" else 15)):
            late = 13 if hole == "sound" and number > 70 else 1
            packet.pts += round(late / packet.time_base)
            packet.dts = packet.pts
            packets.append(packet)
        mux(container, packets)
    outcome = redact(source, "-o", target, "--sample", "50")
    assert outcome.code == 0, outcome.err
    assert "its clock jumps" not in outcome.err
    for before, after in ((times_of(source), times_of(target)), (sounds(source), sounds(target))):
        assert abs((after[-1] - after[0]) - (before[-1] - before[0])) <= 2 * MILLISECOND


@pytest.mark.parametrize("count", [24, 25, 31])
def test_the_last_frames_before_a_join_are_not_damaged(tmp_path: Path, count: int) -> None:
    whole = make_video(tmp_path / "whole.ts", count, with_sound=True).read_bytes()
    source, target = tmp_path / "a.ts", tmp_path / "out.ts"
    source.write_bytes(whole + whole)  # as cat joins them: the continuity counters jump
    outcome = redact(source, "-o", target)
    assert outcome.code == 0, outcome.err
    assert "damaged" not in outcome.err
    assert len(times_of(target)) == 2 * count


def test_a_packet_lost_before_a_join_is_damage(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.ts", 24, with_sound=True).read_bytes()
    source = tmp_path / "a.ts"
    lost = 188 * (len(whole) // 188 // 2)
    source.write_bytes(whole[:lost] + whole[lost + 188 :] + whole)
    assert redact(source, "-o", tmp_path / "out.ts").code == 1


def test_a_short_gap_stays(tmp_path: Path) -> None:
    parts = [part(tmp_path / "0.ts", 1.4), part(tmp_path / "1.ts", 5)]
    source, target = joined(tmp_path / "a.ts", *parts), tmp_path / "out.ts"
    assert redact(source, "-o", target).code == 0
    assert times_of(target) == times_of(source)


def test_a_frame_after_a_jump_is_found_again(tmp_path: Path) -> None:
    dark = part(tmp_path / "0.ts", 8)
    bright = part(tmp_path / "1.ts", 3, face=True)
    source = joined(tmp_path / "a.ts", dark, bright)
    with VideoReader(source) as reader:
        frames = [event for event in reader if not isinstance(event, av.Packet)]
    assert len(frames) == 60
    for number in (50, 10, 40):
        found = grab_frame(Input(source, Path("a.ts")), frames[number].stream, frames[number].time)
        assert np.abs(found.astype(int) - frames[number].rgb()).mean() < 1


def test_subtitles_count_from_the_start_too(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container, av.open(io.BytesIO(subtitles((0.2, 0.4))), "r") as written:
        stream = add_video(container, rate=RATE)
        words: Any = container.add_stream_from_template(written.streams[0])
        packets = pictures(stream, constant_rate_times(25, RATE, 30))
        for packet in written.demux():
            if packet.size:
                packet.pts, packet.stream = (packet.pts or 0) + round(30 / packet.time_base), words
                packet.dts = packet.pts
                packets.append(packet)
        mux(container, packets)
    with VideoReader(source) as reader:
        assert [time_of(event) for event in reader if isinstance(event, av.Packet)] == [Fraction(1, 5)]
    assert redact(source, "-o", tmp_path / "out.mkv").code == 0
    assert packets_of(tmp_path / "out.mkv", "subtitle") == packets_of(source, "subtitle")


# -- time codes


def with_tag(path: Path, timecode: str, times: list[Fraction], rate: int = RATE) -> Path:
    with av.open(str(path), "w") as container:
        stream = add_video(container, rate=rate)
        stream.metadata["timecode"] = timecode
        mux(container, pictures(stream, times))
    return path


def with_timecode(path: Path) -> Path:
    return with_tag(path, "11:07:15:07", constant_rate_times(10, RATE))


def timecodes(path: Path) -> set[str]:
    with av.open(str(path)) as container:
        tags = [container.metadata, *(stream.metadata for stream in container.streams)]
    return {value for tag in tags for key, value in tag.items() if key.lower() == "timecode"}


@pytest.mark.parametrize("source", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".nut", ".wmv"])
def test_a_time_code_is_kept_or_named(tmp_path: Path, source: str, suffix: str) -> None:
    path, target = with_timecode(tmp_path / source), tmp_path / f"out{suffix}"
    planned = run("redact", path, "-o", target, "--keep-metadata", "--dry-run").out.decode()
    outcome = run("redact", path, "-o", target, "--keep-metadata")
    assert outcome.code == 0, outcome.err
    is_lost = suffix == ".ts"
    assert timecodes(target) == (set() if is_lost else {"11:07:15:07"})
    assert ("can't hold" in outcome.err) == is_lost
    if source != "a.mkv":  # which has no track for it
        assert (
            "stream 1: data: " + ("left out: mpegts can't hold" if is_lost else "kept as the timecode tag") in planned
        )


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
@pytest.mark.parametrize(
    ("timecode", "loss"),
    [
        ("10:11:12:99x", "has not the form"),
        ("10:71:12:00", "has not the form"),
        ("10:11:12:25", "has a frame 25"),
        ("10:11:12;10", "drops frames"),
    ],
)
def test_a_time_code_that_a_track_can_not_count_is_left_out_with_a_line(
    tmp_path: Path, timecode: str, loss: str, suffix: str
) -> None:
    path, target = with_tag(tmp_path / "a.mkv", timecode, constant_rate_times(10, RATE)), tmp_path / f"out{suffix}"
    planned = run("redact", path, "-o", target, "--keep-metadata", "--dry-run")
    outcome = run("redact", path, "-o", target, "--keep-metadata")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count(f"time code left out: {timecode!r}" if "form" in loss else "time code left out") == 1
    assert loss in outcome.err
    assert f"time code left out: {timecode}" in planned.out.decode().replace("'", "")
    assert timecodes(target) == set()


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_a_time_code_is_kept_where_the_average_rate_is_absurd(tmp_path: Path, suffix: str) -> None:
    """A writer may state any duration of a frame in a Matroska, which becomes the average rate."""
    path = with_tag(tmp_path / "a.mkv", "10:11:12:13", constant_rate_times(41, RATE, Fraction(30)), 2500)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].average_rate or 0) > 240  # else this shows nothing
    target = tmp_path / f"out{suffix}"
    outcome = run("redact", path, "-o", target, "--keep-metadata", "--to", "1")
    assert outcome.code == 0, outcome.err
    assert timecodes(target) == {"10:11:12:13"}
    planned = run("redact", path, "-o", target, "--overwrite", "--keep-metadata", "--dry-run").out.decode()
    assert "25 frames/s" in planned
    assert "time code 10:11:12:13: kept" in planned
    (count,) = [line.split()[0] for line in planned.splitlines() if line.endswith(" frames")]
    assert int(count) == pytest.approx(41, abs=1)


def test_a_time_code_is_left_out_with_the_other_metadata(tmp_path: Path) -> None:
    path, target = with_timecode(tmp_path / "a.mov"), tmp_path / "out.mov"
    outcome = redact(path, "-o", target)
    assert outcome.code == 0
    assert "--keep-metadata" in outcome.err
    assert timecodes(target) == set()


def test_a_video_that_begins_late_is_late_in_the_same_container(tmp_path: Path) -> None:
    """The delay of an MP4 is a part of it."""
    source = make_video(tmp_path / "a.mp4", constant_rate_times(10, start=Fraction(3, 2)), face=True)
    outcome = redact(source, "-o", tmp_path / "out.mp4")
    assert outcome.code == 0
    assert times_of(tmp_path / "out.mp4") == times_of(source)
