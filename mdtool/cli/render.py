"""`mdtool render`: draw findings, or mask them, without a model."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.outputs import EncodingOptions, ForceFindings, Overwrite, output_named
from mdtool.cli.options.printing import SummaryPrinting
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
    label: Annotated[
        list[str], typer.Option(help="Draw only objects with this label. Repeatable.", metavar="TEXT")
    ] = [],
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

    mask_style = mask.style("solid" if style in DRAWN else style.value)
    colour = parsed("--color", parse_colour, color)
    chosen = drawn.parsed
    effect: Effect = Redaction(mask_style, colour or (0, 0, 0), *chosen)
    if style in DRAWN:
        effect = OverlayEffect("boxes" if style is StyleName.boxes else "hitmarker", colour, *chosen)
    if label:
        effect = LabelFilter(effect, frozenset(map(normalize_prompt, label)))
    console = printing.console
    check_outputs(output, None, printing.json)
    check_findings_in(findings, inputs)
    given = find_inputs(inputs) if inputs else []
    with ExitStack() as stack:
        recorded = findings
        if len(given) != 1 or label:
            recorded = stack.enter_context(spooled(findings))
            contents = contents_of(recorded)
            check_labels(label, contents)
        sources = given or sources_of(contents, console)
        many = is_many(given, inputs) if given else len(contents.sources) > 1
        targets = Targets(output, ".drawn", many, overwrite)
        job = RenderJob(effect, recorded, encoding.output_options, targets, console, force_findings)
        raise typer.Exit(job.run(sources))
