"""Photos in and out: orientation, modes, depth, quality, and what must and must not be in the written file."""

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from cli_runner import run
from make_images import PLACE, SERIAL, camera_exif, encode_16_bit, encode_image, icc, noise, smooth, thumbnail, xmp
from PIL import Image, ImageOps, PngImagePlugin
from PIL.JpegImagePlugin import get_sampling

from mdtool.errors import InputError
from mdtool.media.file_types import sniff
from mdtool.media.image.exif import Metadata, sanitize_exif, sanitize_xmp
from mdtool.media.image.image_encoder import write_image
from mdtool.media.image.image_file import StillImage, read_image

BOX = (slice(8, 20), slice(10, 30))


def written(photo: StillImage, keep_metadata: bool = False) -> bytes:
    buffer = io.BytesIO()
    write_image(photo, buffer, keep_metadata)
    return buffer.getvalue()


def redacted(photo: StillImage, rgb: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    for plane, value in zip(photo.planes(), photo.fill(rgb), strict=True):
        plane[BOX] = value
    return written(photo)


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


# --- what comes in


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_and_reset(form: str, turn: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = turn
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = encode_image(smooth(), form, exif=tags, **options)
    wanted = np.asarray(ImageOps.exif_transpose(opened(data)))
    photo = read_image(data)
    assert np.array_equal(photo.pixels, wanted)
    for keep in (False, True):
        again = opened(written(photo, keep))
        assert again.size == wanted.shape[1::-1]
        assert again.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("data", "mode", "dtype"),
    [
        (encode_image(noise(40, 50, 1), "PNG"), "L", np.uint8),
        (encode_image(noise(40, 50, 2), "PNG", "LA"), "LA", np.uint8),
        (encode_image(noise(40, 50, 3), "PNG"), "RGB", np.uint8),
        (encode_image(noise(40, 50, 4), "PNG"), "RGBA", np.uint8),
        (encode_16_bit(noise(40, 50, 1, np.uint16), "png"), "L", np.uint16),
        (encode_16_bit(noise(40, 50, 3, np.uint16), "png"), "RGB", np.uint16),
        (encode_16_bit(noise(40, 50, 4, np.uint16), "png"), "RGBA", np.uint16),
        (encode_image(noise(40, 50, 3), "WEBP", lossless=True), "RGB", np.uint8),
        (encode_image(noise(40, 50, 4), "WEBP", lossless=True, exact=True), "RGBA", np.uint8),
        (encode_image(noise(40, 50, 1), "TIFF", compression="tiff_lzw"), "L", np.uint8),
        (encode_image(noise(40, 50, 3), "TIFF"), "RGB", np.uint8),
        (encode_image(noise(40, 50, 4), "TIFF", compression="tiff_deflate"), "RGBA", np.uint8),
        (encode_image(noise(40, 50, 4), "TIFF", "CMYK", compression="packbits"), "CMYK", np.uint8),
        (encode_16_bit(noise(40, 50, 3, np.uint16), "tiff", compression="lzw"), "RGB", np.uint16),
    ],
)
def test_lossless_formats_change_only_what_was_painted(data: bytes, mode: str, dtype: Any) -> None:
    photo = read_image(data)
    before = photo.pixels.copy()
    out = redacted(photo)
    after = read_image(out)
    assert (photo.mode, photo.pixels.dtype, after.mode, after.format) == (mode, dtype, mode, photo.format)
    outside = np.ones(before.shape[:2], bool)
    outside[BOX] = False
    assert np.array_equal(after.pixels[outside], before[outside])
    assert not np.array_equal(after.pixels[BOX], before[BOX])
    if mode in ("RGB", "RGBA"):
        assert (after.rgb()[BOX] == (255, 0, 0)).all() or mode == "RGBA"
        assert (after.pixels[BOX][..., :3] == photo.fill((255, 0, 0))).all()
    assert opened(out).info.get("compression") == opened(data).info.get("compression")
    assert photo.notes == []


def test_a_cmyk_jpeg_stays_cmyk_and_is_painted_right() -> None:
    inks = np.ascontiguousarray(np.concatenate([smooth(), np.full((48, 64, 1), 40, np.uint8)], 2))
    photo = read_image(encode_image(inks, "JPEG", "CMYK", quality=95))
    assert photo.mode == "CMYK"
    shown = np.asarray(opened(encode_image(inks, "JPEG", "CMYK", quality=95)).convert("RGB")).astype(int)
    assert np.abs(photo.rgb().astype(int) - shown).mean() < 3
    out = opened(redacted(photo))
    assert out.mode == "CMYK"
    red = np.asarray(out.convert("RGB"))[10:18, 12:28].astype(int)
    assert np.abs(red - (255, 0, 0)).max() < 12
    assert np.abs(np.asarray(out).astype(int)[30:] - photo.pixels[30:]).mean() < 2


def test_sixteen_bits_are_scaled_for_the_model() -> None:
    assert (read_image(encode_16_bit(np.full((4, 4, 1), 0x80FF, np.uint16), "png")).srgb() == 0x80).all()
    inks = pyvips.Image.new_from_array(np.full((4, 4, 4), 0x80FF, np.uint16)).copy(interpretation="cmyk")
    assert (read_image(inks.tiffsave_buffer()).srgb() == round(127 * 127 / 255)).all()


def test_the_model_sees_through_alpha() -> None:
    pixels = np.zeros((30, 40, 4), np.uint8)
    pixels[5:9, 5:9] = (0, 0, 0, 255)
    shape = read_image(encode_image(pixels, "PNG")).srgb()
    assert (shape[0, 0] == 128).all()
    assert (shape[6, 6] == 0).all()
    for nearly in (0, 1, 31):
        hidden = noise(30, 40, 4)
        hidden[:, :, 3] = nearly
        assert np.array_equal(read_image(encode_image(hidden, "PNG")).srgb(), hidden[:, :, :3])
    shadow = np.zeros((30, 40, 4), np.uint8)
    shadow[:, :20, 3] = 20
    assert (read_image(encode_image(shadow, "PNG")).srgb() > 100).all()


def test_colour_values_suit_the_mode() -> None:
    def photo(mode: str, dtype: Any = np.uint8) -> StillImage:
        return StillImage(np.zeros((2, 2, {"L": 1, "LA": 2, "RGB": 3}.get(mode, 4)), dtype), mode, "tiff")

    assert photo("L").fill((255, 255, 255)) == [255]
    assert photo("LA", np.uint16).fill((255, 255, 255)) == [65535]
    assert photo("RGBA").fill((1, 2, 3)) == [1, 2, 3]
    assert photo("CMYK").fill((0, 0, 0)) == [0, 0, 0, 255]
    for mode in ("RGB", "CMYK"):
        for dtype in (np.uint8, np.uint16):
            picture = photo(mode, dtype)
            for plane, value in zip(picture.planes(), picture.fill((200, 100, 3)), strict=True):
                plane[:] = value
            assert np.abs(picture.rgb().astype(int) - (200, 100, 3)).max() <= 1
    assert photo("RGB").alpha() is None
    opacity = photo("LA").alpha()
    assert opacity is not None
    assert opacity.shape == (2, 2)


def test_a_palette_stays_while_the_colours_fit() -> None:
    pixels = np.random.default_rng(1).integers(0, 40, (40, 50)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    table = noise(1, 40, 3, seed=2)[0]
    picture.putpalette(table.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=7)
    photo = read_image(buffer.getvalue())
    out = opened(redacted(photo))
    assert (out.mode, photo.notes) == ("P", [])
    assert np.array_equal(np.asarray(out.convert("RGBA"))[30:], np.asarray(picture_rgba(buffer.getvalue()))[30:])

    photo.pixels[BOX] = noise(12, 20, 4)
    out = opened(written(photo))
    assert out.mode == "RGBA"
    assert np.array_equal(np.asarray(out), photo.pixels)
    assert "palette" in photo.notes[0]


def picture_rgba(data: bytes) -> Any:
    return opened(data).convert("RGBA")


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("TIFF", {"compression": "group4"})])
def test_one_bit_stays_until_a_new_shade_comes(form: str, options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(40, 50, 1)[:, :, 0] > 128).save(buffer, form, **options)
    photo = read_image(buffer.getvalue())
    out = opened(redacted(photo, (255, 255, 255)))
    assert out.mode == "1"
    assert np.array_equal(np.asarray(out) * 255, photo.pixels[:, :, 0])
    photo.planes()[0][BOX] = 99
    out = opened(written(photo))
    assert out.mode == "L"
    assert np.array_equal(np.asarray(out), photo.pixels[:, :, 0])
    assert "8 bits" in photo.notes[0]


