"""The gated feed-forward layer of most decoders since LLaMA."""

from dataclasses import dataclass

from torch import Tensor

from engine.layers.activations import swiglu
from engine.layers.linear import LinearLayer
from engine.layers.lora import RowAdapters, adapted
from engine.layers.parameters import ParameterReader


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

    @classmethod
    def read(cls, reader: ParameterReader, layer: str, names: tuple[str, str, str] = names) -> "SwiGlu":
        """Read the parameters in the layer of this name in a checkpoint, which LoRA adapters name alike."""
        gate, up, down = (reader.linear(f"{layer}.{name}") for name in names)
        return cls(gate, up, down, names)

    def __call__(self, x: Tensor, adapt: RowAdapters | None = None) -> Tensor:
        """Return (rows, dim) for x: (rows, dim), with the rows' adapters added."""
        gate_name, up_name, down_name = self.names
        gate, up = adapted(self.gate, x, adapt, gate_name), adapted(self.up, x, adapt, up_name)
        return adapted(self.down, swiglu(gate, up), adapt, down_name)
