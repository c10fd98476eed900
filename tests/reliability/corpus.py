"""Intact files of every format that the program reads, small, made by scripts: what mutations begin with."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyvips
from make_images import camera_exif, encode_16_bit, icc, noise, smooth, xmp
from make_media import SAMPLES, make_video, portrait, subtitles, with_face
from PIL import Image

os.environ["SVT_LOG"] = "1"  # errors only
GOLDEN = Path(__file__).parents[1] / "golden"
SIZE = (64, 48)
# Format -> name of an encoder, pixel format, and what else it needs.
CLIPS: dict[str, list[dict[str, Any]]] = {
    "mp4": [{}, {"codec": "libx265"}, {"codec": "libsvtav1", "options": {"preset": "13"}}, {"with_sound": True}],
    "mov": [
        {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, {"codec": "qtrle", "pix_fmt": "argb"},
        {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    ],
    "mkv": [{"codec": "ffv1"}, {"codec": "mpeg4"}, {"with_sound": True, "codec": "libx264"}],
    "webm": [{"codec": "libvpx"}, {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"}],
    "avi": [
        {"codec": "mpeg4"}, {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, {"codec": "huffyuv", "pix_fmt": "yuv422p"},
        {"codec": "utvideo"},
    ],
    "ts": [{}, {"codec": "mpeg2video"}, {"with_sound": True}],
    "mpg": [{"codec": "mpeg2video"}],
    "flv": [{}, {"codec": "flv"}],
    "asf": [{"codec": "wmv2"}],
    "3gp": [{"codec": "h263", "size": (128, 96), "rate": Fraction(30000, 1001)}],
    "mxf": [{"codec": "mpeg2video"}],
    "nut": [{"codec": "mpeg4"}, {"codec": "ffv1"}],
    "ivf": [{"codec": "libvpx"}],
    "wtv": [{"codec": "mpeg2video"}],
    "h264": [{}],
}  # fmt: skip


def _pixels() -> np.ndarray:
    return with_face(smooth(48, 64))


def _saved(form: str, pixels: np.ndarray | None = None, mode: str | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(_pixels() if pixels is None else pixels)
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def _animated(form: str, **options: Any) -> bytes:
    frames = [Image.fromarray(np.roll(_pixels(), 3 * number, 1)) for number in range(4)]
    return _saved_frames(frames, form, **options)


def _saved_frames(frames: list[Image.Image], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, form, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def _by_vips(suffix: str, **options: Any) -> bytes:
    data: bytes = pyvips.Image.new_from_array(_pixels()).copy(interpretation="srgb").write_to_buffer(suffix, **options)
    return data


def _pictures() -> dict[str, list[bytes]]:
    exif = camera_exif(6)
    rgba = np.dstack([_pixels(), smooth(48, 64)[..., :1]])
    deep = noise(24, 32, 3, np.uint16)
    return {
        "jpg": [
            _saved("JPEG"), _saved("JPEG", progressive=True), _saved("JPEG", mode="CMYK"), _saved("JPEG", mode="L"),
            _saved("JPEG", exif=exif, xmp=xmp(), icc_profile=icc()), _animated("MPO"),
        ],
        "png": [
            _saved("PNG"), _saved("PNG", rgba), _saved("PNG", mode="P"), _saved("PNG", mode="1"),
            _saved("PNG", exif=exif, icc_profile=icc()), encode_16_bit(deep, "png"), _by_vips(".png", interlace=True),
            _animated("PNG", duration=40),
        ],
        "gif": [_saved("GIF"), _animated("GIF", duration=40), (SAMPLES / "animation.gif").read_bytes()[:60000]],
        "webp": [
            _saved("WEBP"), _saved("WEBP", rgba, lossless=True), _animated("WEBP", duration=40),
            _saved("WEBP", exif=exif),
        ],
        "tif": [
            _saved("TIFF"), _saved("TIFF", compression="tiff_lzw"), _saved("TIFF", compression="jpeg"),
            _saved("TIFF", compression="tiff_adobe_deflate"), _saved("TIFF", mode="F"),
            _by_vips(".tif", tile=True, pyramid=True), _saved("TIFF", mode="1", compression="group4"),
        ],
        "avif": [_saved("AVIF", speed=10), _saved("AVIF", rgba, speed=10)],
        "bmp": [_saved("BMP"), _saved("BMP", mode="P"), _saved("BMP", mode="1")],
        "ppm": [_saved("PPM"), _saved("PPM", mode="L"), _saved("PPM", mode="1"), _saved("PPM", mode="F")],
        "jp2": [_saved("JPEG2000"), _saved("JPEG2000", rgba, irreversible=True)],
        "tga": [_saved("TGA"), _saved("TGA", compression="tga_rle")],
        "ico": [_saved("ICO"), _saved("ICO", bitmap_format="bmp")],
        "icns": [_saved("ICNS", portrait(128))],
        "dds": [_saved("DDS"), _saved("DDS", pixel_format="DXT5", mode="RGBA")],
        "pcx": [_saved("PCX"), _saved("PCX", mode="1")],
        "sgi": [_saved("SGI"), _saved("SGI", mode="L")],
        "qoi": [_saved("QOI"), _saved("QOI", rgba)],
    }  # fmt: skip


def _clips(folder: Path) -> dict[str, list[bytes]]:
    made: dict[str, list[bytes]] = {}
    for suffix, kinds in CLIPS.items():
        for kind in kinds:
            path = folder / f"clip.{suffix}"
            make_video(path, 8, face=True, **{"size": SIZE, **kind})
            made.setdefault(suffix, []).append(path.read_bytes())
    return made


def _archives() -> dict[str, list[bytes]]:
    pictures = media()
    members = {
        "a.jpg": pictures["jpg"][0], "b/ü.png": pictures["png"][0], "c.txt": b"no picture",
        "long" * 40 + ".gif": pictures["gif"][0],
    }  # fmt: skip
    plain, packed = io.BytesIO(), io.BytesIO()
    for buffer, method in ((plain, zipfile.ZIP_STORED), (packed, zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), data, method)
    taped = io.BytesIO()
    with tarfile.open(fileobj=taped, mode="w", format=tarfile.PAX_FORMAT) as tape:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tape.addfile(entry, io.BytesIO(data))
    return {
        "zip": [plain.getvalue(), packed.getvalue()],
        "tar": [taped.getvalue()],
        "tar.gz": [gzip.compress(taped.getvalue(), mtime=0)],
    }


def _texts() -> dict[str, list[bytes]]:
    playlist = (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:2.0,\nclip.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.0,\nclip.ts\n#EXT-X-ENDLIST\n"
    )
    levels = (
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=64x48\nlist.m3u8\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="list.m3u8"\n'
    )
    settings = (
        '[defaults]\nmodel = "centerface"\nquiet = true\n[redact]\nstyle = "solid"\ncolor = "#00ff00"\nmargin = 0.4\n'
        'prompt = ["face"]\nonly = ["0,0,1,1"]\nmin-size = 0.01\n'
    )
    questions = json.dumps(
        [
            {"text": "why?", "choices": ["yes", "no"]},
            {"text": "how many?", "number": True},
            {"text": "x", "at": [[0.1, 0.2]]},
        ]
    )
    return {
        "m3u8": [playlist.encode(), levels.encode()],
        "settings": [settings.encode()],
        "policy": [*(path.read_bytes() for path in sorted(POLICIES.glob("*.toml")))],
        "questions": [questions.encode(), b'[[question]]\ntext = "why?"\nmax_tokens = 3\n', b"why?\nhow many?\n"],
        "truth": [(SAMPLES / "blink.mp4.gt.json").read_bytes()],
        "srt": [subtitles((0, 1), (1, 2))],
    }


POLICIES = Path(__file__).parents[2] / "configs" / "policies"


@cache
def media() -> dict[str, list[bytes]]:
    """Return intact pictures and clips by the ending of their names.

    Another process makes them: libraries start threads at their first use, and none may run before a fork.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as maker:
        return maker.submit(_media).result()


def _media() -> dict[str, list[bytes]]:
    with TemporaryDirectory(prefix="mdtool-corpus-") as name:
        return {**_pictures(), **_clips(Path(name))}


@cache
def corpus() -> dict[str, list[bytes]]:
    """Return intact files of all formats but those that the program writes itself."""
    return {**media(), **_archives(), **_texts()}
