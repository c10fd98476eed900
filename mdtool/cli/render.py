"""`mdtool render`: draw findings, or mask them, without a model."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.outputs import EncodingOptions, ForceFindings, Overwrite, output_named
from mdtool.cli.options.printing import SummaryPrinting
from mdtool.cli.options.selection import SelectionOptions
from mdtool.cli.options.style import DEFAULT_STYLE, RegionFilterOptions, StyleOptions


class StyleName(StrEnum):
    """How findings are drawn or masked."""

    boxes = "boxes"
    hitmarker = "hitmarker"
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


DRAWN = (StyleName.boxes, StyleName.hitmarker)  # these mask nothing


@dataclass(frozen=True)
class DrawnRegionOptions(RegionFilterOptions):
    """Which detections are drawn."""

    only: Annotated[
        list[str],
        typer.Option(
            help="Draw only objects that touch this region (fractions or pixels). Repeatable.", metavar="X0,Y0,X1,Y1"
        ),
    ] = field(default_factory=list)


@grouped
def render(
    *,
    findings: Annotated[
        Path, typer.Argument(help="Findings file, or - for stdin.", metavar="FINDINGS", show_default=False)
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Their videos, images, animations, folders or globs. Default: the files that the findings name.",
            metavar="[INPUT...]",
            show_default=False,
        ),
    ] = [],
    output: Annotated[str | None, output_named("drawn")] = None,
    overwrite: Overwrite = False,
    style: Annotated[
        StyleName, typer.Option(help="boxes and hitmarker mark the objects; the others mask them as redact does.")
    ] = StyleName.boxes,
    mask: StyleOptions = DEFAULT_STYLE,
    color: Annotated[
        str | None,
        typer.Option(
            help="#rrggbb or a name. Default: one per track for boxes, white for hitmarker, black for solid.",
            metavar="COLOR",
        ),
    ] = None,
    drawn: DrawnRegionOptions,
    chosen: SelectionOptions,
    force_findings: ForceFindings = False,
    encoding: EncodingOptions,
    printing: SummaryPrinting,
) -> None:
    """Draw findings on videos and images.

    Writes a copy of each input, in any style, without a model. With -o - the copy goes to stdout; with --json a summary
    does.

    \b
    mdtool detect in.mp4 face --jsonl found.jsonl
    mdtool render found.jsonl                                boxes with labels, to in.drawn.mp4
    mdtool render found.jsonl in.mp4 --style obfuscate -o out.mp4
    """
    from contextlib import ExitStack

    from mdtool.cli.values import check_findings_in, check_outputs, parsed
    from mdtool.jobs.recorded_findings import check_selection
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.render.effect import OverlayEffect
    from mdtool.jobs.render.job import RenderJob, sources_of
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.pipeline.findings_file import spooled
    from mdtool.pipeline.run import Effect
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.pipeline.track_selection import contents_of

    mask_style = mask.style("solid" if style in DRAWN else style.value)
    colour = parsed("--color", parse_colour, color)
    regions = drawn.parsed
    effect: Effect = Redaction(mask_style, colour or (0, 0, 0), *regions)
    if style in DRAWN:
        effect = OverlayEffect("boxes" if style is StyleName.boxes else "hitmarker", colour, *regions)
    selection = chosen.selection(findings, [])
    console = printing.console
    check_outputs(output, None, printing.json)
    check_findings_in(findings, inputs)
    given = find_inputs(inputs, console.note) if inputs else []
    with ExitStack() as stack:
        recorded = findings
        if len(given) != 1 or selection:
            recorded = stack.enter_context(spooled(findings))
        contents = None if given else contents_of(recorded)
        sources = sources_of(contents, console) if contents else given
        many = len(contents.sources) > 1 if contents else is_many(given, inputs)
        targets = Targets(output, ".drawn", many, overwrite, sources)
        check_selection(selection, recorded, sources, targets, console=console)
        options = encoding.output_options
        job = RenderJob(effect, recorded, options, targets, console, selection, force_findings)
        raise typer.Exit(job.run(sources))
