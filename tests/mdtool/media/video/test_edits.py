"""What is muted is silent to the sample, what is cut is gone, and what comes after moves up together."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from make_media import (
    add_video,
    constant_rate_times,
    frames_of,
    mux,
    pictures,
    psnr,
    sound,
    subtitles,
    time_of,
    times_of,
)

from mdtool.media.video.edits import AudioChunk, Edit, FrameCutter, Spans, apply_edit, merge_spans
from mdtool.media.video.encoding import Encoding, audio_encoder
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.writer import VideoWriter, muxer_for

FAST_ENCODING = Encoding(preset="ultrafast", crf=12)
RATE = 48000
SIZE = (64, 48)


def edit(source: Path, target: Path, mute: Sequence[Any] = (), cut: Sequence[Any] = ()) -> list[str]:
    """What is told of it."""
    wanted = Edit(merge_spans(mute), merge_spans(cut))
    notes: list[str] = []
    with VideoReader(source) as reader:
        writer = VideoWriter(
            target, muxer_for(target.name), reader, encoding=FAST_ENCODING, keep_metadata=False, edit=wanted
        )
        pictures = FrameCutter(wanted.cut)
        for event in apply_edit(reader, wanted, notes):
            kept = pictures.retime(event) if isinstance(event, Frame) else event
            if kept is not None:
                writer.write(kept)
        writer.close()
    return notes + writer.notes


def clip(path: Path, codec: str = "flac", frames: int = 30, rate: int = RATE, layout: str = "stereo") -> Path:
    """Frames at 30 a second, each of which differs, and a tone."""
    with av.open(str(path), "w") as container:
        video = add_video(container, size=SIZE)
        tone: Any = container.add_stream(codec, rate)
        tone.codec_context.layout = layout
        mux(container, pictures(video, constant_rate_times(frames)) + sound(tone, frames / 30))
    return path


def samples_of(path: Path) -> np.ndarray:
    """Channels x samples."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        channels = frames[0].layout.nb_channels
        arrays = [f.to_ndarray() if f.format.is_planar else f.to_ndarray().reshape(-1, channels).T for f in frames]
        assert round(time_of(frames[0]) * frames[0].sample_rate) == 0
        return np.concatenate(arrays, axis=1)


def shown(path: Path, source: Path) -> list[int]:
    """Which pictures of the source there are."""
    originals = frames_of(source)
    return [int(np.argmax([psnr(frame, original) for original in originals])) for frame in frames_of(path)]


@pytest.mark.parametrize(
    ("codec", "name", "layout"),
    [
        ("flac", "a.mkv", "stereo"),
        ("flac", "a.mkv", "5.1"),
        ("pcm_s16le", "a.mov", "mono"),
        ("pcm_u8", "a.mkv", "mono"),
    ],
)
def test_what_is_muted_is_silent_to_the_sample_and_nothing_else_changes(
    codec: str, name: str, layout: str, tmp_path: Path
) -> None:
    source, target = clip(tmp_path / f"source{name}", codec, layout=layout), tmp_path / name
    notes = edit(source, target, mute=[(0.2, 0.3), (0.3, 0.433333), (0.8, 0.800001), (0.9, 5.0)])
    before, after = samples_of(source), samples_of(target)
    wanted = before.copy()
    wanted[:, 9600:20800] = wanted[:, 43200:] = 128 if codec == "pcm_u8" else 0
    assert np.array_equal(after, wanted)
    assert times_of(target) == times_of(source)
    assert notes == [f"audio stream 1 re-encoded as {codec}: parts of it were muted or cut"]


@pytest.mark.parametrize(
    ("codec", "name"), [("aac", "a.mp4"), ("libmp3lame", "a.mkv"), ("libopus", "a.mkv"), ("ac3", "a.ts")]
)
def test_sound_of_lossy_codecs_stays_what_it_was(codec: str, name: str, tmp_path: Path) -> None:
    source, target = clip(tmp_path / f"source{Path(name).suffix}", codec), tmp_path / name
    edit(source, target, mute=[(0.3, 0.6)])
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert before.streams.audio[0].codec_context.name == after.streams.audio[0].codec_context.name
    tones = [tone_of(source), tone_of(target)]
    assert np.abs(tones[1][int(0.35 * RATE) : int(0.55 * RATE)]).max() < 0.01
    for start, end in ((0.1, 0.25), (0.65, 0.9)):
        one, other = (tone[int(start * RATE) : int(end * RATE)] for tone in tones)
        assert np.abs(one - other).max() < 0.05


