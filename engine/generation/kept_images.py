"""Encoded images that are kept for later requests, and found again by the content of their pixels."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from engine.contract import EncodedImage

I = TypeVar("I", bound=EncodedImage)  # noqa: E741  an encoded image


def pixel_digest(pixels: np.ndarray) -> bytes:
    """Return the SHA-256 of an image's shape and pixels."""
    digest = hashlib.sha256(repr((pixels.shape, pixels.dtype.str)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


@dataclass
class KeptImages(Generic[I]):
    """The least recently used images are dropped where their memory exceeds a limit.

    Keys consist of what an encoded image depends on: its `pixel_digest`, and how it is prepared.

    Attributes:
        limit_bytes: Of all images but the latest, which is always kept; 0: none is kept.
    """

    limit_bytes: int
    _images: OrderedDict[Hashable, I] = field(default_factory=OrderedDict)

    def __contains__(self, key: Hashable) -> bool:
        """Whether an image is kept."""
        return key in self._images

    def get(self, key: Hashable) -> I | None:
        """Return the image with this key; None if it is not kept."""
        if key in self._images:
            self._images.move_to_end(key)
        return self._images.get(key)

    def put(self, key: Hashable, image: I) -> None:
        """Keep an image."""
        if self.limit_bytes:
            self._images[key] = image
            self.trim()

    @property
    def nbytes(self) -> int:
        """Size of all images, which grow as requests use them."""
        return sum(image.nbytes for image in self._images.values())

    def trim(self) -> None:
        """Drop images that exceed the limit."""
        total = self.nbytes
        while total > self.limit_bytes and len(self._images) > 1:
            total -= self._images.popitem(last=False)[1].nbytes

    def drop(self, unwanted: Callable[[Hashable], bool]) -> None:
        """Drop the images whose keys are unwanted."""
        for key in [key for key in self._images if unwanted(key)]:
            del self._images[key]
