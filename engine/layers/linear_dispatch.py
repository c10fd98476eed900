"""Which kernel multiplies with a matrix: int4, int8 or plain, by how its weights are kept and what the device has."""

import torch
from torch import Tensor

from engine.layers.int4_linear import LARGE_BATCH_ROWS, Int4Linear, has_int4_gemm
from engine.layers.int8_linear import Int8Linear, has_int8_gemm
from engine.layers.linear import Linear, LinearLayer, trim_freed_memory
from engine.quantization.formats import Int4, Int8, Matrix


def make_linear(
    weight: Matrix, bias: Tensor | None, dtype: torch.dtype, *, packed: bool, compiled: bool = False
) -> LinearLayer:
    """x W^T + b in this type, computed with W as it is where the device has the kernels, else with W restored.

    compiled: what is done to x before a product of whole numbers.
    """
    if isinstance(weight, Tensor):
        return Linear(weight, bias, packed)
    if packed and dtype in (torch.float32, torch.bfloat16):
        if isinstance(weight, Int8) and weight.values.device.type == "cpu" and has_int8_gemm():
            return trim_freed_memory(Int8Linear(weight, bias, compiled))
        if isinstance(weight, Int4) and weight.nibbles.device.type == "cpu" and has_int4_gemm(weight):
            return trim_freed_memory(Int4Linear(weight, bias, dtype, compiled))
    return Linear(weight.dequantize(dtype), bias, packed)


def kernel_summary(linear: LinearLayer) -> str:
    """What computes it, for people."""
    if isinstance(linear, Int8Linear):
        return "products of 8 bits"
    if isinstance(linear, Int4Linear):
        many = "as 8 bits" if linear.int8_gemm else "as floats"
        return f"torch's kernel for 4 bits, and many rows {many}"
    return "oneDNN's packed products" if isinstance(linear, Linear) and linear.packed else "plain products"


def benefits_from_compile(linear: LinearLayer) -> bool:
    """Whether it is one of whole numbers, at least where rows are many."""
    return isinstance(linear, Int8Linear) or (isinstance(linear, Int4Linear) and linear.int8_gemm)


def few_rows(linear: LinearLayer) -> int | None:
    """Rows from which it takes another kernel, which rounds otherwise; None: it never does."""
    return LARGE_BATCH_ROWS if isinstance(linear, Int4Linear) else None
