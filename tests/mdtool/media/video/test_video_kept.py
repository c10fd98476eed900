"""The output is the input, changed only where asked."""

import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from cli_runner import redact, run
from make_adts import adts, he_aac, transport_stream
from make_media import (
    ROTATION_MATRICES,
    SAMPLES,
    add_video,
    constant_rate_times,
    frames_of,
    make_video,
    mux,
    packets_of,
    pictures,
    psnr,
    sound,
    subtitles,
    times_of,
)

VARIABLE = [Fraction(n, 1000) for n in (0, 40, 55, 120, 121, 300, 333)]
GAP = [*constant_rate_times(6), *constant_rate_times(6, start=Fraction(7, 10))]
FONT = b"\0\1\0\0 this is a font"
LIMITED = 1  # what an untagged video is shown as
MILLISECOND = Fraction(1, 1000)
NEARLY_EQUAL = 36  # decibels, at the quality that is the default


def kept(source: Path, target: Path, place: int = 0) -> list[Any]:
    """The frames of the output, after a look at all that must be as in the input."""
    before, after = frames_of(source, place), frames_of(target, place)
    times, wanted = times_of(target, place), times_of(source, place)
    if target.suffix == source.suffix:
        assert times == wanted
    else:  # Matroska and WebM count in milliseconds, and from 0
        assert len(times) == len(wanted)
        assert max(abs((a - times[0]) - (b - wanted[0])) for a, b in zip(times, wanted, strict=True)) <= MILLISECOND
    assert {(f.width, f.height) for f in after} == {(f.width, f.height) for f in before}
    for one, other in zip(before, after, strict=True):
        assert one.rotation == other.rotation
        for tag in ("color_primaries", "color_trc", "colorspace"):
            assert getattr(one, tag) == getattr(other, tag)
        assert (one.color_range or LIMITED) == (other.color_range or LIMITED)
        assert one.interlaced_frame == other.interlaced_frame
    return after


@pytest.mark.parametrize(
    ("suffix", "times"),
    [
        pytest.param(".mp4", constant_rate_times(12), id="constant"),
        pytest.param(".mp4", VARIABLE, id="variable"),
        pytest.param(".mkv", VARIABLE, id="variable, in Matroska"),
        pytest.param(".mp4", GAP, id="gap"),
        pytest.param(".mkv", GAP, id="gap, in Matroska"),
        pytest.param(".mp4", constant_rate_times(8, start=Fraction(3, 2)), id="late"),
        pytest.param(".mkv", constant_rate_times(8, start=Fraction(3, 2)), id="late, in Matroska"),
        pytest.param(".mp4", constant_rate_times(1), id="one"),
        pytest.param(".mkv", constant_rate_times(2), id="two"),
        pytest.param(".mkv", constant_rate_times(40, 240), id="240 fps"),
        pytest.param(".mp4", constant_rate_times(4, 1), id="1 fps"),
    ],
)
def test_frames_and_their_times(tmp_path: Path, suffix: str, times: list[Fraction]) -> None:
    source, target = make_video(tmp_path / f"a{suffix}", times, with_sound=len(times) > 2), tmp_path / f"out{suffix}"
    assert redact(source, "-o", target).code == 0
    frames = kept(source, target)
    assert len(frames) == len(times)
    assert min(psnr(a, b) for a, b in zip(frames_of(source), frames, strict=True)) > NEARLY_EQUAL
    assert packets_of(target, "audio") == packets_of(source, "audio")


@pytest.mark.parametrize("suffix", [".wmv", ".flv", ".ts", ".3gp", ".nut"])
def test_variable_rate_in_other_containers(tmp_path: Path, suffix: str) -> None:
    source, target = make_video(tmp_path / "a.mkv", VARIABLE, with_sound=True), tmp_path / f"out{suffix}"
    outcome = run("redact", source, "-o", target)
    assert outcome.code == 0, outcome.err
    kept(source, target)


@pytest.mark.parametrize("name", ["out.mpg", "out.avi", "out.mxf"])
def test_times_that_a_container_can_not_hold(tmp_path: Path, name: str) -> None:
    """Refused, and not bent."""
    outcome = run("redact", make_video(tmp_path / "a.mp4", VARIABLE), "-o", tmp_path / name)
    assert (outcome.code in (1, 74), len(outcome.lines)) == (True, 1), outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("start", "told"), [(0, False), (Fraction(3), True)])
