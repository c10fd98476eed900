"""Encoded images that are kept for later requests, by the content of their pixels and how they are prepared."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from engine.generation.encoded_image import LazyImage


@dataclass
class KeptImages:
    """The least recently used images are dropped where their memory exceeds a limit.

    Attributes:
        limit_bytes: Of all images but the latest, which is always kept.
        size: Returns the size of an image in bytes, which grows as it is encoded.
    """

    limit_bytes: int
    size: Callable[[LazyImage], int]
    _images: OrderedDict[str, LazyImage] = field(default_factory=OrderedDict)

    def get(self, pixels: np.ndarray, preparation: object, make: Callable[[], LazyImage]) -> LazyImage:
        """Return the image with these pixels.

        Args:
            pixels: (height, width, 3) uint8.
            preparation: How it is prepared, by its repr.
            make: Makes it if it is not there.
        """
        digest = hashlib.blake2b(repr((pixels.shape, preparation)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels).data)
        key = digest.hexdigest()
        if key not in self._images:
            self._images[key] = make()
        self._images.move_to_end(key)
        self.trim()
        return self._images[key]

    def trim(self) -> None:
        """Drop images that exceed the limit."""
        total = sum(map(self.size, self._images.values()))
        while total > self.limit_bytes and len(self._images) > 1:
            total -= self.size(self._images.popitem(last=False)[1])
