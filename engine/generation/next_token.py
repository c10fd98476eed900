"""Selects the next token of each sequence of a batch from its logits."""

from collections.abc import Sequence

from torch import Tensor

from engine.finite import check_logits
from engine.generation.steps import ReadToken


def sample_tokens(reads: Sequence[ReadToken], logits: Tensor) -> list[int]:
    """Select the next token of each sequence.

    Args:
        reads: How each token is selected.
        logits: (reads, vocabulary); may be modified in place.

    Returns:
        Token ids.

    Raises:
        NonFiniteOutput: A logit is NaN or infinite.
    """
    check_logits(logits)
    suppressed = [(row, token) for row, read in enumerate(reads) for token in read.suppressed]
    if suppressed:
        rows, tokens = zip(*suppressed, strict=True)
        logits[list(rows), list(tokens)] = float("-inf")
    # as argmax, which takes four times as long for bfloat16
    selected: list[int] = logits.max(-1).indices.tolist()
    for row, read in enumerate(reads):
        if read.allowed_token_ids or not read.sampler.is_greedy:
            selected[row] = _sample(read, logits[row])
    return selected


def _sample(read: ReadToken, logits: Tensor) -> int:
    """Select one token from logits (vocabulary,)."""
    if read.history:
        logits = read.sampler.apply_penalties(logits, read.history.prompt, read.history.generated)
    if read.allowed_token_ids:
        return read.allowed_token_ids[read.sampler.sample(logits[list(read.allowed_token_ids)])]
    return read.sampler.sample(logits)
