"""What a decoder reads for an image: embeddings in place of tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """The embeddings of an image, or of one tile of it.

    As input of a Forward, the same object stands once for each of its rows, in a row.

    Attributes:
        embeddings: (rows * columns, dim).
        grid: Rows and columns.
        deepstack: Layer -> (rows * columns, dim), added to the hidden states after it.
    """

    embeddings: Tensor
    grid: tuple[int, int]
    deepstack: Mapping[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def nbytes(self) -> int:
        """Size of its tensors."""
        return self.embeddings.nbytes + sum(states.nbytes for states in self.deepstack.values())


def image_spans(pieces: Sequence[object]) -> Iterator[tuple[int, ImageFeatures]]:
    """Yield the images among the pieces of a Forward, each with the index of its first row."""
    start = 0
    for _, group in groupby(pieces, key=id):
        first, *others = group
        count = 1 + len(others)
        if isinstance(first, ImageFeatures):
            yield from ((start + begin, first) for begin in range(0, count, len(first)))
        start += count


def multimodal_positions(pieces: Sequence[object], start: int) -> Tensor:
    """Return the M-RoPE positions (time, height, width) of tokens and images (Wang et al. 2024, Qwen2-VL).

    A token has the same position on all axes, and the next token the next. Row i and column j of an image are at
    (p, p + i, p + j), and what follows it is at p + max(rows, columns).

    Args:
        pieces: Token ids and images, as for a Forward.
        start: Position of the first.

    Returns:
        (pieces, 3), int64.
    """
    positions, end, following = [], 0, start
    for begin, image in image_spans(pieces):
        positions.append(_text_positions(following, begin - end))
        following += begin - end
        rows, columns = image.grid
        positions.append(following + torch.cartesian_prod(*map(torch.arange, (1, rows, columns))))
        end, following = begin + len(image), following + max(image.grid)
    return torch.cat([*positions, _text_positions(following, len(pieces) - end)])


def _text_positions(start: int, count: int) -> Tensor:
    return torch.arange(start, start + count)[:, None].expand(count, 3)
