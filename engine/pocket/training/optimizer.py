"""Optimizers: Muon (Jordan et al. 2024) for the matrices of the blocks, else AdamW (Loshchilov and Hutter 2019)."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

MATCH = 0.2  # scales an orthogonal update to the usual RMS of AdamW's (Liu et al. 2025)


class Muon(Optimizer):
    """Muon: Nesterov momentum with an orthogonalised update.

    All parameters of a group have the same shape. Their key "parts" is the number of matrices stacked in each (3 for
    queries, keys and values).
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            momenta = [self.state[p].setdefault("momentum", torch.zeros_like(p)) for p in parameters]
            gradients = [p.grad for p in parameters]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            updates = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))
            rows = updates.shape[1] // group["parts"]
            steps = orthogonal(updates.view(-1, rows, updates.shape[2])) * (MATCH * max(rows, updates.shape[2]) ** 0.5)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(parameters, list(steps.view_as(updates).mul_(group["lr"])))


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Orthogonalise matrices (n, rows, columns): bring their singular values close to 1.

    Args:
        matrices: (n, rows, columns).
        steps: Of a quintic Newton-Schulz iteration in bfloat16.

    Returns:
        (n, rows, columns).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    x = x.to(matrices.dtype)
    result: Tensor = x.mT if matrices.shape[1] > matrices.shape[2] else x
    return result


def optimizers(modules: Iterable[nn.Module], rate: float, weight_decay: float) -> list[Optimizer]:
    """Create the optimizers of all parameters of the modules, each parameter in exactly one."""
    parameters_by_name = [pair for module in modules for pair in module.named_parameters()]
    hidden = defaultdict(list)
    others = []
    for name, parameter in parameters_by_name:
        if ".blocks." in name and parameter.dim() == 2:
            hidden[tuple(parameter.shape), 3 if "qkv" in name else 1].append(parameter)
        else:
            others.append(parameter)
    groups = [{"params": parameters, "parts": parts} for (_, parts), parameters in hidden.items()]
    return [Muon(groups, rate, weight_decay=weight_decay), AdamW(others, rate, betas=(0.9, 0.98), weight_decay=0.0)]
