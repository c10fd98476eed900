"""`mdtool gaze`: estimate where people look."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import RotateView, RotateViewOption, Sample, SpanOptions, Threshold
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import (
    EncodingOptions,
    Findings,
    ForceFindings,
    LiveOptions,
    Media,
    Overwrite,
    ReportOnly,
    output_named,
)
from mdtool.cli.options.printing import RunPrinting
from mdtool.cli.over_files import over_files, part_of


@over_files("gaze")
@grouped
def gaze(
    *,
    ctx: typer.Context,
    inputs: Media,
    output: Annotated[str | None, output_named("gaze")] = None,
    overwrite: Overwrite = False,
    report_only: ReportOnly = False,
    target: Annotated[
        list[str],
        typer.Option(
            "--target", "-t", help="Object that may be looked at, in plain words. Repeatable.", metavar="TEXT"
        ),
    ] = [],
    accurate: Annotated[
        bool,
        typer.Option("--accurate", help="Average twenty predictions for each face, half of them of mirrored frames."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed for --accurate.", metavar="N")] = 0,
    jsonl: Annotated[
        str | None,
        typer.Option(help="Write smoothed gazes to this file as JSON Lines (- for stdout).", metavar="FILE|-"),
    ] = None,
    heatmap: Annotated[
        str | None,
        typer.Option(
            help="Write a gaze heatmap over a frame of the input: a PNG file, or a folder.", metavar="FILE|DIR"
        ),
    ] = None,
    threshold: Threshold = None,
    sample: Sample = "fps=5",
    rotate_view: RotateViewOption = RotateView.auto,
    span: SpanOptions,
    model: ModelOptions,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None,
        typer.Option(help="Draw the gazes in this findings file instead of running a model.", metavar="FILE"),
    ] = None,
    force_findings: ForceFindings = False,
    encoding: EncodingOptions,
    live: LiveOptions,
    printing: RunPrinting,
) -> None:
    """Estimate where people look in videos and images.

    Writes a copy with each face, its gaze direction and gaze target, and a summary of who looked at what for how long:
    on stderr, or with --json on stdout. A Moondream estimates the gaze of the eyes; the embedded face model only the
    direction of the head, drawn as a dashed line.

    \b
    mdtool gaze in.mp4                            to in.gaze.mp4
    mdtool gaze in.mp4 -t screen -t cup --jsonl gaze.jsonl --heatmap heatmap.png
    mdtool gaze in.mp4 --report-only --jsonl - | jq -c .mutual
    """
    from mdtool.cli.values import check_forced, check_no_copy, check_not_blank, check_outputs
    from mdtool.errors import ExitCode, UsageError
    from mdtool.jobs.gaze.detector import FACE, GazeAveraging, gaze_detector
    from mdtool.jobs.gaze.job import GazeJob, HeatmapOutput
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_gaze_model
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.pipeline.findings_file import open_findings
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.sampling import parse_sampling

    check_forced(force_findings, from_findings)
    check_not_blank("--target", target)
    prompts = (FACE, *dict.fromkeys(target))
    if FACE in target:
        raise UsageError(f"--target {FACE}: faces are always detected; name other objects")
    if report_only and output:
        raise UsageError(f"-o {output}: --report-only writes no copy; leave one out")
    check_no_copy(findings, from_findings)
    check_outputs(output, findings, printing.json, jsonl=jsonl, heatmap=heatmap)
    request = AnalysisRequest(prompts, threshold, parse_sampling(sample), None, *span.seconds)
    live_options, console = live.live, printing.console
    sources = find_inputs(inputs, console.note)
    many = is_many(sources, inputs)
    known: ModelInference | Path
    if from_findings:
        known = from_findings
    else:
        computing = model.computing
        callbacks = LoadCallbacks(console.note, console.note, console.explain, model.may_pull(console, inputs))
        loaded = load_gaze_model(
            model.model, prompts, computing,
            accurate=accurate, threshold=threshold, callbacks=callbacks,
        )  # fmt: skip
        detect = gaze_detector(loaded, prompts[1:], threshold, GazeAveraging(seed) if accurate else None)
        viewed = replace(request, view=rotate_view.degrees(loaded.name))
        known = ModelInference(
            viewed, detect, loaded.name, {"computing": computing, "accurate": accurate, "seed": seed}
        )
    targets = None if report_only else Targets(output, ".gaze", many, overwrite, sources)
    heatmaps = HeatmapOutput(heatmap, many, overwrite) if heatmap else None
    any_live = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    data_file = next((Path(name) for name in (jsonl, findings, heatmap) if name and name != "-"), None)
    with (
        open_findings(findings, overwrite, read, live=any_live) as found,
        open_findings(jsonl, overwrite, read, option="--jsonl", live=any_live) as lines,
    ):
        job = GazeJob(
            known,
            prompts,
            encoding.output_options,
            targets,
            many,
            heatmaps,
            console,
            live_options,
            found,
            lines,
            data_file,
            force_findings,
            part_of(ctx),
        )
        code = job.run(sources)
        if code == ExitCode.CANT_WRITE:
            raise typer.Exit(code)  # in here, so that a part of the records gets no name
    raise typer.Exit(code)
