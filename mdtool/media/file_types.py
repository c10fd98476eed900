"""What a file is: by its name, and an image also by its first bytes."""

import mimetypes
import stat
from functools import cache
from pathlib import Path

HEAD_BYTES = 64  # what `sniff` needs
# fmt: off
STILL_SUFFIXES = {  # of each format that is written; the first is of those files whose own ending is of another
    "jpeg": (".jpg", ".jpeg"), "png": (".png", ".apng"), "gif": (".gif",), "webp": (".webp",),
    "tiff": (".tif", ".tiff"), "avif": (".avif",),
}
IMAGE_SUFFIXES = (  # of all that is decoded
    ".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".heic", ".heif", ".hif", ".icns", ".ico", ".j2c", ".j2k",
    ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png",
    ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp",
)
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".dv", ".flv", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv",
    ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogg", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
})
# fmt: on
# Of what commands that write copies take from a folder by its name alone. HEIC can't be written: it fails by name.
MEDIA_SUFFIXES = (
    VIDEO_SUFFIXES
    | {one for known in STILL_SUFFIXES.values() for one in known}
    | {".heic", ".heif", ".hif", ".jfif", ".jpe", ".mpo"}
)
JPEG_STREAMS = (".mjpeg", ".mjpg")  # videos of JPEG images one after another, whose first bytes are those of a photo
UNFINISHED = (".crdownload", ".download", ".filepart", ".part", ".partial", ".tmp")  # what is still copied to a folder


def sniff(head: bytes) -> str | None:
    """Detect an image format by its signature.

    Args:
        head: The first 64 bytes of a file.

    Returns:
        "jpeg", "png", "gif", "webp", "tiff", "avif" or "heic"; None for anything else.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head[4:8] == b"ftyp":
        brands = {head[8:12]} | {head[at : at + 4] for at in range(16, min(64, int.from_bytes(head[:4], "big")), 4)}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
            return "heic"
    return None


def sniff_file(path: Path) -> str | None:
    """Detect the image format of a file by its signature; None for anything else, and for what can't be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait
            return None
        with path.open("rb") as file:
            return sniff(file.read(HEAD_BYTES))
    except (OSError, ValueError):
        return None


def is_image_by_content(path: Path) -> bool:
    """Return whether a file with no ending, or with one of no known type, is an image by its first bytes.

    TIFF is no sign of one behind an unknown ending: raw files of cameras begin so.
    """
    ending = path.suffix.lower()
    if ending in UNFINISHED or _is_known_type(ending):
        return False
    kind = sniff_file(path)
    return kind is not None and (kind != "tiff" or not ending)


@cache
def _is_known_type(ending: str) -> bool:
    """Return whether an ending stands for a type of file by Python's own table, which is the same on any machine."""
    kind = mimetypes.MimeTypes().guess_type(f"name{ending}")[0]
    return kind is not None and kind != "application/octet-stream"


def suffix_for(kind: str | None, suffix: str) -> str:
    """Return the ending of an output.

    Args:
        kind: The format of a still image or an animation, as `sniff` returns it; None: the input is no image.
        suffix: The ending of the input.

    Returns:
        `suffix` if it is one of the format, or the input is a video.
    """
    known = STILL_SUFFIXES.get(kind or "", ())
    if not known or suffix.lower() in (*known, *JPEG_STREAMS):
        return suffix
    return known[0]
