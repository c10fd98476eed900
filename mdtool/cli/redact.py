"""`mdtool redact`: hides what was asked for."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli import options


class StyleName(StrEnum):
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


def redact(
    inputs: options.Media,
    prompt: Annotated[list[str], typer.Option("--prompt", "-p", help="What to hide, in plain words. Repeatable.")] = [
        "face"
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, a folder (which mirrors the input tree), or - for stdout. Default: NAME.redacted.EXT.",
        ),
    ] = None,
    overwrite: options.OverwriteOutputs = False,
    style: Annotated[
        StyleName,
        typer.Option(
            help="What is painted: a few averaged cells, smooth or square, one colour, "
            "or cells nearly lost in the colour around."
        ),
    ] = StyleName.blur,
    strength: options.Strength = 0.33,
    shape: options.Shape = options.ShapeName.box,
    margin: options.Margin = None,
    feather: options.Feather = 0.0,
    color: Annotated[str, typer.Option(help="For --style solid: #rrggbb or a name.")] = "black",
    keep: options.Keep = [],
    only: Annotated[
        list[str], typer.Option(help="Hide only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = [],
    min_size: options.MinSize = None,
    threshold: options.Threshold = None,
    sample: options.Sample = "auto",
    max_calls: Annotated[
        int | None,
        typer.Option(
            min=1, help="Let the model look at no more frames than this; what can't be judged then is hidden whole."
        ),
    ] = None,
    tiles: options.Tiles = None,
    start: options.Start = None,
    end: options.End = None,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    quantize: options.Quantize = "none",
    compile: options.Compile = False,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    on_error: options.IfModelFails = options.OnError.stop,
    findings: options.Findings = None,
    from_findings: Annotated[
        Path | None,
        typer.Option(help="Hide what this file of findings says (- for stdin, as they come); no model is used."),
    ] = None,
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    pixel_format: options.PixelFormat = None,
    format: options.Format = None,
    keep_metadata: options.KeepMetadata = False,
    delay: options.Delay = "1",
    duration: options.Duration = None,
    segment: options.Segment = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    json: options.Summaries = False,
    quiet: options.QuietToo = False,
    verbose: options.Verbose = False,
) -> None:
    """Hide what you name in videos and photos: every frame, with sound, times and size as they were.

    mdtool redact in.mp4                          every face, to in.redacted.mp4

    mdtool redact in.mp4 -o out.mp4 --style solid
    """
    from mdtool.cli.live import checked_live
    from mdtool.cli.values import check_findings_in, check_outputs, checked, given, parsed, seconds
    from mdtool.console import Console
    from mdtool.jobs.recorded_findings import rereadable
    from mdtool.jobs.redact.dry_run import print_plan
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.redact.job import Redacting
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.media.video.encoding import Encoding
    from mdtool.model_selection import Computing, load_model
    from mdtool.pipeline.annotate import Question
    from mdtool.pipeline.run import Form, Inquiry
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.records.findings import opened_for_writing
    from mdtool.tracking.detector import finding
    from mdtool.tracking.sampling import parse_sampling
    from mdtool.tracking.tiles import parse_tiles, tiled
    from recipes.redact import Style
    from recipes.regions import parse_region, parse_size

    question = Question(
        prompts=tuple(prompt),
        threshold=threshold,
        sampling=parse_sampling(sample),
        max_calls=max_calls,
        start=parsed("--from", seconds, start),
        end=parsed("--to", seconds, end),
        blank_errors=on_error is options.OnError.blank,
    )
    grid = parsed("--tiles", parse_tiles, tiles)
    redaction = Redaction(
        style=checked(Style, name=style.value, **given(strength=strength, shape=shape, feather=feather, margin=margin)),
        colour=parsed("--color", parse_colour, color),
        keep=tuple(parsed("--keep", parse_region, text) for text in keep),
        only=tuple(parsed("--only", parse_region, text) for text in only),
        min_size=parsed("--min-size", parse_size, min_size),
    )
    live = checked_live(delay, duration, segment)
    form = Form(Encoding(codec, crf, preset, pixel_format), format, keep_metadata)
    console = Console(quiet, json, verbose)
    sources = find_inputs(inputs)
    targets = Targets(output, ".redacted", is_many(sources, inputs), overwrite)
    inquiry = None
    if not from_findings:
        computing = Computing(device, dtype, quantize, compile, detail, resize)
        asked = load_model(model, "detect", prompt, computing, threshold, note=console.note, explain=console.explain)
        see = tiled(finding(asked, prompt, threshold), grid)
        inquiry = Inquiry(question, see, asked.name, {"computing": computing, "tiles": tiles})
    if dry_run:
        raise typer.Exit(print_plan(sources, targets, question, inquiry))
    check_outputs(output, findings, json)
    check_findings_in(from_findings, inputs)
    plays = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    with (
        opened_for_writing(findings, overwrite, read, live=plays) as file,
        rereadable(from_findings, sources) as recorded,
    ):
        known = inquiry or recorded
        assert known
        code = Redacting(redaction, known, prompt, form, live, targets, console, file).run(sources)
    raise typer.Exit(code)
