"""What becomes of one request: for the access log, the metrics and the end of its work."""

import asyncio
import time
from dataclasses import dataclass, field
from traceback import format_exception
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Scope

from mdtool.memory import Account
from mdtool.server.api_error import ApiError

if TYPE_CHECKING:
    from mdtool.server.running import Running, Timings

_STATE = "mdtool"


@dataclass
class RequestRecord:
    """One request, filled in on its way.

    Attributes:
        request_id: The client's own, or a new one.
        path: Below the root path.
        route: The template of its path; "other" if there is none.
        accepted: Whether it counts as work that is finished before the server ends.
        deadline: By `time.monotonic()`.
        model: Name of the model.
        skill: Such as "caption".
        prompt: What was asked.
        answer: The text or objects that were answered.
        images: Width and height of each.
        running: Its work in the engine.
        timings: Of that work.
        prompt_tokens: Of its prompt, images included.
        completion_tokens: Generated.
        finish: What ended the answer.
        status: Of the response, once it has begun.
        error: The message of an error that ended it.
        error_quotes: Whether that message may quote the prompt.
        traceback: Of an error nobody expected.
        begin: When it came.
        responded: Whether the last byte of the response was handed over.
        gone: Set once the client has gone away.
        memory: Where what it holds is counted.
        held: Bytes that it holds until it ends.
    """

    request_id: str
    path: str
    deadline: float
    route: str = "other"
    accepted: bool = False
    model: str | None = None
    skill: str | None = None
    prompt: str | None = None
    answer: object = None
    images: tuple[tuple[int, int], ...] = ()
    running: "list[Running]" = field(default_factory=list)
    timings: "Timings | None" = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str | None = None
    status: int | None = None
    error: str | None = None
    error_quotes: bool = False
    traceback: str | None = None
    responded: bool = False
    begin: float = field(default_factory=time.monotonic)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    memory: Account = field(default_factory=Account)
    held: int = 0

    def hold(self, size: int) -> None:
        """Count bytes until the request ends. Raises NoRoom if other requests leave no room for them."""
        self.memory.take(size, own=self.held)
        self.held += size

    def release(self) -> None:
        """Give back what the request holds."""
        self.memory.add(-self.held)
        self.held = 0

    def attach(self, scope: Scope) -> None:
        """Let the routes find this record."""
        scope.setdefault("state", {})[_STATE] = self

    def fail(self, error: Exception) -> None:
        """Note an error that ends the request."""
        if isinstance(error, ApiError):
            self.error, self.error_quotes = error.line, error.quotes
        else:
            self.error, self.traceback = f"{type(error).__name__}: {error}", "".join(format_exception(error))


def record_of(request: Request) -> RequestRecord:
    """Return the record of a request."""
    record: RequestRecord = request.scope["state"][_STATE]
    return record
