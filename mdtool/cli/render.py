"""`mdtool render`: draws findings again, in another way."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli import options


class StyleName(StrEnum):
    boxes = "boxes"
    hitmarker = "hitmarker"
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


DRAWN = (StyleName.boxes, StyleName.hitmarker)  # these hide nothing


def render(
    findings: Annotated[
        Path, typer.Argument(help="A file of findings, or - for stdin.", metavar="FINDINGS", show_default=False)
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="What they are of: videos, photos, animations, folders, globs. Default: the files they name.",
            metavar="[INPUT...]",
            show_default=False,
        ),
    ] = [],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, a folder (which mirrors the input tree), or - for stdout. Default: NAME.drawn.EXT.",
        ),
    ] = None,
    overwrite: options.OverwriteOutputs = False,
    style: Annotated[
        StyleName, typer.Option(help="boxes and hitmarker show what was found, the others hide it as redact does.")
    ] = StyleName.boxes,
    strength: options.Strength = 0.33,
    shape: options.Shape = options.ShapeName.box,
    margin: options.Margin = None,
    feather: options.Feather = 0.0,
    color: Annotated[
        str | None,
        typer.Option(help="#rrggbb or a name. Default: of boxes one a track, of hitmarkers white, of solid black."),
    ] = None,
    keep: options.Keep = [],
    only: Annotated[
        list[str], typer.Option(help="Draw only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = [],
    min_size: options.MinSize = None,
    label: Annotated[list[str], typer.Option(help="Draw only what has this label. Repeatable.")] = [],
    codec: options.Codec = None,
    crf: options.Crf = None,
    preset: options.Preset = None,
    pixel_format: options.PixelFormat = None,
    format: options.Format = None,
    keep_metadata: options.KeepMetadata = False,
    json: options.Summaries = False,
    quiet: options.QuietToo = False,
) -> None:
    """Draw findings again, in any style, without a model.

    mdtool render found.jsonl                                boxes with labels, to NAME.drawn.EXT

    mdtool render found.jsonl in.mp4 --style obfuscate -o out.mp4
    """
    from contextlib import ExitStack

    from engine.contract import normalise
    from mdtool.cli.values import check_findings_in, check_outputs, checked, given, parsed
    from mdtool.console import Console
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.render.effect import Marking, OnlyLabelled
    from mdtool.jobs.render.job import Rendering, check_labels, contents_of, sources_of
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.media.video.encoding import Encoding
    from mdtool.pipeline.findings_file import spooled
    from mdtool.pipeline.run import Form, Treatment
    from mdtool.pipeline.targets import Targets, is_many
    from recipes.redact import Style
    from recipes.regions import parse_region, parse_size

    look = checked(
        Style,
        name="solid" if style in DRAWN else style.value,
        **given(strength=strength, shape=shape, feather=feather, margin=margin),
    )
    colour = parsed("--color", parse_colour, color)
    chosen = (
        tuple(parsed("--keep", parse_region, text) for text in keep),
        tuple(parsed("--only", parse_region, text) for text in only),
        parsed("--min-size", parse_size, min_size),
    )
    treatment: Treatment = Redaction(look, colour or (0, 0, 0), *chosen)
    if style in DRAWN:
        treatment = Marking("boxes" if style is StyleName.boxes else "hitmarker", colour, *chosen)
    if label:
        treatment = OnlyLabelled(treatment, frozenset(map(normalise, label)))
    form = Form(Encoding(codec, crf, preset, pixel_format), format, keep_metadata)
    console = Console(quiet, json)
    check_outputs(output, None, json)
    check_findings_in(findings, inputs)
    named = find_inputs(inputs) if inputs else []
    with ExitStack() as stack:
        recorded = findings
        if len(named) != 1 or label:
            recorded = stack.enter_context(spooled(findings))
            contents = contents_of(recorded)
            check_labels(label, contents)
        sources = named or sources_of(contents, console)
        many = is_many(named, inputs) if named else len(contents.sources) > 1
        targets = Targets(output, ".drawn", many, overwrite)
        raise typer.Exit(Rendering(treatment, recorded, form, targets, console).run(sources))
