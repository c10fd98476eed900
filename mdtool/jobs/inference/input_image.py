"""One image for inference, or the error that reading it raised."""

from dataclasses import dataclass

import numpy as np

from engine.contract import Request
from mdtool.media.sources.inputs import Input


@dataclass(frozen=True, eq=False)
class InputImage:
    """An image that was read.

    Attributes:
        source: The input it comes from.
        pixels: HxWx3 uint8 RGB, after EXIF orientation; None if it could not be read, or was released.
        error: Why it could not be read.
        requests: The requests for this image, in place of those for all images.
    """

    source: Input
    pixels: np.ndarray | None = None
    error: Exception | None = None
    requests: tuple[Request, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels; (0, 0) without pixels."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])
