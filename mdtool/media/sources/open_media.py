"""Finds out what an input is, by its content and not by its name, and opens it."""

import base64
import hashlib
import http.client
import shutil
import stat
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from email.message import Message
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mdtool.errors import InputError
from mdtool.interruption import raise_if_interrupted
from mdtool.media.files.pipe import PipeReader
from mdtool.media.files.stdin import check_stdin_piped
from mdtool.media.image.animation import Animation, is_animated, read_animation
from mdtool.media.image.decode_image import decode_image, is_image_header
from mdtool.media.image.image_file import StillImage, read_image, sniff
from mdtool.media.sources.address import Address
from mdtool.media.sources.archive import read_member
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.live import OPEN_SECONDS, LiveReader, next_frame, open_address
from mdtool.media.video.reader import VideoReader

HEAD_BYTES = 64
HASHED_AT_ONCE = 1 << 20  # bytes
MOST_DOWNLOADED = 256 << 20  # bytes of a picture
Media = VideoReader | Animation | StillImage
_VIDEOS: dict[Address, str] = {}  # on the web, no pictures, with their versions: so each is asked for that but once


def is_live(source: Input) -> bool:
    """Whether it is a camera or a stream that plays now. InputError where a server gives nothing."""
    return source.address is not None and (source.address.is_real_time or is_endless(source.address))


def open_live(source: Input, stack: ExitStack, duration: float | None) -> LiveReader | None:
    """What plays now; None for anything else. duration: seconds after which it ends."""
    if source.address is None or not is_live(source):
        return None
    return stack.enter_context(closing(LiveReader(source.address, duration)))


def grab_live_image(source: Input) -> np.ndarray | None:
    """HxWx3 uint8, upright, the picture that comes next of what plays live; None for anything else."""
    with ExitStack() as stack:
        live = open_live(source, stack, duration=None)
        return next_frame(live).rgb() if live else None


def open_media(source: Input, stack: ExitStack) -> Media:
    """A video, left open until the stack is closed, or a photo or an animation. InputError for anything else."""
    if source.failed:
        raise InputError(source.failed)
    if source.member and source.path:
        return _still_or_moving(read_member(source.path, source.member))
    if source.address is not None:
        if source.address.is_real_time:
            raise InputError(
                "plays live, which this command can't follow; redact, moderate, gaze and detect --jsonl can"
            )
        if data := _picture_from_web(source.address, sniff):
            return _still_or_moving(data)
        return stack.enter_context(VideoReader(open_address(source.address)))
    if source.path is None:
        return _from_stdin(stack)
    with _file_errors():
        if sniff(_head(source.path)):
            return _still_or_moving(source.path)
    return stack.enter_context(VideoReader(Path(source.path).absolute()))


def image_bytes(source: Input) -> bytes | None:
    """The file of a picture of any kind that `decode_image` reads; None for anything else, as a video.

    InputError for what can't be read at all. May be called from several threads.
    """
    if source.failed:
        raise InputError(source.failed)
    if source.member and source.path:
        return read_member(source.path, source.member)
    if source.address:
        return None if source.address.is_real_time else _picture_from_web(source.address, is_image_header)
    with _file_errors():
        if source.path is None:
            stream = _stdin()
            head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
            if not head:
                raise InputError("is empty")
            if not is_image_header(head):
                return None
            data: bytes = stream.read()
            return data
        if not is_image_header(_head(source.path)) and source.path.suffix.lower() != ".tga":
            return None
        return source.path.read_bytes()


def content_digest(source: Input) -> str:
    """The SHA-256 of an input's bytes, in hexadecimal; empty for what is no file, and for one that isn't there.

    InputError where it can't be read.
    """
    if source.path is None or source.failed or not source.path.is_file():
        return ""
    if source.member:
        return hashlib.sha256(read_member(source.path, source.member)).hexdigest()
    digest = hashlib.sha256()
    with _file_errors(), source.path.open("rb") as file:
        while data := file.read(HASHED_AT_ONCE):
            raise_if_interrupted()
            digest.update(data)
    return digest.hexdigest()