def tone_of(path: Path) -> np.ndarray:
    """The first channel as numbers from -1 to 1, from time 0 of the pictures on."""
    with av.open(str(path)) as container:
        start = min(time_of(frame) for frame in frames_of(path)[:1])
        found = np.zeros(2 * RATE, np.float32)
        for frame in container.decode(audio=0):
            at = round((time_of(frame) - start) * RATE)
            values = frame.to_ndarray()[0].astype(np.float32)
            found[max(at, 0) : at + len(values)] = values[max(0, -at) :]
        return found


def test_a_cut_takes_pictures_and_sound_out_and_keeps_them_together(tmp_path: Path) -> None:
    source, target = clip(tmp_path / "source.mkv", frames=60), tmp_path / "a.mkv"
    edit(source, target, cut=[(0.5, 0.7), (1.0, 1.5)])
    kept = [*range(15), *range(21, 30), *range(45, 60)]
    assert shown(target, source) == kept
    for place, time in enumerate(times_of(target)):
        assert abs(time - Fraction(place, 30)) < Fraction(1, 500)  # Matroska counts milliseconds
    before, after = samples_of(source), samples_of(target)
    parts = [before[:, :24000], before[:, 33600:48000], before[:, 72000:]]
    assert np.array_equal(after, np.concatenate(parts, axis=1))


@pytest.mark.parametrize("cut", [(0, 0.5), (0.5, 9), (0.2, 0.233333)])
def test_cuts_at_the_start_at_the_end_and_of_one_picture(cut: tuple[float, float], tmp_path: Path) -> None:
    source, target = clip(tmp_path / "source.mp4", "aac"), tmp_path / "a.mp4"
    edit(source, target, cut=[cut])
    kept = [number for number in range(30) if not cut[0] <= round(number / 30, 6) < cut[1]]
    assert shown(target, source) == kept
    assert times_of(target) == [Fraction(place, 30) for place in range(len(kept))]
    with av.open(str(target)) as container:
        sound_ends = [time_of(frame) + Fraction(frame.samples, RATE) for frame in container.decode(audio=0)]
    assert abs(max(sound_ends) - Fraction(len(kept), 30)) < Fraction(1024, RATE) + Fraction(1, 30)


def test_streams_whose_pictures_lie_otherwise_stay_in_order(tmp_path: Path) -> None:
    """The cut is at pictures of the first; the second is slower, late, and of uneven rate."""
    path, target = tmp_path / "source.mkv", tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        one, other = add_video(container, size=SIZE), add_video(container, size=SIZE, rate=7)
        uneven = [Fraction(n, 7) + Fraction(n % 3, 50) for n in range(8)]
        mux(container, pictures(one, constant_rate_times(30)) + pictures(other, uneven))
    edit(path, target, cut=[(0.3, 0.4), (0.5, 0.8)])
    for place, times in enumerate((constant_rate_times(30), uneven)):
        late, later, end = Fraction(3, 10), Fraction(5, 10), Fraction(8, 10)
        left = [t for t in times if not (late <= t < late + Fraction(1, 10) or later <= t < end)]
        moved = [t - (Fraction(1, 10) if t > late else 0) - (Fraction(3, 10) if t > later else 0) for t in left]
        found = times_of(target, place)
        assert len(found) == len(moved)
        assert all(abs(a - b) <= Fraction(2, 1000) for a, b in zip(found, moved, strict=True))
        assert found == sorted(set(found))


