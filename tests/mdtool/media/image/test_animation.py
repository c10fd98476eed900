"""Animations in and out: every frame, its time, the loop count, transparency and untouched colours."""

import contextlib
import io
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import run
from make_images import SERIAL, camera_exif, encode_image, icc, noise, smooth, thumbnail, xmp
from make_media import SAMPLES
from PIL import GifImagePlugin, Image

from mdtool.errors import InputError
from mdtool.media.image.animation import Animation, is_animated, read_animation
from mdtool.media.image.animation_writer import AnimationWriter
from mdtool.media.image.image_file import read_image

MEDIA = Path(__file__).parents[5] / "shared" / "media"
BOX = (slice(4, 12), slice(6, 20))
FORMATS = ["GIF", "WEBP", "PNG"]
Frames = list[tuple[np.ndarray, Fraction]]


def moving(count: int = 5, alpha: bool = False) -> list[np.ndarray]:
    """A square of few colours that moves over a ground; with alpha, over nothing."""
    frames = []
    for step in range(count):
        pixels = np.zeros((32, 48, 4), np.uint8)
        pixels[:] = (10, 20, 30, 0) if alpha else (10, 20, 30, 255)
        pixels[8:20, 4 + 5 * step : 18 + 5 * step] = (200, 30 * step, 90, 255)
        pixels[2, 2] = (255, 255, 255, 255)
        if alpha:
            pixels[pixels[:, :, 3] == 0] = 0
        frames.append(pixels)
    return frames


def made(form: str, frames: list[np.ndarray], times: list[int], **options: Any) -> bytes:
    pictures = [Image.fromarray(pixels) for pixels in frames]
    if (np.stack(frames)[..., 3] == 255).all():
        pictures = [picture.convert("RGB") for picture in pictures]
    if form == "WEBP":
        options = {"lossless": True, "exact": True} | options
    if form == "GIF":
        options = {"disposal": 2} | options
    buffer = io.BytesIO()
    pictures[0].save(buffer, form, save_all=True, append_images=pictures[1:], duration=times, **options)
    return buffer.getvalue()


def copied(animation: Animation, keep_metadata: bool = False, paint: Any = None) -> bytes:
    buffer = io.BytesIO()
    with AnimationWriter(buffer, animation, keep_metadata) as writer:
        for pixels, milliseconds in animation.frames():
            before = pixels.copy()
            if paint is not None:
                pixels[BOX] = paint
            writer.add(pixels, milliseconds, before)
    return buffer.getvalue()


