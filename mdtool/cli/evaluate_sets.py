"""`mdtool eval TASK`, `compare` and `speed-quality`: what a model is worth on a data set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from mdtool.cli.options.cluster import ClusterOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import Device, Dtype, ModelName, ModelOptions
from mdtool.cli.options.outputs import Overwrite
from mdtool.cli.options.printing import Quiet, Verbose
from mdtool.console import Console
from mdtool.errors import ExitCode, UsageError
from mdtool.escaping import one_line
from mdtool.stdout import write_json_record, write_stdout

if TYPE_CHECKING:  # what takes long to load, and --help does not need
    from contextlib import ExitStack

    from engine.generation.verbs import VisionModel
    from mdtool.jobs.evals.evaluated_source import EvaluatedSource
    from mdtool.jobs.evals.run_samples import SampleRunner

TASK_COMMAND = "task"


class TaskGroup(TyperGroup):
    """The commands of `mdtool eval`, among which every task may be named: `eval pope` is `eval task pope`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is named, by its own name or by that of a task."""
        return super().resolve_command(ctx, self.with_command(args))

    def with_command(self, args: list[str]) -> list[str]:
        """Put the command before the name of a task. Raises UsageError if the first word is neither."""
        if args and args[0] not in self.commands:
            from mdtool.jobs.evals.tasks.table import TASKS

            if args[0] not in TASKS:
                raise UsageError(
                    f"{args[0]}: there is no such task ({', '.join(TASKS)}) or command ({', '.join(self.commands)})"
                )
            return [TASK_COMMAND, *args]
        return args


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
Images = Annotated[
    Path | None,
    typer.Option(
        help="Folder of its images, or Parquet with the columns id and image. Default: beside the data.", metavar="PATH"
    ),
]
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
    cluster: ClusterOptions,
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

    Prints the figures with their 95 % intervals, and beside them published ones of the catalog's models.

    \b
    mdtool eval pope --data coco_pope_random.json --images val2014 --model moondream2 --out runs/pope
    mdtool eval qa --data questions.jsonl --model qwen3-vl-4b --quantize int4 --limit 200
    """
    from contextlib import ExitStack

    from mdtool.jobs.evals.evaluate_set import DataSet, EvaluatedModel, check
    from mdtool.jobs.evals.evaluated_source import source_of
    from mdtool.jobs.evals.run_evaluation import run_evaluation
    from mdtool.jobs.evals.summary import table
    from mdtool.jobs.evals.tasks.table import TASKS
    from mdtool.model_selection import LoadCallbacks

    cluster.check()
    console = Console(quiet, verbose=verbose)
    if task not in TASKS:
        raise UsageError(f"{task}: there is no such task; there are {', '.join(TASKS)}")
    data_set = DataSet(TASKS[task], data, images, prompts, limit)
    check(data_set)
    source = source_of(data_set, model.model, model.computing)
    callbacks = LoadCallbacks(console.note, console.note, console.explain, model.may_pull(console, []))
    loaded = source.load(callbacks)
    evaluated = EvaluatedModel(loaded.name, loaded.revision, model.computing)
    with ExitStack() as stack:
        run = _runner(source, loaded, cluster, console, stack=stack)
        del loaded  # which the runner may hold, or not
        summary = run_evaluation(data_set, evaluated, run, out=out, overwrite=overwrite, console=console)
    if json:
        write_json_record(dict(summary))
    else:
        write_stdout("\n".join(map(one_line, table(summary))) + "\n")
    raise typer.Exit(ExitCode.SOME_FAILED if summary["failed"] else ExitCode.OK)


def _runner(
    source: "EvaluatedSource", model: "VisionModel", cluster: ClusterOptions, console: Console, *, stack: "ExitStack"
) -> "SampleRunner":
    """Return what runs the samples: this process, or a cluster that the stack disconnects."""
    from functools import partial

    if not cluster.ray:
        from mdtool.jobs.evals.run_samples import run_samples

        return partial(run_samples, model)
    from mdtool.cluster.ray_samples import RaySamples

    pool = stack.enter_context(cluster.connected(source.computing.device))
    console.note(f"actors on Ray: {pool.share}")
    return RaySamples(pool, source)


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


