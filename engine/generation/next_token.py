"""The next token of each sequence of a batch, from its logits."""

from collections.abc import Sequence

from torch import Tensor

from engine.generation.steps import ReadToken


def choose_tokens(reads: Sequence[ReadToken], logits: Tensor) -> list[int]:
    """logits: (reads, vocabulary), which may be changed."""
    barred = [(row, token) for row, read in enumerate(reads) for token in read.suppressed]
    if barred:
        rows, tokens = zip(*barred, strict=True)
        logits[list(rows), list(tokens)] = float("-inf")
    best: list[int] = logits.argmax(-1).tolist()
    for row, read in enumerate(reads):
        if read.among or not read.sampler.takes_likeliest:
            best[row] = _choose(read, logits[row])
    return best


def _choose(read: ReadToken, logits: Tensor) -> int:
    """logits: (vocabulary)."""
    if read.history:
        logits = read.sampler.penalise(logits, read.history.prompt, read.history.generated)
    if read.among:
        return read.among[read.sampler.choose(logits[list(read.among)])]
    return read.sampler.choose(logits)