def by_pillow(data: bytes) -> Frames:
    picture: Any = Image.open(io.BytesIO(data))
    frames = []
    for index in range(picture.n_frames):
        picture.seek(index)
        pixels = np.asarray(picture.convert("RGBA"))
        frames.append((pixels, Fraction(picture.info.get("duration", 0)).limit_denominator(1000)))
    return frames


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal as shown: what is fully transparent has no colour."""
    seen = left[:, :, 3:] > 0
    return np.array_equal(left[:, :, 3], right[:, :, 3]) and np.array_equal(left * seen, right * seen)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("loop", [0, 3])
@pytest.mark.parametrize("form", FORMATS)
def test_a_copy_is_equal_frame_by_frame(form: str, loop: int, alpha: bool) -> None:
    frames, times = moving(5, alpha), [50, 120, 30, 1000, 70]
    animation = read_animation(made(form, frames, times, loop=loop))
    assert (animation.width, animation.height, animation.frame_count, animation.loop) == (48, 32, 5, loop)
    out = copied(animation)
    again = read_animation(out)
    assert (again.format, again.loop, again.frame_count, again.lossless) == (form.lower(), loop, 5, True)
    for decoded in (list(again.frames()), by_pillow(out)):
        assert [time for _, time in decoded] == times
        assert all(same(pixels, frame) for (pixels, _), frame in zip(decoded, frames, strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_frames_that_repeat_stay_frames(form: str) -> None:
    frame = moving(1)[0]
    source = read_animation(made(form, moving(3), [40, 50, 60]))
    buffer = io.BytesIO()
    with AnimationWriter(buffer, source) as writer:
        for time in (40, 50, 60, 70):
            writer.add(frame, Fraction(time))
    again = read_animation(buffer.getvalue())
    decoded = list(again.frames())
    assert [time for _, time in decoded] == [40, 50, 60, 70]
    assert all(same(pixels, frame) for pixels, _ in decoded)


def test_a_gif_that_plays_once_says_nothing_of_loops() -> None:
    animation = read_animation(made("GIF", moving(), [50] * 5))
    assert animation.loop is None
    assert b"NETSCAPE" not in copied(animation)


def test_thirtieths_of_a_second_stay_exact_in_apng() -> None:
    animation = read_animation(made("PNG", moving(3), [40, 40, 40]))
    third = Fraction(1000, 30)
    buffer = io.BytesIO()
    with AnimationWriter(buffer, animation) as writer:
        for frame in moving(3):
            writer.add(frame, third)
    assert [time for _, time in read_animation(buffer.getvalue()).frames()] == [third] * 3


@pytest.mark.parametrize("form", FORMATS)
def test_only_the_painted_box_changes(form: str) -> None:
    animation = read_animation(made(form, moving(), [50] * 5))
    out = read_animation(copied(animation, paint=(0, 255, 0, 255)))
    for (before, _), (after, _) in zip(animation.frames(), out.frames(), strict=True):
        assert (after[BOX] == (0, 255, 0, 255)).all()
        before[BOX] = after[BOX]
        assert same(after, before)


def test_a_full_gif_palette_gives_way_only_where_painted() -> None:
    table = noise(1, 256, 3, seed=4)[0]
    frames = []
    for seed in range(3):
        picture = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 60)).astype(np.uint8))
        picture.putpalette(table.tobytes())
        frames.append(picture)
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=50)
    animation = read_animation(buffer.getvalue())
    out = read_animation(copied(animation, paint=np.dstack([smooth(8, 14), np.full((8, 14), 255, np.uint8)])))
    for (before, _), (after, _) in zip(animation.frames(), out.frames(), strict=True):
        assert (after[BOX] == before[BOX]).all(axis=-1).mean() < 0.1
        before[BOX] = after[BOX]
        assert np.array_equal(after, before)


def gif_of_parts() -> bytes:
    """An opaque frame, then a small one that is cleared after its time, then a dot."""
    table = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])

    def part(value: int, side: int, at: tuple[int, int], **options: Any) -> bytes:
        picture = Image.fromarray(np.full((side, side), value, np.uint8))
        picture.putpalette(table)
        return b"".join(GifImagePlugin.getdata(picture, at, include_color_table=True, **options))

    parts = part(0, 8, (0, 0), duration=30, disposal=1) + part(1, 4, (2, 2), duration=40, disposal=2, transparency=3)
    return b"GIF89a\x08\0\x08\0\0\0\0" + parts + part(2, 1, (0, 0), duration=0) + b";"


def test_a_gif_of_which_only_the_first_frame_can_be_decoded_is_damaged(tmp_path: Path) -> None:
    data = bytearray(gif_of_parts())
    assert data[91] == 8, "the least code size of the second frame"
    data[91] = 200
    (tmp_path / "in.gif").write_bytes(data)
    outcome = run("redact", tmp_path / "in.gif")
    assert outcome.code == 1
    assert [line.startswith(f"mdtool: {tmp_path / 'in.gif'}: damaged") for line in outcome.lines] == [True], outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.gif"]


def test_gif_disposal_clears_as_browsers_do() -> None:
    animation = read_animation(gif_of_parts())
    frames = list(animation.frames())
    assert [time for _, time in frames] == [30, 40, 0]
    assert frames[1][0][3, 3].tolist() == [0, 255, 0, 255]
    assert frames[2][0][3, 3].tolist() == [0, 0, 0, 0]
    assert frames[2][0][7, 7].tolist() == [255, 0, 0, 255]
    again = list(read_animation(copied(animation)).frames())
    assert [time for _, time in again] == [30, 40, 0]
    assert all(same(after, before) for (after, _), (before, _) in zip(again, frames, strict=True))


def test_lossy_webp_stays_lossy_and_close() -> None:
    frames = [np.dstack([np.roll(smooth(), step * 7, 1), np.full((48, 64), 255, np.uint8)]) for step in range(4)]
    animation = read_animation(made("WEBP", frames, [50] * 4, lossless=False, quality=80))
    assert not animation.lossless
    out = copied(animation)
    assert b"VP8L" not in out
    for (before, _), (after, _) in zip(animation.frames(), read_animation(out).frames(), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 3


def test_the_still_picture_of_an_apng_does_not_pass() -> None:
    frames = moving(3)
    face = noise(32, 48, 4, seed=9)
    face[:, :, 3] = 255
    pictures = [Image.fromarray(pixels) for pixels in (face, *frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:], default_image=True, duration=[40] * 3)
    animation = read_animation(buffer.getvalue())
    assert animation.frame_count == 3
    assert "first frame" in animation.notes[0]
    out = copied(animation)
    still = np.asarray(Image.open(io.BytesIO(out)).convert("RGBA"))
    assert same(still, frames[0])
    assert all(same(after, frame) for (after, _), frame in zip(by_pillow(out), frames, strict=True))


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_metadata_is_dropped_or_kept_without_pictures(form: str) -> None:
    data = made(
        form, moving(), [50] * 5, exif=camera_exif(), icc_profile=icc(), **({"xmp": xmp()} if form == "WEBP" else {})
    )
    animation = read_animation(data)
    bare, kept = copied(animation), copied(animation, keep_metadata=True)
    assert SERIAL in data
    assert SERIAL not in bare
    assert SERIAL in kept
    assert thumbnail() not in kept
    assert b"QUJDQUJD" not in kept
    assert (b"Secret Tool" in kept) == (form == "WEBP")
    assert Image.open(io.BytesIO(bare)).info["icc_profile"] == icc()


def test_a_gif_comment_is_dropped_or_kept() -> None:
    text = b"Secret Comment " * 40
    animation = read_animation(made("GIF", moving(), [50] * 5, comment=text))
    assert b"Secret" not in copied(animation)
    assert Image.open(io.BytesIO(copied(animation, keep_metadata=True))).info["comment"] == text


def test_an_animation_is_turned_upright() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    animation = read_animation(made("PNG", moving(), [50] * 5, exif=tags))
    pixels, _ = next(animation.frames())
    assert (animation.width, animation.height, pixels.shape) == (32, 48, (48, 32, 4))
    assert same(pixels, np.rot90(moving(1)[0], -1))
    assert read_animation(copied(animation, keep_metadata=True)).width == 32


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_animated(form: str, tmp_path: Path) -> None:
    path = tmp_path / "-a [n=1].bin"
    path.write_bytes(made(form, moving(), [50] * 5))
    assert is_animated(path)
    assert not is_animated(encode_image(smooth(), form))
    assert not is_animated(b"")
    assert not is_animated(encode_image(smooth(), "JPEG"))
    with pytest.raises(InputError):
        read_image(path)


@pytest.mark.parametrize("cut", [0.4, 0.7, 0.97])
@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_animation_is_damaged(form: str, cut: float) -> None:
    frames = [noise(40, 40, 3, seed=seed) for seed in range(4)]
    frames = [np.dstack([frame, np.full((40, 40), 255, np.uint8)]) for frame in frames]
    data = made(form, frames, [50] * 4)
    with pytest.raises(InputError, match="damaged") as caught:
        copied(read_animation(data[: int(len(data) * cut)]))
    assert "\n" not in str(caught.value)


def test_noise_in_a_file_never_gives_another_error() -> None:
    rng = np.random.default_rng(3)
    for form in FORMATS:
        good = made(form, moving(), [50] * 5)
        for _ in range(40):
            bad = bytearray(good)
            for at in rng.integers(16, len(bad), 4):
                bad[at] = rng.integers(256)
            is_animated(bytes(bad))
            with contextlib.suppress(InputError):
                copied(read_animation(bytes(bad)), keep_metadata=True)


def test_a_canvas_too_large_is_refused() -> None:
    data = bytearray(made("GIF", moving(), [50] * 5))
    data[6:10] = b"\xff\xff\xff\xff"
    with pytest.raises(InputError, match="too large"):
        read_animation(bytes(data))


@pytest.mark.parametrize("form", FORMATS)
def test_a_long_animation_does_not_fill_memory(form: str) -> None:
    source = read_animation(made(form, moving(), [50] * 5))
    size, count = 128, 300
    like = Animation(form.lower(), size, size, count, 0, alpha=False)
    buffer = io.BytesIO()

    def fill() -> None:
        with AnimationWriter(buffer, like) as writer:
            for step in range(count):
                pixels = np.full((size, size, 4), 255, np.uint8)
                pixels[step % 100 : step % 100 + 9, :9, 0] = step % 251
                writer.add(pixels, Fraction(40))

    assert source.format == like.format
    assert peak(fill) < 25 * size * size * 4 + len(buffer.getvalue())
    long = read_animation(buffer.getvalue())
    assert peak(lambda: [None for _ in long.frames()]) < 25 * size * size * 4 + len(buffer.getvalue())
    assert long.frame_count == count


def peak(work: Any) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["three-faces-walking.gif", "two-faces-gaze.gif"])
def test_real_gifs_come_back_the_same(name: str) -> None:
    if not (MEDIA / name).exists():
        pytest.skip("the shared clips are not on this machine")
    animation = read_animation(MEDIA / name)
    out = copied(animation)
    assert len(out) < 1.6 * len(animation.data)
    pairs = zip(animation.frames(), read_animation(out).frames(), strict=True)
    assert all(same(before, after) and time == again for (before, time), (after, again) in pairs)


@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_a_cut_gif_is_said_to_be_damaged(tmp_path: Path, cut: float) -> None:
    data = (SAMPLES / "animation.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: int(len(data) * cut)])
    outcome = run("redact", tmp_path / "cut.gif")
    assert outcome.code == 1
    assert outcome.lines[0].startswith(f"mdtool: {tmp_path / 'cut.gif'}: damaged: ")
    assert [path.name for path in tmp_path.iterdir()] == ["cut.gif"]
