"""Pictures for a model to look at: formats, depths, colours, turns, smaller sizes, and what is damaged."""

import contextlib
import http.server
import importlib.util
import io
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
import pyvips
from cli_runner import ROOT
from make_images import encode_16_bit, encode_image, icc, noise, smooth, swapped_channels_icc
from PIL import Image, ImageCms, ImageOps

from mdtool.errors import InputError
from mdtool.media.image.decode_image import decode_image, is_image_header
from mdtool.media.image.exif_orientation import orientation, upright
from mdtool.media.image.image_encoder import write_image
from mdtool.media.image.image_file import read_image
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import open_image

NEAR = 8  # levels of 255
ONE_SIZE: dict[str, dict[str, Any]] = {"ICO": {"sizes": [(64, 48)]}}  # options of encoders, by format
LOSSLESS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}}
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")  # as the program does; pytest undoes that


def tiff(pixels: np.ndarray, interpretation: str = "b-w", **options: Any) -> bytes:
    image = pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation)
    encoded: bytes = image.tiffsave_buffer(**options)
    return encoded


def film(form: str) -> bytes:
    """Of two pictures: the ramp, and its negative."""
    frames = [Image.fromarray(smooth()), Image.fromarray(255 - smooth())]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def far(pixels: np.ndarray, wanted: np.ndarray) -> int:
    assert (pixels.shape, pixels.dtype) == ((*wanted.shape[:2], 3), np.dtype(np.uint8))
    return int(np.abs(pixels.astype(int) - wanted).max())


# --- formats


@pytest.mark.parametrize("form", ["BMP", "DDS", "ICO", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF"])
def test_lossless_formats_give_the_pixels(form: str, tmp_path: Path) -> None:
    data = encode_image(smooth(), form, **ONE_SIZE.get(form, {}))
    assert far(decode_image(data), smooth()) == 0
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(data)
    assert far(open_image(Input(path, Path(path.name))), smooth()) == 0
    assert is_image_header(data[:64]) or form == "TGA"


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_other_formats_give_nearly_the_pixels(form: str) -> None:
    assert np.abs(decode_image(encode_image(smooth(), form)).astype(int) - smooth()).mean() < 5


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(300, 200), (900, 700)], ids=["small", "large"])  # decoded in this thread, in others
def test_small_and_large_images_give_pillows_pixels(form: str, size: tuple[int, int]) -> None:
    data = encode_image(np.array(Image.fromarray(smooth()).resize(size)), form, **LOSSLESS.get(form, {}))
    assert np.array_equal(decode_image(data), np.array(Image.open(io.BytesIO(data)).convert("RGB")))
    with pytest.raises(InputError, match="damaged"):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    "kind", [b"P1 2 2 1 0 0 1", b"P4 2 2 \x80\x40", b"P2 2 2 9 0 9 9 0", b"P5 2 2 255 \0\xff\xff\0"]
)
def test_plain_and_packed_portable_maps(kind: bytes) -> None:
    black = np.array([[0, 255], [255, 0]])
    assert far(decode_image(kind), np.repeat(black[:, :, None], 3, 2)) == 0


@pytest.mark.parametrize(("form", "off"), [("GIF", 5), ("WEBP", 0.01), ("PNG", 0.01), ("TIFF", 0.01), ("AVIF", 3)])
def test_of_several_pictures_the_first(form: str, off: float) -> None:
    assert np.abs(decode_image(film(form)).astype(int) - smooth()).mean() < off


def test_a_bigtiff_and_one_in_tiles() -> None:
    for options in ({"bigtiff": True}, {"tile": True, "pyramid": True}, {"compression": "lzw", "predictor": 2}):
        assert far(decode_image(tiff(smooth(), "srgb", **options)), smooth()) == 0
    assert far(decode_image(tiff(smooth(), "srgb", compression="jpeg", Q=100)), smooth()) < NEAR


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(form: str, turn: int) -> None:
    tags = Image.Exif()
    tags[0x0112] = turn
    data = encode_image(smooth(), form, exif=tags, **LOSSLESS.get(form, {}))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert far(decode_image(data), wanted) == 0
    assert far(decode_image(data), read_image(data).rgb()) == 0
    assert decode_image(data).flags.c_contiguous


