"""HDR metadata, 3D and 360 degree flags and closed captions are kept, or a line says they are lost. Exif is dropped."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from cli_runner import redact, run
from make_pictures import (
    captions,
    hdr10_plus,
    light,
    mastering,
    picture,
    sei,
    spherical,
    stated_by,
    stereo,
    write,
    write_side_data,
)
from PIL import ExifTags, Image

from mdtool.media.video.mp4_boxes import free_boxes

HDR = {"MASTERING_DISPLAY_METADATA": mastering(), "CONTENT_LIGHT_LEVEL": light(1000, 400)}
SIDE_BY_SIDE, TOP_BOTTOM, COLUMNS = 1, 2, 7
EQUIRECTANGULAR, CUBEMAP, TILE, FISHEYE = 0, 1, 2, 5


def kept(source: Path, target: Path, *options: str) -> None:
    outcome = redact(source, "-o", target, *options)
    assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err
    before, after = stated_by(source), stated_by(target)
    for kind in ("CONTENT_LIGHT_LEVEL", "STEREO3D", "SPHERICAL", "A53_CC"):
        assert after.get(kind) == before.get(kind)
    if "MASTERING_DISPLAY_METADATA" in before:  # with denominators of its own
        assert "MASTERING_DISPLAY_METADATA" in after


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.mov", "out.ts"])
def test_hdr10(tmp_path: Path, codec: str, target: str) -> None:
    source = write_side_data(tmp_path / "in.mkv", HDR, pix_fmt="yuv420p10le")
    kept(source, tmp_path / target, "--codec", codec)
    assert stated_by(tmp_path / target)["MASTERING_DISPLAY_METADATA"][:8] in (
        b"\xd0\x84\x00\x00\x50\xc3\x00\x00".replace(b"\xd0\x84", (35400).to_bytes(2, "little")),
        stated_by(source)["MASTERING_DISPLAY_METADATA"][:8],
    )


@pytest.mark.parametrize("codec", ["ffv1", "mpeg2video", "mpeg4", "libvpx-vp9", "libsvtav1"])
def test_hdr10_of_codecs_that_leave_it_to_the_container(tmp_path: Path, codec: str) -> None:
    source = write_side_data(tmp_path / "in.mkv", HDR)
    preset = ["--preset", "12"] if codec == "libsvtav1" else []
    outcome = run("redact", source, "-o", tmp_path / "out.mkv", "--codec", codec, *preset)
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.err
    assert stated_by(tmp_path / "out.mkv").keys() >= HDR.keys()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_is_tagged_as_players_expect(tmp_path: Path, suffix: str) -> None:
    source = write_side_data(tmp_path / "in.mkv", HDR, codec="libx265", pix_fmt="yuv420p10le")
    assert redact(source, "-o", tmp_path / f"out{suffix}", "--codec", "libx265").code == 0
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ({"STEREO3D": stereo(SIDE_BY_SIDE)}, "out.mkv"),
        ({"STEREO3D": stereo(SIDE_BY_SIDE)}, "out.mp4"),
        ({"STEREO3D": stereo(SIDE_BY_SIDE)}, "out.ts"),  # x264 states it too
        ({"STEREO3D": stereo(TOP_BOTTOM)}, "out.mp4"),
        ({"STEREO3D": stereo(TOP_BOTTOM, inverted=True)}, "out.mkv"),
        ({"STEREO3D": stereo(COLUMNS)}, "out.mp4"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR, (90, -30, 10))}, "out.mp4"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR, (90, -30, 10))}, "out.mkv"),
        ({"SPHERICAL": spherical(TILE, bounds=(1 << 28, 1 << 27, 1 << 26, 1 << 25))}, "out.mp4"),
        ({"SPHERICAL": spherical(CUBEMAP, pad=4), "STEREO3D": stereo(TOP_BOTTOM)}, "out.mp4"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR), "STEREO3D": stereo(TOP_BOTTOM), **HDR}, "out.mkv"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR, (45, 0, 0)), "STEREO3D": stereo(TOP_BOTTOM), **HDR}, "out.mp4"),
    ],
)
def test_views(tmp_path: Path, given: dict[str, bytes], target: str) -> None:
    source = write_side_data(tmp_path / "in.mkv", given)
    assert stated_by(source).items() >= {k: v for k, v in given.items() if k not in HDR}.items()
    kept(source, tmp_path / target)


def test_all_frames_of_an_mp4_have_the_3d_flag(tmp_path: Path) -> None:
    """Not only those beside which x264 states it: the container's own must be right."""
    source = write_side_data(tmp_path / "in.mkv", {"STEREO3D": stereo(TOP_BOTTOM)}, codec="mpeg4")
    kept(source, tmp_path / "out.mp4", "--codec", "libx265")
    content = (tmp_path / "out.mp4").read_bytes()
    assert (b"st3d" in content, b"vexu" in content) == (True, False)


@pytest.mark.parametrize(
    ("given", "target", "options", "said"),
    [
        ({"STEREO3D": stereo(SIDE_BY_SIDE)}, "out.avi", [], "3D flag left out: avi with mpeg4"),
        ({"STEREO3D": stereo(TOP_BOTTOM, inverted=True)}, "out.mp4", [], "3D flag left out: mp4 with libx264"),
        ({"STEREO3D": stereo(SIDE_BY_SIDE)}, "out.mov", ["--codec", "libx265"], "3D flag left out: mov with libx265"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR)}, "out.ts", [], "360 degree projection left out: mpegts"),
        ({"SPHERICAL": spherical(EQUIRECTANGULAR)}, "out.mov", [], "360 degree projection left out: mov"),
        ({"CONTENT_LIGHT_LEVEL": light(800, 200)}, "out.mpg", [], "content light level left out: mpeg2video in mpeg"),
    ],
)
def test_what_a_container_can_not_state_is_told(
    tmp_path: Path, given: dict[str, bytes], target: str, options: list[str], said: str
) -> None:
    outcome = redact(write_side_data(tmp_path / "in.mkv", given), "-o", tmp_path / target, *options)
    assert (outcome.code, len(outcome.lines)) == (0, 2), outcome.err
    assert outcome.err.count(said) == 1
    assert not stated_by(tmp_path / target).keys() & given.keys()


