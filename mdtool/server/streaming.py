"""Streamed responses: server-sent events (WHATWG HTML, 9.2) and lines of JSON."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from mdtool.server.api_error import ApiError
from mdtool.server.request_record import record_of
from mdtool.server.running import Running

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # nginx would collect what is streamed
PING_SECONDS = 10.0  # of silence, after which a client and the proxies before it are told that the request lives


@dataclass(frozen=True)
class StreamFormat:
    """How a stream is written.

    Attributes:
        media_type: Its content type.
        error: Makes what ends a stream that fails after its beginning, so that the client raises an error.
        ping: Makes a sign of life from a text; None: the format has none.
    """

    media_type: str
    error: Callable[[ApiError], bytes]
    ping: Callable[[str], bytes] | None = None


def sse(data: Any, event: str = "") -> bytes:
    """Return an event: JSON in one line, after the event's name if it has one."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def sse_comment(text: str) -> bytes:
    """Return a comment, which every client skips."""
    return f": {text}\n\n".encode()


def json_line(data: Any) -> bytes:
    """Return a line of NDJSON."""
    return f"{json.dumps(data, ensure_ascii=False)}\n".encode()


async def streamed(
    request: Request, chunks: AsyncGenerator[bytes], form: StreamFormat, status_text: Callable[[], str]
) -> StreamingResponse:
    """Return a response that streams chunks.

    Its status is decided by the first chunk, so that what fails before it gets the status of its error, unless that
    takes so long that a sign of life is due.

    Args:
        request: The HTTP request.
        chunks: The content.
        form: How it is written.
        status_text: Returns what a sign of life says.

    Raises:
        Exception: What making the first chunk raised.
    """
    first = asyncio.ensure_future(anext(chunks))
    try:
        await asyncio.wait({first}, timeout=None if form.ping is None else PING_SECONDS)
    except asyncio.CancelledError:
        first.cancel()
        raise
    if first.done() and (error := first.exception()) and not isinstance(error, StopAsyncIteration):
        raise error

    async def content() -> AsyncGenerator[bytes]:
        following = first
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=None if form.ping is None else PING_SECONDS)
                if done:
                    yield following.result()
                    following = asyncio.ensure_future(anext(chunks))
                elif form.ping is not None:
                    yield form.ping(status_text())
        except StopAsyncIteration:
            return
        except Exception as error:
            record = record_of(request)
            record.fail(error)
            unexpected = ApiError(500, f"internal error; the server's log has it under request {record.request_id}")
            yield form.error(error if isinstance(error, ApiError) else unexpected)
        finally:
            following.cancel()

    return StreamingResponse(content(), media_type=form.media_type, headers=STREAM_HEADERS)


def waiting_text(running: Running) -> Callable[[], str]:
    """Return what tells the state of a request in a sign of life."""
    return lambda: f"queued, position {running.position}" if running.position else "running"
