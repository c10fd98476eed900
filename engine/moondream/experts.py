"""Mixture of experts (Shazeer et al. 2017), computed for the chosen experts only.

Moondream 3: the router's best k logits, softmax over those k in float32; an expert is
(GELU(u) * (g + 1)) W2 with [u | g] = x W1 and the exact GELU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.linear import Linear, LinearLayer

FEW = 8  # rows; a GPU copies the experts that so few have chosen rather than launch a product for each expert


class Experts:
    """router: linear to (experts) logits; fc1: (experts, 2 inner, dim); fc2: (experts, dim, inner)."""

    def __init__(self, router: LinearLayer, fc1: Tensor, fc2: Tensor, *, per_token: int, packed: bool) -> None:
        self.router = router
        self.per_token = per_token
        self.each = [(Linear(up, None, packed), Linear(down, None, packed)) for up, down in zip(fc1, fc2, strict=True)]
        self.stacked = None if packed else (fc1, fc2)
        self.static_rows = FEW if self.stacked else 0  # more are counted, expert by expert

    def __call__(self, x: Tensor) -> Tensor:
        """x: (rows, dim) -> (rows, dim)."""
        best, chosen = torch.topk(self.router(x), self.per_token, dim=-1)
        weights = torch.softmax(best, dim=-1, dtype=torch.float32).to(x.dtype)
        y = (
            self.forward_gathered(x, chosen)
            if self.stacked and x.shape[0] <= FEW
            else self.forward_by_expert(x, chosen)
        )
        return (y * weights[..., None]).sum(1)

    def forward_by_expert(self, x: Tensor, chosen: Tensor) -> Tensor:
        """x: (rows, dim), chosen: (rows, k) -> (rows, k, dim): rows sorted by expert, one product for each."""
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=len(self.each)).tolist()
        y = x.new_empty(chosen.numel(), x.shape[1])
        for (up, down), members in zip(self.each, order.split(counts), strict=True):
            if len(members):
                y[members] = down(_gated(up(x[members // self.per_token])))
        return y.view(*chosen.shape, -1)

    def forward_gathered(self, x: Tensor, chosen: Tensor) -> Tensor:
        """The same for few rows: the chosen experts' weights side by side, one batched product."""
        assert self.stacked
        fc1, fc2 = (weights[chosen.flatten()] for weights in self.stacked)
        up = fc1 @ x.repeat_interleave(self.per_token, 0)[:, :, None]
        y = fc2 @ _gated(up.squeeze(2))[:, :, None]
        return y.view(*chosen.shape, -1)


def _gated(x: Tensor) -> Tensor:
    up, gate = x.chunk(2, dim=-1)
    return F.gelu(up.contiguous()) * (gate + 1)  # torch rounds otherwise where rows do not touch