def test_subtitles_are_dropped_shortened_or_moved(tmp_path: Path) -> None:
    words, path, target = tmp_path / "words.srt", tmp_path / "source.mkv", tmp_path / "a.mkv"
    words.write_bytes(subtitles((0.1, 0.2), (0.3, 0.6), (0.6, 0.9), (0.8, 1.2), (1.3, 1.4), (0.95, 1.5)))
    with av.open(str(words)) as spoken, av.open(str(path), "w") as container:
        video = add_video(container, size=SIZE)
        lines = container.add_stream_from_template(spoken.streams.subtitles[0])
        packets = pictures(video, constant_rate_times(45))
        for packet in spoken.demux():
            if packet.size:
                packet.stream = lines
                packets.append(packet)
        mux(container, packets)
    edit(path, target, cut=[(0.5, 1.0)])
    with av.open(str(target)) as container:
        found = [
            (bytes(p), round(float(time_of(p)), 3), round(float((p.duration or 0) * p.time_base), 3))
            for p in container.demux(subtitles=0)
            if p.size
        ]
    assert found == [
        (b"words 1", 0.1, 0.1),
        (b"words 2", 0.3, 0.2),
        (b"words 4", 0.5, 0.2),
        (b"words 6", 0.501, 0.5),
        (b"words 5", 0.8, 0.1),
    ]


def test_chapters_are_left_out_of_what_is_cut_and_kept_where_it_is_muted(tmp_path: Path) -> None:
    path = tmp_path / "source.mkv"
    with av.open(str(path), "w") as container:
        video = add_video(container, size=SIZE)
        chapter = {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
        container.set_chapters([chapter])  # type: ignore[list-item]
        mux(container, pictures(video, constant_rate_times(15)))
    told = edit(path, tmp_path / "cut.mkv", cut=[(0.1, 0.2)])
    assert told == ["chapters left out: their times are those of the uncut video"]
    assert edit(path, tmp_path / "mute.mkv", mute=[(0.1, 0.2)]) == []
    for name, count in (("cut.mkv", 0), ("mute.mkv", 1)):
        with av.open(str(tmp_path / name)) as container:
            assert len(container.chapters()) == count


def test_sound_that_cannot_be_decoded_is_left_out_and_told_of(tmp_path: Path) -> None:
    notes: list[str] = []

    def damaged(reader: VideoReader) -> Iterator[Any]:
        for event in reader:
            if isinstance(event, av.Packet) and event.pts and event.pts * event.time_base < Fraction(1, 4):
                broken = av.Packet(b"\xff" * event.size)
                broken.pts, broken.dts, broken.stream = event.pts, event.dts, event.stream
                event = broken
            yield event

    mute = Edit(merge_spans([(0.1, 0.2)]))
    with VideoReader(clip(tmp_path / "source.mkv")) as reader:
        sounds = [event.frame for event in apply_edit(damaged(reader), mute, notes) if isinstance(event, AudioChunk)]
    first, second = sounds[:2]
    assert first.pts is not None
    assert second.pts is not None
    assert second.pts - first.pts > first.samples  # a gap, so that pictures and sound stay together
    assert notes == ["2 audio packets could not be decoded and were left out"]


@pytest.mark.parametrize(
    ("decoder", "encoder"),
    [
        ("aac", "aac"),
        ("mp3", "libmp3lame"),
        ("opus", "libopus"),
        ("wmapro", None),
        ("truehd", None),
    ],
)
def test_sound_is_encoded_as_it_was_where_there_is_an_encoder(decoder: str, encoder: str | None) -> None:
    context: Any = av.CodecContext.create(decoder, "r")
    context.sample_rate = RATE
    assert audio_encoder(context) == encoder


def test_joined_spans_hold_what_any_of_them_holds() -> None:
    chance = np.random.default_rng(0)
    for _ in range(200):
        spans = [tuple(np.sort(chance.integers(0, 60, 2)) / 10) for _ in range(chance.integers(0, 6))]
        merged = merge_spans(spans)
        assert all(a[1] < b[0] for a, b in pairwise(merged.parts))
        for time in np.arange(0.05, 6, 0.1):
            assert merged.contains(time) == any(start <= time < end for start, end in spans)


def test_times_are_compared_to_the_microsecond() -> None:
    span = merge_spans([(0.033333, 0.066667)])
    assert span.contains(1 / 30)
    assert not span.contains(2 / 30)
    assert merge_spans([(0.0, 0.0)]).contains(0.0)  # a photo
    assert not Spans().contains(0.0)
