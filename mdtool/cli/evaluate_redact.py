"""`mdtool eval redact`: redactions against ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import Sample, Threshold
from mdtool.cli.options.model import ModelName
from mdtool.console import Console
from mdtool.errors import ExitCode
from mdtool.escaping import one_line
from mdtool.stdout import write_json_record, write_stdout

Prompts = Annotated[
    list[str],
    typer.Option(
        "--prompt", "-p", help="Object to mask; true boxes with other labels are ignored. Repeatable.", metavar="TEXT"
    ),
]
Margin = Annotated[float | None, typer.Option(help="As for redact.", metavar="FRACTION")]
Detail = Annotated[str, typer.Option(help="As for redact.", metavar="LEVEL|N")]


def evaluate_redact(
    *,
    clip: Annotated[
        Path,
        typer.Argument(
            help="A video, an image, a MOT sequence, or a folder of these, of WIDER FACE, or exported from CVAT.",
            metavar="CLIP",
        ),
    ],
    truth: Annotated[
        Path | None,
        typer.Argument(
            help="Ground truth: our JSON, MOT (.txt), CVAT for video or images (.xml), a WIDER FACE list, or a folder "
            "of such files. Default: next to each clip, CLIP.gt.json, CLIP.gt.txt or CLIP.gt.xml.",
            metavar="[TRUTH]",
        ),
    ] = None,
    prompt: Prompts = ["face"],
    sample: Sample = "auto",
    margin: Margin = None,
    threshold: Threshold = None,
    detail: Detail = "auto",
    model: ModelName = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first N clips.", metavar="N")] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print JSON, with every object left unmasked on every frame. For a folder JSON Lines; the last has "
            "the sums.",
        ),
    ] = False,
) -> None:
    """Evaluate redactions: area of true boxes left unmasked, other area masked, model calls, and recall.

    Prints a table, and for a folder another with the share of objects that are hidden, by height and attribute.

    \b
    mdtool eval redact clip.mp4 clip.mp4.gt.json --sample every
    mdtool eval redact clips/ --json
    mdtool eval redact photos/ annotations.xml -p plate --model moondream2
    mdtool eval redact MOT17/train -p person --model moondream2
    mdtool eval redact WIDER/ --model centerface --limit 500
    """
    from mdtool.jobs.each_input import each_input
    from mdtool.jobs.evals.exposure import Exposure, recall_table, table, total
    from mdtool.jobs.evals.ground_truth.clips import find_clips, left_out
    from mdtool.jobs.evals.redaction import evaluate_redaction
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.media.sources.inputs import Input
    from mdtool.model_selection import ComputeConfig, load_model
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.tracking.sampling import parse_sampling
    from recipes.redact import MARGIN, Style

    request = AnalysisRequest(tuple(prompt), threshold, parse_sampling(sample))
    redaction = Redaction(Style("solid", margin=MARGIN if margin is None else margin))
    found = find_clips(clip, truth)
    without = left_out(clip, truth, found)
    clips = {Input(one.media, Path(one.name), str(one.media)): one for one in found[:limit]}
    is_folder = clip.is_dir()
    loaded = load_model(model, "detect", prompt, ComputeConfig(detail=detail), threshold=threshold)
    console = Console()
    for name in without.clips:
        console.note(f"{name}: left out, since there is no ground truth of it")
    for name in without.truths:
        console.note(f"{name}: left out, since there is no clip that it is the ground truth of")
    exposures: list[Exposure] = []

    def evaluate(source: Input) -> ExitCode:
        exposure = evaluate_redaction(clips[source], loaded, request=request, redaction=redaction)
        exposures.append(exposure)
        if json:
            write_json_record(exposure.as_dict())
        if is_folder:
            console.progress(str(clip), len(exposures), len(clips), exposure.clip)
        return ExitCode.OK

    code = each_input(list(clips), evaluate, console)
    console.clear()
    if json and is_folder:
        counts = {"clips_left_out": len(without.clips), "truths_left_out": len(without.truths)}
        write_json_record(total(exposures).total_as_dict(len(exposures)) | counts)
    elif exposures and not json:
        rows = [*exposures, total(exposures)] if len(exposures) > 1 else exposures
        lines = [*table(rows), *(["", *recall_table(total(exposures))] if is_folder else [])]
        if without.clips or without.truths:
            line = f"left out: {len(without.clips)} clips, {len(without.truths)} files of ground truth"
            lines += ["", line]
        write_stdout("\n".join(map(one_line, lines)) + "\n")
    raise typer.Exit(code)
