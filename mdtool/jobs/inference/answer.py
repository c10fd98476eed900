"""Asks about every photo there is, prints what comes, and goes on where one fails."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from engine.contract import Box, DetectRequest, Done, EngineError, Failed, Found, Model, Point, PointRequest, Request
from mdtool.console import Console
from mdtool.errors import Exit, InputError, MdtoolError, NoInput, OutputError
from mdtool.exports.annotated_image import check_target, save_marked
from mdtool.interruption import check_not_ending
from mdtool.jobs.each_input import cause_of
from mdtool.jobs.inference.picture import Picture
from mdtool.jobs.inference.print_answers import TextLines, print_places, print_record, print_table
from mdtool.jobs.inference.read_ahead import Patience, read_ahead
from mdtool.jobs.inference.requests import Asked, Event, ask, in_order
from mdtool.media.image.decode_image import read_picture
from mdtool.media.sources.discover import Selection, listed
from mdtool.media.sources.inputs import VIDEOS, Input
from mdtool.media.sources.open_media import live_picture, picture_bytes
from recipes.draw import colours_of

Show = Callable[[Asked, Event], None]


def find_photos(selection: Selection) -> list[Input]:
    """As `listed`, but videos in folders and globs are passed over. NoInput where nothing is left."""
    found = [one for one in listed(selection) if one.named or one.relative.suffix.lower() not in VIDEOS]
    if not found:
        raise NoInput(f"no photo in {', '.join(selection.named)}")
    return found


def is_one(sources: Sequence[Input], named: Sequence[str]) -> bool:
    """Whether one photo was named, and not a folder or a glob, in which there may be one or several."""
    return len(named) == 1 and sources[0].name == named[0]


def show_as(requests: Sequence[Request], model: Model, as_json: bool, named: bool) -> Show:
    """How answers go to stdout. named: texts with their photo's name."""
    if as_json:
        return partial(print_record, model=model.name)
    if isinstance(requests[0], DetectRequest | PointRequest):
        return print_table if sys.stdout.isatty() else print_places
    return TextLines(named, asked=len(requests) > 1)


def answer(
    sources: Sequence[Input],
    model: Model,
    requests: Sequence[Request],
    show: Show,
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
        console.error(str(error) if isinstance(error, OutputError) else f"{source.name}: {cause_of(error)}")

    patience = Patience()
    attempts = read_ahead(sources, read, model.pictures_at_once, patience=patience)
    pictures = (Picture(one.item, one.value, one.error) if one else None for one in attempts)
    answers = in_order(ask(pictures, model, requests, keep_pixels=bool(targets), patience=patience))
    try:
        for asked, event in answers:
            check_not_ending()
            source = asked.source
            show(asked, event)
            if isinstance(event, Failed):
                failed(source, event.error)
            elif isinstance(event, Done) and isinstance(event.result, Found):
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
                        save_marked(asked.picture.pixels, found, targets[source], overwrite=overwrite, colours=colours)
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
    if (data := picture_bytes(source)) is not None:
        return read_picture(data)
    if (pixels := live_picture(source)) is not None:
        return pixels
    raise InputError("is no picture; --jsonl asks about frames of videos")
