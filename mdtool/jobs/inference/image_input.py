"""One picture to ask about."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mdtool.media.sources.inputs import Input


@dataclass(frozen=True)
class Version:
    """Which content an input had.

    sha256: in hexadecimal, of what was read. size, modified: of the file, in bytes and in nanoseconds since 1970, when
    it was read; None of what is no file. served: of a video on the web, in place of its digest, what the server tells
    of its version.
    """

    sha256: str
    size: int | None = None
    modified: int | None = None
    served: str = ""

    @property
    def identity(self) -> str:
        """The same for the same content; empty where nobody knows."""
        return self.sha256 or self.served

    @property
    def state(self) -> tuple[int | None, int | None]:
        return self.size, self.modified


UNKNOWN = Version("")  # of what can't be read again, as a camera


@dataclass(frozen=True, eq=False)
class Shot:
    """pixels: HxWx3 uint8 RGB, upright; None of one that could not be read, or that are no longer kept.

    error: why it could not be read. film: it is a video, of which no frame was read yet. time: seconds, of a frame of
    a video; part_of: that video. number: its place among those that are asked about.
    """

    source: Input
    pixels: np.ndarray | None = None
    error: Exception | None = None
    version: Version = UNKNOWN
    film: bool = False
    time: float | None = None
    part_of: Any = None
    number: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels; (0, 0) where there are none."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])
