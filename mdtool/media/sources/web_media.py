"""Videos and streams on web servers: FFmpeg demuxes them, and all requests are our own (`mdtool.network`).

So a playlist (HLS, RFC 8216) leads nowhere that its own address may not lead, and a certificate is checked.
"""

import io
import re
from contextlib import closing
from typing import Any
from urllib.parse import urljoin, urlsplit

import av
from av.container import InputContainer

from mdtool.errors import InputError
from mdtool.media.files.spool import spool
from mdtool.media.sources.address import Address
from mdtool.media.sources.http_file import HttpFile, Transfer
from mdtool.media.video.reader import CONTAINERS
from mdtool.network.http_client import HttpClient, HttpFailure
from mdtool.network.reach import Reach
from mdtool.network.urls import WEB, without_secrets

FORMATS = CONTAINERS + ",hls,mpjpeg"
PLAYLIST = b"#EXTM3U"
MAX_PLAYLIST_BYTES = 1 << 24
MAX_SEGMENT_BYTES = 1 << 29  # of an encrypted one, which is decrypted as a whole
BUFFER_BYTES = 1 << 16
_URI = re.compile(rb'(URI=")([^"]*)"')


def open_web(
    address: Address, timeouts: tuple[float, float], reach: Reach | None = None
) -> tuple[InputContainer, Transfer]:
    """Open a URL for FFmpeg.

    Args:
        address: An http or https URL.
        timeouts: Seconds to open it, and for the next packet.
        reach: What may be connected to; None: what the address names, and public addresses.

    Returns:
        The container, and what goes wrong while it is read.

    Raises:
        av.FFmpegError, OSError: It is no video.
        InputError: It can't be read, or leads where it may not.
    """
    opener = _Opener(HttpClient(address.text, reach))
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "crypto,http,https"}
    if opener.is_playlist:  # each part is a file of its own
        options |= {"http_persistent": "0", "http_multiple": "0"}
    try:
        container = av.open(
            opener.url,
            "r",
            format="hls" if opener.is_playlist else None,
            options=options,
            buffer_size=BUFFER_BYTES,
            timeout=timeouts,
            metadata_errors="replace",
            io_open=opener,
        )
    except (av.FFmpegError, OSError) as error:
        if opener.transfer.failure:
            raise InputError(opener.transfer.failure) from error
        raise
    finally:
        opener.close()
    return container, opener.transfer


class _Opener:
    """Opens what FFmpeg asks for: what the address serves, and in a playlist what that names."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self.transfer = Transfer()
        self._first: HttpFile | None = HttpFile(client, client.url, self.transfer)
        self.is_playlist = self._first.peek(len(PLAYLIST)) == PLAYLIST
        self.url = self._first.url

    def __call__(self, url: str, flags: int, options: dict[str, str]) -> Any:
        """Return a file to read. `flags` and `options` are those of FFmpeg's avio_open2."""
        if self.transfer.ended:
            return io.BytesIO()
        try:
            return self._opened(url, options)
        except HttpFailure as error:
            self.transfer.failure = str(error)
        except KeyboardInterrupt:
            self.transfer.ended = True
        except Exception:
            self.transfer.ended = True
            raise
        return io.BytesIO()

    def _opened(self, url: str, options: dict[str, str]) -> Any:
        if self._first and url == self.url:
            file, self._first = self._first, None
        elif not self.is_playlist:
            raise InputError(f"refers to {without_secrets(url)}, which is not opened")
        else:
            encrypted, inner = url.startswith("crypto"), re.sub("^crypto[+:]", "", url)
            if urlsplit(inner).scheme.lower() not in WEB:
                raise InputError(f"its playlist refers to {without_secrets(inner)}, which is not HTTP")
            start, end = int(options.get("offset", 0)), int(options.get("end_offset", 0)) or None
            file = HttpFile(self._client, inner, self.transfer, start=start, end=end)
            if encrypted:
                return io.BytesIO(_decrypted(file, options))
        if self.is_playlist and file.peek(len(PLAYLIST)) == PLAYLIST:
            self._client.leave(file.url)
            return io.BytesIO(_absolute(_all_of(file, MAX_PLAYLIST_BYTES), file.url))
        return file

    def close(self) -> None:
        if self._first:
            self._first.close()


def _all_of(file: HttpFile, limit: int) -> bytes:
    data = bytearray()
    with closing(file):
        while part := file.read(BUFFER_BYTES):
            data += part
            if len(data) > limit:
                raise InputError(f"a part of its playlist is larger than {limit >> 20} MB")
    return bytes(data)


def _absolute(playlist: bytes, base: str) -> bytes:
    """Return a playlist with absolute URLs: FFmpeg does not know where a redirect has led."""

    def joined(url: bytes) -> bytes:
        return urljoin(base, url.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    lines = []
    for line in playlist.splitlines():
        if line.startswith(b"#"):
            lines.append(_URI.sub(lambda match: match[1] + joined(match[2]) + b'"', line))
        else:
            lines.append(joined(line.strip()) if line.strip() else b"")
    return b"\n".join(lines) + b"\n"


def _decrypted(file: HttpFile, options: dict[str, str]) -> bytes:
    """Return a segment that is encrypted by AES-128 (RFC 8216, 4.3.2.4), decrypted by FFmpeg's own protocol."""
    with spool() as (copy, path):
        copy.write(_all_of(file, MAX_SEGMENT_BYTES))
        copy.flush()
        told = {"key": options["key"], "iv": options["iv"], "protocol_whitelist": "crypto,file"}
        with av.open(f"crypto:file:{path}", "r", format="data", options=told) as container:
            return b"".join(bytes(packet) for packet in container.demux() if packet.size)
