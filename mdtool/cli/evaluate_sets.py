"""`mdtool eval TASK`, `compare` and `speed-quality`: what a model is worth on a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import Overwrite
from mdtool.cli.options.printing import Quiet, Verbose
from mdtool.console import Console, one_line
from mdtool.errors import ExitCode, UsageError
from mdtool.stdout import write_json_record, write_stdout

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from collections.abc import Callable

    from engine.generation.verbs import VisionModel
    from mdtool.jobs.evals.evaluate_set import DataSet

TASK_COMMAND = "task"


class TaskGroup(TyperGroup):
    """The commands of `mdtool eval`, among which every task may be named: `eval pope` is `eval task pope`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is named, by its own name or by that of a task."""
        if args and args[0] not in self.commands:
            from mdtool.jobs.evals.tasks.table import TASKS

            if args[0] not in TASKS:
                raise UsageError(
                    f"{args[0]}: there is no such task ({', '.join(TASKS)}) or command ({', '.join(self.commands)})"
                )
            args = [TASK_COMMAND, *args]
        return super().resolve_command(ctx, args)


def task_names() -> list[tuple[str, str]]:
    """Return the names of the tasks and what they measure, for shell completion."""
    from mdtool.jobs.evals.tasks.table import TASKS

    return [(task.name, task.about) for task in TASKS.values()]


Data = Annotated[
    Path,
    typer.Option(
        help="The data set: a file of the set's own, JSON Lines, COCO JSON or Parquet, a folder of such, or a glob.",
        metavar="PATH",
    ),
]
Images = Annotated[Path | None, typer.Option(help="Folder of its images. Default: beside the data.", metavar="FOLDER")]
Wording = Annotated[
    Literal["reference", "lmms"],
    typer.Option(help="Wording of the questions: of moondream's eval folder, or of lmms-eval. Scores differ."),
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N samples.", metavar="N")]


@grouped
def evaluate_task(
    *,
    task: Annotated[
        str,
        typer.Argument(
            help="pope, countbenchqa, tallyqa, textvqa, vqav2, gqa, chartqa, docvqa, realworldqa, mmstar, "
            "naturalbench, coco, refcoco, screenspot, gazefollow, waste_detection, or qa for your own questions.",
            metavar="TASK",
            autocompletion=task_names,
        ),
    ],
    data: Data,
    images: Images = None,
    prompts: Wording = "reference",
    limit: Limit = None,
    model: ModelOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for answers, scored samples, summary and a page of failures; run again to resume.",
            metavar="FOLDER",
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a model on a data set that you have: `mdtool eval TASK` does.

    Prints the figures with their 95 % intervals, and beside them those that the models' authors published.

    \b
    mdtool eval pope --data coco_pope_random.json --images val2014 --model moondream2 --out runs/pope
    mdtool eval qa --data questions.jsonl --model qwen3-vl-4b --quantize int4 --limit 200
    """
    from mdtool.jobs.evals.evaluate_set import DataSet, check, settings_of
    from mdtool.jobs.evals.run_evaluation import run_evaluation
    from mdtool.jobs.evals.summary import table
    from mdtool.jobs.evals.tasks.table import TASKS

    console = Console(quiet, verbose=verbose)
    if task not in TASKS:
        raise UsageError(f"{task}: there is no such task; there are {', '.join(TASKS)}")
    data_set = DataSet(TASKS[task], data, images, prompts, limit)
    check(data_set)
    load = _loader(data_set, model, console)
    loaded = load()
    settings = settings_of(data_set.task, loaded, model.computing)
    summary = run_evaluation(data_set, loaded, model.computing, settings, out=out, overwrite=overwrite, console=console)
    if json:
        write_json_record(dict(summary))
    else:
        write_stdout("\n".join(map(one_line, table(summary))) + "\n")
    raise typer.Exit(ExitCode.SOME_FAILED if summary["failed"] else ExitCode.OK)


def _loader(data_set: "DataSet", model: ModelOptions, console: Console) -> "Callable[[], VisionModel]":
    """Return the function that loads the model, and checks that it serves the first sample."""
    from mdtool.jobs.evals.evaluate_set import asked_in, samples_of
    from mdtool.model_selection import LoadCallbacks, load_gaze_model, load_model

    first = next(samples_of(data_set))
    callbacks = LoadCallbacks(console.note, console.note, console.explain, model.may_pull(console, []))
    if data_set.task.skill == "gaze":
        return lambda: load_gaze_model(model.model, (), model.computing, accurate=True, callbacks=callbacks)
    asked = [asked_in(first.request)]
    return lambda: load_model(model.model, data_set.task.skill, asked, model.computing, callbacks=callbacks)


def evaluate_compare(
    *,
    a: Annotated[Path, typer.Argument(help="Folder of an evaluation, written with --out.", metavar="A")],
    b: Annotated[Path, typer.Argument(help="Folder of another one of the same task.", metavar="B")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two evaluations of the same samples: is B better than A, or is it chance?

    Prints the figures of both, the mean difference with its 95 % interval (paired bootstrap over pictures), and
    McNemar's test where answers are right or wrong.

    \b
    mdtool eval pope --data pope.json --model moondream2 --out runs/none
    mdtool eval pope --data pope.json --model moondream2 --quantize int4 --out runs/int4
    mdtool eval compare runs/none runs/int4
    """
    from dataclasses import asdict

    from mdtool.jobs.evals.compare_runs import compare_runs, table
    from mdtool.jobs.evals.results_folder import read_results

    results = read_results(a), read_results(b)
    comparison = compare_runs(*results)
    if json:
        write_json_record({"a": str(a), "b": str(b), **asdict(comparison)})
    else:
        write_stdout("\n".join(map(one_line, table(*results, comparison))) + "\n")