def test_a_late_start_that_avi_can_not_hold_is_told(tmp_path: Path, start: Fraction, told: bool) -> None:
    source = make_video(tmp_path / "a.mkv", constant_rate_times(8, start=Fraction(start)), with_sound=True)
    outcome = redact(source, "-o", tmp_path / "out.avi")
    assert outcome.code == 0, outcome.err
    assert ("late start left out" in outcome.err) == told


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_broadcast_rate(tmp_path: Path, suffix: str) -> None:
    rate = Fraction(30000, 1001)
    source = make_video(tmp_path / f"a{suffix}", rate=rate, with_sound=True)
    outcome = redact(source, "-o", tmp_path / f"out{suffix}")
    assert outcome.code == 0, outcome.err
    kept(source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.video[0].average_rate == pytest.approx(rate, rel=1e-3)
        durations = {(p.duration or 0) * p.time_base for p in container.demux(video=0) if p.size}
    if suffix != ".ts":  # which states none
        assert all(abs(d * rate - 1) < Fraction(1, 25) for d in durations)


@pytest.mark.parametrize(
    ("name", "video", "wanted"),
    [
        ("a.mkv", {"codec": "ffv1"}, ("libx264", "yuv444p")),
        ("a.webm", {"codec": "libvpx-vp9"}, ("vp9", "yuv420p")),
        ("a.avi", {"codec": "mpeg4"}, ("mpeg4", "yuv420p")),
    ],
)
def test_odd_sizes(tmp_path: Path, name: str, video: dict[str, Any], wanted: tuple[str, str]) -> None:
    source, target = make_video(tmp_path / name, size=(131, 97), **video), tmp_path / f"out{Path(name).suffix}"
    outcome = redact(source, "-o", target)
    assert outcome.code == 0
    frames = kept(source, target)
    assert (frames[0].width, frames[0].height) == (131, 97)
    assert frames[0].format.name == wanted[1]
    assert ("odd width or height" in outcome.err) == (wanted[1] == "yuv444p")
    assert min(psnr(a, b) for a, b in zip(frames_of(source), frames, strict=True)) > NEARLY_EQUAL


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("turn", ROTATION_MATRICES)
def test_turned_and_mirrored(tmp_path: Path, suffix: str, turn: str) -> None:
    source, target = make_video(tmp_path / "a.mp4", matrix=ROTATION_MATRICES[turn]), tmp_path / f"out{suffix}"
    assert redact(source, "-o", target).code == 0

    def matrix(path: Path) -> bytes:
        return next(bytes(d) for d in frames_of(path)[0].side_data if d.type.name == "DISPLAYMATRIX")

    assert matrix(target) == matrix(source)
    kept(source, target)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "tags"),
    [
        ("libx264", "yuv420p10le", {"color_primaries": 9, "color_trc": 16, "colorspace": 9, "color_range": 1}),
        ("libx265", "yuv420p10le", {"color_primaries": 9, "color_trc": 18, "colorspace": 9, "color_range": 1}),
        ("libx264", "yuv420p", {"color_primaries": 1, "color_trc": 1, "colorspace": 1, "color_range": 2}),
        ("libx264", "yuv422p", {"color_primaries": 5, "color_trc": 6, "colorspace": 5, "color_range": 1}),
        ("libx264", "yuv444p", {"sample_aspect_ratio": Fraction(16, 11)}),
        ("libx264", "yuvj420p", {}),
        ("libx264", "gray", {}),
    ],
)
def test_colours_and_shape_of_pixels(tmp_path: Path, codec: str, pix_fmt: str, tags: dict[str, Any]) -> None:
    source = make_video(tmp_path / "a.mp4", codec=codec, pix_fmt=pix_fmt, **tags)
    target = tmp_path / "out.mp4"
    assert redact(source, "-o", target, "--codec", codec).code == 0
    frames = kept(source, target)
    assert frames[0].format.name == frames_of(source)[0].format.name
    for name, value in tags.items():
        if name != "sample_aspect_ratio":
            assert getattr(frames[0], name) == value
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.streams.video[0].sample_aspect_ratio == before.streams.video[0].sample_aspect_ratio
    assert min(psnr(a, b) for a, b in zip(frames_of(source), frames, strict=True)) > NEARLY_EQUAL