def open_image(source: Input) -> np.ndarray:
    """HxWx3 uint8 sRGB, upright, of a picture of any kind that `decode_image` reads.

    InputError for anything else. May be called from several threads.
    """
    data = image_bytes(source)
    if data is None:
        raise InputError("is no picture of a kind that mdtool reads")
    return decode_image(data)


def _still_or_moving(picture: bytes | Path) -> Animation | StillImage:
    return read_animation(picture) if is_animated(picture) else read_image(picture)


def _head(path: Path) -> bytes:
    """The first bytes of a file. InputError for what is no file, and for an empty one."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError("is a folder" if path.is_dir() else "is no file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise InputError("is empty")
    return head


@contextmanager
def _file_errors() -> Iterator[None]:
    """What the system says of a file as an InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("there is no such file") from error
    except OSError as error:
        raise InputError(f"can't be read: {(error.strerror or str(error)).lower()}") from error


@cache
def is_endless(address: Address) -> bool:
    """Whether what a server gives is a video that has no end. InputError where it gives nothing."""
    if _picture_from_web(address, sniff):
        return False
    with closing(open_address(address)) as container:
        return container.duration is None


def _picture_from_web(address: Address, is_picture: Callable[[bytes], object]) -> bytes | None:
    """None where there is something else, as `is_picture` says of the first bytes."""
    if address in _VIDEOS:
        return None
    try:
        with urllib.request.urlopen(_request(address), timeout=OPEN_SECONDS) as response:
            head = response.read(HEAD_BYTES)
            if is_picture(head):
                data = head + response.read(MOST_DOWNLOADED)
                if len(data) > MOST_DOWNLOADED:
                    raise InputError(f"is larger than {MOST_DOWNLOADED >> 20} MB, which no picture is")
                return data
            if not is_image_header(head):
                _VIDEOS[address] = _version(response.headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"can't be read: {getattr(error, 'reason', None) or error}") from error
    return None


def served_version(address: Address) -> str:
    """What its server told of the version of a video, once `image_bytes` said that it is no picture; it may be
    nothing."""
    return _VIDEOS.get(address, "")


def _version(headers: Message) -> str:
    """Empty where a server tells no more than a size, which another version may have too."""
    told = [headers[name] for name in ("ETag", "Last-Modified", "Content-Length")]
    return " ".join(filter(None, told)) if any(told[:2]) else ""


def _request(address: Address) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(address.text)
    user, _, place = parts.netloc.rpartition("@")
    login = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
    plain = urllib.parse.urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    return urllib.request.Request(plain, headers={"Authorization": f"Basic {login}"} if user else {})


def spooled(source: Input, stack: ExitStack) -> Input:
    """The same input as one that can be opened again: stdin is copied to a file that lasts as long as the stack."""
    if source.path or source.address:
        return source
    stream = _stdin()
    try:
        file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="mdtool-"))  # noqa: SIM115  the stack closes it
        shutil.copyfileobj(stream, file)
        file.flush()
    except OSError as error:
        raise InputError(f"can't be copied to read it twice: {(error.strerror or str(error)).lower()}") from error
    return replace(source, path=Path(file.name), named=source.name)


def _stdin() -> Any:
    check_stdin_piped("a video or photo")
    return sys.stdin.buffer if sys.stdin.buffer.seekable() else _piped(sys.stdin)


@lru_cache(maxsize=1)
def _piped(stdin: TextIO) -> PipeReader:
    """The same each time for one stdin, for it holds what was peeked at."""
    return PipeReader(stdin.fileno())


def _from_stdin(stack: ExitStack) -> Media:
    stream = _stdin()
    try:
        head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
        if not head:
            raise InputError("is empty")
        if sniff(head):
            return _still_or_moving(stream.read())
        if isinstance(stream, PipeReader) and _index_at_end(head):
            spool = stack.enter_context(tempfile.TemporaryFile(prefix="mdtool-"))  # noqa: SIM115  the stack closes it
            shutil.copyfileobj(stream, spool)
            spool.seek(0)
            stream = spool
    except OSError as error:
        raise InputError(f"can't be read: {(error.strerror or str(error)).lower()}") from error
    return stack.enter_context(VideoReader(stream))


def _index_at_end(head: bytes) -> bool:
    """Whether an MP4 (ISO/IEC 14496-12) that begins like this has its media before its index, so must be sought in."""
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
