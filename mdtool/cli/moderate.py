"""`mdtool moderate`: holds pictures and videos against a policy."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mdtool.cli import options


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
    from mdtool.jobs.moderate.policy_file import presets

    return presets()


def moderate(
    inputs: options.Media,
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
    strength: options.Strength = None,
    shape: options.Shape = None,
    margin: options.Margin = None,
    feather: options.Feather = None,
    color: Annotated[str, typer.Option(help="Of what is solid or covered: #rrggbb or a name.")] = "black",
    min_seconds: Annotated[
        float | None, typer.Option(help="With --prompt: shorter spans do not count. Default: all do.")
    ] = None,
    min_share: Annotated[
        float | None,
        typer.Option(help="With --prompt: frames of which less shows it, 0 to 1, do not count. Default: all do."),
    ] = None,
    min_times: Annotated[
        int | None, typer.Option(help="With --prompt: the model must see it on so many frames. Default: one is enough.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="With --prompt: how sure the model must be, 0 to 1, if it says so. Default: the model's."),
    ] = None,
    keep: Annotated[
        list[str],
        typer.Option(help="With --prompt: leave out what has its centre in X0,Y0,X1,Y1 (fractions or pixels)."),
    ] = [],
    only: Annotated[
        list[str], typer.Option(help="With --prompt: only what touches X0,Y0,X1,Y1 (fractions or pixels). Repeatable.")
    ] = [],
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
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, a folder (which mirrors the input tree), or - for stdout. Default: NAME.moderated.EXT.",
        ),
    ] = None,
    overwrite: options.OverwriteOutputs = False,
    sample: options.Sample = "auto",
    max_calls: Annotated[
        int | None,
        typer.Option(min=1, help="Let the model look at no more frames than this; the others can't be judged then."),
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
        Path | None, typer.Option(help="Judge by this file of findings (- for stdin); no model is used.")
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
    json: Annotated[
        bool, typer.Option("--json", help="Print the verdict on each input on stdout, as JSON Lines.")
    ] = False,
    quiet: options.QuietToo = False,
    verbose: options.Verbose = False,
) -> None:
    """Judge videos and photos by a policy, and hide, mute or cut what breaks it.

    The copy is NAME.moderated.EXT; what the policy says goes to stderr, or with --json to stdout.

    mdtool moderate in.mp4 --policy family

    mdtool moderate in.mp4 --prompt gun --prompt "white cigarette" --action blur

    mdtool moderate upload.mp4 --policy family --report-only --fail-on any && publish upload.mp4
    """
    from contextlib import ExitStack

    from mdtool.cli.live import checked_live
    from mdtool.cli.values import check_findings_in, check_outputs, check_report, checked, given, parsed, seconds
    from mdtool.console import Console
    from mdtool.errors import UsageError
    from mdtool.jobs.moderate.job import Moderating, check_rules
    from mdtool.jobs.moderate.policy_file import load_policy
    from mdtool.media.colour import parse_colour
    from mdtool.media.sources.inputs import find_inputs
    from mdtool.media.video.encoding import Encoding
    from mdtool.model_selection import Computing, load_model
    from mdtool.pipeline.annotate import Question
    from mdtool.pipeline.run import Form, Inquiry
    from mdtool.pipeline.targets import Targets, is_many
    from mdtool.records.findings import opened_for_writing, spooled
    from mdtool.tracking.detector import asking
    from mdtool.tracking.sampling import parse_sampling
    from mdtool.tracking.tiles import parse_tiles, tiled
    from recipes.policy import Thresholds, of_prompts
    from recipes.redact import Style
    from recipes.regions import parse_region

    look = given(strength=strength, shape=shape, margin=margin, feather=feather)
    limits = given(min_seconds=min_seconds, min_share=min_share, min_times=min_times, min_score=min_score)
    places = given(only=only or None, keep=keep or None)
    if policy is None:
        if not prompt:
            raise UsageError("--policy or --prompt is missing: say what is not wanted, as in --policy family")
        rules = checked(
            of_prompts,
            prompt,
            (action or ActionName.flag).value,
            checked(Style, **look),
            checked(Thresholds, **limits),
            [parsed("--only", parse_region, text) for text in only],
            [parsed("--keep", parse_region, text) for text in keep],
        )
    else:
        if beside := given(prompt=prompt or None, action=action) | look | limits | places:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in beside)
            raise UsageError(f"{named}: can't go with --policy, which says so itself")
        rules = load_policy(policy)
    check_rules(rules, fail_on)
    if from_findings and (start or end):
        raise UsageError("--from and --to: can't go with --from-findings, whose frames are judged already")
    if report_only and output:
        raise UsageError("-o: nothing is written with --report-only; leave one of them out")
    question = Question(
        prompts=tuple(rules.prompts),
        sampling=parse_sampling(sample),
        max_calls=max_calls,
        start=parsed("--from", seconds, start),
        end=parsed("--to", seconds, end),
        blank_errors=on_error is options.OnError.blank,
    )
    grid = parsed("--tiles", parse_tiles, tiles)
    colour = parsed("--color", parse_colour, color)
    form = Form(Encoding(codec, crf, preset, pixel_format), format, keep_metadata)
    live = checked_live(delay, duration, segment)
    console = Console(quiet, json, verbose)
    sources = find_inputs(inputs)
    targets = Targets(output, ".moderated", is_many(sources, inputs), overwrite)
    check_outputs(output, findings, json)
    plays = any(source.address for source in sources)
    read = [source.path for source in sources if source.path] + ([from_findings] if from_findings else [])
    check_findings_in(from_findings, inputs)
    check_report(report, [output, findings], read)
    with ExitStack() as stack:
        if from_findings:
            known: Inquiry | Path = stack.enter_context(spooled(from_findings))
        else:
            computing = Computing(device, dtype, quantize, compile, detail, resize)
            asked = load_model(
                model, "detect", rules.prompts, computing,
                questions=rules.questions, note=console.note, explain=console.explain,
            )  # fmt: skip
            see = tiled(asking(asked, rules.prompts, rules.questions), grid, of_tiles=asking(asked, rules.prompts))
            known = Inquiry(question, see, asked.name, {"computing": computing, "tiles": tiles})
        file = stack.enter_context(opened_for_writing(findings, overwrite, read, live=plays))
        moderating = Moderating(rules, known, form, targets, console, live, report_only, colour, fail_on, file, report)
        title = f"Moderation: {policy or ', '.join(prompt)}"
        code = moderating.run(sources, title)
    raise typer.Exit(code)
