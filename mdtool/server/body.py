"""Reading the body of a request: bounded while it arrives, parsed beside the event loop."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from typing import Any

from starlette.requests import Request

from mdtool.memory import NoRoom
from mdtool.server.api_error import ApiError, bad_request, no_memory

COPIES = 3  # of a body: as it came, as text, and as the bytes of its images
INLINE_BYTES = 1 << 16  # a larger body takes long enough to parse that others would notice


async def read_json(request: Request, limit: int, executor: Executor, hold: Callable[[int], None]) -> dict[str, Any]:
    """Read the JSON object that a request has as its body, whatever content type it states.

    Args:
        request: A request whose body nobody has read.
        limit: Most bytes.
        executor: Parses large bodies.
        hold: Told of the memory that the request takes; raises NoRoom where there is none.

    Raises:
        ApiError: The body is larger (413; the rest is not waited for), no JSON object (400), or there is no memory for
            it now (503).
        ClientDisconnect: The client went away.
    """
    parts, size = [], 0
    try:
        async for part in bounded_parts(request, limit, "a smaller image"):
            parts.append(part)
            size += len(part)
            if size > INLINE_BYTES:
                hold(COPIES * len(part))
    except NoRoom as error:
        raise no_memory("the request") from error
    data = b"".join(parts)
    if len(data) <= INLINE_BYTES:
        return _parsed(data)
    return await asyncio.get_running_loop().run_in_executor(executor, _parsed, data)


async def bounded_parts(request: Request, limit: int, instead: str) -> AsyncGenerator[bytes]:
    """Yield the body of a request as it arrives.

    Args:
        request: A request whose body nobody has read.
        limit: Most bytes.
        instead: What to send if it is larger.

    Raises:
        ApiError: It is larger (413); the rest is not waited for.
        ClientDisconnect: The client went away.
    """
    message = f"the request is larger than {limit / 1e6:g} MB, the most this server reads; send {instead}"
    too_large = ApiError(413, message, code="request_too_large", reason="body", limit_bytes=limit)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        yield part


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # json's own errors quote nothing of the text
        where = f": {error}" if isinstance(error, json.JSONDecodeError) else ""
        raise bad_request(f"the body is not valid JSON{where}") from error
    if not isinstance(content, dict):
        raise bad_request("the body is not a JSON object")
    return content
