"""`mdtool moderate`: holds pictures and videos against a policy."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli.options.frames import FrameOptions, OnError, OnErrorOption, SpanOptions
from mdtool.cli.options.grouped import grouped
from mdtool.cli.options.model import ModelOptions
from mdtool.cli.options.outputs import EncodingOptions, Findings, LiveOptions, Media, Overwrite, output_named
from mdtool.cli.options.printing import RunPrinting
from mdtool.cli.options.style import StyleOptions


class ActionName(StrEnum):
    flag = "flag"
    blur = "blur"
    pixelate = "pixelate"
    solid = "solid"
    obfuscate = "obfuscate"
    cover = "cover"
    mute = "mute"
    cut = "cut"


def policy_names() -> list[str]:
    """For the completion of shells. Paths are left to the shell."""
    from mdtool.jobs.moderate.find_policy import presets

    return presets()


@dataclass(frozen=True)
class ThresholdOptions:
    """How much must be seen for it to count."""

    min_seconds: Annotated[
        float | None, typer.Option(help="With --prompt: shorter spans do not count. Default: all do.")
    ] = None
    min_share: Annotated[
        float | None,
        typer.Option(help="With --prompt: frames of which less shows it, 0 to 1, do not count. Default: all do."),
    ] = None
    min_times: Annotated[
        int | None, typer.Option(help="With --prompt: the model must see it on so many frames. Default: one is enough.")
    ] = None
    min_score: Annotated[
        float | None,
        typer.Option(help="With --prompt: how sure the model must be, 0 to 1, if it says so. Default: the model's."),
    ] = None

    @property
    def given(self) -> dict[str, object]:
        """Those that have a value, by name."""
        from mdtool.cli.values import given

        return given(**vars(self))


@dataclass(frozen=True)
class AreaOptions:
    """Where in the picture it counts."""

    keep: Annotated[
        list[str],
        typer.Option(help="With --prompt: leave out what has its centre in X0,Y0,X1,Y1 (fractions or pixels)."),
    ] = field(default_factory=list)
    only: Annotated[
        list[str], typer.Option(help="With --prompt: only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = field(default_factory=list)


@dataclass(frozen=True)
class Frames(FrameOptions):
    max_calls: Annotated[
        int | None,
        typer.Option(min=1, help="Let the model look at no more frames than this; the others can't be judged then."),
    ] = None


@dataclass(frozen=True)
class Printing(RunPrinting):
    json: Annotated[bool, typer.Option("--json", help="Print the verdict on each input on stdout, as JSON Lines.")] = (
        False
    )


@grouped
def moderate(
    *,
    inputs: Media,
    policy: Annotated[
        str | None,
        typer.Option(
            help="What is not wanted, and what is done about it: a preset, or a TOML file.",
            metavar="NAME|FILE",
            autocompletion=policy_names,
        ),
    ] = None,
    prompt: Annotated[
        list[str],
        typer.Option("--prompt", "-p", help="What is not wanted, in plain words, in place of a policy. Repeatable."),
    ] = [],
    action: Annotated[
        ActionName | None,
        typer.Option(
            help="With --prompt: flag it, hide what was found, cover the frame, mute the sound, or cut the span. "
            "Default: flag."
        ),
    ] = None,
    style_options: StyleOptions,
    color: Annotated[str, typer.Option(help="Of what is solid or covered: #rrggbb or a name.")] = "black",
    limits: ThresholdOptions,
    places: AreaOptions,
    report_only: Annotated[bool, typer.Option("--report-only", help="Judge only; write no copy.")] = False,
    fail_on: Annotated[
        list[str],
        typer.Option(
            help="End with exit code 5 if this rule is hit; any: if one is or a frame could not be judged. Repeatable.",
            metavar="RULE|any",
        ),
    ] = [],
    report: Annotated[
        Path | None, typer.Option(help="Write a page about all inputs: an HTML file that needs no network.")
    ] = None,
    output: Annotated[str | None, output_named("moderated")] = None,
    overwrite: Overwrite = False,
    frames: Frames,
    span: SpanOptions,
    model: ModelOptions,
    on_error: OnErrorOption = OnError.stop,
    findings: Findings = None,
    from_findings: Annotated[
        Path | None, typer.Option(help="Judge by this file of findings (- for stdin); no model is used.")
    ] = None,
    encoding: EncodingOptions,
    live: LiveOptions,
    printing: Printing,
) -> None:
    """Judge videos and photos by a policy, and hide, mute or cut what breaks it.

    The copy is NAME.moderated.EXT; what the policy says goes to stderr, or with --json to stdout.

    mdtool moderate in.mp4 --policy family

    mdtool moderate in.mp4 --prompt gun --prompt "white cigarette" --action blur

    mdtool moderate upload.mp4 --policy family --report-only --fail-on any && publish upload.mp4
    """
    from contextlib import ExitStack

    from mdtool.cli.values import check_findings_in, check_outputs, check_report, parsed, parsed_regions
    from mdtool.errors import UsageError
    from mdtool.jobs.moderate.job import ModerateJob, check_rules
    from mdtool.jobs.moderate.policy_selection import PromptRules, choose_policy
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.model_selection import LoadCallbacks, load_model
    from mdtool.pipeline.findings_file import open_findings, spooled
    from mdtool.pipeline.run import ModelInference
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.tracking.detector import detector_with_questions
    from mdtool.tracking.tiles import tile_detector

    regions = parsed_regions("--only", places.only), parsed_regions("--keep", places.keep)
    rules = choose_policy(
        policy, PromptRules(prompt, action and action.value, style_options.given, limits.given, *regions)
    )
    check_rules(rules, fail_on)
    if from_findings and (span.start or span.end):
        raise UsageError("--from and --to: can't go with --from-findings, whose frames are judged already")
    if report_only and output:
        raise UsageError("-o: nothing is written with --report-only; leave one of them out")
    request = frames.request(rules.prompts, span, on_error)
    grid = frames.grid
    colour = parsed("--color", parse_colour, color)
    played, console = live.live, printing.console
    sources = find_inputs(inputs)
    targets = Targets(output, ".moderated", is_many(sources, inputs), overwrite)
    check_outputs(output, findings, printing.json)
    plays = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    check_findings_in(from_findings, inputs)
    check_report(report, [output, findings], read)
    with ExitStack() as stack:
        if from_findings:
            known: ModelInference | Path = stack.enter_context(spooled(from_findings))
        else:
            computing = model.computing
            loaded_model = load_model(
                model.model, "detect", rules.prompts, computing,
                questions=rules.questions, callbacks=LoadCallbacks(note=console.note, explain=console.explain),
            )  # fmt: skip
            detect = tile_detector(
                detector_with_questions(loaded_model, rules.prompts, rules.questions),
                grid,
                tile_detect=detector_with_questions(loaded_model, rules.prompts),
            )
            known = ModelInference(request, detect, loaded_model.name, {"computing": computing, "tiles": frames.tiles})
        file = stack.enter_context(open_findings(findings, overwrite, read, live=plays))
        moderating = ModerateJob(
            rules, known, encoding.output_options, targets, console, played, report_only, colour, fail_on, file, report
        )
        code = moderating.run(sources, f"Moderation: {policy or ', '.join(prompt)}")
    raise typer.Exit(code)