# --- quality


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [35, 92])
def test_jpeg_quality_is_the_sources(quality: int, subsampling: int) -> None:
    data = encode_image(smooth(), "JPEG", quality=quality, subsampling=subsampling, progressive=quality == 92)
    photo = read_image(data)
    before, after = opened(data), opened(redacted(photo))
    assert after.quantization == before.quantization
    assert get_sampling(after) == subsampling
    assert after.info.get("progressive") == before.info.get("progressive")
    change = np.abs(np.asarray(after).astype(int) - np.asarray(before))
    assert change[32:].mean() < 1.5


def test_jpeg_in_rgb_and_in_grey_keep_their_kind() -> None:
    out = opened(written(read_image(encode_image(smooth(), "JPEG", keep_rgb=True))))
    assert out.info["adobe_transform"] == 0
    assert opened(written(read_image(encode_image(smooth()[:, :, :1], "JPEG")))).mode == "L"


def test_webp_loss_is_as_it_was() -> None:
    assert b"VP8L" in written(read_image(encode_image(smooth(), "WEBP", lossless=True)))
    out = written(read_image(encode_image(smooth(), "WEBP")))
    assert b"VP8L" not in out
    assert np.abs(np.asarray(opened(out)).astype(int) - smooth()).mean() < 3


def test_avif_keeps_its_depth() -> None:
    data = encode_16_bit(noise(64, 64, 3, np.uint16) // 4 + 20000, "heif", compression="av1", bitdepth=10, Q=95)
    photo = read_image(data)
    assert (photo.format, photo.pixels.dtype) == ("avif", np.dtype(np.uint16))
    again = read_image(written(photo))
    assert again.encoding["bits"] == 10
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 2500


def test_profile_resolution_and_gamma_stay() -> None:
    profile = icc()
    for form in ("JPEG", "PNG", "TIFF", "WEBP"):
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        out = opened(written(read_image(encode_image(smooth(), form, icc_profile=profile, dpi=(300, 300), **options))))
        assert out.info["icc_profile"] == profile
        if form != "WEBP":
            assert out.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    assert opened(written(read_image(encode_image(smooth(), "PNG", pnginfo=info)))).info["gamma"] == 1.0


# --- metadata


def with_secrets(form: str) -> bytes:
    options: dict[str, Any] = {"exif": camera_exif(6), "xmp": xmp()}
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", "Secret Author")
        info.add_text("Raw profile type exif", camera_exif().hex())
        info.add_itxt("XML:com.adobe.xmp", xmp().decode(), zip=True)
        options = {"exif": camera_exif(6), "pnginfo": info}
    if form == "TIFF":
        tags = Image.Exif()
        tags.load(camera_exif(6))
        tags[700] = xmp()
        options = {"exif": tags}
    if form == "JPEG":
        options["comment"] = b"Secret Comment"
    data = encode_image(smooth(), form, **options)
    if form == "JPEG":
        iptc = b"\x1c\x02\x50\0\x0eSecret By-line"
        irb = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
        irb += b"8BIM\x04\x0c\0\0" + struct.pack(">I", len(thumbnail())) + thumbnail() + b"\0" * (len(thumbnail()) % 2)
        data = data[:2] + b"\xff\xed" + struct.pack(">H", len(irb) + 2) + irb + data[2:]
    return data


SECRETS = [SERIAL, b"Owner Name", b"Secret", b"THUMB-OF-FACE", b"QUJDQUJD", struct.pack("<II", 52, 1), b"NOTE"]


def uncompressed(data: bytes) -> bytes:
    """The file, and its compressed PNG texts opened."""
    if not data.startswith(b"\x89PNG"):
        return data
    from mdtool.media.image.exif import png_chunks

    for kind, body in png_chunks(data):
        if kind in (b"zTXt", b"iTXt"):
            for at in range(len(body)):
                if body[at : at + 1] == b"\x78":
                    try:
                        data += zlib.decompress(body[at:])
                    except zlib.error:
                        continue
    return data


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_what_can_name_a_person_is_dropped(form: str) -> None:
    source = with_secrets(form)
    assert SERIAL in source
    assert b"QUJDQUJD" in uncompressed(source)
    out = uncompressed(written(read_image(source)))
    assert [secret for secret in SECRETS if secret in out] == []
    assert opened(out).getexif().get(0x8825) is None


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_keep_metadata_keeps_all_but_pictures(form: str) -> None:
    source = with_secrets(form)
    assert b"THUMB-OF-FACE" in source
    photo = read_image(source)
    out = written(photo, keep_metadata=True)
    tags = opened(out).getexif()
    assert tags.get_ifd(0x8769)[0xA431] == SERIAL.decode()
    assert tuple(map(float, tags.get_ifd(0x8825)[2])) == PLACE
    assert tags[0x0112] == 1
    assert b"Secret Tool" in out
    assert b'tiff:Orientation="1"' in out
    assert (b"Secret Comment" in out) == (form == "JPEG")
    assert (b"Secret By-line" in out) == (form == "JPEG")
    assert (b"Secret Author" in out) == (form == "PNG")
    for picture in (b"THUMB-OF-FACE", b"QUJDQUJD", b"NOTE", thumbnail()[:20].hex().encode()):
        assert picture not in out
    assert out.count(b"\xff\xd8\xff") == (form == "JPEG")


def packet(content: str) -> bytes:
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:tiff="t">{content}</x:xmpmeta>'.encode()


@pytest.mark.parametrize("depth", [300, 2_000, 20_000])
def test_xmp_that_is_nested_too_deeply_is_left_out_and_said(depth: int) -> None:
    photo = read_image(encode_image(smooth(), "JPEG"))
    photo.metadata = Metadata(xmp=packet("<b>" * depth + "</b>" * depth))
    data = written(photo, keep_metadata=True)
    assert photo.notes == ([] if depth == 300 else ["its XMP could not be read and was left out"])
    assert (b"<b><b>" in data) == (depth == 300)


@pytest.mark.parametrize("stated", ["", "6", "<!--no-->6", "<b>6</b>"])
def test_xmp_says_that_the_pixels_are_upright(stated: str) -> None:
    sanitized = sanitize_xmp(packet(f"<tiff:Orientation>{stated}</tiff:Orientation>"))
    assert b"<tiff:Orientation>1</tiff:Orientation>" in sanitized


@pytest.mark.filterwarnings(r"ignore:::PIL\.")  # as the program does; pytest undoes that
def test_damaged_exif_is_left_out_or_whole() -> None:
    """Such as a text whose type is changed into that of a fraction."""
    exif = camera_exif()
    for at in range(6, 200):
        for value in range(13):
            bad = exif[:at] + bytes([value]) + exif[at + 1 :]
            assert thumbnail()[:20] not in sanitize_exif(bad, 10, 10)


def test_damaged_tags_write_nothing_of_pillow_to_stderr(tmp_path: Path) -> None:
    data = bytearray(encode_image(smooth(), "TIFF"))
    strips = data.index(struct.pack("<HH", 0x0117, 4))  # StripByteCounts, LONG
    data[strips + 4 : strips + 8] = struct.pack("<I", 10_000)
    (tmp_path / "a.tif").write_bytes(data)
    outcome = run("redact", "a.tif", "-o", "b.tif", "--keep-metadata", cwd=tmp_path)
    assert outcome.lines
    assert all(line.startswith("mdtool: a.tif: ") for line in outcome.lines), outcome.err


def test_keep_metadata_in_tiff_keeps_xmp_and_says_what_is_lost() -> None:
    photo = read_image(with_secrets("TIFF"))
    out = written(photo, keep_metadata=True)
    assert b"Secret Tool" in out
    assert b"QUJDQUJD" not in out
    assert SERIAL not in out
    assert any("EXIF" in note for note in photo.notes)


# --- what must not pass


def test_other_pictures_in_the_file_are_left_out_and_told() -> None:
    buffer = io.BytesIO()
    other = Image.fromarray(noise(48, 64, 3))
    Image.fromarray(smooth()).save(buffer, "MPO", save_all=True, append_images=[other])
    photo = read_image(buffer.getvalue())
    out = written(photo)
    assert out.count(b"\xff\xd8\xff") == 1
    assert "additional images" in photo.notes[0]

    film = read_image(encode_image(smooth(), "JPEG") + b"\0\0\0\x18ftypmp42" + bytes(500))
    assert b"ftypmp42" not in written(film)
    assert "data after the image" in film.notes[0]
    assert read_image(encode_image(smooth(), "JPEG", progressive=True)).notes == []


def test_what_is_wrong_with_an_image_is_not_told_of_the_next() -> None:
    tiff = encode_image(smooth(), "TIFF", save_all=True, append_images=[Image.fromarray(smooth())] * 2)
    png = encode_image(noise(48, 64, 3), "PNG")
    with pytest.raises(InputError, match="images"):
        read_image(tiff[: len(tiff) // 2])
    with pytest.raises(InputError, match="png") as raised:
        read_image(png[: len(png) // 2])
    assert "tiff" not in str(raised.value).lower()


def test_a_tiff_of_several_pages_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(smooth()).save(buffer, "TIFF", save_all=True, append_images=[Image.fromarray(smooth())])
    with pytest.raises(InputError, match="contains 2 images"):
        read_image(buffer.getvalue())


def test_an_animated_avif_is_refused() -> None:
    data = encode_image(smooth(), "AVIF", save_all=True, append_images=[Image.fromarray(noise(48, 64, 3))])
    with pytest.raises(InputError, match="animated AVIF"):
        read_image(data)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_a_cut_file_is_damaged(form: str, cut: float) -> None:
    data = encode_image(noise(120, 120, 3), form)
    with pytest.raises(InputError, match=r"damaged|header") as caught:
        read_image(data[: int(len(data) * cut)])
    assert "\n" not in str(caught.value)


def test_a_cut_jpeg_with_its_end_marker_put_back_is_damaged() -> None:
    data = encode_image(noise(120, 120, 3), "JPEG")
    with pytest.raises(InputError, match="damaged"):
        read_image(data[: len(data) // 2] + b"\xff\xd9")


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is text, not a photo", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.7", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), "HEIC"),
        (bomb(20_000, 20_000), "too large: 20000 x 20000"),
        (bomb(65_500, 65_500), "too large"),
        (pyvips.Image.black(8, 8).tiffsave_buffer(bigtiff=True), "BigTIFF"),
        (pyvips.Image.black(8, 8).cast("float").tiffsave_buffer(), "can't redact"),
    ],
)
def test_what_is_no_photo_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_image(data)
    assert "\n" not in str(caught.value)


def test_a_huge_text_chunk_is_no_trouble() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * 80_000_000, zip=True)
    photo = read_image(encode_image(smooth(), "PNG", pnginfo=info))
    assert len(written(photo)) < 20_000


@pytest.mark.parametrize("name", ["-dash.png", "x.png[page=2]", "two words.png", "new\nline.png", "é🙂.jpg", "%d.png"])
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encode_image(smooth(), "PNG"))
    out = tmp_path / ("out " + name)
    write_image(read_image(path), out)
    assert np.array_equal(read_image(out).pixels, smooth())


def test_a_still_gif_stays_a_gif_with_its_colours() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    picture.putpalette(noise(1, 256, 3, seed=2)[0].tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "GIF")
    photo = read_image(buffer.getvalue())
    before = photo.pixels.copy()
    photo.pixels[BOX] = noise(12, 20, photo.pixels.shape[2])
    out = opened(written(photo))
    assert (out.format, out.n_frames) == ("GIF", 1)
    after = np.asarray(out.convert("RGB"))
    assert np.array_equal(after[20:], before[20:, :, :3])
    assert not np.array_equal(after[BOX], before[BOX][:, :, :3])


def test_sniffing() -> None:
    kinds = {
        form: sniff(encode_image(smooth(), form)[:64]) for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "BMP")
    }
    assert kinds == {form: form.lower() if form != "BMP" else None for form in kinds}
    assert sniff(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41") is None
    assert sniff(b"") is None


def test_noise_in_a_file_never_gives_another_error() -> None:
    rng = np.random.default_rng(3)
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF"):
        good = encode_image(smooth(), form)
        for _ in range(40):
            bad = bytearray(good)
            for at in rng.integers(4, len(bad), 6):
                bad[at] = rng.integers(256)
            with contextlib.suppress(InputError):
                read_image(bytes(bad))