def test_interlaced(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", options={}, flags=1 << 18 | 1 << 29)
    assert frames_of(source)[0].interlaced_frame
    assert redact(source, "-o", tmp_path / "out.mp4").code == 0
    kept(source, tmp_path / "out.mp4")


def full(path: Path) -> Path:
    """Everything a Matroska file can hold."""
    with av.open(str(path), "w") as container, av.open(io.BytesIO(subtitles((0, 0.15), (0.2, 0.35))), "r") as written:
        container.metadata.update({"title": "my title", "location": "+52.5-013.4", "comment": "by me"})
        wide, slow = add_video(container), add_video(container, size=(96, 64), rate=10)
        first, second = container.add_stream("aac", 48000), container.add_stream("libopus", 48000)
        words: Any = container.add_stream_from_template(written.streams[0])
        first.metadata["language"], second.metadata["language"], words.metadata["language"] = "deu", "fra", "eng"
        second.metadata["title"], second.metadata["handler_name"] = "director", "Phone of Ann"
        first.disposition, second.disposition = Disposition.default, Disposition.comment
        words.disposition = Disposition.forced
        container.add_attachment("a.ttf", "font/ttf", FONT)
        container.set_chapters([
            {"id": n, "start": 200 * n, "end": 200 * (n + 1), "time_base": Fraction(1, 1000), "metadata": {"title": t}}
            for n, t in enumerate(["one", "two"])
        ])  # fmt: skip
        packets = pictures(wide, constant_rate_times(12), face=True) + pictures(
            slow, constant_rate_times(4, 10), face=True
        )
        packets += sound(first, 0.4) + sound(second, 0.4, 880)
        for packet in written.demux():
            if packet.size:
                packet.stream = words
                packets.append(packet)
        mux(container, packets)
    return path


def test_every_stream(tmp_path: Path) -> None:
    source, target = full(tmp_path / "a.mkv"), tmp_path / "out.mkv"
    assert redact(source, "-o", target).code == 0
    for kind in ("audio", "subtitle"):
        assert packets_of(target, kind) == packets_of(source, kind)
        assert all(packets_of(target, kind).values())
    for place in (0, 1):
        frames = kept(source, target, place)
        picture = frames_of(source, place)[0].to_ndarray(format="gray").astype(int)
        changed = np.abs(frames[0].to_ndarray(format="gray") - picture) > 25
        assert changed.mean() > 0.05
        assert changed[:, :4].mean() == 0
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert [s.type for s in after.streams] == [s.type for s in before.streams]
        rates = [s.average_rate for s in after.streams.video]
        assert rates == [s.average_rate for s in before.streams.video]
        assert [s.disposition for s in after.streams] == [s.disposition for s in before.streams]
        languages = [s.metadata.get("language") for s in after.streams]
        assert languages == [s.metadata.get("language") for s in before.streams]
        assert after.streams.audio[1].metadata["title"] == "director"
        assert after.chapters() == before.chapters()
        font: Any = after.streams[-1]
        assert (font.name, font.mimetype, font.data) == ("a.ttf", "font/ttf", FONT)


SECRETS = {"location": "+52.5000+013.4000/", "comment": "filmed by Ann", "com.apple.quicktime.model": "PhoneOfAnn"}


@pytest.mark.parametrize("keep", [False, True])
def test_tags_that_tell_on_a_person(tmp_path: Path, keep: bool) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w", container_options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update({**SECRETS, "creation_time": "2024-05-06T07:08:09.000000Z"})
        stream = add_video(container)
        stream.metadata.update({"creation_time": "2024-05-06T07:08:09.000000Z", "handler_name": "HandlerOfAnn"})
        stream.metadata["language"] = "deu"
        mux(container, pictures(stream, constant_rate_times(5)))
    assert redact(source, "-o", target, *(["--keep-metadata"] if keep else [])).code == 0
    content = target.read_bytes()
    for secret in (b"+52.5000+013.4000/", b"filmed by Ann", b"PhoneOfAnn", b"HandlerOfAnn"):
        assert (secret in content) == keep, secret
    with av.open(str(target)) as container:
        assert (container.metadata.get("creation_time", "")[:4] == "2024") == keep
        assert (container.streams[0].metadata.get("creation_time", "")[:4] == "2024") == keep
        assert container.streams[0].metadata["language"] == "deu"


def test_covers_and_data_are_left_out(tmp_path: Path) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "out.mp4"
    cover = io.BytesIO()
    with av.open(cover, "w", format="mjpeg") as container:
        mux(container, pictures(add_video(container, "mjpeg", pix_fmt="yuvj420p"), constant_rate_times(1), face=True))
    with av.open(str(source), "w") as container:
        stream = add_video(container)
        picture: Any = add_video(container, "mjpeg", pix_fmt="yuvj420p")
        picture.disposition = Disposition.attached_pic
        places: Any = container.add_data_stream("bin_data")
        packets = pictures(stream, constant_rate_times(5))
        container.start_encoding()
        for kind, data in ((picture, cover.getvalue()), (places, b"52.5 13.4")):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.pts, packet.dts = kind, Fraction(1, 1000), 0, 0
            packets.append(packet)
        mux(container, packets)
    with av.open(str(source)) as container:
        assert [s.type for s in container.streams] == ["video", "data", "video"]
    outcome = redact(source, "-o", target)
    assert outcome.code == 0
    assert "cover art" in outcome.err
    assert "--keep-metadata" in outcome.err
    with av.open(str(target)) as container:
        assert [s.type for s in container.streams] == ["video"]
    assert b"52.5 13.4" not in target.read_bytes()


def test_sound_that_the_container_refuses_is_encoded_again(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", 30, with_sound=True)
    outcome = redact(source, "-o", tmp_path / "out.webm", "--preset", "good")
    assert outcome.code == 0
    assert "re-encoded as libopus" in outcome.err
    kept(source, tmp_path / "out.webm")
    with av.open(str(tmp_path / "out.webm")) as container:
        assert container.streams.audio[0].codec_context.name == "opus"
        seconds = sum(f.samples for f in container.decode(audio=0)) / 48000
    assert seconds == pytest.approx(1.0, abs=0.1)


def heard(path: Path) -> tuple[str | None, str, int, int]:
    """Profile, layout, rate and how many samples."""
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        frames = list(container.decode(audio=0))
        return context.profile, context.layout.name, context.sample_rate, sum(frame.samples for frame in frames)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.ts"])
def test_sound_of_an_unknown_codec_is_left_out(tmp_path: Path, target: str) -> None:
    whole = make_video(tmp_path / "whole.mp4", 8, with_sound=True)
    source = tmp_path / "in.mp4"
    source.write_bytes(whole.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa"))  # phones' spatial audio
    outcome = redact(source, "-o", tmp_path / target)
    assert outcome.code == 0, outcome.err
    assert "audio stream 1 left out" in outcome.err
    assert "can't hold an unknown codec" in outcome.err
    assert len(frames_of(tmp_path / target)) == 8
    with av.open(tmp_path / target) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(
    ("rate", "layout", "setup", "doubled"),
    [  # five bits: AAC-LC, the core, is 2; four: the core's rate in a table; four: channels; three of 0
        (48000, "stereo", "00010 0011 0010 000", False),
        (44100, "mono", "00010 0100 0001 000", False),
        (48000, "5.1", "00010 0011 0110 000", False),
        (24000, "stereo", "00010 0110 0010 000", True),
        (24000, "5.1", "00010 0110 0110 000", True),
        (22050, "mono", "00010 0111 0001 000", True),  # which decoders make stereo
    ],
)
def test_sound_of_a_transport_stream_in_a_pipe(
    tmp_path: Path, rate: int, layout: str, setup: str, doubled: bool
) -> None:
    """The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) stands ahead, and the sound is copied."""
    made = adts(rate, layout)
    source = transport_stream(tmp_path / "a.ts", he_aac(made) if doubled else made)
    outcome = redact(source, "-o", "-")
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    target = tmp_path / "out.mkv"
    target.write_bytes(outcome.out)
    with av.open(str(target)) as container:
        extradata = container.streams.audio[0].codec_context.extradata
    assert extradata == int(setup.replace(" ", ""), 2).to_bytes(2, "big")
    assert heard(target) == heard(source)
    assert heard(target)[0] == ("HE-AAC" if doubled else "LC")
    assert heard(target)[2] == rate * (1 + doubled)


def test_sound_of_a_transport_stream_that_a_pipe_can_not_take_is_encoded_again(tmp_path: Path) -> None:
    """Its channels are told in more than a number."""
    source = transport_stream(tmp_path / "a.ts", adts(48000, "quad"))
    outcome = redact(source, "-o", "-")
    assert outcome.code == 0, outcome.err
    assert "audio stream 1 re-encoded as aac: AAC with layout quad can't be copied into a pipe" in outcome.err
    target = tmp_path / "out.mkv"
    target.write_bytes(outcome.out)
    assert heard(target)[:3] == ("LC", "quad", 48000)
    assert heard(target)[3] >= heard(source)[3]


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "mpeg4", "libsvtav1"])
def test_other_codecs(tmp_path: Path, codec: str) -> None:
    source, target = make_video(tmp_path / "a.mp4"), tmp_path / "out.mkv"
    preset = {"libsvtav1": ["--preset", "12"], "libx265": ["--preset", "ultrafast"]}.get(codec, [])
    outcome = run("redact", source, "-o", target, "--codec", codec, *preset)
    assert outcome.code == 0, outcome.err
    frames = kept(source, target)
    assert min(psnr(a, b) for a, b in zip(frames_of(source), frames, strict=True)) > NEARLY_EQUAL - 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--codec", "nonsense"], "--codec nonsense"),
        (["--codec", "aac"], "--codec aac"),
        (["--codec", "libx264", "-o", "out.webm"], "--codec libx264"),
        (["--codec", "h264_nvenc"], "--codec h264_nvenc"),
        (["--pixel-format", "nonsense"], "--pixel-format nonsense"),
        (["--pixel-format", "rgb24"], "--pixel-format rgb24"),
        (["--container", "nonsense"], "--container nonsense"),
        (["--preset", "nonsense"], "nonsense"),
    ],
)
def test_settings_that_can_not_be(tmp_path: Path, options: list[str], said: str) -> None:
    outcome = redact(make_video(tmp_path / "a.mp4", 3), "-o", tmp_path / "out.mp4", *options, cwd=tmp_path)
    assert (outcome.code, len(outcome.lines)) == (2, 1), outcome.err
    assert said in outcome.err
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_through_pipes(tmp_path: Path) -> None:
    source = make_video(tmp_path / "a.mp4", GAP, with_sound=True)  # its index lies at its end
    assert source.read_bytes().index(b"moov") > source.read_bytes().index(b"mdat")
    first = redact("-", "-o", "-", stdin=source.read_bytes())
    assert (first.code, first.out[:4]) == (0, b"\x1aE\xdf\xa3")
    second = redact("-", "-o", tmp_path / "b.mp4", stdin=first.out)
    assert second.code == 0
    pairs = zip(times_of(tmp_path / "b.mp4"), times_of(source), strict=True)
    late = [after - before for after, before in pairs]  # Matroska counts in milliseconds, and from 0
    assert max(late) - min(late) <= MILLISECOND
    sounds = [packets_of(path, "audio")[0] for path in (source, tmp_path / "b.mp4")]
    assert [data for _, data in sounds[1]] == [data for _, data in sounds[0]]
    shifts = [float(a - b) for (a, _), (b, _) in zip(*sounds[::-1], strict=True)]
    assert shifts == pytest.approx([float(late[0])] * len(shifts), abs=0.001)


