"""Which of a Moondream's matrices are rounded to how many bits."""

import re
from collections.abc import Callable

from torch import Tensor

from engine.quantise import Quantised, int4, int8
from engine.source import Source

_MATRIX = re.compile(r"(text|vision)\.blocks\.\d+\.(attn|mlp)\.(qkv|proj|fc1|fc2)\.weight")


def quantised(weights: Source, to: str) -> Source:
    """to: "int4": the text model's blocks in 4 bits and the vision encoder's in 8; "int8": both in 8.

    Experts stay as they are.
    """

    def rounding(name: str) -> Callable[[Tensor], Tensor] | None:
        found = _MATRIX.fullmatch(name)
        if found is None:
            return None
        return int4 if to == "int4" and found[1] == "text" else int8

    return Quantised(weights, rounding)
