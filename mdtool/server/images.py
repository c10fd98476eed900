"""Images of requests: where they are given, and how they are decoded."""

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from engine.generation.kept_images import pixel_digest
from mdtool.errors import InputError
from mdtool.media.image.decode_image import decode_image
from mdtool.media.image.image_file import ImageTooLarge
from mdtool.server.api_error import ApiError, bad_request
from mdtool.server.image_fetch import fetch_image
from mdtool.server.server_settings import ServerSettings

INLINE_CHARACTERS, INLINE_PIXELS = 1 << 16, 1 << 18  # of an image that is decoded faster than a thread takes it over

_DATA_URL = re.compile(r"data:[^,]{0,200},")


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image of a request.

    Attributes:
        pixels: Upright, (height, width, 3) uint8 RGB.
        digest: Their `pixel_digest`, computed where they were decoded: it takes milliseconds.
    """

    pixels: np.ndarray
    digest: bytes


def decoding_threads() -> ThreadPoolExecutor:
    """Return threads for parsing and decoding: few, since each may hold a large image."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="decode")


async def read_images(
    references: Sequence[str], settings: ServerSettings, executor: Executor, param: str
) -> tuple[DecodedImage, ...]:
    """Decode the images of a request.

    Args:
        references: A data URL, plain base64, or an http(s) URL each.
        settings: The limits.
        executor: Where to decode.
        param: The field that has the references, for errors.

    Raises:
        ApiError: There are too many (400), one is too large (413), or one is no image (400).
    """
    if len(references) > settings.max_images:
        raise bad_request(
            f"the request has {len(references)} images; this server reads at most {settings.max_images}", param
        )
    return tuple([await _read_inline_or_beside(one, settings, executor, param) for one in references])


async def image_bytes(reference: str, settings: ServerSettings, executor: Executor) -> bytes:
    """Return an image as it is given, not decoded.

    Raises:
        ApiError: It can't be read (400).
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _bytes, reference, settings)
    except InputError as error:
        raise bad_request(f"the image can't be read: {error}", "image_url") from error


async def _read_inline_or_beside(
    reference: str, settings: ServerSettings, executor: Executor, param: str
) -> DecodedImage:
    """Decode an image here if it is small in both respects, else in a thread, as everything that is fetched."""
    if len(reference) <= INLINE_CHARACTERS and reference[:4].lower() != "http":
        with suppress(ImageTooLarge):
            return _read(reference, settings, param, min(INLINE_PIXELS, settings.max_pixels))
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, _read, reference, settings, param, settings.max_pixels)
    except ImageTooLarge as error:
        raise ApiError(413, f"the image is {error}", param, "image_too_large", reason="pixels") from error


def _read(reference: str, settings: ServerSettings, param: str, max_pixels: int) -> DecodedImage:
    try:
        pixels = decode_image(_bytes(reference, settings), max_pixels)
        return DecodedImage(pixels, pixel_digest(pixels))
    except ImageTooLarge:
        raise
    except InputError as error:
        raise bad_request(f"the image can't be read: {error}", param) from error
    except MemoryError as error:
        raise ApiError(413, "the image does not fit into memory", param, "image_too_large", reason="pixels") from error


def _bytes(reference: str, settings: ServerSettings) -> bytes:
    if head := _DATA_URL.match(reference):
        if not re.search(r";\s*base64\s*,$", head[0], re.IGNORECASE):
            raise InputError("its data URL is not base64")
        return _decoded(reference[head.end() :])
    if scheme := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", reference[:32]):
        if scheme[1].lower() in ("http", "https"):
            return fetch_image(reference, settings.image_hosts, settings.max_body_bytes)
        raise InputError("send it as a data URL (data:image/jpeg;base64,...) or as base64")
    return _decoded(reference)


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet; whitespace and the padding at the end don't matter."""
    with suppress(ValueError):  # what most clients send needs no copies of the text
        return base64.b64decode(text, validate=True)
    compact = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("it is not valid base64") from error
