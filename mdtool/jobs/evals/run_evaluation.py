"""One evaluation from the command line: its folder, the run, the summary."""

from contextlib import nullcontext
from pathlib import Path

from mdtool.console import Console
from mdtool.errors import output_errors_for
from mdtool.jobs.batch.progress import Progress
from mdtool.jobs.batch.results_log import ResultsLog, Sink, StreamSink
from mdtool.jobs.evals.evaluate_set import DataSet, EvaluatedModel, evaluate_set, settings_of
from mdtool.jobs.evals.failure_cards import FailureCards
from mdtool.jobs.evals.results_folder import ANSWERS, Summary, check_folder, write_results
from mdtool.jobs.evals.run_samples import SampleRunner
from mdtool.jobs.evals.summary import facts, figures_as_texts, summary_of
from mdtool.report.failures import failures_page


def run_evaluation(
    data_set: DataSet,
    model: EvaluatedModel,
    run: SampleRunner,
    *,
    out: Path | None,
    overwrite: bool,
    console: Console,
) -> Summary:
    """Evaluate a model, and write the results into a folder if one is named.

    Raises:
        InputError: The data set can't be read, or no sample has an answer.
        OutputError: The folder can't be written, or holds another evaluation.
        EngineError: The model can't go on.
    """
    cards, settings = FailureCards(data_set.task), settings_of(data_set, model)
    if out:
        with output_errors_for(out):
            out.mkdir(parents=True, exist_ok=True)
        check_folder(out, settings, overwrite)
    count = None if data_set.limit is None else lambda: data_set.limit or 0
    progress = Progress(console, count=count)
    common_fields = {"model": model.name, "revision": model.revision, "settings": settings}
    log = ResultsLog(out / ANSWERS, overwrite) if out else nullcontext(StreamSink(lambda text: None))
    with log as sink:
        opened: Sink = sink
        opened.begin(settings)
        with progress.shown():
            evaluation = evaluate_set(
                data_set, run, opened, common_fields, progress=progress,
                on_scored=cards.add if out else lambda sample, scored: None,
            )  # fmt: skip
    before = f", {progress.skipped} were answered before" if progress.skipped else ""
    console.note(f"{evaluation.asked} samples on {evaluation.pictures} pictures in {evaluation.seconds:.1f} s{before}")
    summary = summary_of(data_set, model, settings, evaluation)
    if out:
        title = f"{model.name} on {data_set.task.name}: failures"
        page = failures_page(title, facts(summary), figures_as_texts(summary), cards.cards, total=cards.total)
        write_results(out, summary, evaluation.scored, page)
        console.note(f"{out}: answers, samples, summary, and failures.html with {cards.total} failures")
    return summary
