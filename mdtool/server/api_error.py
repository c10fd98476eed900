"""Errors as clients get them: a status, one line, and the envelope of OpenAI's API."""

from dataclasses import dataclass, field
from typing import Any

from mdtool.errors import without_objects

LONGEST_MESSAGE = 500  # characters; an error that quotes its input never sends it all back

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
    504: "timeout_error",
}


@dataclass(eq=False)
class ApiError(Exception):
    """A request that can't be answered.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what to do, in one line.
        param: Name of the field that is wrong.
        code: A word for programs, such as "model_not_found".
        retry_after: Seconds after which to try again.
        reason: Why it was rejected, as the metrics count it; "": for nothing that the server limits.
        limit_bytes: Most bytes of a request, if it has more.
        quotes: Whether the message may quote the prompt, and doesn't belong into a log.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None
    reason: str = field(default="", kw_only=True)
    quotes: bool = field(default=False, kw_only=True)
    limit_bytes: int | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return self.message

    @property
    def content(self) -> dict[str, Any]:
        """The body of a response, as OpenAI's clients read it."""
        kind = _TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.line, "type": kind, "param": self.param, "code": self.code}
        return {"error": error if self.limit_bytes is None else error | {"limit_bytes": self.limit_bytes}}

    @property
    def line(self) -> str:
        """The message in one line of bounded length."""
        text = " ".join(without_objects(self.message).split())
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ..."

    @property
    def headers(self) -> dict[str, str]:
        """Headers that tell a client whether and when to try again."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        if self.status == 500:  # OpenAI's client would try twice more
            headers["x-should-retry"] = "false"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def bad_request(message: str, param: str | None = None) -> ApiError:
    """Return the error of a field that is wrong."""
    return ApiError(400, message, param)


def too_large_for_memory(param: str) -> ApiError:
    """Return the error of an image that takes more memory than there is for all."""
    message = "the image does not fit into memory: scale it down"
    return ApiError(413, message, param, "image_too_large", reason="pixels")


def no_memory(what: str) -> ApiError:
    """Return the error of something for which other requests leave no memory now."""
    message = f"the server has no memory left for {what} while it answers others; try again"
    return ApiError(503, message, code="no_memory", retry_after=2.0, reason="memory")
