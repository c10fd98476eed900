"""Tensor types of GGUF files: blocks of weights with common scales, and their dequantisation.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and ggml's `ggml-common.h`. Scales are multiplied in
float32 before the weights are, which gives the bits of ggml's own functions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_WEIGHTS = 1 << 22  # dequantised at a time, which bounds the memory of what is computed in between
_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True)
class BlockType:
    """A tensor type.

    Attributes:
        name: As in the names of files: "Q4_K".
        weights: In a block.
        bytes: Of a block.
        decode: Blocks (n, bytes) uint8 -> their weights (n, weights) float32.
    """

    name: str
    weights: int
    bytes: int
    decode: Callable[[Tensor], Tensor]

    @property
    def is_quantized(self) -> bool:
        """Whether it is not one of the floating-point types."""
        return self.weights > 1

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of a row, whose length must be a multiple of the block's."""
        return columns // self.weights * self.bytes


@dataclass(frozen=True, eq=False)
class GgufBlocks:
    """A weight matrix as it lies in a GGUF file.

    Attributes:
        raw: (rows, bytes of a row) uint8.
        type: Of its blocks.
        shape: (rows, columns).
        exact: Whether activations must not be quantised when they are multiplied with it.
    """

    raw: Tensor
    type: BlockType
    shape: tuple[int, int]
    exact: bool = False

    def dequantize(self, dtype: torch.dtype) -> Tensor:
        """Return the weights (rows, columns), computed in float32 and rounded to this dtype."""
        return self.rows(slice(None), dtype)

    def rows(self, which: Tensor | slice, dtype: torch.dtype) -> Tensor:
        """Return some rows, dequantised."""
        raw, columns = self.raw[which], self.shape[1]
        weights = torch.empty(len(raw), columns, dtype=dtype, device=raw.device)
        step = max(1, CHUNK_WEIGHTS // max(1, columns))
        for start in range(0, len(raw), step):
            blocks = raw[start : start + step].reshape(-1, self.type.bytes)
            weights[start : start + step] = self.type.decode(blocks).view(-1, columns)
        return weights


def _plain(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda blocks: blocks.contiguous().view(dtype).float()


def _half(blocks: Tensor, at: int) -> Tensor:
    """Return the half-precision number at a byte of each block, (n, 1) float32."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """Return the low nibbles, then the high ones, of the last dimension."""
    return torch.cat([packed & 15, packed >> 4], -1)


def _bits(packed: Tensor, count: int, width: int = 1) -> Tensor:
    """Return (n, count, k) numbers of `width` bits: the lowest bits of all k bytes, then the next ones."""
    shifts = torch.arange(0, count * width, width, dtype=torch.uint8, device=packed.device)
    return packed[:, None, :] >> shifts[None, :, None] & (1 << width) - 1


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_nibbles(blocks[:, 2:]).float() - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _nibbles(blocks[:, 4:]).float() + _half(blocks, 2)


def _five_bits(high: Tensor, low: Tensor) -> Tensor:
    fifth = _bits(high, 8).transpose(1, 2).reshape(-1, 32)
    return (_nibbles(low) | fifth << 4).float()


def _q5_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_five_bits(blocks[:, 2:6], blocks[:, 6:]) - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _five_bits(blocks[:, 4:8], blocks[:, 8:]) + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * blocks[:, 2:].view(torch.int8).float()


def _two_bits(packed: Tensor) -> Tensor:
    """Return the 256 two-bit numbers of 64 bytes: (n, 16, 16)."""
    halves = packed.reshape(-1, 32)
    return _bits(halves, 4, width=2).view(-1, 16, 16)


def _q2_k(blocks: Tensor) -> Tensor:
    scale = _half(blocks, 80) * (blocks[:, :16] & 15).float()
    minimum = _half(blocks, 82) * (blocks[:, :16] >> 4).float()
    weights = _two_bits(blocks[:, 16:80]).float()
    return (scale[..., None] * weights - minimum[..., None]).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    low, high = _nibbles(blocks[:, 96:104]), _bits(blocks[:, 104:108], 4, width=2).flatten(1)
    scale = _half(blocks, 108) * ((low | high << 4).float() - 32)
    third = _bits(blocks[:, :32], 8).view(-1, 16, 16)
    weights = (_two_bits(blocks[:, 32:96]) | third << 2).float() - 4
    return (scale[..., None] * weights).flatten(1)


def _six_bit_scales(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales and minima (n, 8, 1) of the eight sub-blocks in Q4_K and Q5_K."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([first & 63, third & 15 | first >> 6 << 4], 1)
    minima = torch.cat([second & 63, third >> 4 | second >> 6 << 4], 1)
    return (_half(blocks, 0) * scales.float())[..., None], (_half(blocks, 2) * minima.float())[..., None]


def _sub_blocks(packed: Tensor) -> Tensor:
    """Return the nibbles of 128 bytes, (n, 8, 32): of 32 bytes the low ones, then the high ones."""
    return _nibbles(packed.reshape(-1, 4, 32)).view(-1, 8, 32)


def _q4_k(blocks: Tensor) -> Tensor:
    scale, minimum = _six_bit_scales(blocks)
    return (scale * _sub_blocks(blocks[:, 16:]).float() - minimum).flatten(1)


def _q5_k(blocks: Tensor) -> Tensor:
    scale, minimum = _six_bit_scales(blocks)
    weights = _sub_blocks(blocks[:, 48:]) | _bits(blocks[:, 16:48], 8) << 4
    return (scale * weights.float() - minimum).flatten(1)


def _q6_k(blocks: Tensor) -> Tensor:
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).view(-1, 16, 16)
    high = _two_bits(blocks[:, 128:192])
    scale = _half(blocks, 208) * blocks[:, 192:208].view(torch.int8).float()
    return (scale[..., None] * ((low | high << 4).float() - 32)).flatten(1)


def _iq4_values(packed: Tensor) -> Tensor:
    return torch.tensor(_IQ4, dtype=torch.float32, device=packed.device)[_nibbles(packed).long()]


def _iq4_nl(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _iq4_values(blocks[:, 2:])


def _iq4_xs(blocks: Tensor) -> Tensor:
    low = torch.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], 2).flatten(1)
    high = _bits(blocks[:, 2:4], 4, width=2).transpose(1, 2).flatten(1)
    scale = _half(blocks, 0) * ((low | high << 4).float() - 32)
    return (scale[..., None] * _iq4_values(blocks[:, 8:].reshape(-1, 8, 16))).flatten(1)


BLOCK_TYPES = {  # by their numbers in the format
    0: BlockType("F32", 1, 4, _plain(torch.float32)),
    1: BlockType("F16", 1, 2, _plain(torch.float16)),
    2: BlockType("Q4_0", 32, 18, _q4_0),
    3: BlockType("Q4_1", 32, 20, _q4_1),
    6: BlockType("Q5_0", 32, 22, _q5_0),
    7: BlockType("Q5_1", 32, 24, _q5_1),
    8: BlockType("Q8_0", 32, 34, _q8_0),
    10: BlockType("Q2_K", 256, 84, _q2_k),
    11: BlockType("Q3_K", 256, 110, _q3_k),
    12: BlockType("Q4_K", 256, 144, _q4_k),
    13: BlockType("Q5_K", 256, 176, _q5_k),
    14: BlockType("Q6_K", 256, 210, _q6_k),
    20: BlockType("IQ4_NL", 32, 18, _iq4_nl),
    23: BlockType("IQ4_XS", 256, 136, _iq4_xs),
    30: BlockType("BF16", 1, 2, _plain(torch.bfloat16)),
}
