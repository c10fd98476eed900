"""Sparse mixture of experts (Shazeer et al. 2017), as in Moondream 3.

The router selects the k largest logits, with a softmax over those k in float32. An expert computes
(GELU(u) * (g + 1)) W2 with [u | g] = x W1 and the exact GELU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.layers.linear import Linear, LinearLayer

GATHER_ROWS = 8  # most rows for which a GPU gathers the selected weights instead of launching a GEMM for each expert


class Experts:
    """The MLP of a layer with experts.

    Attributes:
        static_rows: Most rows for which no shape depends on the routing.
    """

    def __init__(self, router: LinearLayer, fc1: Tensor, fc2: Tensor, *, per_token: int, packed: bool) -> None:
        """Prepare the weights.

        Args:
            router: (rows, dim) -> logits (rows, experts).
            fc1: (experts, 2 * inner, dim).
            fc2: (experts, dim, inner).
            per_token: Experts that each row is routed to, k.
            packed: Prepack the weights for CPU kernels.
        """
        self.router = router
        self.per_token = per_token
        self.experts = [
            (Linear(up, None, packed), Linear(down, None, packed)) for up, down in zip(fc1, fc2, strict=True)
        ]
        self.stacked = None if packed else (fc1, fc2)
        self.static_rows = GATHER_ROWS if self.stacked else 0

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the selected experts to each row of x, (rows, dim) -> (rows, dim)."""
        logits, selected = torch.topk(self.router(x), self.per_token, dim=-1)
        weights = torch.softmax(logits, dim=-1, dtype=torch.float32).to(x.dtype)
        y = (
            self.forward_gathered(x, selected)
            if self.stacked and x.shape[0] <= GATHER_ROWS
            else self.forward_by_expert(x, selected)
        )
        return (y * weights[..., None]).sum(1)

    def forward_by_expert(self, x: Tensor, selected: Tensor) -> Tensor:
        """Compute expert by expert, each with a GEMM over its rows.

        Args:
            x: (rows, dim).
            selected: Expert indices, (rows, k).

        Returns:
            (rows, k, dim).
        """
        order = selected.flatten().argsort(stable=True)
        counts = torch.bincount(selected.flatten(), minlength=len(self.experts)).tolist()
        y = x.new_empty(selected.numel(), x.shape[1])
        for (up, down), members in zip(self.experts, torch.split(order, counts), strict=True):
            if len(members):
                y[members] = down(_gated(up(x[members // self.per_token])))
        return y.view(*selected.shape, -1)

    def forward_gathered(self, x: Tensor, selected: Tensor) -> Tensor:
        """Compute what `forward_by_expert` does, for few rows: gather the selected weights for one batched GEMM."""
        assert self.stacked
        fc1, fc2 = (weights[selected.flatten()] for weights in self.stacked)
        up = fc1 @ x.repeat_interleave(self.per_token, 0)[:, :, None]
        y = fc2 @ _gated(up.squeeze(2))[:, :, None]
        return y.view(*selected.shape, -1)


def _gated(x: Tensor) -> Tensor:
    up, gate = x.chunk(2, dim=-1)
    return F.gelu(up.contiguous()) * (gate + 1)  # torch rounds differently for strided rows
