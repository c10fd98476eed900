"""How sure a mean is, and a difference of two runs over the same samples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_AT_ONCE = 4_000_000  # values drawn at a time, which bounds the memory


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean difference of two runs, its confidence interval, and the two-sided p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class McNemar:
    """How many samples only one of two runs has right, and the two-sided p-value of that being chance."""

    only_a: int
    only_b: int
    p: float


def bootstrap_interval(
    values: Sequence[float], seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Return the percentile bootstrap confidence interval of a mean.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        values: A score for each sample.
        seed: Of the resampling; the same seed gives the same interval.
        level: Confidence level, 0..1.
        resamples: Number of resamplings.

    Raises:
        ValueError: There are no values.
    """
    return _interval(_resampled_means(np.asarray(values, float), seed, resamples), level)


def bootstrap_statistic(
    count: int, statistic: Callable[[np.ndarray], float], seed: int, level: float = LEVEL, *, resamples: int = 1000
) -> Interval:
    """Return the bootstrap confidence interval of any statistic of `count` samples, such as an F1 score.

    Args:
        count: Number of samples.
        statistic: Computes it from the indices (count,) of the samples drawn.
        seed: Of the resampling.
        level: Confidence level, 0..1.
        resamples: Number of resamplings.

    Raises:
        ValueError: There are no samples.
    """
    if not count:
        raise ValueError("no samples")
    draw = np.random.default_rng(seed)
    return _interval(np.array([statistic(draw.integers(count, size=count)) for _ in range(resamples)]), level)


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], seed: int, level: float = LEVEL, *, resamples: int = RESAMPLES
) -> Difference:
    """Return the mean of b - a over the same samples in the same order, with its bootstrap interval and p-value.

    The p-value is twice the share of resampled means on the other side of 0, at least 1 / resamples.

    Raises:
        ValueError: There are no samples, or the runs have different numbers of them.
    """
    if len(a) != len(b):
        raise ValueError(f"runs of {len(a)} and {len(b)} samples can't be compared in pairs")
    differences = np.asarray(b, float) - np.asarray(a, float)
    means = _resampled_means(differences, seed, resamples)
    other_side = float(np.minimum((means <= 0).mean(), (means >= 0).mean()))
    interval = _interval(means, level)
    return Difference(
        float(differences.mean()), interval.low, interval.high, min(1.0, max(2 * other_side, 1 / resamples))
    )


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """Compare two runs over the same samples, right or wrong each, by McNemar's exact test.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947, with the
    binomial distribution in place of the chi-squared one.

    Raises:
        ValueError: The runs have different numbers of samples.
    """
    if len(a) != len(b):
        raise ValueError(f"runs of {len(a)} and {len(b)} samples can't be compared in pairs")
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    count, fewer = only_a + only_b, min(only_a, only_b)
    tail = math.fsum(math.exp(_log_binomial(count, k) - count * math.log(2)) for k in range(fewer + 1))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def _log_binomial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _resampled_means(values: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    if not len(values):
        raise ValueError("no samples")
    draw = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(values))
    means = [
        values[draw.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(means)


def _interval(means: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
