"""Asks about every photo there is, prints what comes, and goes on where one fails."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from engine.contract import (
    Box,
    DetectRequest,
    Done,
    EngineError,
    Failed,
    Model,
    ObjectList,
    Point,
    PointRequest,
    Request,
)
from mdtool.console import Console
from mdtool.errors import Exit, InputError, MdtoolError, NoInputFound, OutputError
from mdtool.exports.annotated_image import check_target, save_annotated
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import error_message
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.print_answers import TextLines, print_record, print_table, print_tsv
from mdtool.jobs.inference.read_ahead import PollTimeout, read_ahead
from mdtool.jobs.inference.requests import Event, ImageRequest, in_order, run_requests
from mdtool.media.image.decode_image import decode_image
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import VIDEO_SUFFIXES, Input
from mdtool.media.sources.open_media import grab_live_image, image_bytes
from recipes.draw import colours_of

ResultPrinter = Callable[[ImageRequest, Event], None]


def find_images(selection: Selection) -> list[Input]:
    """As `discover`, but videos in folders and globs are passed over. NoInputFound where nothing is left."""
    found = [one for one in discover(selection) if one.named or one.relative.suffix.lower() not in VIDEO_SUFFIXES]
    if not found:
        raise NoInputFound(f"no photo in {', '.join(selection.named)}")
    return found


def is_single_image(sources: Sequence[Input], named: Sequence[str]) -> bool:
    """Whether one photo was named, and not a folder or a glob, in which there may be one or several."""
    return len(named) == 1 and sources[0].name == named[0]


def choose_printer(requests: Sequence[Request], model: Model, as_json: bool, named: bool) -> ResultPrinter:
    """How answers go to stdout. named: texts with their photo's name."""
    if as_json:
        return partial(print_record, model=model.name)
    if isinstance(requests[0], DetectRequest | PointRequest):
        return print_table if sys.stdout.isatty() else print_tsv
    return TextLines(named, asked=len(requests) > 1)


def run_and_print(
    sources: Sequence[Input],
    model: Model,
    requests: Sequence[Request],
    show: ResultPrinter,
    *,
    console: Console,
    save: Mapping[Input, Path] | None = None,
    overwrite: bool = False,
) -> Exit:
    """requests: without their image. save: where copies go that show what was found; with overwrite over what is there.

    An input that fails is named on stderr; its code is the outcome if it is the only one, else SOME_FAILED.
    """
    targets = save or {}
    failures: dict[Input, Exit] = {}
    found: list[Box | Point] = []
    colours = colours_of(one.prompt for one in requests if isinstance(one, DetectRequest | PointRequest))

    def read(source: Input) -> np.ndarray:
        if source in targets:
            check_target(targets[source], overwrite)
        return read_rgb(source)

    def failed(source: Input, error: Exception) -> None:
        failures[source] = error.code if isinstance(error, MdtoolError) else Exit.SOME_FAILED
        console.error(str(error) if isinstance(error, OutputError) else f"{source.name}: {error_message(error)}")

    poll_timeout = PollTimeout()
    attempts = read_ahead(sources, read, model.image_batch_size, poll_timeout=poll_timeout)
    pictures = (InputImage(one.item, one.value, one.error) if one else None for one in attempts)
    answers = in_order(run_requests(pictures, model, requests, keep_pixels=bool(targets), poll_timeout=poll_timeout))
    try:
        for asked, event in answers:
            raise_if_interrupted()
            source = asked.source
            show(asked, event)
            if isinstance(event, Failed):
                failed(source, event.error)
            elif isinstance(event, Done) and isinstance(event.result, ObjectList):
                found += event.result.items
                if not event.result.complete:
                    console.note(
                        f"{source.name}: the list ended at {len(event.result.items)} objects: "
                        "there may be more; --max-objects raises the limit"
                    )
            if asked.last and isinstance(event, Done | Failed):
                if source in targets and source not in failures:
                    assert asked.picture.pixels is not None
                    try:
                        save_annotated(
                            asked.picture.pixels, found, targets[source], overwrite=overwrite, colours=colours
                        )
                    except OutputError as error:
                        failed(source, error)
                found = []
    except EngineError as error:
        raise MdtoolError(str(error)) from error
    finally:
        answers.close()
    if not failures:
        return Exit.OK
    return next(iter(failures.values())) if len(sources) == 1 else Exit.SOME_FAILED


def read_rgb(source: Input) -> np.ndarray:
    """HxWx3 uint8 sRGB, upright; of what plays live the picture that comes next. InputError for other videos."""
    if (data := image_bytes(source)) is not None:
        return decode_image(data)
    if (pixels := grab_live_image(source)) is not None:
        return pixels
    raise InputError("is no picture; --jsonl asks about frames of videos")
