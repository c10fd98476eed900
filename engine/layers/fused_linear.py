"""A linear layer with the normalisation before it, or with a residual sum, in one call of our kernels.

With LayerNorm and with residual sums for many rows, with RMSNorm for few: elsewhere these are fused otherwise.
"""

from torch import Tensor

from engine.kernels.packed import multiply_few_rows
from engine.kernels.structures import GELU, LAYER_NORM, NO_ACTIVATION, RMS_NORM
from engine.kernels.structures import Norm as KernelNorm
from engine.layers.kernel_linear import LARGE_BATCH_ROWS, KernelLinear
from engine.layers.linear import LinearLayer
from engine.layers.norms import Norm, layer_norm, rms_norm


def linear_of_norm(linear: LinearLayer, x: Tensor, norm: Norm, eps: float, *, gelu: bool = False) -> Tensor:
    """Return linear(layer_norm(x)), (rows, out), for x: (rows, in); with `gelu`, after GELU (tanh approximation)."""
    if isinstance(linear, KernelLinear) and linear.uses_gemm(x):
        weight, bias = norm
        structure = KernelNorm(LAYER_NORM, eps, weight.data_ptr(), bias.data_ptr())
        return linear.large_batch(x, GELU if gelu else NO_ACTIVATION, norm=structure)
    return linear(layer_norm(x, norm, eps), gelu=gelu)


def linear_of_rms_norm(linear: LinearLayer, x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return linear(rms_norm(x)), (rows, out), for x: (rows, in)."""
    if isinstance(linear, KernelLinear) and x.shape[0] < LARGE_BATCH_ROWS and weight.dtype == x.dtype:
        norm = KernelNorm(RMS_NORM, eps, weight.data_ptr(), None)
        return multiply_few_rows(linear.weight, linear.bias, x, NO_ACTIVATION, norm=norm)
    return linear(rms_norm(x, weight, eps))


def plus_linear(x: Tensor, linear: LinearLayer, inputs: Tensor) -> Tensor:
    """Return x + linear(inputs), (rows, out), for x: (rows, out) and inputs: (rows, in)."""
    if isinstance(linear, KernelLinear) and linear.uses_gemm(inputs):
        return linear.large_batch(inputs, NO_ACTIVATION, residual=x)
    return x + linear(inputs)
