"""Blocks of a vision transformer against their formula in float64."""

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from engine.layers.linear import Linear
from engine.layers.vit import Vit, VitBlock

Activation = Literal["gelu_tanh", "gelu"]
DIM, HEADS, INNER, PATCHES = 48, 3, 96, 20


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def weights(layer: int) -> dict[str, tuple[Tensor, Tensor]]:
    shapes = {"qkv": (3 * DIM, DIM), "proj": (DIM, DIM), "fc1": (INNER, DIM), "fc2": (DIM, INNER)}
    made = {name: (drawn(*shape, seed=layer) / shape[1] ** 0.5, drawn(shape[0])) for name, shape in shapes.items()}
    return made | {name: (1 + 0.1 * drawn(DIM, seed=layer), drawn(DIM)) for name in ("norm1", "norm2")}


def plain(x: Tensor, activation: str, eps: float, layers: int) -> Tensor:
    """x: (n, patches, DIM)."""

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias

    def gelu(x: Tensor) -> Tensor:
        if activation == "gelu":
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2

    for layer in range(layers):
        own = weights(layer)

        def linear(x: Tensor, name: str, own: dict[str, tuple[Tensor, Tensor]] = own) -> Tensor:
            return x @ own[name][0].T + own[name][1]

        qkv = linear(norm(x, *own["norm1"]), "qkv").unflatten(-1, (3, HEADS, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.mT / math.sqrt(DIM / HEADS), -1)
        x = x + linear((scores @ v).transpose(1, 2).flatten(2), "proj")
        x = x + linear(gelu(linear(norm(x, *own["norm2"]), "fc1")), "fc2")
    return x


@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu"])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_blocks_compute_their_formula_and_each_picture_by_itself(activation: Activation, eps: float) -> None:
    layers = 2
    blocks = []
    for layer in range(layers):
        own = {name: (weight.float(), bias.float()) for name, (weight, bias) in weights(layer).items()}
        qkv, proj, fc1, fc2 = (Linear(*own[name], packed=True) for name in ("qkv", "proj", "fc1", "fc2"))
        blocks.append(VitBlock(own["norm1"], qkv, proj, own["norm2"], fc1, fc2, activation, eps))
    vit, x = Vit(blocks, HEADS), drawn(3, PATCHES, DIM)
    with torch.inference_mode():
        made = vit(x.float().flatten(0, 1), 3)
        alone = torch.cat([vit(one.float(), 1) for one in x])
    wanted = plain(x, activation, eps, layers).flatten(0, 1)
    torch.testing.assert_close(made.double(), wanted, atol=5e-5, rtol=5e-5)
    assert torch.equal(made, alone)
