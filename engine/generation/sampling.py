"""Token sampling from logits: greedy, or temperature sampling with top-k, top-p and min-p filters.

The order and meaning of the parts are those of transformers' `GenerationMixin._get_logits_processor`: penalties for
tokens already in the text (repetition: Keskar et al. 2019, CTRL; presence: OpenAI's API, as in vLLM), temperature,
top-k (Fan et al. 2018), top-p (nucleus sampling, Holtzman et al. 2020), min-p (Nguyen et al. 2024).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


class Sampler:
    """Samples the tokens of one text: the same seed gives the same text, whatever else is in the batch.

    Attributes:
        temperature: 0 is greedy decoding.
        top_p: The probability mass of the nucleus.
    """

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
        """Check and keep the parameters, which are those of `engine.contract.Generation`; None leaves that part out.

        Raises:
            ValueError: A parameter is out of range.
        """
        if not 0 <= temperature < math.inf:
            raise ValueError(f"temperature must be 0 or more, not {temperature}")
        if not 0 <= top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, not {top_p}")
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"seed must be a 64-bit integer, not {seed}")
        if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
            raise ValueError(f"top_k must be an integer of 1 or more, not {top_k}")
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
        """Whether the argmax of the unmodified logits is selected."""
        return not self.temperature and self._repetition == 1 and not self._presence

    def apply_penalties(self, logits: Tensor, prompt: Sequence[int], generated: Sequence[int]) -> Tensor:
        """Apply the repetition and presence penalties.

        The repetition penalty divides positive logits of tokens in the text, and multiplies negative ones. The presence
        penalty is then subtracted from the logits of generated tokens.

        Args:
            logits: (vocabulary,).
            prompt: Token ids of the prompt.
            generated: Token ids generated so far.

        Returns:
            Logits, (vocabulary,): a float64 copy on the CPU if there is a penalty.
        """
        if self._repetition == 1 and not self._presence:
            return logits
        logits = logits.to("cpu", torch.float64, copy=True)
        repeated = list({*prompt, *generated})
        scores = logits[repeated]
        logits[repeated] = torch.where(scores < 0, scores * self._repetition, scores / self._repetition)
        logits[list(set(generated))] -= self._presence
        return logits

    def sample(self, logits: Tensor) -> int:
        """Select a token from logits (vocabulary,): the first of the largest if greedy, else a random one."""
        return self.draw(logits) if self.temperature else int(logits.argmax())

    def draw(self, logits: Tensor) -> int:
        """Draw a token from logits (vocabulary,) at random."""
        tokens, probabilities = self._candidates(logits)
        return int(tokens[torch.multinomial(probabilities, 1, generator=self._generator)])

    def probabilities(self, logits: Tensor) -> Tensor:
        """Compute the sampling distribution; the temperature must be over 0.

        Args:
            logits: (vocabulary,).

        Returns:
            Unnormalised probabilities, (vocabulary,), float64.
        """
        tokens, probabilities = self._candidates(logits)
        return torch.zeros(len(logits), dtype=torch.float64).index_copy_(0, tokens, probabilities)

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens in ascending order, and their probabilities: of few, so that not all have to be sorted."""
        logits = logits.cpu().double()
        # the largest becomes 0, which any temperature leaves finite
        scores = (logits - logits.max()) / self.temperature
        tokens = torch.arange(len(scores))
        if self._top_k is not None:
            tokens, scores = _at_least(scores.topk(min(self._top_k, len(scores))).values[-1], tokens, scores)
        total = scores.exp().sum()
        if self._min_p:  # who is dropped for it would come after all others in the nucleus
            tokens, scores = _at_least(math.log(self._min_p) - _ROUNDING, tokens, scores)
        elif self.top_p < 1:
            tokens, scores = _at_least(_nucleus_bound(scores, float(total) * self.top_p), tokens, scores)
        probabilities = scores.exp() / total
        if self.top_p < 1:
            probabilities = top_p_filter(probabilities, self.top_p)
        if self._min_p:
            probabilities = probabilities.masked_fill(probabilities < self._min_p * probabilities.max(), 0.0)
        return tokens, probabilities


GREEDY = Sampler()
_BOUNDS = (-2.0, -4.0, -8.0, -16.0)  # of scores below the largest; a nucleus lies above one of them
_ROUNDING = 1e-9  # more than the sums and logarithms here may be off


def _at_least(lowest: float | Tensor, tokens: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Keep the tokens whose score is at least `lowest`, and their scores."""
    kept = (scores >= lowest).nonzero()[:, 0]
    return tokens[kept], scores[kept]


def _nucleus_bound(scores: Tensor, mass: float) -> float:
    """Return a score that none of the most probable tokens, whose e^score make up `mass`, is below."""
    weights = scores.exp()
    for bound in _BOUNDS:
        if float((weights * (scores >= bound)).sum()) > mass * (1 + _ROUNDING):
            return bound
    return -math.inf


def top_p_filter(probabilities: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of the most probable tokens whose mass reaches top_p.

    Args:
        probabilities: (..., vocabulary).
        top_p: 0..1.

    Returns:
        (..., vocabulary), renormalised, 0 outside the set. Of equal probabilities the first is retained first.
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered > top_p, 0.0)
    ordered /= ordered.sum(-1, keepdim=True)
    return torch.zeros_like(probabilities).scatter_(-1, order, ordered)
