"""A linear layer with its LayerNorm, or with a residual sum: in one pass where our kernels multiply many rows."""

from torch import Tensor

from engine.kernels.structures import GELU, LAYER_NORM, NO_ACTIVATION
from engine.kernels.structures import Norm as KernelNorm
from engine.layers.kernel_linear import KernelLinear
from engine.layers.linear import LinearLayer
from engine.layers.norms import Norm, layer_norm


def linear_of_norm(linear: LinearLayer, x: Tensor, norm: Norm, eps: float, *, gelu: bool = False) -> Tensor:
    """Return linear(layer_norm(x)), (rows, out), for x: (rows, in); with `gelu`, after GELU (tanh approximation)."""
    if isinstance(linear, KernelLinear) and linear.uses_gemm(x):
        weight, bias = norm
        structure = KernelNorm(LAYER_NORM, eps, weight.data_ptr(), bias.data_ptr())
        return linear.large_batch(x, GELU if gelu else NO_ACTIVATION, norm=structure)
    return linear(layer_norm(x, norm, eps), gelu=gelu)


def plus_linear(x: Tensor, linear: LinearLayer, inputs: Tensor) -> Tensor:
    """Return x + linear(inputs), (rows, out), for x: (rows, out) and inputs: (rows, in)."""
    if isinstance(linear, KernelLinear) and linear.uses_gemm(inputs):
        return linear.large_batch(inputs, NO_ACTIVATION, residual=x)
    return x + linear(inputs)
