"""The matrix product with weights, x W^T + b, in the form that is fastest on the device.

On a CPU the weights are kept in oneDNN's own blocked layout: one row takes half the time that it takes with plain
weights, and GELU is computed on the way. One row alone would go through another kernel than several do and round
differently; it is computed as two, so that a row's result never depends on what else is in the batch.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear:
    """weight: (out, in); bias: (out) or None. With `packed` the weight is taken over into the blocked layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool = False) -> None:
        self.bias = bias
        self.packed = packed and _packs(weight.dtype) and weight.device.type == "cpu"
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight
        if self.packed:
            _malloc_trim()(0)

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x: (rows, in) -> (rows, out), through the tanh approximation of GELU if asked."""
        if not self.packed:
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y, approximate="tanh") if gelu else y
        alone = x.shape[0] == 1
        if alone:
            x = x.expand(2, -1).contiguous()
        attribute, algorithm = ("gelu", "tanh") if gelu else ("none", "")
        y = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, attribute, [], algorithm)
        return y[:1] if alone else y


@cache
def _packs(dtype: torch.dtype) -> bool:
    """Whether this CPU has fast products for the type in the blocked layout."""
    if not torch.backends.mkldnn.is_available() or platform.machine() not in ("x86_64", "AMD64"):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if dtype == torch.float16:
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == torch.float32


@cache
def _malloc_trim() -> Callable[[int], object]:
    """Gives freed memory back to the system: glibc would keep a tenth of the model's, which plain weights had."""
    if platform.system() != "Linux":
        return lambda keep: None
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)
