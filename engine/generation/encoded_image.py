"""An image that a VLM encodes when a request first needs it, and the prefixes of prompts that begin with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.contract import EncodedImage, ImageBudget
from engine.generation.chat_prompt import ImagePart
from engine.generation.image_features import ImageFeatures, image_spans
from engine.layers.kv_cache import PrefixCache
from engine.resize import resize_with_torch
from engine.stepwise import Stepwise, finished

ROWS_BETWEEN_CUTS = 512  # at least: with fewer the matrix multiplications would become slower

Encode = Callable[[np.ndarray, ImageBudget], Stepwise[Sequence[ImagePart]]]


@dataclass(eq=False)
class LazyImage(EncodedImage):
    """An image with its embeddings, computed once for each budget.

    Attributes:
        pixels: (height, width, 3) uint8 RGB; not to be changed.
        budget: Of requests that need no larger one.
        encode: The model's.
        model_key: Of the model; one with another key refuses the image.
        longest_side: Pixels that the longer side is reduced to, for requests that need no greater number of tokens;
            None: no limit.
        prefix: What the latest prompt that begins with this image has up to its end, and the cache of that.
    """

    pixels: np.ndarray
    budget: ImageBudget
    encode: Encode
    model_key: str
    longest_side: int | None = None
    prefix: tuple[Sequence[object], PrefixCache] | None = None
    _parts: dict[ImageBudget, Sequence[ImagePart]] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of its pixels, embeddings and prefix."""
        features = [part for parts in self._parts.values() for part in parts if isinstance(part, ImageFeatures)]
        prefix = self.prefix[1].nbytes if self.prefix else 0
        return self.pixels.nbytes + sum(part.nbytes for part in features) + prefix

    def parts(self, min_tokens: int = 0) -> Sequence[ImagePart]:
        """Return what stands for the image in a prompt.

        Args:
            min_tokens: Raises the budget's least number of tokens, up to its greatest.
        """
        return finished(self.parts_in_steps(min_tokens))

    def parts_in_steps(self, min_tokens: int = 0) -> Stepwise[Sequence[ImagePart]]:
        """Do what `parts` does, and yield between pieces of the work."""
        least = max(self.budget.min_tokens or 1, min_tokens)
        if self.budget.max_tokens is not None:
            least = min(least, self.budget.max_tokens)
        budget = replace(self.budget, min_tokens=least)
        if self.longest_side and min_tokens:
            budget = replace(budget, max_tokens=least)
        if budget not in self._parts:
            pixels = self.pixels if min_tokens else _reduced(self.pixels, self.longest_side)
            self._parts[budget] = yield from self.encode(pixels, budget)
        return self._parts[budget]


def _reduced(image: np.ndarray, longest_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if longest_side is None or max(height, width) <= longest_side:
        return image
    scale = longest_side / max(height, width)
    return resize_with_torch(image, max(1, round(scale * width)), max(1, round(scale * height)), "bicubic")


def first_image_end(pieces: Sequence[object], parts: Sequence[ImagePart]) -> int:
    """Return the index after the last row of an image where it first stands among the inputs of a model.

    Args:
        pieces: The inputs.
        parts: What stands for the image.
    """
    last = [part for part in parts if isinstance(part, ImageFeatures)][-1]
    return next(index for index, piece in enumerate(pieces) if piece is last) + len(last)


def later_image_ends(pieces: Sequence[object], start: int) -> Iterator[int]:
    """Yield where to cut the inputs of a model after `start`: after images, some distance apart, and after the last."""
    ends = [start + begin + len(image) for begin, image in image_spans(pieces[start:])]
    for end in ends:
        if end - start >= ROWS_BETWEEN_CUTS or end == ends[-1]:
            yield end
            start = end
