"""Alpha, palettes, grey, and ranges and matrices that a codec or container can't state."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cli_runner import redact, run
from make_media import make_video
from make_pictures import SIZE, frames_with_alpha, picture, rgba, write

from mdtool.media.video.encoded_segments import EncodedPacket, EncodedSegments

WIDTH, HEIGHT = SIZE
LEFT, MIDDLE, RIGHT = np.s_[-30:-4, 2:20], np.s_[-30:-4, 42:51], np.s_[-30:-4, -30:-4]  # beside the face
MASK = np.s_[30:50, 70:90]  # in it
SOURCES = {  # name -> codec, pixel format, options
    "a.webm": ("libvpx-vp9", "yuva420p", {}),
    "vp8.webm": ("libvpx", "yuva420p", {"auto-alt-ref": "0"}),
    "a.mov": ("qtrle", "argb", {}),
    "deep.mov": ("png", "rgba64be", {}),
    "prores.mov": ("prores_ks", "yuva444p10le", {}),
    "grey.mov": ("png", "ya8", {}),
    "a.avi": ("utvideo", "gbrap", {}),
    "a.mkv": ("ffv1", "bgra", {}),
}


def source_with_alpha(path: Path) -> Path:
    codec, pix_fmt, options = SOURCES[path.name]
    return write(path, codec, pix_fmt, [picture(n, alpha=True) for n in range(4)], options)


def means(image: np.ndarray) -> list[list[float]]:
    return [image[where].mean((0, 1)).tolist() for where in (LEFT, MIDDLE, RIGHT)]


@pytest.mark.parametrize("target", ["out.webm", "out.mkv", "out.mov"])
@pytest.mark.parametrize("name", SOURCES)
def test_alpha_is_kept(tmp_path: Path, name: str, target: str) -> None:
    source = source_with_alpha(tmp_path / name)
    outcome = run("redact", source, "-o", tmp_path / target, "--style", "solid")
    assert outcome.code == 0, outcome.err
    assert "left out" not in outcome.err
    before, after = frames_with_alpha(source), frames_with_alpha(tmp_path / target)
    assert len(after) == 4
    for one, other in zip(before, after, strict=True):
        shown = rgba(other)
        assert np.array(means(shown)) == pytest.approx(np.array(means(rgba(one))), abs=6)
        assert shown[MASK][..., :3].max() < 30
        assert shown[MASK][..., 3].min() > 250


@pytest.mark.parametrize("target", ["out.mp4", "out.avi", "out.ts"])
@pytest.mark.parametrize("name", SOURCES)
def test_alpha_that_can_not_be_kept_is_composited_on_black(tmp_path: Path, name: str, target: str) -> None:
    source = source_with_alpha(tmp_path / name)
    outcome = redact(source, "-o", tmp_path / target)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("alpha left out, composited on black") == 1
    for one, other in zip(frames_with_alpha(source), frames_with_alpha(tmp_path / target), strict=True):
        assert not any(component.is_alpha for component in other.format.components)
        left, middle, right = means(rgba(other))
        assert max(left[:3]) < 8
        assert middle[:3] == pytest.approx([c / 2 for c in means(rgba(one))[1][:3]], abs=8)
        assert right[:3] == pytest.approx(means(rgba(one))[2][:3], abs=6)


def test_what_lies_under_transparent_pixels_is_masked(tmp_path: Path) -> None:
    images = [picture(n, alpha=True) for n in range(4)]
    for image in images:
        image[..., 3] = 0
    source, target = write(tmp_path / "in.mov", "png", "rgba", images), tmp_path / "out.mov"
    assert redact(source, "-o", target, "--style", "solid").code == 0
    for frame in frames_with_alpha(target):
        assert rgba(frame)[MASK][..., :3].max() < 30
        assert rgba(frame)[LEFT][..., 3].max() < 5


def test_alpha_that_begins_later(tmp_path: Path) -> None:
    images = [picture(n, alpha=True, opaque=n < 2) for n in range(4)]
    source = write(tmp_path / "in.webm", "libvpx-vp9", "yuva420p", images)
    assert redact(source, "-o", tmp_path / "out.webm", "--preset", "good").code == 0
    assert [rgba(f)[LEFT][..., 3].mean() > 128 for f in frames_with_alpha(tmp_path / "out.webm")] == [True] * 2 + [
        False
    ] * 2
    outcome = redact(source, "-o", tmp_path / "out.mp4")
    assert "composited on black" in outcome.err
    lit = [rgba(frame)[LEFT][..., :3].max() > 60 for frame in frames_with_alpha(tmp_path / "out.mp4")]
    assert lit == [True, True, False, False]


@pytest.mark.parametrize("codec", ["png", "qtrle"])
def test_codecs_of_packed_rgb(tmp_path: Path, codec: str) -> None:
    source = source_with_alpha(tmp_path / "a.mov")
    outcome = redact(source, "-o", tmp_path / "out.mov", "--codec", codec, "--style", "solid")
    assert outcome.code == 0, outcome.err
    for one, other in zip(frames_with_alpha(source), frames_with_alpha(tmp_path / "out.mov"), strict=True):
        assert np.array(means(rgba(other))) == pytest.approx(np.array(means(rgba(one))), abs=2)
        assert rgba(other)[MASK][..., :3].max() < 5


def test_nothing_opaque_is_tagged_as_alpha(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 4, face=True)
    outcome = run("redact", source, "-o", tmp_path / "out.webm", "--pixel-format", "yuva420p")
    assert outcome.code == 0, outcome.err
    assert "no alpha in the source: encoded as yuv420p" in outcome.err
    with av.open(str(tmp_path / "out.webm")) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams[0].metadata}
    outcome = run("redact", source, "-o", tmp_path / "out.mp4", "--codec", "libvpx-vp9", "--pixel-format", "yuva420p")
    assert (outcome.code, len(outcome.lines)) == (2, 1), outcome.err
    assert "can't hold alpha" in outcome.err


def test_alpha_survives_a_resume(tmp_path: Path) -> None:
    """It lies beside the packet, not in it."""
    path = source_with_alpha(tmp_path / "a.webm")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    saved = EncodedSegments(tmp_path)
    saved.save(0, 0, [EncodedPacket(packet, number) for number, packet in enumerate(packets)])
    for packet, again in zip(packets, saved.read(0, 0), strict=True):
        assert bytes(again.packet) == bytes(packet)
        alpha, same = (p.get_sidedata("matroska_block_additional") for p in (packet, again.packet))
        assert bytes(same) == bytes(alpha)
        assert alpha.data_size > 8


# -- colours


def colour_sources(folder: Path) -> dict[str, Path]:
    images = [picture(n) for n in range(3)]
    big = [picture(n, (1280, 720)) for n in range(2)]
    palette = [((image // 51) * 51).astype(np.uint8) for image in images]
    return {
        "palette": _with_palette(folder / "palette.mov", palette),
        "rgb": write(folder / "rgb.avi", "rawvideo", "bgr24", images),
        "few bits": write(folder / "555.mov", "qtrle", "rgb555be", images),
        "packed": write(folder / "bgr0.mkv", "ffv1", "bgr0", images),
        "grey": write(folder / "grey.mov", "png", "gray", images),
        "deep grey": write(folder / "grey16.mov", "png", "gray16be", images),
        "black and white": write(folder / "mono.mov", "png", "monob", images),
        "full": write(folder / "full.avi", "mjpeg", "yuvj422p", images, color_range=2),
        "full HD": write(folder / "fullhd.avi", "mjpeg", "yuvj422p", big, color_range=2),
        "HD of 601": write(folder / "hd601.mkv", "libx264", "yuv420p", big, {"preset": "ultrafast"}, colorspace=5),
        "SD of 709": write(folder / "sd709.mkv", "libx264", "yuv420p", images, {"preset": "ultrafast"}, colorspace=1),
    }


def _with_palette(path: Path, images: list[np.ndarray]) -> Path:
    """Write images of the 216 colours of steps of 51 with a palette."""
    argb = np.array([[255, n // 36 * 51, n // 6 % 6 * 51, n % 6 * 51] for n in range(216)] + [[255, 0, 0, 0]] * 40)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("png", 25)
        height, width = images[0].shape[:2]
        stream.codec_context.width, stream.codec_context.height, stream.codec_context.pix_fmt = width, height, "pal8"
        for number, image in enumerate(images):
            indices: Any = ((image // 51 @ [36, 6, 1]).astype(np.uint8), argb.astype(np.uint8))
            frame = av.VideoFrame.from_ndarray(indices, "pal8")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return colour_sources(tmp_path_factory.mktemp("colours"))


KINDS = ("palette", "rgb", "few bits", "packed", "grey", "deep grey", "black and white", "full", "full HD", "HD of 601",
         "SD of 709")  # fmt: skip


TARGETS = ("out.mp4", "out.mov", "out.avi", "out.webm", "out.mpg", "out.wmv", "utvideo.avi", "png.mov", "mjpeg.mkv",
           "libvpx.webm", "prores_ks.mov", "ffv1.mkv")  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_right_everywhere(tmp_path: Path, colours: dict[str, Path], kind: str, target: str) -> None:
    codec = Path(target).stem
    options = [] if codec == "out" else ["--codec", codec]
    outcome = redact(colours[kind], "-o", tmp_path / target, *options)
    assert outcome.code == 0, outcome.err
    before, after = frames_with_alpha(colours[kind]), frames_with_alpha(tmp_path / target)
    for one, other in zip(before, after, strict=True):
        y, x = one.height, one.width
        corner = np.s_[y * 7 // 8 :, x * 7 // 8 :]
        wanted, shown = (rgba(frame)[corner][..., :3].mean((0, 1)) for frame in (one, other))
        assert shown == pytest.approx(wanted, abs=7), (other.format.name, other.color_range, other.colorspace)


def test_full_range_that_can_not_be_stated_is_told(tmp_path: Path, colours: dict[str, Path]) -> None:
    outcome = redact(colours["full"], "-o", tmp_path / "out.avi")
    assert outcome.err.count("full range converted to limited: mpeg4 in avi can't state it") == 1
    outcome = redact(colours["full"], "-o", tmp_path / "out.mp4")
    assert "converted" not in outcome.err
    (frame, *_) = frames_with_alpha(tmp_path / "out.mp4")
    assert frame.color_range == 2


def test_rgb_becomes_yuv_that_says_so(tmp_path: Path, colours: dict[str, Path]) -> None:
    for kind in ("palette", "rgb", "packed"):
        assert redact(colours[kind], "-o", tmp_path / f"{kind}.mp4").code == 0
        (frame, *_) = frames_with_alpha(tmp_path / f"{kind}.mp4")
        assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv444p", 1, 1)
