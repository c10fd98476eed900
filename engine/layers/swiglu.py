"""The gated MLP of Llama-like decoders: SwiGLU (Shazeer 2020)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.layers.activations import by_row
from engine.layers.linear import LinearLayer
from engine.layers.lora import RowAdapters
from engine.layers.parameters import ParameterReader


@dataclass(frozen=True)
class SwiGlu:
    """y = down(silu(gate(x)) * up(x)).

    Attributes:
        gate_up: Both projections in one, (2 * inner, dim).
        down: The projection back.
        names: Of gate, up and down within the block, for LoRA adapters.
    """

    gate_up: LinearLayer
    down: LinearLayer
    names: tuple[str, str, str]

    @classmethod
    def read(cls, reader: ParameterReader, block: str, names: tuple[str, str, str]) -> "SwiGlu":
        """Build the MLP of a block from its weights.

        Args:
            reader: Of the model's part.
            block: Prefix of the names.
            names: Of gate, up and down within the block.
        """
        gate, up, down = (f"{block}.{name}" for name in names)
        return cls(reader.fused_linear([gate, up]), reader.linear(down), names)

    def __call__(self, x: Tensor, adapt: RowAdapters | None = None) -> Tensor:
        """Return the output (rows, dim) for x: (rows, dim), with the rows' LoRA adapters."""
        gate, up = self.gate_up(x).chunk(2, dim=1)
        if adapt:
            adapt(gate, x, self.names[0])
            adapt(up, x, self.names[1])
        inner = by_row(torch.ops.aten.silu.out, gate) * up
        y: Tensor = self.down(inner)
        if adapt:
            adapt(y, inner, self.names[2])
        return y
