"""`mdtool detect`: lists where things are, as boxes; and records it of videos too."""

from typing import Annotated

import typer

from mdtool.cli import options


def detect(
    images: options.ImagesAndPrompt,
    prompt: options.Prompts = [],
    threshold: options.Threshold = None,
    max_objects: options.MaxObjects = None,
    save: options.Save = None,
    overwrite: options.Overwrite = False,
    jsonl: Annotated[
        str | None,
        typer.Option(
            help="Of videos and animations too: write findings, which redact and render take, to this file as "
            "JSON Lines (- for stdout).",
            metavar="FILE|-",
        ),
    ] = None,
    sample: Annotated[
        str, typer.Option(help="With --jsonl: frames the model looks at: auto, every, N (one in N), fps=F.")
    ] = "auto",
    tiles: options.Tiles = None,
    start: Annotated[
        str | None, typer.Option("--from", help="With --jsonl: look from this time on (90, 1:30 or 0:01:30.5).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="With --jsonl: look up to this time.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="With --jsonl, for cameras and streams: end after this time.")
    ] = None,
    model: options.ModelName = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    detail: options.Detail = "auto",
    resize: options.Resize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the boxes round what you name in photos.

    On a terminal a table; in a pipe a line for each box: name of the photo, label, x_min, y_min, x_max, y_max (parts
    of the upright photo's width and height, from its top left) and score if the model has one, with tabs between them.

    mdtool detect photo.jpg face

    mdtool detect ./photos "license plate" --save ./marked

    mdtool detect - -p face -p dog --json < photo.jpg

    mdtool detect in.mp4 face --jsonl - | mdtool redact in.mp4 --from-findings -
    """
    from engine.contract import DetectRequest
    from mdtool.choice import load_model
    from mdtool.cli.values import check_apart, images_and_prompts, parsed, seconds
    from mdtool.console import Console
    from mdtool.errors import UsageError
    from mdtool.jobs.asking.answer import answer, find_photos, is_one, show_as
    from mdtool.jobs.asking.marked import targets_of

    console = Console(quiet)
    named, prompts = images_and_prompts(images, prompt)
    if jsonl is not None:
        from mdtool.cli.live import checked_live
        from mdtool.findings import opened_for_writing
        from mdtool.jobs.record import Recording
        from mdtool.jobs.rework.run import Inquiry
        from mdtool.media.inputs import find_inputs
        from mdtool.stream.judge import Question
        from mdtool.stream.sampling import parse_sampling
        from mdtool.stream.sight import finding
        from mdtool.stream.tiles import parse_tiles, tiled

        check_apart("--jsonl", {"--json": json, "--save": save, "--max-objects": max_objects})
        times = parsed("--from", seconds, start), parsed("--to", seconds, end)
        question = Question(tuple(prompts), threshold, parse_sampling(sample), None, *times)
        grid = parsed("--tiles", parse_tiles, tiles)
        inputs = find_inputs(named)
        asked = load_model(
            model, "detect", prompts, detail, threshold, device=device, dtype=dtype, resize=resize, say=console.note
        )
        inquiry = Inquiry(question, tiled(finding(asked, prompts, threshold), grid), asked.name)
        read = [source.path for source in inputs if source.path]
        with opened_for_writing(jsonl, overwrite, read, "--jsonl", any(source.address for source in inputs)) as file:
            assert file
            code = Recording(inquiry, file, console, checked_live(duration=duration)).run(inputs)
        raise typer.Exit(code)

    if tiles is not None:
        raise UsageError("--tiles: only together with --jsonl")
    requests = [DetectRequest(None, one, max_objects) for one in prompts]
    sources = find_photos(named)
    many = not is_one(sources, named)
    targets = None if save is None else targets_of(sources, save, many, overwrite)
    asked = load_model(
        model, "detect", prompts, detail, threshold, device=device, dtype=dtype, resize=resize, say=console.note
    )
    show = show_as(requests, asked, json, many)
    raise typer.Exit(answer(sources, asked, requests, show, console, threshold, targets, overwrite))
