"""`mdtool render`: draws findings again, in another way."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.outputs import EncodingOptions, Overwrite, output_named
from mdtool.cli.options.printing import SummaryPrinting
from mdtool.cli.options.style import DEFAULT_STYLE, RegionFilterOptions, StyleOptions


class StyleName(StrEnum):
    boxes = "boxes"
    hitmarker = "hitmarker"
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


DRAWN = (StyleName.boxes, StyleName.hitmarker)  # these hide nothing


@dataclass(frozen=True)
class DrawnRegionOptions(RegionFilterOptions):
    only: Annotated[
        list[str], typer.Option(help="Draw only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = field(default_factory=list)


@grouped
def render(
    *,
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
    output: Annotated[str | None, output_named("drawn")] = None,
    overwrite: Overwrite = False,
    style: Annotated[
        StyleName, typer.Option(help="boxes and hitmarker show what was found, the others hide it as redact does.")
    ] = StyleName.boxes,
    style_options: StyleOptions = DEFAULT_STYLE,
    color: Annotated[
        str | None,
        typer.Option(help="#rrggbb or a name. Default: of boxes one a track, of hitmarkers white, of solid black."),
    ] = None,
    drawn: DrawnRegionOptions,
    label: Annotated[list[str], typer.Option(help="Draw only what has this label. Repeatable.")] = [],
    encoding: EncodingOptions,
    printing: SummaryPrinting,
) -> None:
    """Draw findings again, in any style, without a model.

    mdtool render found.jsonl                                boxes with labels, to NAME.drawn.EXT

    mdtool render found.jsonl in.mp4 --style obfuscate -o out.mp4
    """
    from contextlib import ExitStack

    from engine.contract import normalize_prompt
    from mdtool.cli.values import check_findings_in, check_outputs, parsed
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.render.effect import LabelFilter, OverlayEffect
    from mdtool.jobs.render.job import RenderJob, check_labels, contents_of, sources_of
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.pipeline.findings_file import spooled
    from mdtool.pipeline.run import Effect
    from mdtool.pipeline.targets import Targets, is_many

    hiding = style_options.style("solid" if style in DRAWN else style.value)
    colour = parsed("--color", parse_colour, color)
    chosen = drawn.parsed
    effect: Effect = Redaction(hiding, colour or (0, 0, 0), *chosen)
    if style in DRAWN:
        effect = OverlayEffect("boxes" if style is StyleName.boxes else "hitmarker", colour, *chosen)
    if label:
        effect = LabelFilter(effect, frozenset(map(normalize_prompt, label)))
    console = printing.console
    check_outputs(output, None, printing.json)
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
        raise typer.Exit(RenderJob(effect, recorded, encoding.output_options, targets, console).run(sources))
