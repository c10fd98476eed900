"""The gated feed-forward layer of most decoders since LLaMA."""

from dataclasses import dataclass

from torch import Tensor

from engine.layers.activations import swiglu
from engine.layers.linear import LinearLayer
from engine.layers.lora import RowAdapters


@dataclass(frozen=True)
class SwiGlu:
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, GLU variants).

    Attributes:
        names: Of gate, up and down in a LoRA adapter.
    """

    gate: LinearLayer
    up: LinearLayer
    down: LinearLayer
    names: tuple[str, str, str] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")

    def __call__(self, x: Tensor, adapt: RowAdapters | None = None) -> Tensor:
        """Return (rows, dim) for x: (rows, dim), with the rows' adapters added."""
        gate, up = self.gate(x), self.up(x)
        if adapt:
            adapt(gate, x, self.names[0])
            adapt(up, x, self.names[1])
        inner = swiglu(gate, up)
        y = self.down(inner)
        if adapt:
            adapt(y, inner, self.names[2])
        return y
