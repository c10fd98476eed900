"""Scores of NaturalBench: two questions about each of two images, of which each has another answer to each."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Which of a group's four answers are right."""

    image_0_question_0: bool
    image_1_question_0: bool
    image_0_question_1: bool
    image_1_question_1: bool


@dataclass(frozen=True)
class NaturalBenchScores:
    """Shares of what is wholly right, 0..1: answers, questions (both images), images (both questions), groups."""

    accuracy: float
    question_accuracy: float
    image_accuracy: float
    group_accuracy: float


def natural_bench_scores(groups: Sequence[Group]) -> NaturalBenchScores:
    """Return the four accuracies of NaturalBench.

    Moondream's evaluation compares a group's last answer with the truth of the first image; that is not copied.

    Source: Li et al., "NaturalBench: Evaluating Vision-Language Models on Natural Adversarial Samples", 2024.

    Raises:
        ValueError: There are no groups.
    """
    if not groups:
        raise ValueError("no groups")
    answers = questions = images = whole = 0
    for group in groups:
        a, b, c, d = (
            group.image_0_question_0, group.image_1_question_0, group.image_0_question_1, group.image_1_question_1
        )  # fmt: skip
        answers += a + b + c + d
        questions += (a and b) + (c and d)
        images += (a and c) + (b and d)
        whole += a and b and c and d
    count = len(groups)
    return NaturalBenchScores(answers / (4 * count), questions / (2 * count), images / (2 * count), whole / count)