def test_an_mp4_stream_leaves_the_3d_flag_out(tmp_path: Path) -> None:
    """It can't be corrected afterwards."""
    source = write_side_data(tmp_path / "in.mkv", {"STEREO3D": stereo(SIDE_BY_SIDE)}, codec="mpeg4")
    outcome = redact(source, "-o", "-", "--container", "mp4", "--codec", "libx265")
    assert outcome.code == 0, outcome.err
    assert "3D flag left out: mp4 in a stream with libx265 can't hold it" in outcome.err
    assert b"vexu" not in outcome.out


@pytest.mark.parametrize(
    ("target", "codec"),
    [("out.mp4", "libx264"), ("out.mp4", "libx265"), ("out.mpg", "mpeg2video"), ("out.ts", "libx264")],
)
@pytest.mark.parametrize("first", [0, 3])
def test_captions(tmp_path: Path, target: str, codec: str, first: int) -> None:
    """Also those that begin after the first picture."""

    def insert(number: int) -> bytes:
        return sei(captions(b"HI")) if number >= first else b""

    source = write_side_data(tmp_path / "in.mp4", {}, insert=insert)
    assert "A53_CC" in stated_by(source)
    kept(source, tmp_path / target, "--codec", codec)


@pytest.mark.parametrize("codec", ["libvpx-vp9", "ffv1", "mpeg4"])
def test_captions_that_are_lost(tmp_path: Path, codec: str) -> None:
    source = write_side_data(tmp_path / "in.mp4", {}, insert=lambda n: sei(captions(b"HI")) if n > 2 else b"")
    outcome = redact(source, "-o", tmp_path / "out.mkv", "--codec", codec)
    assert (outcome.code, len(outcome.lines)) == (0, 2), outcome.err
    assert f"closed captions left out: {codec} can't hold them" in outcome.err


def test_dynamic_hdr_is_told_to_be_lost(tmp_path: Path) -> None:
    source = write_side_data(
        tmp_path / "in.mp4", HDR, codec="libx265", pix_fmt="yuv420p10le",
        insert=lambda number: sei(hdr10_plus(), "libx265"),
    )  # fmt: skip
    assert "DYNAMIC_HDR_PLUS" in stated_by(source)
    outcome = redact(source, "-o", tmp_path / "out.mp4", "--codec", "libx265")
    assert (outcome.code, len(outcome.lines)) == (0, 2), outcome.err
    assert "HDR10+ metadata left out: libx265 can't write it" in outcome.err
    assert stated_by(tmp_path / "out.mp4").keys() >= HDR.keys()


def test_a_plain_video_says_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", "libx264", "yuv420p", [picture(n) for n in range(4)])
    for target in ("out.mp4", "out.avi", "out.webm", "out.mpg", "out.mov"):
        outcome = redact(source, "-o", tmp_path / target)
        assert (outcome.code, len(outcome.lines)) == (0, 1), outcome.err


def test_boxes_of_other_files_are_left_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "in.mp4", "libx264", "yuv420p", [picture(n) for n in range(2)])
    before = source.read_bytes()
    free_boxes(source, b"vexu")
    assert source.read_bytes() == before
    free_boxes(source, b"avcC")
    changed = source.read_bytes()
    assert (len(changed), changed.count(b"avcC")) == (len(before), 0)
    for broken in (b"", b"\0\0\0\1moov", before[: len(before) // 2], b"\0\0\0\2moov" * 3, before[:40] + b"\xff" * 80):
        (tmp_path / "broken.mp4").write_bytes(broken)
        free_boxes(tmp_path / "broken.mp4", b"vexu")


def write_photos(path: Path, orientation: int) -> Path:
    """Write a video of JPEG photos with Exif, as some cameras do, and for which PyAV has no name."""
    exif, photo = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Camera of Anna", orientation
    Image.fromarray(picture(0)).save(photo, "JPEG", exif=exif)
    with av.open(path, "w") as container:
        stream: Any = container.add_stream("mjpeg", 10)
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt, stream.time_base = "yuvj420p", Fraction(1, 10)
        for number in range(3):
            packet: Any = av.Packet(photo.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 10), True, stream
            container.mux(packet)
    return path


@pytest.mark.parametrize(("orientation", "lost"), [(1, False), (6, True)])
@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_exif_in_frames_is_dropped_but_for_the_orientation(
    tmp_path: Path, orientation: int, lost: bool, suffix: str
) -> None:
    source, target = write_photos(tmp_path / f"in{suffix}", orientation), tmp_path / f"out{suffix}"
    outcome = redact(source, "-o", target, "--codec", "mjpeg")
    assert outcome.code == 0, outcome.err
    assert b"Anna" in source.read_bytes()
    assert b"Anna" not in target.read_bytes()
    assert ("rotation left out" in outcome.err) == (lost and suffix == ".avi")
    with av.open(target) as container:
        assert next(container.decode(video=0)).rotation == (-90 if lost and suffix == ".mov" else 0)
