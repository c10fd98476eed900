"""`mdtool redact`: mask faces and other objects."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import FrameOptions, OnError, OnErrorOption, SpanOptions, Threshold
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import (
    EncodingOptions,
    Findings,
    ForceFindings,
    LiveOptions,
    Media,
    Overwrite,
    output_named,
)
from mdtool.cli.options.printing import RunPrinting
from mdtool.cli.options.selection import SelectionOptions
from mdtool.cli.options.style import DEFAULT_STYLE, RegionFilterOptions, StyleOptions
from mdtool.cli.options.verify import VerifyOptions
from mdtool.cli.over_files import over_files, part_of


class StyleName(StrEnum):
    """How objects are masked."""

    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"


@dataclass(frozen=True)
class HiddenRegionOptions(RegionFilterOptions):
    """Which detections are masked."""

    only: Annotated[
        list[str],
        typer.Option(
            help="Mask only objects that touch this region (fractions or pixels). Repeatable.", metavar="X0,Y0,X1,Y1"
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Frames(FrameOptions):
    """Which frames are analysed."""

    max_calls: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of keyframes to analyse; frames that they leave uncertain are masked whole.",
            metavar="N",
        ),
    ] = None


@over_files("redacted")
@grouped
def redact(
    *,
    ctx: typer.Context,
    inputs: Media,
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt",
            "-p",
            help="Object to mask, in plain words. Repeatable. With --from-findings: mask only what was found for it.",
            metavar="TEXT",
        ),
    ] = ["face"],
    output: Annotated[str | None, output_named("redacted")] = None,
    overwrite: Overwrite = False,
    style: Annotated[
        StyleName,
        typer.Option(
            help="Kind of mask: averaged cells, smooth (blur) or square (pixelate); one colour (solid); or cells close "
            "to the colour around (obfuscate)."
        ),
    ] = StyleName.blur,
    mask: StyleOptions = DEFAULT_STYLE,
    color: Annotated[str, typer.Option(help="Colour for --style solid: #rrggbb or a name.", metavar="COLOR")] = "black",
    hidden: HiddenRegionOptions,
    threshold: Threshold = None,
    frames: Frames,
    span: SpanOptions,
    model: ModelOptions,
    on_error: OnErrorOption = OnError.stop,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None,
        typer.Option(
            help="Mask the objects in this findings file instead of running a model (- for stdin, streamed).",
            metavar="FILE|-",
        ),
    ] = None,
    chosen: SelectionOptions,
    force_findings: ForceFindings = False,
    encoding: EncodingOptions,
    live: LiveOptions,
    verification: VerifyOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan (streams, frames, model calls, time) and exit.")
    ] = False,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Write one picture and exit, NAME.preview.jpg next to the output: nine frames spread over the input, "
            "with boxes, scores and masks. -o FILE.jpg names it.",
        ),
    ] = False,
    printing: RunPrinting,
) -> None:
    """Mask faces and other objects in videos and images.

    Writes a copy in which every detection is masked on every frame, with the same timestamps, audio and size.
    With -o - the copy goes to stdout; with --json a summary of each input does.

    \b
    mdtool redact in.mp4                          faces, to in.redacted.mp4
    mdtool redact in.mp4 -o out.mp4 --style solid
    mdtool redact ./holiday -o ./redacted -p face -p "license plate"
    """
    from mdtool.cli.values import check_exclusive, check_findings_in, check_forced, check_outputs, parsed
    from mdtool.errors import ExitCode
    from mdtool.jobs.recorded_findings import check_selection, models_in, prompts_in, rereadable
    from mdtool.jobs.redact.dry_run import print_plan
    from mdtool.jobs.redact.effect import Redaction
    from mdtool.jobs.redact.job import RedactJob
    from mdtool.jobs.redact.preview import PreviewJob
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_model
    from mdtool.pipeline.findings_file import open_findings
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.detector import object_detector
    from mdtool.tracking.tiles import tile_detector

    check_forced(force_findings, from_findings)
    request = frames.request(prompt, span, on_error, threshold)
    grid = frames.grid
    redaction = Redaction(mask.style(style.value), parsed("--color", parse_colour, color), *hidden.parsed)
    prompt_given = getattr(ctx.get_parameter_source("prompt"), "name", "DEFAULT") != "DEFAULT"
    selection = chosen.selection(from_findings, prompt if from_findings and prompt_given else [])
    live_options, console = live.live, printing.console
    sources = find_inputs(inputs, console.note)
    targets = Targets(output, ".redacted", is_many(sources, inputs), overwrite, sources)
    verifies = verification.sampling is not None
    inference = loaded = None
    if not from_findings:
        computing = model.computing
        may_pull = model.may_pull(console, inputs)
        callbacks = LoadCallbacks(note=console.note, explain=console.explain, may_pull=may_pull)
        loaded = load_model(model.model, "detect", prompt, computing, threshold=threshold, callbacks=callbacks)
        detect = tile_detector(object_detector(loaded, prompt, threshold), grid)
        viewed = replace(request, view=frames.rotate_view.degrees(loaded.name))
        inference = ModelInference(viewed, detect, loaded.name, {"computing": computing, "tiles": frames.tiles})
    check_exclusive("--preview", {"--dry-run": preview and dry_run})
    if dry_run:
        outputs, verified = encoding.output_options, verification.sampling
        raise typer.Exit(print_plan(sources, targets, request, inference, output_options=outputs, verified=verified))
    check_findings_in(from_findings, inputs)
    if preview:
        check_outputs(output, None, printing.json)
        with rereadable(from_findings, sources, again=True) as recorded:
            if recorded:
                check_selection(selection, recorded, sources, targets, console=console)
            shown = inference or recorded
            assert shown
            raise typer.Exit(PreviewJob(redaction, shown, targets, console, selection, force_findings).run(sources))
    check_outputs(output, findings, printing.json)
    any_live = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    with (
        open_findings(findings, overwrite, read, live=any_live) as file,
        rereadable(from_findings, sources, again=verifies or bool(selection) or force_findings) as recorded,
    ):
        hidden_prompts = list(selection.labels) or prompt
        detected_by = {loaded.name} if loaded else set()
        if recorded:
            check_selection(selection, recorded, sources, targets, console=console)
            if verifies:
                detected_by = models_in(recorded, sources, targets)
            if verifies and not prompt_given and not selection.labels:
                hidden_prompts = prompts_in(recorded, sources, targets) or prompt
        known = inference or recorded
        assert known
        job = RedactJob(
            redaction,
            known,
            prompt,
            encoding.output_options,
            live_options,
            targets,
            console,
            file,
            selection,
            verification.verifier(loaded, model, hidden_prompts, threshold, detected_by=detected_by),
            force_findings=force_findings,
            part=part_of(ctx),
        )
        code = job.run(sources)
        if code == ExitCode.CANT_WRITE:
            raise typer.Exit(code)  # in here, so that a part of the records gets no name
    raise typer.Exit(code)