@pytest.mark.parametrize("name", ["portrait.jpg", "group.png", "animation.gif"])
def test_stills_through_pipes(name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    outcome = redact("-", "-o", "-", stdin=content)
    assert outcome.code == 0, outcome.err
    assert outcome.out[:3] == content[:3]
    assert outcome.out != content
    with av.open(io.BytesIO(outcome.out), "r") as one, av.open(io.BytesIO(content), "r") as other:
        assert [f.pts for f in one.decode(video=0)] == [f.pts for f in other.decode(video=0)]


@pytest.mark.parametrize("name", ["a.h264", "a.avi", "a.hevc", "a.mpg", "a.gif.nut", "a.mjpeg"])
def test_files_without_times(tmp_path: Path, name: str) -> None:
    codecs = {".hevc": "libx265", ".avi": "mpeg4", ".mpg": "mpeg2video", ".mjpeg": "mjpeg"}
    suffix = Path(name).suffix
    layout = "yuvj420p" if suffix == ".mjpeg" else "yuv420p"
    source = make_video(tmp_path / name, 12, codec=codecs.get(suffix, "libx264"), rate=25, pix_fmt=layout)
    target = tmp_path / "out.mkv"
    outcome = redact(source, "-o", target)
    assert outcome.code == 0, outcome.err
    times = times_of(target)
    assert len(times) == len(frames_of(source)) == 12
    steps = {round(float(b - a) * 25, 1) for a, b in pairwise(times)}
    assert steps == {1.0}


def test_what_has_no_face_is_not_touched(tmp_path: Path) -> None:
    """Beside the face, and before it comes."""
    source, target = tmp_path / "a.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = add_video(container, "ffv1", size=(320, 96), pix_fmt="yuv420p")
        mux(container, pictures(stream, constant_rate_times(10), face=True))
    assert redact(source, "-o", target).code == 0
    for one, other in zip(frames_of(source), kept(source, target), strict=True):
        before, after = (f.to_ndarray(format="gray").astype(float) for f in (one, other))
        assert np.abs(before - after)[:, 130:190].mean() > 5
        for beside in (np.s_[:, :64], np.s_[:, 256:]):
            assert ((before - after)[beside] ** 2).mean() < 255**2 / 10 ** (NEARLY_EQUAL / 10)
