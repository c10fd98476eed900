"""`mdtool redact`: hides what was asked for."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import FrameOptions, OnError, OnErrorOption, SpanOptions, Threshold
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import EncodingOptions, Findings, LiveOptions, Media, Overwrite, output_named
from mdtool.cli.options.printing import RunPrinting
from mdtool.cli.options.style import DEFAULT_STYLE, RegionFilterOptions, StyleOptions


class StyleName(StrEnum):
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


@dataclass(frozen=True)
class HiddenRegionOptions(RegionFilterOptions):
    only: Annotated[
        list[str], typer.Option(help="Hide only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Frames(FrameOptions):
    max_calls: Annotated[
        int | None,
        typer.Option(
            min=1, help="Let the model look at no more frames than this; what can't be judged then is hidden whole."
        ),
    ] = None


@grouped
def redact(
    *,
    inputs: Media,
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="What to hide, in plain words. Repeatable.")] = [
        "face"
    ],
    output: Annotated[str | None, output_named("redacted")] = None,
    overwrite: Overwrite = False,
    style: Annotated[
        StyleName,
        typer.Option(
            help="What is painted: a few averaged cells, smooth or square, one colour, "
            "or cells nearly lost in the colour around."
        ),
    ] = StyleName.blur,
    style_options: StyleOptions = DEFAULT_STYLE,
    color: Annotated[str, typer.Option(help="For --style solid: #rrggbb or a name.")] = "black",
    hidden: HiddenRegionOptions,
    threshold: Threshold = None,
    frames: Frames,
    span: SpanOptions,
    model: ModelOptions,
    on_error: OnErrorOption = OnError.stop,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None,
        typer.Option(help="Hide what this file of findings says (- for stdin, as they come); no model is used."),
    ] = None,
    encoding: EncodingOptions,
    live: LiveOptions,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    printing: RunPrinting,
) -> None:
    """Hide what you name in videos and photos: every frame, with sound, times and size as they were.

    mdtool redact in.mp4                          every face, to in.redacted.mp4

    mdtool redact in.mp4 -o out.mp4 --style solid
    """
    from mdtool.cli.values import check_findings_in, check_outputs, parsed
    from mdtool.jobs.recorded_findings import rereadable
    from mdtool.jobs.redact.dry_run import print_plan
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.redact.job import RedactJob
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_model
    from mdtool.pipeline.findings_file import open_findings
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.detector import object_detector
    from mdtool.tracking.tiles import tile_detector

    request = frames.request(prompt, span, on_error, threshold)
    grid = frames.grid
    redaction = Redaction(style_options.style(style.value), parsed("--color", parse_colour, color), *hidden.parsed)
    played, console = live.live, printing.console
    sources = find_inputs(inputs)
    targets = Targets(output, ".redacted", is_many(sources, inputs), overwrite)
    inference = None
    if not from_findings:
        computing = model.computing
        callbacks = LoadCallbacks(note=console.note, explain=console.explain)
        loaded_model = load_model(model.model, "detect", prompt, computing, threshold=threshold, callbacks=callbacks)
        detect = tile_detector(object_detector(loaded_model, prompt, threshold), grid)
        inference = ModelInference(request, detect, loaded_model.name, {"computing": computing, "tiles": frames.tiles})
    if dry_run:
        raise typer.Exit(print_plan(sources, targets, request, inference))
    check_outputs(output, findings, printing.json)
    check_findings_in(from_findings, inputs)
    plays = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    with (
        open_findings(findings, overwrite, read, live=plays) as file,
        rereadable(from_findings, sources) as recorded,
    ):
        known = inference or recorded
        assert known
        code = RedactJob(redaction, known, prompt, encoding.output_options, played, targets, console, file).run(sources)
    raise typer.Exit(code)
