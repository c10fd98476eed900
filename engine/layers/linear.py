"""Linear layers with float weights.

On a CPU the weights are prepacked in oneDNN's blocked layout: small batches take half the time of plain weights, and
GELU is fused. Batches of fewer than four rows are padded to four: oneDNN computes four faster than two, and as it would
use another kernel with other rounding for a single row, padding makes a row's result independent of the batch.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_ROWS = 4

LinearLayer = Callable[..., Tensor]  # called as (x, gelu=False), like `Linear`
TRIMMED_WEIGHTS = 1 << 19  # fewer are not worth the milliseconds that it takes in a process with much memory


class Linear:
    """A linear layer y = x W^T + b with float weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool = False) -> None:
        """Prepack the weight if requested and supported.

        Args:
            weight: W, (out, in).
            bias: (out) or None.
            packed: Whether to convert the weight to oneDNN's blocked layout, where that is faster.
        """
        self.bias = bias
        self.packed = packed and _packs(weight.dtype) and weight.device.type == "cpu"
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight
        if self.packed:
            trim_freed_memory(self, weight.numel())

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """Return the output (rows, out) for x: (rows, in); with `gelu`, after GELU (tanh approximation)."""
        if not self.packed:
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y, approximate="tanh") if gelu else y
        rows = x.shape[0]
        if rows < MIN_ROWS:
            x = F.pad(x, (0, 0, 0, MIN_ROWS - rows))
        return _pointwise(x, self.weight, self.bias, gelu)[:rows]


def large_gemm(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """Return what `Linear` does, for many rows of x and weights that are used once."""
    if x.shape[0] >= MIN_ROWS and x.device.type == "cpu" and _packs(x.dtype):
        return _pointwise(x, weight, bias, gelu)
    return Linear(weight, bias)(x, gelu)


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    attribute, algorithm = ("gelu", "tanh") if gelu else ("none", "")
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, attribute, [], algorithm)
    return y


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether this CPU has fast kernels with prepacked weights for the dtype."""
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


def trim_freed_memory(linear: LinearLayer, weights: int) -> LinearLayer:
    """Return the layer, after giving the freed memory of its original weights, if they are many, back to the system."""
    if weights >= TRIMMED_WEIGHTS:
        return_freed_memory()
    return linear


def return_freed_memory() -> None:
    """Give freed memory back to the system."""
    _malloc_trim()(0)


@cache
def _malloc_trim() -> Callable[[int], object]:
    """glibc's malloc_trim: without it the process would retain a tenth of the model's memory."""
    if platform.system() != "Linux":
        return lambda keep: None
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)
