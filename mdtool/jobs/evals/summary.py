"""The summary of an evaluation, as data and as text."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from mdtool import __version__
from mdtool.jobs.evals.evaluate_set import DataSet, EvaluatedModel, Evaluation
from mdtool.jobs.evals.published import published_of
from mdtool.jobs.evals.results_folder import SUMMARY_SCHEMA, Summary
from mdtool.jobs.evals.sample import Figure


def summary_of(data_set: DataSet, model: EvaluatedModel, settings: str, evaluation: Evaluation) -> Summary:
    """Return the summary as data."""
    computing = model.computing
    how: dict[str, object] = {"device": computing.device, "dtype": computing.dtype, "quantize": computing.quantize}
    how |= {"detail": computing.detail, "max_image_tokens": computing.image_budget.max_tokens, "kv": computing.kv}
    return {
        "schema": SUMMARY_SCHEMA,
        "mdtool": __version__,
        "task": data_set.task.name,
        "data": str(data_set.data),
        "prompts": data_set.prompts,
        "wording": "lmms-eval" if data_set.prompts == "lmms" else data_set.task.wording,
        "limit": data_set.limit,
        "model": model.name,
        "revision": model.revision,
        "settings": settings,
        "computing": how,
        "samples": len(evaluation.scored),
        "failed": len(evaluation.failed),
        "is_distance": data_set.task.is_distance,
        "figures": [asdict(figure) for figure in evaluation.figures],
        "published": [asdict(figure) for figure in published_of(data_set.task.name)],
        "asked": evaluation.asked,
        "pictures": evaluation.pictures,
        "seconds": round(evaluation.seconds, 3),
    }


def facts(summary: Summary) -> list[str]:
    """Return what the figures are of, in lines of text."""
    limit = "" if summary["limit"] is None else f", the first {summary['limit']} samples only"
    failed = f", {summary['failed']} without an answer, which are left out" if summary["failed"] else ""
    how = ", ".join(f"{name} {value}" for name, value in summary["computing"].items() if value not in (None, "none"))
    return [
        f"{summary['task']} on {summary['data']}{limit}: {summary['samples']} samples{failed}",
        f"{summary['model']} ({how}); wording of the prompts: {summary['wording']}; greedy decoding",
    ]


def table(summary: Summary) -> Iterator[str]:
    """Yield the summary as text, with a Markdown table."""
    yield from facts(summary)
    yield ""
    yield "| figure | | 95 % interval | of |"
    yield "|---|---|---|---|"
    for one in summary["figures"]:
        value, interval = figure_texts(Figure(**one), summary["is_distance"])
        yield f"| {one['name']} | {value} | {interval} | {one['count']} |"
    if summary["published"]:
        yield ""
        yield "Published, not measured here:"
        yield ""
        yield "| model | figure | | source |"
        yield "|---|---|---|---|"
        for one in summary["published"]:
            yield f"| {one['model']} | {one['figure']} | {one['percent']:g} % | {one['source']} |"


def figure_texts(figure: Figure, is_distance: bool) -> tuple[str, str]:
    """Return a figure and its interval as texts; both are empty where they are not known."""
    as_text = _plain if is_distance else _percent
    value = "" if figure.value is None else as_text(figure.value)
    if figure.low is None or figure.high is None:
        return value, ""
    return value, f"{as_text(figure.low)} to {as_text(figure.high)}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _plain(value: float) -> str:
    return f"{value:.4f}"


def figures_as_texts(summary: Summary) -> Sequence[tuple[str, str]]:
    """Return the figures by name, as texts."""
    texts: list[tuple[str, str]] = []
    for one in summary["figures"]:
        value, interval = figure_texts(Figure(**one), summary["is_distance"])
        texts.append((one["name"], f"{value} ({interval})" if interval else value))
    return texts
