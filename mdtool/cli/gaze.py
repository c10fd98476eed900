"""`mdtool gaze`: shows where people look, and at whom or what."""

from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import Sample, SpanOptions, Threshold
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import EncodingOptions, Findings, LiveOptions, Media, Overwrite, output_named
from mdtool.cli.options.printing import RunPrinting


@grouped
def gaze(
    *,
    inputs: Media,
    output: Annotated[str | None, output_named("gaze")] = None,
    overwrite: Overwrite = False,
    no_video: Annotated[bool, typer.Option("--no-video", help="Draw nothing: only the data is wanted.")] = False,
    targets: Annotated[
        list[str],
        typer.Option("--targets", "-t", help="A thing that may be looked at, in plain words. Repeatable."),
    ] = [],
    accurate: Annotated[
        bool,
        typer.Option("--accurate", help="Take the mean of twenty gazes for each face and look, half of them mirrored."),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="For --accurate: the same seed gives the same gazes.")
    ] = 0,
    jsonl: Annotated[
        str | None,
        typer.Option(help="Write who looks where, steadied, to this file, as JSON Lines (- for stdout)."),
    ] = None,
    heat: Annotated[
        str | None,
        typer.Option(help="Write a heat map of where people look, over a picture of the input: FILE.png, or a folder."),
    ] = None,
    threshold: Threshold = None,
    sample: Sample = "fps=5",
    span: SpanOptions,
    model: ModelOptions,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None, typer.Option(help="Show what this file of findings says; no model is used.")
    ] = None,
    encoding: EncodingOptions,
    live: LiveOptions,
    printing: RunPrinting,
) -> None:
    """Show where people look in videos and photos: each face, a line, and the point that is looked at.

    A Moondream tells where the eyes look; the embedded face model the direction of the head, drawn as a dashed line.
    At the end comes how long each person looked at whom or what.

    mdtool gaze in.mp4                            to in.gaze.mp4

    mdtool gaze in.mp4 -t screen -t cup --jsonl gaze.jsonl --heat heat.png
    """
    from mdtool.cli.values import check_not_blank, check_outputs
    from mdtool.errors import UsageError
    from mdtool.jobs.gaze.detector import FACE, GazeAveraging, gaze_detector
    from mdtool.jobs.gaze.job import GazeJob, HeatmapOutput
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_gaze_model
    from mdtool.pipeline.annotate import AnalysisRequest
    from mdtool.pipeline.findings_file import open_findings
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.sampling import parse_sampling

    check_not_blank("--targets", targets)
    prompts = (FACE, *dict.fromkeys(targets))
    if FACE in targets:
        raise UsageError(f"--targets {FACE}: faces are found anyway; name other things")
    if no_video and output:
        raise UsageError(f"-o {output}: nothing is drawn with --no-video; leave one of them out")
    if findings and from_findings:
        raise UsageError(f"--findings {findings}: would be those of --from-findings; leave one of them out")
    check_outputs(output, findings, printing.json, jsonl=jsonl, heat=heat)
    request = AnalysisRequest(prompts, threshold, parse_sampling(sample), None, *span.seconds)
    played, console = live.live, printing.console
    sources = find_inputs(inputs)
    many = is_many(sources, inputs)
    known: ModelInference | Path
    if from_findings:
        known = from_findings
    else:
        computing = model.computing
        callbacks = LoadCallbacks(console.note, console.note, console.explain)
        loaded_model = load_gaze_model(
            model.model, prompts, computing,
            accurate=accurate, threshold=threshold, callbacks=callbacks,
        )  # fmt: skip
        detect = gaze_detector(loaded_model, prompts[1:], threshold, GazeAveraging(seed) if accurate else None)
        known = ModelInference(
            request, detect, loaded_model.name, {"computing": computing, "accurate": accurate, "seed": seed}
        )
    drawn = None if no_video else Targets(output, ".gaze", many, overwrite)
    maps = HeatmapOutput(heat, many, overwrite) if heat else None
    plays = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    side_output = next((Path(name) for name in (jsonl, findings, heat) if name and name != "-"), None)
    with (
        open_findings(findings, overwrite, read, live=plays) as found,
        open_findings(jsonl, overwrite, read, option="--jsonl", live=plays) as lines,
    ):
        job = GazeJob(
            known, prompts, encoding.output_options, drawn, many, maps, console, played, found, lines, side_output
        )
        code = job.run(sources)
    raise typer.Exit(code)
