"""Pictures with a colour profile: models see their colours, and what is written keeps their values."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from cli_runner import run
from make_images import encode_image, icc, noise, smooth, swapped_channels_icc
from make_media import SAMPLES
from PIL import Image

from mdtool.media.image.animation import read_animation
from mdtool.media.image.decode_image import decode_image
from mdtool.media.image.image_file import read_image
from mdtool.media.sources.inputs import Input
from mdtool.media.video.frame_grabber import grab_frame
from mdtool.pipeline.findings_file import records

SCENE = np.asarray(Image.open(SAMPLES / "scenes" / "tall.png"))
STORED = np.ascontiguousarray(SCENE[:, :, ::-1])  # that `swapped_channels_icc` shows as the scene
STAR = (slice(16, 44), slice(20, 48))  # the red one in the scene
COMMANDS = {
    "redact": ("-p", "red star", "--style", "solid"),
    "moderate": ("-p", "red star", "--action", "solid"),
    "gaze": ("-t", "red star"),
}


def in_p3(pixels: np.ndarray) -> pyvips.Image:
    """As phones store what looks like these sRGB colours."""
    return (
        pyvips.Image.new_from_array(pixels)
        .copy(interpretation="srgb")
        .icc_transform("p3", input_profile="srgb", depth=16 if pixels.dtype == np.uint16 else 8)
    )


def animated(form: str, frames: list[np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(pixels) for pixels in frames]
    how: dict[str, Any] = {"lossless": True, "exact": True} if form == "WEBP" else {}
    first.save(
        buffer, form, save_all=True, append_images=others, duration=100, icc_profile=swapped_channels_icc(), **how
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        in_p3(smooth()).pngsave_buffer(keep="icc"),
        in_p3(smooth()).jpegsave_buffer(keep="icc", Q=95),
        in_p3(smooth()).heifsave_buffer(keep="icc", compression="av1", lossless=True),
        in_p3(smooth().astype(np.uint16) * 257).pngsave_buffer(keep="icc"),
        encode_image(smooth(), "TIFF", icc_profile=swapped_channels_icc()),
        encode_image(noise(40, 50, 4), "WEBP", icc_profile=swapped_channels_icc(), lossless=True, exact=True),
        pyvips.Image.new_from_array(smooth())
        .copy(interpretation="srgb")
        .icc_export(output_profile="cmyk")
        .jpegsave_buffer(keep="icc"),
    ],
    ids=["png", "jpeg", "avif", "16 bits", "tiff", "alpha", "inks"],
)
def test_a_photo_is_seen_as_the_asking_commands_see_it(data: bytes) -> None:
    photo = read_image(data)
    assert np.array_equal(photo.srgb(), decode_image(data))
    assert np.abs(photo.srgb().astype(int) - photo.rgb()).max() > 30


def test_a_photo_in_srgb_is_seen_as_it_is() -> None:
    for profile in (icc(), b"no profile" * 30):
        photo = read_image(encode_image(noise(40, 50, 3), "PNG", icc_profile=profile))
        assert np.array_equal(photo.srgb(), photo.pixels)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_seen_as_the_asking_commands_see_it(form: str, alpha: bool, tmp_path: Path) -> None:
    pixels = np.dstack([smooth(), 255 - alpha * (smooth()[:, :, 0] // 2)])
    data = animated(form, [pixels if alpha else smooth(), noise(48, 64, 4 if alpha else 3)])
    animation = read_animation(data)
    seen = animation.srgb(next(animation.frames())[0])
    assert np.array_equal(seen, decode_image(data))
    assert np.abs(seen[:, 0].astype(int) - smooth()[:, 0, ::-1]).max() < 3
    (tmp_path / "a").write_bytes(data)
    assert np.array_equal(grab_frame(Input(tmp_path / "a", Path("a")), 0, 0.0), seen)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_find_in_a_photo_what_it_shows(command: str, tmp_path: Path) -> None:
    source, target, findings = (tmp_path / name for name in ("in.png", "out.png", "found.jsonl"))
    source.write_bytes(encode_image(STORED, "PNG", icc_profile=swapped_channels_icc()))
    how: tuple[str | Path, ...] = (
        source,
        "--model",
        "pocket",
        *COMMANDS[command],
        "--findings",
        findings,
        "-o",
        target,
    )
    assert run(command, *how).code == 0
    (record,) = records(findings)
    (star,) = [region for region in record.findings.regions if region.label == "red star"]
    height, width = STORED.shape[:2]
    box = [star.y_min * height, star.y_max * height, star.x_min * width, star.x_max * width]
    assert box == pytest.approx([side for part in STAR for side in (part.start, part.stop)], abs=1)
    with Image.open(target) as after:
        assert after.info["icc_profile"] == swapped_channels_icc()
        painted = (np.asarray(after) != STORED).any(axis=2)
    assert painted[STAR].any()
    assert painted.mean() < 0.2
    if command != "gaze":  # which draws a few lines only, but elsewhere too
        assert painted[STAR].all()
        assert not painted[60:].any()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_hidden_in_an_animation(form: str, tmp_path: Path) -> None:
    source, target = (tmp_path / f"{name}.{form.lower()}" for name in ("in", "out"))
    source.write_bytes(animated(form, [STORED, STORED // 8 * 8]))
    before = read_animation(source)
    assert run("redact", source, "--model", "pocket", *COMMANDS["redact"], "-o", target).code == 0
    after = read_animation(target)
    assert after.icc == swapped_channels_icc()
    for (raw, _), (new, _) in zip(before.frames(), after.frames(), strict=True):
        painted = (raw != new).any(axis=2)
        assert painted[STAR].all()
        assert not painted[60:].any()
