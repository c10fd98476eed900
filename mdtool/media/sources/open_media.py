"""Opening inputs: detects by content whether one is a video, an animation or a still image.

Only a video of JPEG images one after another is known by its name: its first bytes are those of a photo.
"""

import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from email.message import Message
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mdtool.errors import InputError, read_error_message
from mdtool.interruption import raise_if_interrupted
from mdtool.media.file_types import HEAD_BYTES, IMAGE_SUFFIXES, JPEG_STREAMS, first_bytes, sniff, usual_suffix
from mdtool.media.files.pipe import PipeReader
from mdtool.media.files.spool import spool
from mdtool.media.files.stdin import check_stdin_piped
from mdtool.media.image.animation import Animation, is_animated, read_animation
from mdtool.media.image.decode_image import decode_image, is_image_header
from mdtool.media.image.image_file import StillImage, read_image
from mdtool.media.sources.address import Address
from mdtool.media.sources.archive import read_member
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.live import OPEN_SECONDS, LiveReader, next_frame, open_address
from mdtool.media.sources.object_store import is_object, object_version, open_object, read_object
from mdtool.media.video.reader import VideoReader
from mdtool.network.http_client import HttpClient, Limits, read_head

HASH_CHUNK_BYTES = 1 << 20
MAX_DOWNLOAD_BYTES = 256_000_000  # of an image
IMAGE_LIMITS = Limits(silent=OPEN_SECONDS, seconds=300.0)
Media = VideoReader | Animation | StillImage
_VIDEOS: dict[Address, str] = {}  # URLs that are known not to be images -> version of their content


def is_live(source: Input) -> bool:
    """Return whether an input is a camera or a live stream.

    Raises:
        InputError: The server can't be reached, or sends no video.
    """
    return source.address is not None and (source.address.is_real_time or is_endless(source.address))


def open_live(source: Input, stack: ExitStack, duration: float | None) -> LiveReader | None:
    """Open a live input; return None for any other.

    Args:
        source: The input.
        stack: Closes the reader.
        duration: Seconds after which it ends; None for no limit.

    Raises:
        InputError: It can't be opened.
    """
    if source.address is None or not is_live(source):
        return None
    return stack.enter_context(closing(LiveReader(source.address, duration)))


def grab_live_image(source: Input) -> np.ndarray | None:
    """Return the next frame of a live input as HxWx3 uint8, upright; None for any other input.

    Raises:
        InputError: It can't be opened, or delivers no frame.
    """
    with ExitStack() as stack:
        live = open_live(source, stack, duration=None)
        return next_frame(live).rgb() if live else None


def open_media(source: Input, stack: ExitStack) -> Media:
    """Open a video, an animation or a still image.

    Args:
        source: The input; a live one can't be opened here.
        stack: Closes a video.

    Raises:
        InputError: It can't be read, or is none of these.
    """
    if source.failed:
        raise InputError(source.failed)
    if source.member and source.path:
        return _still_or_animated(read_member(source.path, source.member))
    if source.address is not None:
        if source.address.is_real_time:
            raise InputError(
                "is a live source, which this command does not support; redact, moderate, gaze and detect --jsonl do"
            )
        if data := _download_image(source.address, sniff):
            return _still_or_animated(data)
        if is_object(source.address):
            return stack.enter_context(VideoReader(stack.enter_context(open_object(source.address))))
        container, transfer = open_address(source.address)
        return stack.enter_context(VideoReader(container, lambda: transfer.failure))
    if source.path is None:
        return _from_stdin(stack)
    with _file_errors():
        head, suffix = _head(source.path), source.path.suffix.lower()
        if sniff(head) and suffix not in JPEG_STREAMS:
            return _still_or_animated(source.path)
        if is_image_header(head) and suffix in IMAGE_SUFFIXES:
            raise InputError("an image in a format that can't be written; convert it to PNG first")
    return stack.enter_context(VideoReader(Path(source.path).absolute()))


def suffix_by_content(source: Input) -> str | None:
    """Return the ending that is usual for the content of an input; None if it is not known, or can't be read.

    Of a URL only the first bytes are read.
    """
    if source.path and not source.member:
        return usual_suffix(first_bytes(source.path))
    if source.address is None or source.address.is_real_time or source.address in _VIDEOS:
        return None
    try:
        with _served(source.address) as (read, _):
            return usual_suffix(read(HEAD_BYTES))
    except InputError:
        return None


def image_bytes(source: Input) -> bytes | None:
    """Return the undecoded file of an image that `decode_image` reads; None for anything else, such as a video.

    Thread-safe.

    Raises:
        InputError: It can't be read.
    """
    if source.failed:
        raise InputError(source.failed)
    if source.member and source.path:
        return read_member(source.path, source.member)
    if source.address:
        return None if source.address.is_real_time else _download_image(source.address, is_image_header)
    with _file_errors():
        if source.path is None:
            stream = _stdin()
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
            if not head:
                raise InputError("empty")
            if not is_image_header(head):
                return None
            data: bytes = stream.read()
            return data
        suffix = source.path.suffix.lower()
        if suffix in JPEG_STREAMS or (not is_image_header(_head(source.path)) and suffix != ".tga"):
            return None
        return source.path.read_bytes()


