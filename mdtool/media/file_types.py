"""What a file is: by its name, and by its first bytes."""

import mimetypes
import os
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
# Raw files of cameras begin as TIFF does, and hold more than its readers know.
RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".fff", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".nef", ".nrw",
    ".orf", ".pef", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw",
)  # fmt: skip
USUAL_SUFFIXES = (  # that `usual_suffix` returns
    *(known[0] for known in STILL_SUFFIXES.values()),
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".flv", ".asf", ".mpg"),
)
AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
OLD_MOV_BOXES = (b"mdat", b"moov", b"wide")  # one of which is first where there is no brand


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


def usual_suffix(head: bytes) -> str | None:
    """Return the ending that is usual for a file by its signature.

    Args:
        head: The first 64 bytes of the file.

    Returns:
        That of an image format that is written, or of a container of videos; None for anything else.
    """
    if kind := sniff(head):
        return STILL_SUFFIXES.get(kind, (None,))[0]
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return None if brand in AUDIO_BRANDS else ".mov" if brand == b"qt  " else ".mp4"
    if head[4:8] in OLD_MOV_BOXES:
        return ".mov"
    if head.startswith(b"\x1aE\xdf\xa3"):  # EBML, whose document type follows
        return ".webm" if b"webm" in head else ".mkv"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ".avi"
    signatures = {b"FLV\1": ".flv", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ".asf", b"\0\0\1\xba": ".mpg"}
    return next((suffix for signature, suffix in signatures.items() if head.startswith(signature)), None)


def first_bytes(path: Path) -> bytes:
    """Return the first 64 bytes of a file; b"" where it can't be read, or is no regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def sniff_file(path: Path) -> str | None:
    """Detect the image format of a file as `sniff` does; None for anything else, and for what can't be read."""
    return sniff(first_bytes(path))


def is_video_by_content(path: Path) -> bool:
    """Return whether a file is a container of videos by its first bytes."""
    head = first_bytes(path)
    return sniff(head) is None and usual_suffix(head) is not None


def is_media_by_content(path: Path) -> bool:
    """Return whether a file with no ending, or with one of no known type, is an image or video by its first bytes.

    One that may not be read could be: whoever opens it tells so.
    """
    suffix = path.suffix.lower()
    if _is_known_type(suffix):
        return False
    head = first_bytes(path)
    if not head:
        return path.is_file() and not os.access(path, os.R_OK)
    kind = sniff(head)
    return (kind or usual_suffix(head)) is not None and not (kind == "tiff" and suffix in RAW_SUFFIXES)


@cache
def _is_known_type(suffix: str) -> bool:
    """Return whether an ending stands for a type of file by Python's own table, which is the same on any machine."""
    kind = mimetypes.MimeTypes().guess_type(f"name{suffix}")[0]
    return kind is not None and kind != "application/octet-stream"


def suits(suffix: str, usual: str) -> bool:
    """Return whether an output may have an ending.

    Args:
        suffix: The ending.
        usual: What `usual_suffix` returns for the input.
    """
    family = next((known for known in STILL_SUFFIXES.values() if usual in known), VIDEO_SUFFIXES)
    return suffix.lower() in (*family, *JPEG_STREAMS)
