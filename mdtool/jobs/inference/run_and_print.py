"""Runs requests on every input image, prints the answers, and continues after an error in one of them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from engine.contract import (
    Box,
    DetectRequest,
    Done,
    Failed,
    Model,
    ObjectList,
    Point,
    PointRequest,
    Request,
)
from mdtool.console import Console
from mdtool.errors import ExitCode, InputError, MdtoolError, NoInputFound, OutputError
from mdtool.exports.annotated_image import check_target, save_annotated
from mdtool.interruption import raise_if_interrupted
from mdtool.jobs.each_input import error_message
from mdtool.jobs.inference.input_image import InputImage
from mdtool.jobs.inference.print_answers import TextLines, print_record, print_table, print_tsv
from mdtool.jobs.inference.read_ahead import PollTimeout, read_ahead
from mdtool.jobs.inference.requests import Event, ImageRequest, in_order, run_requests
from mdtool.media.file_types import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_video_by_content
from mdtool.media.image.decode_image import decode_image
from mdtool.media.sources.discover import Selection, discover
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import grab_live_image, image_bytes
from recipes.draw import colours_of

ResultPrinter = Callable[[ImageRequest, Event], None]


def find_images(selection: Selection) -> list[Input]:
    """List the inputs of a selection, without the videos in its folders and globs.

    Raises:
        NoInputFound: There are none.
    """
    sources = [each for each in discover(selection) if each.named or not _is_video(each)]
    if not sources:
        raise NoInputFound(f"no image in {', '.join(selection.named)}; give an image file, a folder or a glob")
    return sources


def _is_video(source: Input) -> bool:
    suffix = source.relative.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return True
    return bool(source.path and not source.member and suffix not in IMAGE_SUFFIXES and is_video_by_content(source.path))


def is_single_image(sources: Sequence[Input], named: Sequence[str]) -> bool:
    """Whether the inputs are one image given by name, not a folder or a glob that may hold several."""
    return len(named) == 1 and sources[0].name == named[0]


def choose_printer(requests: Sequence[Request], model: Model, as_json: bool, with_name: bool) -> ResultPrinter:
    """Return the function that prints answers to stdout.

    Args:
        requests: The requests for each image.
        model: The model that runs them.
        as_json: Print records of JSON.
        with_name: Print the name of the image before a text.
    """
    if as_json:
        return partial(print_record, model=model.name)
    if isinstance(requests[0], DetectRequest | PointRequest):
        return print_table if sys.stdout.isatty() else print_tsv
    return TextLines(with_name, with_question=len(requests) > 1)


def run_and_print(
    sources: Sequence[Input],
    model: Model,
    requests: Sequence[Request],
    show: ResultPrinter,
    *,
    console: Console,
    save: Mapping[Input, Path] | None = None,
    overwrite: bool = False,
) -> ExitCode:
    """Run requests on images, print the answers, and report inputs that fail on stderr.

    Args:
        sources: The images.
        model: The model that runs the requests.
        requests: The requests for each image, without the image.
        show: Prints the events of a request.
        console: Prints errors and progress.
        save: Paths of annotated copies, by input.
        overwrite: Replace existing files by these copies.

    Returns:
        The exit code: that of the error if there is only one input, else SOME_FAILED if any failed.

    Raises:
        EngineError: The model can't go on, whatever the image.
    """
    targets = save or {}
    failures: dict[Input, ExitCode] = {}
    objects: list[Box | Point] = []
    colours = colours_of(each.prompt for each in requests if isinstance(each, DetectRequest | PointRequest))

    def read(source: Input) -> np.ndarray:
        if source in targets:
            check_target(targets[source], overwrite)
        return read_rgb(source)

    def failed(source: Input, error: Exception) -> None:
        failures[source] = error.code if isinstance(error, MdtoolError) else ExitCode.SOME_FAILED
        console.error(str(error) if isinstance(error, OutputError) else f"{source.name}: {error_message(error)}")

    poll_timeout = PollTimeout()
    results = read_ahead(sources, read, model.image_batch_size, poll_timeout=poll_timeout)
    images = (InputImage(each.item, each.value, each.error) if each else None for each in results)
    answers = in_order(run_requests(images, model, requests, keep_pixels=bool(targets), poll_timeout=poll_timeout))
    try:
        for image_request, event in answers:
            raise_if_interrupted()
            source = image_request.source
            show(image_request, event)
            if isinstance(event, Failed):
                failed(source, event.error)
            elif isinstance(event, Done) and isinstance(event.result, ObjectList):
                objects += event.result.items
                if not event.result.complete:
                    console.note(
                        f"{source.name}: the list ended at {len(event.result.items)} objects: "
                        "there may be more; --max-objects raises the limit"
                    )
            if image_request.last and isinstance(event, Done | Failed):
                if source in targets and source not in failures:
                    pixels = image_request.image.pixels
                    assert pixels is not None
                    try:
                        save_annotated(
                            pixels, objects, targets[source], source=source, overwrite=overwrite, colours=colours
                        )
                    except OutputError as error:
                        failed(source, error)
                objects = []
    finally:
        answers.close()
    if not failures:
        return ExitCode.OK
    return next(iter(failures.values())) if len(sources) == 1 else ExitCode.SOME_FAILED


def read_rgb(source: Input) -> np.ndarray:
    """Read an image, or the next frame of a live source.

    Returns:
        HxWx3 uint8 sRGB, after EXIF orientation.

    Raises:
        InputError: It can't be read, or is a video file.
    """
    if (data := image_bytes(source)) is not None:
        return decode_image(data)
    if (pixels := grab_live_image(source)) is not None:
        return pixels
    if _is_video(source):
        raise InputError("is a video, not an image; add --jsonl to run the command on its frames")
    raise InputError(
        "not an image in a supported format; if it is a video, add --jsonl to run the command on its frames"
    )