def broken_exif(turn: int, order: Literal["<", ">"]) -> bytes:
    """EXIF with an orientation after a maker whose text would lie far behind the block's end."""
    maker = struct.pack(f"{order}HHII", 0x010F, 2, 8, 0x4000)
    orientation = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, turn, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 2)
    return b"Exif\0\0" + head + maker + orientation + bytes(4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_beside_a_broken_tag(form: str, turn: int) -> None:
    exif = broken_exif(turn, "<" if turn % 2 else ">")
    data = encode_image(smooth(), form, exif=exif, **LOSSLESS.get(form, {}))
    wanted = upright(decode_image(encode_image(smooth(), form, **LOSSLESS.get(form, {}))), turn)
    assert far(decode_image(data), wanted) == 0
    assert far(read_image(data).rgb(), wanted) == 0
    for keep in (False, True):
        photo, file = read_image(data), io.BytesIO()
        write_image(photo, file, keep)
        assert Image.open(file).size == wanted.shape[1::-1]
        assert orientation(Image.open(file).info.get("exif", b"")) == 1


def test_orientation_of_a_bigtiff() -> None:
    image = pyvips.Image.new_from_array(smooth()).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    assert far(decode_image(image.tiffsave_buffer(bigtiff=True)), upright(smooth(), 6)) == 0


@pytest.mark.parametrize(
    ("exif", "turn"),
    [
        (b"", 1),
        (b"Exif\0\0", 1),
        (b"Exif\0\0" * 2 + broken_exif(8, ">")[6:], 8),
        (broken_exif(8, ">")[6:], 8),
        (broken_exif(8, "<")[:-5], 1),  # breaks off in the entry
        (broken_exif(9, "<"), 1),
        (broken_exif(0, "<"), 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"II+\0\x08\0\0\0" + b"\xff" * 8, 1),
        (b"XX" + broken_exif(8, ">")[8:], 1),
    ],
)
def test_orientation_where_exif_breaks_off(exif: bytes, turn: int) -> None:
    assert orientation(exif) == turn


# --- depth and alpha


def test_what_read_photo_reads_comes_out_the_same() -> None:
    for data in (
        encode_image(noise(40, 50, 1), "PNG"),
        encode_image(noise(40, 50, 2), "PNG", "LA"),
        encode_image(noise(40, 50, 4), "PNG"),
        encode_image(np.dstack([noise(40, 50, 3), np.full((40, 50), 255, np.uint8)]), "PNG"),
        encode_image(np.dstack([noise(40, 50, 1), np.full((40, 50), 255, np.uint8)]), "PNG", "LA"),
        encode_16_bit(noise(40, 50, 1, np.uint16), "png"),
        encode_16_bit(noise(40, 50, 4, np.uint16), "png"),
        encode_image(noise(40, 50, 4), "WEBP", lossless=True, exact=True),
        encode_image(noise(40, 50, 4), "TIFF", "CMYK", compression="packbits"),
        encode_image(noise(40, 50, 4), "JPEG", "CMYK"),
        encode_image(noise(40, 50, 1), "JPEG"),
        encode_image(noise(41, 51, 3), "JPEG", subsampling=2, progressive=True),
        encode_image(noise(41, 51, 3), "JPEG", keep_rgb=True),
        encode_image(smooth(), "AVIF"),
        encode_image(smooth(), "PNG", icc_profile=icc()),
    ):
        assert far(decode_image(data), read_image(data).rgb()) == 0


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 200.0]], np.float32), [0, 100, 200]),
        (np.array([[0, 32768, 65535.0]], np.float32), [0, 128, 255]),
        (np.array([[-1, -0.5, np.nan, 1]], np.float32), [0, 64, 128, 255]),
        (np.array([[0, 1e6, 3e6]], np.float32), [0, 85, 255]),
        (np.array([[0, 0, 0]], np.float32), [0, 0, 0]),
        (np.array([[-3e38, 0, 3e38]], np.float32), [0, 127, 255]),
        (np.array([[-100, 0, 155]], np.int16), [0, 72, 183]),
        (np.array([[0, 65535, 32768]], np.int32), [0, 255, 128]),
        (np.array([[0, 1, 200]], np.uint32), [0, 1, 200]),
        (np.array([[0, 65535, 32768]], np.uint16), [0, 255, 128]),
    ],
)
def test_other_numbers_are_scaled(pixels: np.ndarray, wanted: list[int]) -> None:
    assert decode_image(tiff(pixels))[0, :, 0].tolist() == wanted


def test_sixteen_bits_and_floats_of_pillows_formats() -> None:
    assert decode_image(b"P5 2 1 65535 \x80\xff\x01\x00")[0, :, 0].tolist() == [0x80, 1]
    assert decode_image(b"P6 1 1 65535 \x80\xff\x01\x00\xff\xff")[0, 0].tolist() == [0x80, 1, 255]
    data = encode_image(noise(8, 8, 1, np.uint16), "JPEG2000", irreversible=False)
    assert far(decode_image(data), np.repeat(noise(8, 8, 1, np.uint16) >> 8, 3, 2)) == 0
    assert decode_image(b"Pf\n2 1\n-1.0\n" + np.array([0, 1], "<f4").tobytes())[0, :, 0].tolist() == [0, 255]


