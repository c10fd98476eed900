"""Why the engine loop takes no request, or ends one early."""

from collections.abc import Sequence

from mdtool.errors import MdtoolError


class Refused(MdtoolError):
    """The engine loop does not take a request."""


class QueueFull(Refused):
    """As many requests wait as may.

    Attributes:
        retry_after: Seconds after which there is likely room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting: try again in {retry_after} s")
        self.retry_after = retry_after


class Draining(Refused):
    """The server is about to stop."""

    def __init__(self) -> None:
        super().__init__("the server is stopping: send the request to another one")


class UnknownModel(Refused):
    """No model is served under this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no model {name!r} is served here: there is {', '.join(known)}")


class DeadlineExceeded(MdtoolError):
    """A request was not done in time."""

    def __init__(self) -> None:
        super().__init__("the request took longer than the server allows")


class EngineStopped(MdtoolError):
    """The engine loop ended before the request did."""
