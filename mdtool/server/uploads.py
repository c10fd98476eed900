"""Pictures and videos that arrive as files: bounded while they arrive, written to a private folder."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from starlette.requests import Request

from mdtool.errors import InputError, UsageError, write_error_message
from mdtool.media.file_types import JPEG_STREAMS, MEDIA_SUFFIXES, STILL_SUFFIXES, sniff_file
from mdtool.media.image.decode_image import decode_image
from mdtool.media.image.image_file import ImageTooLarge
from mdtool.media.video.writer import muxer_for
from mdtool.memory import NoRoom, OverBudget
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.body import bounded_parts

SUFFIXES = {  # of a content type, for a file without a name
    "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "video/mp4": ".mp4",
    "video/quicktime": ".mov", "video/webm": ".webm", "video/x-matroska": ".mkv",
}  # fmt: skip
STILL_FORMATS = {  # Pillow's name of a format that is written -> (suffix, content type)
    "JPEG": (".jpg", "image/jpeg"), "MPO": (".jpg", "image/jpeg"), "PNG": (".png", "image/png"),
    "WEBP": (".webp", "image/webp"), "GIF": (".gif", "image/gif"), "TIFF": (".tif", "image/tiff"),
    "AVIF": (".avif", "image/avif"),
}  # fmt: skip
OTHER_VIDEO = ".mkv"  # for containers that can't be written


def file_suffix(name: str, content_type: str) -> str:
    """Return the suffix of an upload, from its name or else its content type; ".mp4" if neither tells."""
    suffix = Path(name).suffix.lower()
    if suffix in MEDIA_SUFFIXES:
        return suffix
    return SUFFIXES.get(content_type.partition(";")[0].strip().lower(), ".mp4")


def result_suffix(source: Path) -> str:
    """Return the suffix of the redacted file: that of the upload, where it suits what is in it and can be written."""
    if (kind := sniff_file(source)) in STILL_SUFFIXES and source.suffix not in JPEG_STREAMS:
        stills = STILL_SUFFIXES[kind]
        return source.suffix if source.suffix in stills else stills[0]
    try:
        muxer_for(f"name{source.suffix}")
    except UsageError:
        return OTHER_VIDEO
    return source.suffix


async def receive_file(request: Request, path: Path, limit: int) -> None:
    """Write the body of a request to a file.

    Args:
        request: A request whose body nobody has read.
        path: The file, which must not exist.
        limit: Most bytes.

    Raises:
        ApiError: The body is empty (400), larger (413; the rest is not waited for), or can't be stored (507).
        ClientDisconnect: The client went away.
    """
    try:
        with path.open("xb") as file:
            async for part in bounded_parts(request, limit, "a shorter or smaller file"):
                file.write(part)
    except OSError as error:
        raise ApiError(507, f"the file can't be stored: {write_error_message(error)}") from error
    if not path.stat().st_size:
        raise bad_request("the body is empty: send the picture or video as the body")


@dataclass(frozen=True)
class Picture:
    """A picture as it was sent.

    Attributes:
        data: The file.
        suffix: Of its format.
        content_type: Of its format.
    """

    data: bytes
    suffix: str
    content_type: str

    def write(self, path: Path) -> Path:
        """Write it to a file with this path and its suffix; return that."""
        file = path.with_suffix(self.suffix)
        file.write_bytes(self.data)
        return file

    def data_url(self, data: bytes) -> str:
        """Return other data of its format as a data URL."""
        return f"data:{self.content_type};base64,{base64.b64encode(data).decode()}"


def as_picture(data: bytes, max_pixels: int) -> Picture:
    """Recognise a picture, without decoding it.

    Raises:
        ApiError: It is no picture of a format that can be written (400), or larger than max_pixels (413).
    """
    known = STILL_FORMATS.get(_format_of(data, max_pixels))
    if known is None:
        formats = ", ".join(STILL_FORMATS)
        raise bad_request(f"the image is of a format that can't be written; send one of {formats}", "image_url")
    return Picture(data, *known)


def as_readable_picture(data: bytes, max_pixels: int) -> Picture:
    """Recognise a picture; one of a format that can only be read is decoded, and returned as PNG.

    Raises:
        ApiError: It is no picture (400), or larger than max_pixels (413).
    """
    try:
        return as_picture(data, max_pixels)
    except ApiError as unwritable:
        if unwritable.status != 400:
            raise
    try:
        pixels = decode_image(data, max_pixels)
    except ImageTooLarge as error:
        raise _too_many_pixels(max_pixels) from error
    except (NoRoom, OverBudget):
        raise
    except InputError as error:
        raise bad_request(f"the image can't be read: {error}", "image_url") from error
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return Picture(buffer.getvalue(), *STILL_FORMATS["PNG"])


def _format_of(data: bytes, max_pixels: int) -> str:
    """Return Pillow's name of a picture's format. ApiError if it is none that Pillow knows, or too large."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            name = image.format or ""
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise bad_request("the image can't be read: it is of no known format", "image_url") from error
    if width * height > max_pixels:
        raise _too_many_pixels(max_pixels)
    return name


def _too_many_pixels(max_pixels: int) -> ApiError:
    message = f"the image has more than {max_pixels / 1e6:g} million pixels, the most this server reads"
    return ApiError(413, message, "image_url", "image_too_large", reason="pixels")
