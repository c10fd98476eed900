"""Selects the next token of each sequence of a batch from its logits."""

from collections.abc import Sequence

from torch import Tensor

from engine.contract import NonFiniteOutput
from engine.finite import check_logits
from engine.generation.steps import ReadToken
from engine.kernels.greatest import can_find_greatest, find_greatest


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
    selected = _greedy_tokens(logits)
    suppressed = [(row, token) for row, read in enumerate(reads) for token in read.suppressed]
    if suppressed:
        rows, tokens = zip(*suppressed, strict=True)
        logits[list(rows), list(tokens)] = float("-inf")
    for row, read in enumerate(reads):
        if read.suppressed or read.allowed_token_ids or not read.sampler.is_greedy:
            selected[row] = _sample(read, logits[row])
    return selected


def _greedy_tokens(logits: Tensor) -> list[int]:
    """Check logits, and return the first of the greatest of each row."""
    if can_find_greatest(logits):
        selected = find_greatest(logits)
        if -1 in selected:
            raise NonFiniteOutput
        return selected
    check_logits(logits)
    # as argmax, which takes four times as long for bfloat16
    indices: list[int] = logits.max(-1).indices.tolist()
    return indices


def _sample(read: ReadToken, logits: Tensor) -> int:
    """Select one token from logits (vocabulary,)."""
    if read.history:
        logits = read.sampler.apply_penalties(logits, read.history.prompt, read.history.generated)
    if read.allowed_token_ids:
        return read.allowed_token_ids[read.sampler.sample(logits[list(read.allowed_token_ids)])]
    return read.sampler.sample(logits)