def evaluate_speed_quality(
    *,
    task: Annotated[
        str | None,
        typer.Argument(
            help="A task of `mdtool eval`, with its --data. Default: drawn scenes, which pocket knows.",
            metavar="[TASK]",
            autocompletion=task_names,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="The data set of the task, as for `mdtool eval TASK`.", metavar="PATH")
    ] = None,
    images: Images = None,
    prompts: Wording = "reference",
    limit: Limit = None,
    scenes: Annotated[int, typer.Option(min=1, help="Number of drawn scenes.", metavar="N")] = 100,
    model: ModelName = "pocket",
    device: Device = "auto",
    dtype: Dtype = None,
    quantize: Annotated[
        str, typer.Option(help="Values of --quantize to measure.", metavar="SCHEME,...")
    ] = "none,int8,int4",
    detail: Annotated[
        str | None,
        typer.Option(
            help="Values of --detail to measure. Default: low,auto,high, unless --max-image-tokens is given.",
            metavar="LEVEL|N,...",
        ),
    ] = None,
    max_image_tokens: Annotated[
        str | None,
        typer.Option(
            help="Values of --max-image-tokens to measure, for models with images of any size.", metavar="N,..."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw quality against seconds a picture into this PNG file.", metavar="FILE")
    ] = None,
    overwrite: Overwrite = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines: one object per setting.")] = False,
    verbose: Verbose = False,
) -> None:
    """Measure what speed costs in quality: a model at several resolutions and quantisations.

    The time of a picture is that of encoding it and of all questions about it, batched as in an evaluation.

    \b
    mdtool eval speed-quality --model pocket --plot speed-quality.png
    mdtool eval speed-quality textvqa --data val.parquet --limit 500 --model lfm2-vl-450m --max-image-tokens 64,256
    """
    from contextlib import ExitStack
    from dataclasses import asdict

    from mdtool.cli.values import parsed
    from mdtool.errors import output_errors_for
    from mdtool.jobs.evals import speed_quality as job
    from mdtool.jobs.evals.evaluate_set import DataSet, check
    from mdtool.jobs.evals.speed_quality_plot import plot as draw_plot
    from mdtool.jobs.evals.tasks.table import TASKS
    from mdtool.media.files.atomic_file import AtomicFile
    from mdtool.model_selection import ComputeConfig, LoadCallbacks

    if task is not None and task not in TASKS:
        raise UsageError(f"{task}: there is no such task; there are {', '.join(TASKS)}")
    if (task is None) != (data is None):
        raise UsageError("give a TASK together with its --data, or neither of them for drawn scenes")
    if plot and plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {plot}: the plot is a PNG file; let its name end in .png")
    tokens = parsed("--max-image-tokens", _counts, max_image_tokens) or []
    levels = _names(detail) if detail else ([] if tokens else ["low", "auto", "high"])
    settings = job.settings_of(ComputeConfig(device, dtype), _names(quantize), levels, tokens)
    measure, on = job.on_scenes(scenes), f"{scenes} drawn scenes"
    if task is not None and data is not None:
        data_set = DataSet(TASKS[task], data, images, prompts, limit)
        check(data_set)
        measure, on = job.on_data_set(data_set), task
    callbacks = LoadCallbacks(explain=Console(verbose=verbose).explain)
    points = []
    with ExitStack() as stack:
        if plot:
            with output_errors_for(plot):  # so that a plot which can't be written ends the run at once
                file = stack.enter_context(AtomicFile(plot, overwrite))
        for point in job.measure_all(model, settings, measure, callbacks):
            points.append(point)
            if json:
                write_json_record({"model": model, "on": on, **asdict(point)})
        if plot:
            with output_errors_for(plot):
                draw_plot(points, f"{Path(model).name} on {on}").save(file.part, "PNG")
                file.commit()
    if not json:
        write_stdout("\n".join(map(one_line, job.table(points))) + "\n")


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _counts(text: str) -> list[int]:
    numbers = [int(name) if name.isdecimal() else 0 for name in _names(text)]
    if not numbers or 0 in numbers:
        raise ValueError(f"{text!r} should be whole numbers above 0, with commas between them")
    return numbers
