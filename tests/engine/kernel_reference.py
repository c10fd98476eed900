"""Linear layers on activations rounded to int8, as our CPU kernels define them, in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.quantization.formats import Int4, Int8
from engine.quantization.gguf_blocks import BLOCK_TYPES, GgufBlocks

SMALLEST = torch.finfo(torch.float32).tiny
TYPES = {kind.name: kind for kind in BLOCK_TYPES.values()}
HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}  # else the first bytes


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def random_int4(rows: int, columns: int, group: int, seed: int) -> Int4:
    """With any scales and zero points: also beside the grid, negative, zero."""
    generator = torch.Generator().manual_seed(seed)
    nibbles = torch.randint(0, 256, (rows, columns // 2), generator=generator, dtype=torch.uint8)
    scale, zero = torch.randn(2, rows, columns // group, generator=generator)
    scale[torch.rand(scale.shape, generator=generator) < 0.1] = 0
    return Int4(nibbles, scale.bfloat16(), (zero * 4 + 7).bfloat16())


def random_int8(rows: int, columns: int, seed: int) -> Int8:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.randn(rows, generator=generator)
    scale[torch.rand(rows, generator=generator) < 0.1] = 0
    return Int8(torch.randint(-128, 128, (rows, columns), generator=generator, dtype=torch.int8), scale)


def random_blocks(name: str, rows: int, columns: int, seed: int) -> GgufBlocks:
    """With any bytes, and half-precision scales of any sign that are sometimes denormal or zero."""
    kind, generator = TYPES[name], torch.Generator().manual_seed(seed)
    raw = torch.randint(0, 256, (rows, kind.row_bytes(columns)), generator=generator, dtype=torch.uint8)
    blocks = raw.view(-1, kind.bytes)
    for at in HALVES.get(name, (0,)):
        scale = torch.randn(len(blocks), 1, generator=generator)
        for factor, share in ((1e-6, 0.1), (0.0, 0.1)):
            scale[torch.rand(scale.shape, generator=generator) < share] *= factor
        blocks[:, at : at + 2] = scale.half().view(torch.uint8)
    return GgufBlocks(raw, kind, (rows, columns))


def random_floats(name: str, rows: int, columns: int, seed: int) -> GgufBlocks:
    """In float16 ("F16") or bfloat16 ("BF16"), some of them denormal or zero."""
    weights = random(rows, columns, seed=seed)
    for factor, share in ((1e-6, 0.05), (1e-39, 0.05), (0.0, 0.05)):
        weights[torch.rand(weights.shape, generator=torch.Generator().manual_seed(seed + 1)) < share] *= factor
    raw = weights.to(torch.float16 if name == "F16" else torch.bfloat16).view(torch.uint8)
    return GgufBlocks(raw, TYPES[name], (rows, columns))


def round_to_int8(x: Tensor, block: int | None) -> Tensor:
    """x: (rows, columns), rounded with a scale a block of columns; None: a scale a row. Float64."""
    size = x.shape[1] if block is None else block
    blocks = F.pad(x.float(), (0, -x.shape[1] % size)).unflatten(1, (-1, size))
    scale = (blocks.abs().amax(2, keepdim=True) / 127).clamp(min=SMALLEST)
    rounded: Tensor = (blocks * (1 / scale)).round().clamp(-128, 127).double() * scale.double()
    return rounded.flatten(1)[:, : x.shape[1]]


def few_rows(weight: Int4 | Int8 | GgufBlocks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x W^T, and the sum of the magnitudes that are added for each number: float32 rounds in proportion."""
    rounded = round_to_int8(x, 128)
    if isinstance(weight, Int8):
        w = weight.values.double() * weight.scale.double()[:, None]
        return rounded @ w.T, rounded.abs() @ w.abs().T
    if isinstance(weight, GgufBlocks):  # a product less a minimum may be larger than their difference
        w = weight.dequantize(torch.float32).double()
        most = w.abs().amax(1, keepdim=True).expand_as(w)
        return rounded @ w.T, 2 * rounded.abs() @ most.T
    scale, zero = (part.double().repeat_interleave(weight.group_size, 1) for part in (weight.scale, weight.zero))
    nibbles = weight.values().double()
    magnitudes = (nibbles * scale).abs() + (zero * scale).abs()
    return rounded @ ((nibbles - zero) * scale).T, rounded.abs() @ magnitudes.T


def many_rows(weight: Int4 | Int8, x: Tensor) -> tuple[Tensor, Tensor]:
    """As `few_rows`; int4 weights are rounded to int8 with a scale a row first."""
    rounded = round_to_int8(x, None)
    if isinstance(weight, Int8):
        w = weight.values.double() * weight.scale.double()[:, None]
    else:
        scale, zero = weight.scale.float(), weight.zero.float()
        most = torch.maximum((zero.abs() * scale.abs()), (15 - zero).abs() * scale.abs()).amax(1).clamp(min=1e-30)
        unit = most / 127
        factor = (scale / unit[:, None]).repeat_interleave(weight.group_size, 1)
        values = weight.values().float() - zero.repeat_interleave(weight.group_size, 1)
        w = (values * factor).round().clamp(-128, 127).double() * unit.double()[:, None]
    y = rounded @ w.T
    return y, y.abs() + 1e-7 * rounded.abs() @ w.abs().T  # the kernels sum integers, exactly; float64 rounds


def tolerance(y: Tensor, magnitudes: Tensor, dtype: torch.dtype) -> Tensor:
    """Most that float32 sums, rounded to dtype, may be off."""
    return magnitudes * 2e-6 + y.abs() * (torch.finfo(dtype).eps / 2 + 2e-7) + 4 * SMALLEST
