"""The matrix product with weights, x W^T + b, in the form that is fastest on the device.

On a CPU the weights are kept in oneDNN's own blocked layout: few rows take half the time that they take with plain
weights, and GELU is computed on the way. Fewer than four rows are filled up to four, which reads the weights half as
fast again as two rows do; and since one row alone would go through another kernel and round differently, a row's
result then never depends on what else is in the batch.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_ROWS = 4

LinearLayer = Callable[..., Tensor]  # (x, gelu=False), as `Linear`


class Linear:
    """weight: (out, in); bias: (out) or None. With `packed` the weight is taken over into the blocked layout."""

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool = False) -> None:
        self.bias = bias
        self.packed = packed and _packs(weight.dtype) and weight.device.type == "cpu"
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.packed else weight
        if self.packed:
            trim_freed_memory(self)

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x: (rows, in) -> (rows, out), through the tanh approximation of GELU if asked."""
        if not self.packed:
            y = F.linear(x, self.weight, self.bias)
            return F.gelu(y, approximate="tanh") if gelu else y
        rows = x.shape[0]
        if rows < LEAST_ROWS:
            x = F.pad(x, (0, 0, 0, LEAST_ROWS - rows))
        attribute, algorithm = ("gelu", "tanh") if gelu else ("none", "")
        y = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, attribute, [], algorithm)
        return y[:rows]


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


def trim_freed_memory(linear: LinearLayer) -> LinearLayer:
    """The same, once the memory that its plain weights took has been given back."""
    _malloc_trim()(0)
    return linear


@cache
def _malloc_trim() -> Callable[[int], object]:
    """Gives freed memory back to the system: glibc would keep a tenth of the model's, which plain weights had."""
    if platform.system() != "Linux":
        return lambda keep: None
    return getattr(ctypes.CDLL(None), "malloc_trim", lambda keep: None)
