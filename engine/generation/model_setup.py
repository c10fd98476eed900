"""The device, dtype and kernels that a model is built for, from the options it is loaded with."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from engine.checkpoints.random_weights import RandomWeights
from engine.checkpoints.tensor_map import TensorMap
from engine.compiling import compile_summary, set_compile_cache_dir
from engine.contract import EngineError, LoadOptions
from engine.devices import check_compiler, numerics_id, pick_device, pick_dtype
from engine.kernels.library import kernels
from engine.layers.linear import LinearLayer
from engine.layers.linear_dispatch import benefits_from_compile, kernel_summary
from engine.layers.parameters import ParameterReader
from engine.quantization.plan import QUANTIZATION_SCHEMES, QuantizationPlan, QuantizedSource
from engine.quantization.tensor_source import TensorSource


@dataclass(frozen=True)
class ModelSetup:
    """Where and how a model computes.

    Attributes:
        options: As requested.
        device: Of torch.
        dtype: Of parameters and activations.
        weights: Quantised as they are read, if the options require it.
        format_lines: On the format of the weights, for people.
        shapes: Of all tensors, by name; empty if the source has none.
    """

    options: LoadOptions
    device: str
    dtype: torch.dtype
    weights: TensorSource
    format_lines: tuple[str, ...] = ()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def reader(self, part: str) -> ParameterReader:
        """Return the parameters whose names begin with `part`."""
        compiled = self.options.compile
        packed = self.device == "cpu" or not compiled  # torch.compile needs plain weights
        exact = self.options.dtype == "float32"  # asked for, not only the fastest
        return ParameterReader(self.weights, part, self.dtype, self.device, packed, compiled, exact)

    @property
    def fused(self) -> bool:
        """Whether the layers are compiled; on a CPU only parts of some linear layers are."""
        return self.options.compile and self.device != "cpu"

    def compiled(self, linear: LinearLayer) -> bool:
        """Return whether compilation was requested and has an effect on a model with such linear layers."""
        if not self.options.compile or not self._gains(linear):
            return False
        set_compile_cache_dir()
        return True

    def summary(self, linears: Mapping[str, LinearLayer]) -> tuple[str, ...]:
        """Describe the setup in lines for people.

        Args:
            linears: A typical linear layer of each part of the model, by the part's name.
        """
        options = self.options
        parts = (("weights", options.quantize), ("KV cache", options.kv))
        quantized = [f"{part} quantised to {kind}" for part, kind in parts if kind]
        placement = ", ".join((self.device, str(self.dtype).removeprefix("torch."), *quantized))
        kernels = ", ".join(f"{part} by {kernel_summary(linear)}" for part, linear in linears.items())
        gains = any(map(self._gains, linears.values()))
        return placement, *self.format_lines, kernels, compile_summary(self.device, self.options.compile, gains)

    def numerics_key(self, *parts: object) -> str:
        """Return a digest of what the bits of results depend on: the setup, and the model's own `parts`."""
        machine = numerics_id(self.device), kernels().summary
        key = (self.options.quantize, self.options.kv, self.dtype, self.fused, *machine, *parts)
        return hashlib.sha256(repr(key).encode()).hexdigest()[:16]

    def _gains(self, linear: LinearLayer) -> bool:
        return self.device != "cpu" or benefits_from_compile(linear)


def model_setup(name: str, weights: TensorSource, plan: QuantizationPlan, options: LoadOptions) -> ModelSetup:
    """Check the options of a model, and select device and dtype.

    Args:
        name: Of the model, for errors.
        weights: As stored.
        plan: What the options may quantise.
        options: As requested.

    Raises:
        EngineError: An option can't be honoured.
    """
    quantize = options.quantize
    if quantize is not None and quantize not in QUANTIZATION_SCHEMES:
        raise EngineError(
            f"{name} can't be quantised to {quantize!r}: quantize must be one of {', '.join(QUANTIZATION_SCHEMES)}"
        )
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    if options.compile:
        check_compiler(device)
    lines = weights.checkpoint.summary(dtype) if isinstance(weights, TensorMap) else ()
    shapes = weights.shapes if isinstance(weights, TensorMap | RandomWeights) else {}
    if quantize is not None:
        weights = QuantizedSource(weights, plan, quantize)
    return ModelSetup(options, device, dtype, weights, lines, shapes)
