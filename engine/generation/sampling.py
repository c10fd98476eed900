"""How one token is chosen from its logits: the likeliest, or drawn from the nucleus (Holtzman et al. 2020)."""

import torch
from torch import Tensor


class Sampler:
    """One text's draws: the same seed gives the same text, whatever else is in the batch. temperature 0: greedy."""

    def __init__(self, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0) -> None:
        """ValueError for what is out of range."""
        if not 0 <= temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        if not 0 <= top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, not {top_p}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed must be a whole number of 64 bits, not {seed}")
        self.temperature = temperature
        self.top_p = top_p
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, logits: Tensor) -> int:
        """logits: (vocabulary)."""
        logits = logits.cpu().double()
        # the best is 0: any temperature leaves that finite
        probabilities = torch.softmax((logits - logits.max()) / self.temperature, dim=-1)
        return int(torch.multinomial(nucleus(probabilities, self.top_p), 1, generator=self._generator))


GREEDY = Sampler()


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Along the last dimension, the fewest likeliest that make up top_p together, scaled to 1; the rest are 0.

    Of equals the first goes first.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered > top_p, 0.0)
    ordered /= ordered.sum(-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered)
