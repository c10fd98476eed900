"""What an HTTP server serves, as a file that FFmpeg reads and seeks in."""

import re
from dataclasses import dataclass

from mdtool.errors import InputError
from mdtool.network.http_client import HttpClient, HttpFailure, Response, read_head, read_part

SKIP_BYTES = 1 << 18  # what is read over rather than requested anew


@dataclass
class Transfer:
    """What went wrong so far in the files of one container.

    FFmpeg takes a failed read for the end, and PyAV prints what a second one raises.

    Attributes:
        failure: Why a part could not be read; "" if all could. It is the end of what can be read.
        ended: Whether nothing more is read: an error was raised that ends the container, or the run is interrupted.
    """

    failure: str = ""
    ended: bool = False


class HttpFile:
    """A file on a server, read front to back as it arrives, and requested anew (RFC 9110, Range) where FFmpeg seeks.

    Attributes:
        url: Where it is, after redirects.
    """

    def __init__(
        self, client: HttpClient, url: str, transfer: Transfer, *, start: int = 0, end: int | None = None
    ) -> None:
        """Request it.

        Args:
            client: What requests it.
            url: Where it is.
            transfer: Where to note what goes wrong.
            start: Its first byte in what the server has under this URL.
            end: The byte after its last there; None: it ends where that does.

        Raises:
            InputError: It can't be read.
        """
        self._client, self._asked, self._start, self._end = client, url, start, end
        self._transfer = transfer
        self._position = 0
        self._held = b""  # read ahead by `peek`
        self._response: Response | None = self._request(0)
        self.url = self._response.url or url
        ranged = re.match(r"bytes \d+-\d+/(\d+)$", self._response.headers.get("Content-Range", ""))
        self._whole = int(ranged[1]) if ranged else None
        self._size = None if self._whole is None else (end or self._whole) - start

    def peek(self, count: int) -> bytes:
        """Return the first bytes without moving. Raises InputError."""
        if self._response and not self._held:
            self._held = read_head(self._response, count)
        return self._held[:count]

    def seekable(self) -> bool:
        """Return whether the server serves any part that is asked for."""
        return self._size is not None

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, and return the new position."""
        self._transfer.failure = ""  # unless what is read from there fails too
        target = offset + (0, self._position, self._size or 0)[whence]
        try:
            while self._response and self._position < target <= self._position + SKIP_BYTES and self._next(target):
                pass
        except InputError:
            self.close()
        if self._position != target:
            self.close()
            self._position = target
        return target

    def read(self, size: int) -> bytes:
        """Return the next bytes as soon as there are some; empty at the end, and where the transfer notes a failure.

        Raises:
            InputError: What the server does is not allowed.
        """
        try:
            return b"" if self._transfer.ended else self._next(self._position + size)
        except HttpFailure as error:
            self._transfer.failure = str(error)
            return b""
        except KeyboardInterrupt:  # which PyAV would lose; whoever reads asks whether there was one
            self._transfer.ended = True
            return b""
        except InputError:
            self._transfer.ended = True
            raise

    def _next(self, target: int) -> bytes:
        """Return some of the bytes up to a position, and move behind them."""
        size = target - self._position
        if self._held:
            part, self._held = self._held[:size], self._held[size:]
        elif self._size is not None and self._position >= self._size:
            return b""
        else:
            self._response = self._response or self._request(self._position)
            part = read_part(self._response, size)
        self._position += len(part)
        return part

    def close(self) -> None:
        """Disconnect; a read after it connects again."""
        if self._response:
            self._response.close()
        self._response, self._held = None, b""

    def _request(self, position: int) -> Response:
        first = self._start + position
        last = "" if self._end is None else str(self._end - 1)
        response = self._client.open(self._asked, {"Range": f"bytes={first}-{last}"})
        if response.status != 206 and first:
            response.close()
            raise InputError("its server does not serve parts of a file")
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {first}-"):
            response.close()
            raise InputError("its server serves another part of the file than was asked for")
        return response
