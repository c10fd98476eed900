"""`mdtool moderate`: check videos and images against a policy."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import FrameOptions, OnError, OnErrorOption, SpanOptions
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
from mdtool.cli.options.selection import SelectionOptions
from mdtool.cli.options.style import StyleOptions
from mdtool.cli.over_files import over_files, part_of


class ActionName(StrEnum):
    """What is done about a hit."""

    flag = "flag"
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"
    cover = "cover"
    mute = "mute"
    cut = "cut"


def policy_names() -> list[str]:
    """Return the presets of --policy for shell completion. Paths are left to the shell."""
    from mdtool.jobs.moderate.find_policy import presets

    return presets()


@dataclass(frozen=True)
class ThresholdOptions:
    """When detections count as a hit; field names are the keys of a policy."""

    min_seconds: Annotated[
        float | None,
        typer.Option(help="With --prompt: ignore shorter spans. Default: none.", metavar="SECONDS"),
    ] = None
    min_share: Annotated[
        float | None,
        typer.Option(
            help="With --prompt: ignore frames of which detections cover less than this, 0 to 1. Default: none.",
            metavar="FRACTION",
        ),
    ] = None
    min_times: Annotated[
        int | None,
        typer.Option(help="With --prompt: minimum number of keyframes with a detection. Default: 1.", metavar="N"),
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            help="With --prompt: confidence threshold, 0 to 1. Default: the model's.",
            metavar="SCORE",
        ),
    ] = None

    @property
    def given(self) -> dict[str, object]:
        """The options that have a value, by name."""
        from mdtool.cli.values import given

        return given(**vars(self))


@dataclass(frozen=True)
class AreaOptions:
    """Where in the frame detections count."""

    keep: Annotated[
        list[str],
        typer.Option(
            help="With --prompt: ignore objects whose centre is in this region (fractions or pixels). Repeatable.",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = field(default_factory=list)
    only: Annotated[
        list[str],
        typer.Option(
            help="With --prompt: count only objects that touch this region (fractions or pixels). Repeatable.",
            metavar="X0,Y0,X1,Y1",
        ),
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Frames(FrameOptions):
    """Which frames are analysed."""

    max_calls: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Maximum number of keyframes to analyse; frames that they leave uncertain count as not judged.",
            metavar="N",
        ),
    ] = None


@dataclass(frozen=True)
class Printing(RunPrinting):
    """What is printed."""

    json: Annotated[bool, typer.Option("--json", help="Print the verdict on each input on stdout, as JSON Lines.")] = (
        False
    )


@over_files("moderated")
@grouped
def moderate(
    *,
    ctx: typer.Context,
    inputs: Media,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Policy: a preset, or a TOML file.",
            metavar="NAME|FILE",
            autocompletion=policy_names,
        ),
    ] = None,
    prompt: Annotated[
        list[str],
        typer.Option(
            "--prompt", "-p", help="Object that is not allowed, instead of a policy. Repeatable.", metavar="TEXT"
        ),
    ] = [],
    action: Annotated[
        ActionName | None,
        typer.Option(
            help="What to do where --prompt is found: flag (record it only), blur, pixelate, solid or obfuscate (mask "
            "the object), cover (mask the whole frame), mute (silence the audio) or cut (remove the span). "
            "Default: flag."
        ),
    ] = None,
    mask: StyleOptions,
    color: Annotated[
        str, typer.Option(help="Colour for solid and cover: #rrggbb or a name.", metavar="COLOR")
    ] = "black",
    limits: ThresholdOptions,
    places: AreaOptions,
    report_only: ReportOnly = False,
    fail_on: Annotated[
        list[str],
        typer.Option(
            help="Exit code 5 if this rule is hit; any: if any rule is, or a frame could not be judged. Repeatable.",
            metavar="RULE|any",
        ),
    ] = [],
    report: Annotated[Path | None, typer.Option(help="Write an HTML report on all inputs.", metavar="FILE")] = None,
    output: Annotated[str | None, output_named("moderated")] = None,
    overwrite: Overwrite = False,
    frames: Frames,
    span: SpanOptions,
    model: ModelOptions,
    on_error: OnErrorOption = OnError.stop,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None,
        typer.Option(help="Judge by this findings file instead of running a model (- for stdin).", metavar="FILE|-"),
    ] = None,
    chosen: SelectionOptions,
    force_findings: ForceFindings = False,
    encoding: EncodingOptions,
    live: LiveOptions,
    printing: Printing,
) -> None:
    """Check videos and images against a policy.

    Writes a copy, NAME.moderated.EXT, in which violations are masked, muted or cut. The verdict goes to stderr, or with
    --json to stdout.

    \b
    mdtool moderate in.mp4 --policy family
    mdtool moderate in.mp4 -p gun -p "white cigarette" --action blur
    mdtool moderate in.mp4 --policy family --report-only --fail-on any && echo ok
    """
    from contextlib import ExitStack

    from mdtool.cli.values import (
        check_findings_in,
        check_forced,
        check_no_copy,
        check_outputs,
        check_report,
        parsed,
        parsed_regions,
    )
    from mdtool.errors import ExitCode, UsageError
    from mdtool.jobs.moderate.job import ModerateJob, check_rules
    from mdtool.jobs.moderate.policy_selection import PromptRules, choose_policy
    from mdtool.jobs.recorded_findings import check_selection
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_model
    from mdtool.pipeline.findings_file import open_findings, spooled
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.detector import detector_with_questions
    from mdtool.tracking.tiles import tile_detector

    regions = parsed_regions("--only", places.only), parsed_regions("--keep", places.keep)
    rules = choose_policy(policy, PromptRules(prompt, action and action.value, mask.given, limits.given, *regions))
    check_rules(rules, fail_on)
    check_forced(force_findings, from_findings)
    check_no_copy(findings, from_findings)
    if from_findings and (span.start or span.end):
        raise UsageError("--from and --to: can't be used with --from-findings, which has judged frames; leave them out")
    if report_only and output:
        raise UsageError(f"-o {output}: --report-only writes no copy; leave one out")
    selection = chosen.selection(from_findings, [])
    request = frames.request(rules.prompts, span, on_error)
    grid = frames.grid
    colour = parsed("--color", parse_colour, color)
    live_options, console = live.live, printing.console
    sources = find_inputs(inputs, console.note)
    targets = Targets(output, ".moderated", is_many(sources, inputs), overwrite, sources)
    check_outputs(output, findings, printing.json)
    any_live = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    check_findings_in(from_findings, inputs)
    check_report(report, [output, findings], read)
    with ExitStack() as stack:
        if from_findings:
            recorded = stack.enter_context(spooled(from_findings))
            check_selection(selection, recorded, sources, targets, console=console)
            known: ModelInference | Path = recorded
        else:
            computing = model.computing
            may_pull = model.may_pull(console, inputs)
            callbacks = LoadCallbacks(note=console.note, explain=console.explain, may_pull=may_pull)
            loaded = load_model(
                model.model, "detect", rules.prompts, computing, questions=rules.questions, callbacks=callbacks
            )
            detect = tile_detector(
                detector_with_questions(loaded, rules.prompts, rules.questions),
                grid,
                tile_detect=detector_with_questions(loaded, rules.prompts),
            )
            viewed = replace(request, view=frames.rotate_view.degrees(loaded.name))
            known = ModelInference(viewed, detect, loaded.name, {"computing": computing, "tiles": frames.tiles})
        file = stack.enter_context(open_findings(findings, overwrite, read, live=any_live))
        moderating = ModerateJob(
            rules,
            known,
            encoding.output_options,
            targets,
            console,
            live_options,
            report_only,
            colour,
            fail_on,
            file,
            report,
            selection,
            force_findings,
            side_output=Path(findings) if findings and findings != "-" else None,
            part=part_of(ctx),
        )
        code = moderating.run(sources, f"Moderation: {policy or ', '.join(prompt)}")
        if code == ExitCode.CANT_WRITE:
            raise typer.Exit(code)  # in here, so that a part of the records gets no name
    raise typer.Exit(code)
