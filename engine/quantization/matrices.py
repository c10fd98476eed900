"""Which of a Moondream's matrices are kept in how many bits."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.checkpoints.source import Source
from engine.contract import EngineError
from engine.quantization.formats import GROUPS, Int4, Matrix, group_of, int4, int8

# what can be asked for -> the group of a matrix in 4 bits; None: 8 bits
KINDS: Mapping[str, int | None] = (
    {"int4": GROUPS[0]} | {f"int4-{group}": group for group in GROUPS[1:]} | {"int8": None}
)

_MATRIX = re.compile(
    r"((text|vision)\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)|text\.lm_head|vision\.proj_mlp\.fc[12]"
    r"|region\.(coord|size)_decoder\.fc[12])\.weight|text\.wte"
)
_IN_FOUR = "text.blocks."


def is_rounded(name: str) -> bool:
    """Whether a matrix of this name is kept in few bits."""
    return _MATRIX.fullmatch(name) is not None


@dataclass(frozen=True)
class Quantised:
    """Another source, whose matrices are kept in few bits, each rounded as it is taken.

    kind: "int4": the text model's blocks in 4 bits, what else is large in 8; "int8": all of it in 8. Experts, and what
    reads patches and coordinates, stay as they are.
    """

    source: Source
    kind: str

    def has(self, name: str) -> bool:
        return self.source.has(name)

    def take(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
        return self.source.take(name, dtype, device)

    def matrix(self, name: str, dtype: torch.dtype, device: torch.device | str = "cpu") -> Matrix:
        """EngineError if it is in 4 bits already, and 8 are asked for."""
        kept, group = self.source.matrix(name, dtype, device), KINDS[self.kind]
        if isinstance(kept, Int4):
            if group is None:
                raise EngineError("the weights are in 4 bits already: they can't be quantized to int8; leave that out")
            return replace(kept, exact=False)
        if not isinstance(kept, Tensor) or not is_rounded(name):
            return kept
        return int4(kept, group) if group and name.startswith(_IN_FOUR) else int8(kept)


def weights_bytes(shapes: Mapping[str, tuple[int, ...]], itemsize: int, kind: str | None = None) -> int:
    """What all tensors of a model take, with matrices in few bits if a kind says so, and the rest of so many bytes."""
    total = 0
    for name, shape in shapes.items():
        if kind is None or not is_rounded(name):
            total += itemsize * math.prod(shape)
        elif (group := KINDS[kind]) and name.startswith(_IN_FOUR):
            total += math.prod(shape) // 2 + 2 * itemsize * shape[0] * (shape[1] // group_of(shape[1], group))
        else:
            total += math.prod(shape) + 4 * shape[0]
    return total
