"""Identifies the content of an input, so that a later run can skip it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ContentVersion:
    """The content of an input when it was read.

    Attributes:
        sha256: SHA-256 of the bytes that were read, in hexadecimal.
        size: File size in bytes; None if the input is not a file.
        modified: Modification time in nanoseconds since 1970; None if the input is not a file.
        http_validator: For a video on the web, in place of the digest: the validators that the server returned.
    """

    sha256: str
    size: int | None = None
    modified: int | None = None
    http_validator: str = ""

    @property
    def identity(self) -> str:
        """A string that is equal for equal content; empty if it is unknown."""
        return self.sha256 or self.http_validator

    @property
    def state(self) -> tuple[int | None, int | None]:
        """Size and modification time, as `file_state` returns them."""
        return self.size, self.modified


UNKNOWN = ContentVersion("")  # of inputs that can't be read again, such as cameras
