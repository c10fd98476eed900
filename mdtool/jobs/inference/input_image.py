"""One picture to ask about."""

from dataclasses import dataclass

import numpy as np

from mdtool.media.sources.inputs import Input


@dataclass(frozen=True, eq=False)
class InputImage:
    """pixels: HxWx3 uint8 RGB, upright; None of one that could not be read, or that are no longer kept.

    error: why it could not be read.
    """

    source: Input
    pixels: np.ndarray | None = None
    error: Exception | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels; (0, 0) where there are none."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])
