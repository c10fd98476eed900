"""Selection of the kernel of a linear layer: int4, int8 or float, by the format of its weights and the device."""

import math

import torch
from torch import Tensor

from engine.kernels.structures import BFLOAT16_PAIRS, FORMAT_NAMES
from engine.layers.int4_linear import LARGE_BATCH_ROWS, Int4Linear, has_int4_gemm
from engine.layers.int8_linear import Int8Linear, has_int8_gemm
from engine.layers.kernel_linear import LARGE_BATCH_ROWS as KERNEL_LARGE_BATCH_ROWS
from engine.layers.kernel_linear import KernelLinear, has_kernel
from engine.layers.linear import Linear, LinearLayer, trim_freed_memory
from engine.quantization.formats import Int4, Int8, Matrix
from engine.quantization.gguf_blocks import GgufBlocks


def make_linear(
    weight: Matrix, bias: Tensor | None, dtype: torch.dtype, *, packed: bool, compiled: bool = False
) -> LinearLayer:
    """Return a linear layer y = x W^T + b; quantised weights are dequantised if the device has no kernel for them.

    Args:
        weight: W, (out, in).
        bias: (out) or None.
        dtype: Of the activations.
        packed: Whether to use kernels with prepacked weights.
        compiled: Whether to compile activation quantisation.
    """
    if packed and dtype in (torch.float32, torch.bfloat16):
        if has_kernel(weight):
            copied = 0 if isinstance(weight, GgufBlocks) else math.prod(weight.shape)
            return trim_freed_memory(KernelLinear(weight, bias), copied)
        if isinstance(weight, Int8) and weight.values.device.type == "cpu" and has_int8_gemm():
            return trim_freed_memory(Int8Linear(weight, bias, compiled), math.prod(weight.shape))
        if isinstance(weight, Int4) and weight.nibbles.device.type == "cpu" and has_int4_gemm(weight):
            return trim_freed_memory(Int4Linear(weight, bias, dtype, compiled), math.prod(weight.shape))
    return Linear(weight if isinstance(weight, Tensor) else weight.dequantize(dtype), bias, packed)


def kernel_summary(linear: LinearLayer) -> str:
    """Describe the layer's kernel for humans."""
    if isinstance(linear, KernelLinear):
        name = FORMAT_NAMES[linear.weight.format]
        if linear.has_floats:
            return f"mdtool's {name} kernel (from {KERNEL_LARGE_BATCH_ROWS} rows: oneDNN)"
        gemm = f" (from {KERNEL_LARGE_BATCH_ROWS} rows: int8 GEMM)" if few_rows(linear) and has_int8_gemm() else ""
        return f"mdtool's {name} kernel{gemm}"
    if isinstance(linear, Int8Linear):
        return "int8 GEMM"
    if isinstance(linear, Int4Linear):
        gemm = "int8 GEMM" if linear.int8_gemm else "dequantised weights"
        return f"int4 kernel (from {LARGE_BATCH_ROWS} rows: {gemm})"
    return "oneDNN with packed weights" if isinstance(linear, Linear) and linear.packed else "float GEMM"


def benefits_from_compile(linear: LinearLayer) -> bool:
    """Return whether the layer uses int8 GEMM, whose activation quantisation torch.compile speeds up."""
    return isinstance(linear, Int8Linear) or (isinstance(linear, Int4Linear) and linear.int8_gemm)


def few_rows(linear: LinearLayer) -> int | None:
    """Return the number of rows from which the layer uses another kernel with other rounding; None: it has only one."""
    if isinstance(linear, KernelLinear):
        if linear.weight.format == BFLOAT16_PAIRS:
            return None
        return KERNEL_LARGE_BATCH_ROWS
    return LARGE_BATCH_ROWS if isinstance(linear, Int4Linear) else None
