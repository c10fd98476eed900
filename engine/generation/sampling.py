"""How one token is chosen from its logits: the likeliest, or drawn from the likelier ones.

In the order of transformers' `GenerationMixin._get_logits_processor`, and with its meanings: penalties for what the
text has already (repetition: Keskar et al. 2019, CTRL; presence: OpenAI's API, as vLLM has it), temperature, top-k (Fan
et al. 2018), the nucleus (top-p, Holtzman et al. 2020), min-p (Nguyen et al. 2024).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Sampler:
    """One text's draws: the same seed gives the same text, whatever else is in the batch. temperature 0: greedy."""

    def __init__(
        self,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        *,
        top_k: int | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float | None = None,
    ) -> None:
        """See `engine.contract.Generation`; None leaves out that part. ValueError for what is out of range."""
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        if not 0 <= top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, not {top_p}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed must be a whole number of 64 bits, not {seed}")
        if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
            raise ValueError(f"top_k must be a whole number of 1 or more, not {top_k}")
        if min_p is not None and not 0 <= min_p <= 1:
            raise ValueError(f"min_p must be from 0 to 1, not {min_p}")
        if repetition_penalty is not None and not 0 < repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty must be over 0, not {repetition_penalty}")
        if presence_penalty is not None and not -2 <= presence_penalty <= 2:
            raise ValueError(f"presence_penalty must be from -2 to 2, not {presence_penalty}")
        self.temperature = temperature
        self.top_p = top_p
        self._top_k = top_k
        self._min_p = min_p
        self._repetition = 1.0 if repetition_penalty is None else repetition_penalty
        self._presence = presence_penalty or 0.0
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def is_greedy(self) -> bool:
        """Greedy, without penalties."""
        return not self.temperature and self._repetition == 1 and not self._presence

    def apply_penalties(self, logits: Tensor, prompt: Sequence[int], generated: Sequence[int]) -> Tensor:
        """logits: (vocabulary). prompt, generated: ids of the tokens in the text so far.

        The repetition penalty divides logits over 0 of all of them, and multiplies those under 0; the presence penalty
        is then taken off those of the generated.
        """
        if self._repetition == 1 and not self._presence:
            return logits
        logits = logits.to("cpu", torch.float64, copy=True)
        there, made = list({*prompt, *generated}), list(set(generated))
        found = logits[there]
        logits[there] = torch.where(found < 0, found * self._repetition, found / self._repetition)
        logits[made] -= self._presence
        return logits

    def sample(self, logits: Tensor) -> int:
        """logits: (vocabulary), of which the first of the likeliest is chosen, or one is drawn."""
        return self.draw(logits) if self.temperature else int(logits.argmax())

    def draw(self, logits: Tensor) -> int:
        """logits: (vocabulary)."""
        return int(torch.multinomial(self.probabilities(logits), 1, generator=self._generator))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each token to be drawn, up to a common factor; temperature must be over 0. logits: (vocabulary)."""
        logits = logits.cpu().double()
        # the best is 0: any temperature leaves that finite
        scores = (logits - logits.max()) / self.temperature
        if self._top_k is not None:
            scores = top_k_filter(scores, self._top_k)
        probabilities = top_p_filter(torch.softmax(scores, dim=-1), self.top_p)
        if self._min_p:
            probabilities = probabilities.masked_fill(probabilities < self._min_p * probabilities.max(), 0.0)
        return probabilities


GREEDY = Sampler()


def top_k_filter(scores: Tensor, count: int) -> Tensor:
    """(n): all but the highest `count` are -inf. Equals of the last of them stay too."""
    least = scores.topk(min(count, len(scores))).values[-1]
    return scores.masked_fill(scores < least, -math.inf)


def top_p_filter(probabilities: Tensor, top_p: float) -> Tensor:
    """Along the last dimension, the fewest likeliest that make up top_p together, scaled to 1; the rest are 0.

    Of equals the first goes first.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered > top_p, 0.0)
    ordered /= ordered.sum(-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered)
