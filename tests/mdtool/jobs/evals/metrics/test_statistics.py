"""Confidence intervals and comparisons of two runs."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdtool.jobs.evals.metrics.statistics import (
    Interval,
    bootstrap_interval,
    bootstrap_statistic,
    mcnemar,
    paired_bootstrap,
)


def test_the_interval_of_a_share_is_about_the_normal_one() -> None:
    values = [1.0] * 120 + [0.0] * 280
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    found = bootstrap_interval(values, 0)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.004)
    narrow = bootstrap_interval(values, 0, level=0.5)
    assert found.low < narrow.low < 0.3 < narrow.high < found.high


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    draw = np.random.default_rng(7)
    samples = draw.exponential(1.0, size=(300, 60))
    intervals = [bootstrap_interval(list(sample), 1, level=0.9, resamples=400) for sample in samples]
    covered = sum(interval.low <= 1 <= interval.high for interval in intervals)
    assert 0.8 < covered / 300 < 0.95


def test_a_seed_gives_one_interval() -> None:
    values = [0.0, 0.5, 1.0, 0.25]
    assert bootstrap_interval(values, 3) == bootstrap_interval(values, 3)
    assert bootstrap_interval([1.0] * 5, 3) == Interval(1, 1)
    with pytest.raises(ValueError, match="no samples"):
        bootstrap_interval([], 0)


def test_many_values_are_drawn_in_parts() -> None:
    values = [0.0, 1.0] * 500_000
    found = bootstrap_interval(values, 0, resamples=10)
    assert 0.49 < found.low <= found.high < 0.51


def test_the_interval_of_any_statistic() -> None:
    values = np.array([0.0] * 50 + [1.0] * 50)
    of_mean = bootstrap_interval(list(values), 0)
    found = bootstrap_statistic(100, lambda drawn: float(values[drawn].mean()), 0)
    assert (found.low, found.high) == pytest.approx((of_mean.low, of_mean.high), abs=0.03)


def test_two_runs_over_the_same_samples() -> None:
    a = [0.0] * 20 + [1.0] * 80
    better, same = paired_bootstrap(a, [0.0] * 5 + [1.0] * 95, 0), paired_bootstrap(a, a, 0)
    assert better.mean == pytest.approx(0.15)
    assert 0 < better.low < 0.15 < better.high
    assert better.p < 0.001
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    worse = paired_bootstrap([0.0] * 5 + [1.0] * 95, a, 0)
    assert (worse.mean, worse.low, worse.high) == pytest.approx((-better.mean, -better.high, -better.low))


def test_chance_is_no_difference() -> None:
    draw = np.random.default_rng(0)
    found = paired_bootstrap(list(draw.random(200)), list(draw.random(200)), 0)
    assert found.low < 0 < found.high
    assert found.p > 0.05


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_is_a_sign_test(pairs: list[tuple[bool, bool]]) -> None:
    only_a, only_b = pairs.count((True, False)), pairs.count((False, True))
    count = only_a + only_b
    likely = [Fraction(math.comb(count, k), 2**count) for k in range(count + 1)]
    as_far = sum((p for k, p in enumerate(likely) if abs(2 * k - count) >= abs(only_a - only_b)), Fraction(0))
    found = mcnemar([a for a, _ in pairs], [b for _, b in pairs])
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p == pytest.approx(float(as_far))


def test_mcnemar_by_example() -> None:
    """Of 15 that differ, 10 to 5: p = 0.302; of 2000, 1100 to 900: p < 0.0001."""
    found = mcnemar([True] * 10 + [False] * 5 + [True] * 3, [False] * 10 + [True] * 5 + [True] * 3)
    assert found.p == pytest.approx(0.30176, abs=1e-5)
    assert mcnemar([True] * 1100 + [False] * 900, [False] * 1100 + [True] * 900).p < 1e-4


def test_runs_of_different_lengths_are_no_pairs() -> None:
    for compare in (lambda: mcnemar([True], []), lambda: paired_bootstrap([1.0], [1.0, 0.0], 0)):
        with pytest.raises(ValueError, match="can't be compared in pairs"):
            compare()
