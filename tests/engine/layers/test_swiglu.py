"""The gated MLP: its formula, its adapters, the same bits in any batch."""

import pytest
import torch
from torch import Tensor

from engine.checkpoints.random_weights import RandomWeights
from engine.layers.lora import LoraAdapter, RowAdapters
from engine.layers.parameters import ParameterReader
from engine.layers.swiglu import SwiGlu

DIM, INNER = 24, 20
SHAPES = {f"text.block.{name}.weight": (INNER, DIM) for name in ("gate", "up")} | {
    "text.block.down.weight": (DIM, INNER)
}
WEIGHTS = RandomWeights(SHAPES)


def mlp(dtype: torch.dtype = torch.float32) -> SwiGlu:
    return SwiGlu.read(ParameterReader(WEIGHTS, "text", dtype, "cpu", packed=True), "block", ("gate", "up", "down"))


def plain(x: Tensor, added: dict[str, Tensor] | None = None) -> Tensor:
    gate, up, down = (
        WEIGHTS.tensor(f"text.block.{name}.weight", torch.float32).double() + (added or {}).get(name, torch.zeros(()))
        for name in ("gate", "up", "down")
    )
    inner = x.double() @ gate.T
    return (inner / (1 + (-inner).exp()) * (x.double() @ up.T)) @ down.T


def test_it_computes_its_formula() -> None:
    x = torch.randn(7, DIM)
    torch.testing.assert_close(mlp()(x).double(), plain(x), atol=1e-5, rtol=0)


def test_adapters_apply_to_each_of_the_three_layers_and_to_their_rows_only() -> None:
    pairs = {name: (torch.randn(2, shape[1]), torch.randn(shape[0], 2)) for name, shape in SHAPES.items()}
    adapter = LoraAdapter({name.removeprefix("text.").removesuffix(".weight"): pair for name, pair in pairs.items()})
    x = torch.randn(6, DIM)
    y = mlp()(x, RowAdapters([(slice(2, 4), adapter)], "block"))
    added = {name.split(".")[2]: (b @ a).double() for name, (a, b) in pairs.items()}
    torch.testing.assert_close(y[2:4].double(), plain(x[2:4], added), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(y[[0, 1, 4, 5]].double(), plain(x[[0, 1, 4, 5]]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_any_batch(dtype: torch.dtype) -> None:
    x, layer = torch.randn(33, DIM).to(dtype), mlp(dtype)
    together = layer(x)
    assert all(torch.equal(layer(x[row : row + 1])[0], together[row]) for row in range(len(x)))