def content_digest(source: Input) -> str:
    """Return the SHA-256 of an input's bytes in hexadecimal; "" if it is not a file, or missing.

    Raises:
        InputError: It can't be read.
    """
    if source.path is None or source.failed or not os.path.isfile(source.path):
        return ""
    if source.member:
        return hashlib.sha256(read_member(source.path, source.member)).hexdigest()
    digest = hashlib.sha256()
    with _file_errors(), source.path.open("rb") as file:
        while data := file.read(HASH_CHUNK_BYTES):
            raise_if_interrupted()
            digest.update(data)
    return digest.hexdigest()


def open_image(source: Input) -> np.ndarray:
    """Decode an image of any format that `decode_image` reads. Thread-safe.

    Returns:
        HxWx3 uint8 sRGB, upright.

    Raises:
        InputError: It can't be read, or is not an image.
    """
    data = image_bytes(source)
    if data is None:
        raise InputError("not an image in a supported format")
    return decode_image(data)


def _still_or_animated(image: bytes | Path) -> Animation | StillImage:
    return read_animation(image) if is_animated(image) else read_image(image)


def _head(path: Path) -> bytes:
    """Return the first bytes of a file. InputError if it is not a regular file, or empty."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("is a folder" if path.is_dir() else "not a regular file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError("empty")
    return head


@contextmanager
def _file_errors() -> Iterator[None]:
    """Convert OSError into InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except OSError as error:
        raise InputError(read_error_message(error)) from error


@cache
def is_endless(address: Address) -> bool:
    """Return whether a URL is a video of unknown length, so a live stream.

    Raises:
        InputError: The server can't be reached, or sends no video.
    """
    if is_object(address) or _download_image(address, sniff):
        return False
    container, _ = open_address(address)
    with closing(container):
        return container.duration is None


def _download_image(address: Address, is_image: Callable[[bytes], object]) -> bytes | None:
    """Download a URL if `is_image` is true for its first bytes; None otherwise."""
    if address in _VIDEOS:
        return None
    try:
        with _served(address) as (read, version):
            head = read(HEAD_BYTES)
            if is_image(head):
                data = head + read(MAX_DOWNLOAD_BYTES)
                if len(data) > MAX_DOWNLOAD_BYTES:
                    raise InputError(f"it is larger than {MAX_DOWNLOAD_BYTES / 1e6:g} MB")
                return data
            if not is_image_header(head):
                _VIDEOS[address] = version
    except InputError as error:
        raise InputError(f"can't be read: {error}") from error
    return None


@contextmanager
def _served(address: Address) -> Iterator[tuple[Callable[[int], bytes], str]]:
    """Open a URL; yield what reads so many of its bytes, fewer at its end, and the version of its content."""
    if is_object(address):
        with open_object(address) as file:
            yield partial(read_object, file), object_version(file)
    else:
        client = HttpClient(address.text, limits=IMAGE_LIMITS)
        with client.open(client.url) as response:
            yield partial(read_head, response), _version(response.headers)


def served_version(address: Address) -> str:
    """Return the HTTP validators of a URL that `image_bytes` has found not to be an image; "" if there are none."""
    return _VIDEOS.get(address, "")


def _version(headers: Message) -> str:
    """Return "" if only a size is sent, which another version may share."""
    validators = [headers[name] for name in ("ETag", "Last-Modified", "Content-Length")]
    return " ".join(filter(None, validators)) if any(validators[:2]) else ""


def spooled(source: Input, stack: ExitStack) -> Input:
    """Return an input that can be opened more than once: stdin is copied to a temporary file.

    Args:
        source: The input; anything but stdin is returned unchanged.
        stack: Deletes the temporary file.

    Raises:
        InputError: It can't be copied.
    """
    if source.path or source.address:
        return source
    stream = _stdin()
    try:
        file, path = stack.enter_context(spool())
        shutil.copyfileobj(stream, file)
        file.flush()
    except OSError as error:
        raise InputError(f"can't be copied to a temporary file: {(error.strerror or str(error)).lower()}") from error
    return replace(source, path=path, named=source.name)


def _stdin() -> Any:
    check_stdin_piped("a video or an image")
    return sys.stdin.buffer if sys.stdin.buffer.seekable() else _piped(sys.stdin)


@lru_cache(maxsize=1)
def _piped(stdin: TextIO) -> PipeReader:
    """Return the one reader of stdin, since it buffers peeked bytes."""
    return PipeReader(stdin.fileno())


def _from_stdin(stack: ExitStack) -> Media:
    stream = _stdin()
    try:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        if not head:
            raise InputError("empty")
        if sniff(head):
            return _still_or_animated(stream.read())
        if isinstance(stream, PipeReader) and _index_at_end(head):
            file, _ = stack.enter_context(spool())
            shutil.copyfileobj(stream, file)
            file.seek(0)
            stream = file
    except OSError as error:
        raise InputError(read_error_message(error)) from error
    return stack.enter_context(VideoReader(stream))


def _index_at_end(head: bytes) -> bool:
    """Return whether an MP4 (ISO/IEC 14496-12) that begins with `head` has `mdat` before `moov`, so needs seeking."""
    at = 0
    while at + 8 <= len(head):
        size, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if at == 0 and kind not in (b"ftyp", b"wide", b"mdat", b"skip", b"free"):
            return False
        if kind in (b"moov", b"mdat"):
            return kind == b"mdat"
        if size < 8:
            return False
        at += size
    return False
