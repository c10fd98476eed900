"""Figures with their confidence intervals, by a bootstrap over units: samples of one picture are drawn together."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mdtool.jobs.evals.metrics.statistics import bootstrap_statistic
from mdtool.jobs.evals.sample import Figure, Scored

SEED = 0
RESAMPLES = 1000
MIN_UNITS = 2  # fewer say nothing of how sure a figure is
WORK = 3_000_000  # samples that a statistic written in Python is computed over in all

Statistic = Callable[[Sequence[Scored]], Mapping[str, float | None]]


def mean_figures(name: str, scored: Sequence[Scored]) -> list[Figure]:
    """Return the mean score of all samples, and that of each subset."""
    return [_mean(name, scored), *(_mean(f"{name} ({group})", those) for group, those in by_group(scored).items())]


def by_group(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Return the samples of each subset, by its name."""
    groups: defaultdict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        for group in one.groups:
            groups[group].append(one)
    return dict(sorted(groups.items()))


def _mean(name: str, scored: Sequence[Scored]) -> Figure:
    units: defaultdict[str, list[float]] = defaultdict(list)
    for one in scored:
        units[one.unit].append(one.score)
    sums = np.array([sum(scores) for scores in units.values()])
    counts = np.array([len(scores) for scores in units.values()])
    value = float(sums.sum() / counts.sum())
    if len(units) < MIN_UNITS:
        return Figure(name, value, None, None, len(scored))
    interval = bootstrap_statistic(
        len(units), lambda drawn: float(sums[drawn].sum() / counts[drawn].sum()), SEED, resamples=RESAMPLES
    )
    return Figure(name, value, interval.low, interval.high, len(scored))


def figures_of(compute: Statistic, scored: Sequence[Scored], suffix: str = "") -> list[Figure]:
    """Return figures that are no means, such as F1.

    Args:
        compute: Returns them by name, for any samples.
        scored: The samples.
        suffix: Added to the names.
    """
    units: defaultdict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        units[one.unit].append(one)
    members = list(units.values())
    values = compute(scored)
    if len(units) < MIN_UNITS:
        return [Figure(name + suffix, value, None, None, len(scored)) for name, value in values.items()]
    resamples = min(RESAMPLES, max(100, WORK // len(scored)))
    draw = np.random.default_rng(SEED)
    drawn: list[Mapping[str, float | None]] = []
    for _ in range(resamples):
        indices = draw.integers(len(members), size=len(members))
        drawn.append(compute([one for index in indices for one in members[index]]))
    figures = []
    for name, value in values.items():
        found = [one[name] for one in drawn]
        low, high = np.quantile([one for one in found if one is not None] or [np.nan], [0.025, 0.975])
        known = value is not None and not np.isnan(low)
        figures.append(
            Figure(name + suffix, value, float(low) if known else None, float(high) if known else None, len(scored))
        )
    return figures


def plain_figures(compute: Statistic, scored: Sequence[Scored]) -> list[Figure]:
    """Return figures without intervals, where they take too long to compute a thousand times."""
    return [Figure(name, value, None, None, len(scored)) for name, value in compute(scored).items()]
