"""Scores of yes-or-no questions."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class YesNoScores:
    """Scores of yes-or-no questions, 0..1, with yes as the positive class."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float


def pope_scores(pairs: Sequence[tuple[bool | None, bool]]) -> YesNoScores:
    """Return the scores of POPE for pairs of what was said, None for neither yes nor no, and what is true.

    An answer that is neither is wrong, and no "yes".

    Source: Li et al., "Evaluating Object Hallucination in Large Vision-Language Models", 2023.

    Raises:
        ValueError: There are no pairs.
    """
    if not pairs:
        raise ValueError("no answers")
    said_yes = sum(said is True for said, _ in pairs)
    is_yes = sum(true for _, true in pairs)
    both = sum(said is True and true for said, true in pairs)
    right = sum(said is true for said, true in pairs)
    return YesNoScores(
        accuracy=right / len(pairs),
        precision=both / said_yes if said_yes else 0.0,
        recall=both / is_yes if is_yes else 0.0,
        f1=2 * both / (said_yes + is_yes) if said_yes + is_yes else 0.0,
        yes_ratio=said_yes / len(pairs),
    )
