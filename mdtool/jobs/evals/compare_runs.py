"""Compares two evaluations of one task, sample by sample."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mdtool.errors import InputError, UsageError, record_fault
from mdtool.jobs.evals.evaluate_set import check_package
from mdtool.jobs.evals.metrics.statistics import McNemar, mcnemar, paired_bootstrap
from mdtool.jobs.evals.results_folder import Results
from mdtool.jobs.evals.sample import Figure, Scored
from mdtool.jobs.evals.summary import figure_texts
from mdtool.jobs.evals.tasks.table import TASKS

SEED = 0
Pair = tuple[Scored, Scored]  # of one sample, in A and in B


@dataclass(frozen=True)
class Comparison:
    """How much B differs from A, over the samples that both have.

    Attributes:
        task: Of both.
        samples: Number of samples that both have.
        units: Number of pictures, or groups, that they are of.
        only_in_one: Number of samples that only one of them has.
        same_answers: Number of samples with the same answer.
        a: Mean score of A.
        b: Mean score of B.
        difference: Mean of B - A.
        low: Lower end of its 95 % confidence interval, by a paired bootstrap over units.
        high: Its upper end.
        p: Two-sided p-value of there being no difference.
        mcnemar: McNemar's test, where all scores are 0 or 1.
        is_distance: Scores are distances, so that less is better.
        figures_a: The figures of A over these samples.
        figures_b: Those of B.
    """

    task: str
    samples: int
    units: int
    only_in_one: int
    same_answers: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    mcnemar: McNemar | None
    is_distance: bool
    figures_a: list[Figure]
    figures_b: list[Figure]


def compare_runs(a: Results, b: Results) -> Comparison:
    """Compare two evaluations.

    Raises:
        InputError: The samples are damaged, so that they have no figures.
        UsageError: They are of different tasks or prompts, or have no sample in common; or a package is missing that
            figures over the common samples need.
    """
    for name in ("task", "prompts"):
        if a.summary[name] != b.summary[name]:
            raise UsageError(
                f"{a.folder} and {b.folder} differ in {name} ({a.summary[name]}, {b.summary[name]}), so that their "
                "samples can't be compared"
            )
    common = [(a.samples[name], b.samples[name]) for name in sorted(a.samples.keys() & b.samples.keys())]
    if different := next((x for x, y in common if (x.request, x.truth) != (y.request, y.truth)), None):
        raise UsageError(f"{a.folder} and {b.folder}: sample {different.id} is another in each; evaluate the same data")
    if not common:
        raise UsageError(f"{a.folder} and {b.folder} have no sample in common")
    units = _units(common)
    # A unit weighs as many samples as it has, relative to the mean unit.
    weight = len(units) / len(common)
    before, after = ([weight * sum(pair[side].score for pair in pairs) for pairs in units] for side in (0, 1))
    found = paired_bootstrap(before, after, SEED)
    is_right_or_wrong = all(one.score in (0, 1) for pair in common for one in pair)
    test = mcnemar(*([pair[side].score == 1 for pair in common] for side in (0, 1))) if is_right_or_wrong else None
    return Comparison(
        task=a.summary["task"],
        samples=len(common),
        units=len(units),
        only_in_one=len(a.samples) + len(b.samples) - 2 * len(common),
        same_answers=sum(x.answer == y.answer for x, y in common),
        a=sum(x.score for x, _ in common) / len(common),
        b=sum(y.score for _, y in common) / len(common),
        difference=found.mean,
        low=found.low,
        high=found.high,
        p=found.p,
        mcnemar=test,
        is_distance=bool(a.summary["is_distance"]),
        figures_a=_figures(a, [x for x, _ in common]),
        figures_b=_figures(b, [y for _, y in common]),
    )


def _units(common: Sequence[Pair]) -> list[list[Pair]]:
    """Group samples that are of one unit in A or in B: the two may know pictures by different names, or not all."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def root(key: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    for one, other in common:
        parent[root((0, one.unit))] = root((1, other.unit))
    units: defaultdict[tuple[int, str], list[Pair]] = defaultdict(list)
    for pair in common:
        units[root((0, pair[0].unit))].append(pair)
    return list(units.values())


def _figures(run: Results, common: Sequence[Scored]) -> list[Figure]:
    """Return the figures of a run over its samples in common with another: those that it has, if these are all."""
    if len(common) == len(run.samples):
        return run.figures
    try:
        task = TASKS[run.summary["task"]]
        check_package(task)
        return task.figures(common)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{run.folder}: its samples are damaged: {record_fault(error)}") from error


def table(a: Results, b: Results, comparison: Comparison) -> Iterator[str]:
    """Yield the comparison as text: the figures of both in a Markdown table, the difference, and what it means."""
    yield f"A: {a.folder}: {_what(a)}"
    yield f"B: {b.folder}: {_what(b)}"
    if comparison.only_in_one:
        yield (
            f"All of this is over the {comparison.samples} samples that both have; {comparison.only_in_one} are in one "
            "of them only, and left out"
        )
    yield ""
    yield "| figure | A | B |"
    yield "|---|---|---|"
    theirs = {figure.name: figure for figure in comparison.figures_b}
    for figure in comparison.figures_a:
        texts = [_text(one, comparison.is_distance) for one in (figure, theirs.get(figure.name))]
        yield f"| {figure.name} | {' | '.join(texts)} |"
    yield ""
    number = f"{comparison.difference:+.4f}" if comparison.is_distance else f"{100 * comparison.difference:+.1f} points"
    low, high = (value if comparison.is_distance else 100 * value for value in (comparison.low, comparison.high))
    yield (
        f"B - A over {comparison.samples} samples of {comparison.units} pictures or groups: mean score {number}, 95 % "
        f"interval {low:+.4g} to {high:+.4g}, p = {comparison.p:.4f} (paired bootstrap)"
    )
    if test := comparison.mcnemar:
        yield f"right in A alone: {test.only_a}, in B alone: {test.only_b}, p = {test.p:.4f} (McNemar's exact test)"
    yield f"the same answer: {comparison.same_answers} of {comparison.samples}"
    yield _verdict(comparison)


def _text(figure: Figure | None, is_distance: bool) -> str:
    value, interval = figure_texts(figure, is_distance) if figure else ("", "")
    return f"{value} ({interval})" if interval else value


def _what(results: Results) -> str:
    how = {name: value for name, value in results.summary["computing"].items() if value not in (None, "none", "auto")}
    return ", ".join([results.summary["model"], *(f"{name} {value}" for name, value in how.items())])


def _verdict(comparison: Comparison) -> str:
    if comparison.low <= 0 <= comparison.high:
        return "no difference can be told from chance on this many samples"
    is_better = (comparison.difference > 0) != comparison.is_distance
    return f"B is {'better' if is_better else 'worse'} than A beyond chance (95 %)"
