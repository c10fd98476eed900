"""Images of requests: where they are given, and how they are decoded."""

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from engine.generation.kept_images import pixel_digest
from mdtool.errors import InputError
from mdtool.media.image.decode_image import decode_image
from mdtool.media.image.image_file import ImageTooLarge
from mdtool.memory import POLL_SECONDS, Attempt, NoRoom, OverBudget
from mdtool.server.api_error import ApiError, bad_request, no_memory, too_large_for_memory
from mdtool.server.image_fetch import fetch_image
from mdtool.server.request_record import RequestRecord
from mdtool.server.server_settings import ServerSettings

INLINE_CHARACTERS, INLINE_PIXELS = 1 << 16, 1 << 18  # of an image that is decoded faster than a thread takes it over
PATIENCE_SECONDS = 20.0  # for which a request waits for memory that others hold
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
    references: Sequence[str], settings: ServerSettings, executor: Executor, record: RequestRecord, *, param: str
) -> tuple[DecodedImage, ...]:
    """Decode the images of a request.

    The first one waits for memory that other requests hold. Those after it don't: requests that each hold one image and
    wait for the next would wait for each other.

    Args:
        references: A data URL, plain base64, or an http(s) URL each.
        settings: The limits.
        executor: Where to decode.
        record: The request, whose body is in memory.
        param: The field that has the references, for errors.

    Raises:
        ApiError: There are too many (400), one is too large (413), one is no image (400), or there is no memory for it
            now (503).
    """
    if len(references) > settings.max_images:
        raise bad_request(
            f"the request has {len(references)} images; this server reads at most {settings.max_images}", param
        )
    loop, images = asyncio.get_running_loop(), list[DecodedImage]()
    with _image_errors(param):
        for reference in references:
            if small := _decode_small(reference, settings, record):
                images.append(small)
                continue
            data = await loop.run_in_executor(executor, _bytes, reference, settings)
            waits_until = loop.time() + (0 if images else PATIENCE_SECONDS)
            own = record.held + sum(image.pixels.nbytes for image in images)
            while True:
                alone = record.memory.alive <= own
                try:
                    decoding = loop.run_in_executor(executor, _decode, data, settings.max_pixels, record)
                    images.append(await decoding)
                    break
                except NoRoom as error:
                    # Others may have gone since there was no room: then it is tried again.
                    if alone and record.memory.alive <= own:
                        raise OverBudget("do not fit into memory together") from error
                    if loop.time() >= waits_until:
                        raise
                    await asyncio.sleep(POLL_SECONDS)
    return tuple(images)


async def image_bytes(reference: str, settings: ServerSettings, executor: Executor) -> bytes:
    """Return an image as it is given, not decoded.

    Raises:
        ApiError: It can't be read (400).
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _bytes, reference, settings)
    except InputError as error:
        raise bad_request(f"the image can't be read: {error}", "image_url") from error


def _decode_small(reference: str, settings: ServerSettings, record: RequestRecord) -> DecodedImage | None:
    """Decode an image if it is small in both respects, and nothing has to be fetched or waited for."""
    if len(reference) <= INLINE_CHARACTERS and reference[:4].lower() != "http":
        with suppress(ImageTooLarge, NoRoom):
            return _decode(_bytes(reference, settings), min(INLINE_PIXELS, settings.max_pixels), record)
    return None


def _decode(data: bytes, max_pixels: int, record: RequestRecord) -> DecodedImage:
    with Attempt(record.memory, record.held).taken():
        pixels = decode_image(data, max_pixels)
    return DecodedImage(pixels, pixel_digest(pixels))


@contextmanager
def _image_errors(param: str) -> Iterator[None]:
    """Raise what is wrong with an image as an ApiError."""
    try:
        yield
    except ImageTooLarge as error:
        raise ApiError(413, f"the image is {error}", param, "image_too_large", reason="pixels") from error
    except (OverBudget, MemoryError) as error:
        raise too_large_for_memory(param) from error
    except NoRoom as error:
        raise no_memory("the image") from error
    except InputError as error:
        raise bad_request(f"the image can't be read: {error}", param) from error


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