def test_lab() -> None:
    lab = pyvips.Image.new_from_array(smooth()).copy(interpretation="srgb").colourspace("lab")
    assert far(decode_image(lab.tiffsave_buffer()), smooth()) < NEAR


def test_palettes_and_alpha_show_grey_behind() -> None:
    clear = Image.fromarray(noise(8, 8, 1)[:, :, 0] // 64)
    clear.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    for form in ("PNG", "GIF"):
        buffer = io.BytesIO()
        clear.save(buffer, form, transparency=3)
        seen = decode_image(buffer.getvalue())
        assert (seen[noise(8, 8, 1)[:, :, 0] // 64 == 3] == 128).all()
        assert (seen[noise(8, 8, 1)[:, :, 0] // 64 == 0] == (255, 0, 0)).all()
    half = np.full((4, 4, 4), (255, 255, 255, 128), np.uint8)
    for form in ("TGA", "JPEG2000", "QOI", "DDS"):
        assert far(decode_image(encode_image(half, form)), np.full((4, 4, 3), 191)) <= 1


# --- colours


def test_colours_of_another_space_become_srgb() -> None:
    profile = swapped_channels_icc()
    for form in ("PNG", "TIFF", "WEBP", "JPEG2000"):
        data = encode_image(smooth(), form, icc_profile=profile, **LOSSLESS.get(form, {}))
        if form == "JPEG2000" and "icc_profile" not in Image.open(io.BytesIO(data)).info:
            continue
        assert far(decode_image(data), smooth()[:, :, ::-1]) < 3
    clear = encode_image(np.dstack([smooth(), np.full((48, 64), 255, np.uint8)]), "PNG", icc_profile=profile)
    assert far(decode_image(clear), smooth()[:, :, ::-1]) < 3
    wide = encode_image(smooth(), "JPEG", quality=95, icc_profile=profile)
    assert np.abs(decode_image(wide)[:, :, ::-1].astype(int) - smooth()).mean() < 3
    sixteen = pyvips.Image.new_from_array(smooth().astype(np.uint16) * 257).copy(interpretation="rgb16")
    sixteen.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    assert far(decode_image(sixteen.pngsave_buffer()), smooth()[:, :, ::-1]) < 3


def test_what_phones_take_in_display_p3_becomes_srgb() -> None:
    wide = pyvips.Image.new_from_array(smooth()).copy(interpretation="srgb")
    wide = wide.icc_transform("p3", input_profile="srgb")
    assert np.abs(wide.numpy().astype(int) - smooth()).max() > 50
    for data in (wide.pngsave_buffer(keep="icc"), wide.jpegsave_buffer(keep="icc", Q=100)):
        assert np.abs(decode_image(data).astype(int) - smooth()).mean() < 1


def test_inks_with_a_profile_and_profiles_that_do_not_fit() -> None:
    inks = pyvips.Image.new_from_array(smooth()).copy(interpretation="srgb").icc_export(output_profile="cmyk")
    again = decode_image(inks.jpegsave_buffer(Q=100, keep="icc")).astype(int)
    shown = inks.icc_transform("srgb", embedded=True).numpy()
    assert np.abs(again - shown).mean() < 3
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (lab, b"no profile" * 30, icc()[:400]):
        assert far(decode_image(encode_image(smooth(), "PNG", icc_profile=profile)), smooth()) == 0
    assert (
        far(decode_image(encode_image(smooth()[:, :, :1], "PNG", icc_profile=icc())), smooth()[:, :, :1].repeat(3, 2))
        == 0
    )


# --- what can't be read


@pytest.mark.parametrize(
    "form", ["BMP", "JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "PPM", "JPEG2000", "TGA", "QOI", "PSD"]
)
def test_what_is_cut_short_is_one_line(form: str) -> None:
    data = b"8BPS\0\1" + bytes(40) if form == "PSD" else encode_image(noise(60, 80, 3), form)
    for share in (0.03, 0.5, 0.9):
        with pytest.raises(InputError, match=r"^(damaged|not an image)[^\n]+$"):
            decode_image(data[: int(len(data) * share)])


def avif_with_an_unknown_property() -> bytes:
    """Of which libvips quotes the name, which is not UTF-8."""
    data = bytearray(encode_image(smooth(), "AVIF"))
    at = data.index(b"pixi")
    data[at : at + 4] = b"pix\xf4"
    at = data.index(b"ipma") + 15
    data[at : at + data[at - 1]] = bytes(index | 0x80 for index in data[at : at + data[at - 1]])  # essential
    return bytes(data)


@pytest.mark.parametrize("read", [decode_image, read_image])
def test_a_message_that_is_no_text_fails_its_own_image_only(read: Callable[[bytes], object]) -> None:
    with pytest.raises(InputError, match=r"^damaged, or an|^damaged: .*pix.xf4") as caught:
        read(avif_with_an_unknown_property())
    assert str(caught.value).isprintable()
    read(slightly_damaged_jpeg())


def slightly_damaged_jpeg() -> bytes:
    data = encode_image(smooth(200, 200), "JPEG", quality=90, restart_marker_blocks=4)
    return data.replace(b"\xff\xd3", b"\xff\xd5", 1)


def test_a_slightly_damaged_jpeg_is_read_as_read_photo_does() -> None:
    data = slightly_damaged_jpeg()
    assert read_image(data).notes
    assert far(decode_image(data), read_image(data).rgb()) == 0


def test_random_damage_gives_a_picture_or_one_line() -> None:
    chance = np.random.default_rng(0)
    for form in ("BMP", "DDS", "ICO", "JPEG2000", "PCX", "PPM", "QOI", "SGI", "TGA", "TIFF", "GIF"):
        data = encode_image(smooth(), form)
        for _ in range(15):
            bad = np.frombuffer(data, np.uint8).copy()
            bad[chance.integers(0, len(bad), 3)] = chance.integers(0, 256, 3)
            bad[chance.integers(0, 60, 1)] = chance.integers(0, 256, 1)
            try:
                decode_image(bad.tobytes())
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017


def broken_tags() -> bytes:
    data = bytearray(encode_image(smooth(), "TIFF"))
    at = int.from_bytes(data[4:8], "little") + 2
    data[at + 2 : at + 8] = b"\2\0\xff\xff\xff\x7f"  # its first tag: text, far longer than the file
    samples = data.find(b"\x15\1\3\0\1\0\0\0")
    data[samples + 9] = 8  # 2051 samples a pixel
    return bytes(data)


def broken_strip() -> bytes:
    data = bytearray(encode_image(smooth(), "TIFF", compression="tiff_adobe_deflate"))
    with Image.open(io.BytesIO(data)) as image:
        [start], [length] = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    data[start + length - 1] ^= 1  # of the checksum
    return bytes(data)


@pytest.mark.parametrize("data", [broken_tags(), broken_strip()], ids=["tags", "strip"])
def test_pillow_says_nothing_of_its_own(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tiff").write_bytes(data)
    code = (
        "import sys; from mdtool.media.image.decode_image import *\n"
        "try: decode_image(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.tiff")], capture_output=True, cwd=ROOT)
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.startswith(b"damaged")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"words " * 50, "not an image in a supported format"),
        (bytes(5000), "not an image in a supported format"),
        (b"\0\0\0\x18ftypmp42" + bytes(500), "not an image in a supported format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a supported format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in a supported format"),
        (b"\xff\x0a" + bytes(500), "is a JPEG XL image"),
        (b"BM" + bytes(500), "damaged"),
        (b"P5 20000 20000 255 ", "too large: 20000 x 20000 pixels"),
    ],
)
def test_what_is_no_picture(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        decode_image(data)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=said):
        open_image(Input(tmp_path / "a.jpg", Path("a.jpg")))


@pytest.mark.parametrize(
    "head", [b"II*\0", b"MM\0*", b"\0\0\0\x20ftypavif", b"BM", b"P6", b"DDS ", b"qoif", b"icns", b"8BPS"]
)
def test_no_message_shows_an_object_of_python(head: bytes) -> None:
    with pytest.raises(InputError) as raised:
        decode_image(head + b"\0 damaged \xff" * 9)
    assert "0x" not in str(raised.value)
    assert "Bytes" not in str(raised.value)


def test_of_a_long_file_that_is_no_picture_only_the_beginning_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(InputError, match="not an image"):
        open_image(Input(tmp_path / "a.mp4", Path("a.mp4")))


@contextlib.contextmanager
def served(files: dict[str, bytes]) -> Iterator[str]:
    """A web server's address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path.strip("/"))
            self.send_response(404 if data is None else 200)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pictures_of_addresses(tmp_path: Path) -> None:
    with served(
        {"a": encode_image(smooth(), "BMP"), "b": b"words" * 99, "c": encode_image(noise(48, 64, 3), "PNG")[:500]}
    ) as at:
        named = [f"{at}/{name}" for name in "abcd"] + ["rtsp://127.0.0.1/live"]
        good, *bad = discover(Selection(named))
        assert far(open_image(good), smooth()) == 0
        for source, said in zip(bad, ["not an image", "damaged", "Not Found", "not an image"], strict=True):
            with pytest.raises(InputError, match=said):
                open_image(source)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode_image(smooth(), "BMP"), b"(48, 64, 3)\n"),
        (b"", b"empty\n"),
        (b"words " * 50000, b"not an image in a supported format\n"),
    ],
)
def test_a_picture_that_is_piped_in(data: bytes, said: bytes) -> None:
    code = (
        "from mdtool.media.sources.open_media import *\n"
        "try: print(open_image(Input(None, Path('stdin'))).shape)\n"
        "except InputError as error: print(error)"
    )
    assert subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, cwd=ROOT).stdout == said


# --- HEIC


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def heic(pixels: np.ndarray, quarters: int = 0) -> bytes:
    """One HEVC picture in a HEIF (ISO/IEC 23008-12), turned left by quarters."""
    height, width = pixels.shape[:2]
    movie = io.BytesIO()
    with av.open(movie, "w", "matroska") as container:
        stream = container.add_stream("libx265", 1, options={"crf": "1", "x265-params": "log-level=0:bframes=0"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1)
        frame = av.VideoFrame.from_ndarray(pixels)
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    movie.seek(0)
    with av.open(movie, "r") as written:
        settings = bytes(written.streams.video[0].codec_context.extradata or b"")
        coded = next(bytes(packet) for packet in written.demux(video=0))

    def number(value: int, size: int = 2) -> bytes:
        return value.to_bytes(size, "big")

    def described(at: int) -> bytes:
        whole = bytes(4)  # version and flags
        size = box(b"ispe", whole, number(width, 4), number(height, 4))
        uses = [0x81, 2, 3] if quarters else [0x81, 2]
        turn = box(b"irot", number(quarters, 1))
        return box(
            b"meta",
            whole,
            box(b"hdlr", whole, bytes(4), b"pict", bytes(13)),
            box(b"pitm", whole, number(1)),
            box(
                b"iloc",
                whole,
                b"\x44\0",
                number(1),
                number(1),
                number(0),
                number(1),
                number(at, 4),
                number(len(coded), 4),
            ),
            box(b"iinf", whole, number(1), box(b"infe", b"\2\0\0\0", number(1), number(0), b"hvc1\0")),
            box(
                b"iprp",
                box(b"ipco", box(b"hvcC", settings), size, turn),
                box(b"ipma", whole, number(1, 4), number(1), number(len(uses), 1), bytes(uses)),
            ),
        )

    kind = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return kind + described(len(kind) + len(described(0)) + 8) + box(b"mdat", coded)


def test_a_heic_photo_is_read_and_turned_where_the_extra_is_there() -> None:
    pytest.importorskip("pi_heif")
    pixels = smooth(96, 128)
    assert np.abs(decode_image(heic(pixels)).astype(int) - pixels).mean() < NEAR
    turned = decode_image(heic(pixels, 1))
    assert turned.shape == (128, 96, 3)
    assert np.abs(turned.astype(int) - np.rot90(pixels)).mean() < NEAR
    for share in (0.2, 0.9):
        data = heic(pixels)
        with pytest.raises(InputError, match=r"^damaged[^\n]+$"):
            decode_image(data[: int(len(data) * share)])


def test_pictures_read_in_threads_are_the_same_and_stay_so() -> None:
    kinds = [
        encode_image(noise(90, 120, 3), form)
        for form in ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "JPEG2000")
    ]
    if importlib.util.find_spec("pi_heif"):
        kinds.append(heic(smooth(96, 128)))
    wanted = [decode_image(data) for data in kinds]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(decode_image, kinds * 8))
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted * 8, strict=True))


def test_without_the_extra_heic_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(heic(smooth(96, 128)))
    code = (
        "import sys; sys.modules['pi_heif'] = None; from mdtool.media.image.decode_image import *\n"
        "try: decode_image(Path(sys.argv[1]))\n"
        "except InputError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.heic")]
    told = subprocess.run(command, capture_output=True, check=True, cwd=ROOT).stdout
    assert told == b"is a HEIC image, which needs an optional package: pip install 'mdtool[heic]'\n"


def test_a_height_that_no_image_can_have_is_one_error_and_nothing_of_the_library(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = bytearray(encode_image(smooth(32, 32), "avif"))
    height = data.index(b"ispe") + 12
    data[height : height + 4] = (989_855_792).to_bytes(4, "big")
    with pytest.raises(InputError):
        decode_image(bytes(data))
    assert capfd.readouterr() == ("", "")
