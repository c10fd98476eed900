"""Copies of images with detections drawn on them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.contract import Box, Point
from mdtool.errors import OutputError, UsageError
from mdtool.media.image.save_image import FORMATS, save_image
from mdtool.media.sources.inputs import Input
from recipes.draw import draw
from recipes.text_labels import Colour


def targets_of(sources: Iterable[Input], output: str, many: bool, overwrite: bool) -> dict[Input, Path]:
    """Return the path of each input's copy.

    Args:
        sources: The inputs.
        output: A file, or a folder for the copies; it is taken for a folder if it exists as one or ends in a separator.
        many: Whether there are several inputs, so that `output` is a folder.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UsageError: A copy would replace an input or another copy, or its format is not supported.
        OutputError: The only copy exists already.
    """
    if not output:
        raise UsageError("--draw: empty; give a file name, or a folder for several images")
    in_folder = many or output.endswith(os.sep) or os.path.isdir(output)
    targets = {source: copy_path(Path(output, source.relative)) if in_folder else Path(output) for source in sources}
    originals = {os.path.realpath(source.path) for source in targets if source.path}
    if over := next((target for target in targets.values() if os.path.realpath(target) in originals), None):
        raise UsageError(f"--draw {output}: {over} would replace an image among the inputs; give another name")
    if not in_folder:
        check_target(Path(output), overwrite)
    if len(set(targets.values())) < len(targets):
        raise UsageError(f"--draw {output}: two images have the same name; process one folder at a time")
    return targets


def copy_path(path: Path) -> Path:
    """Return the path of a copy in a folder: with an ending added, where its own is of no format that is written."""
    return path if path.suffix.lower() in FORMATS else path.with_name(f"{path.name}.jpg")


def check_target(target: Path, overwrite: bool) -> None:
    """Check that a copy can be written.

    Raises:
        UsageError: Its format is not supported.
        OutputError: The file exists already.
    """
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"--draw {target}: end the name in {', '.join(FORMATS)}")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def save_annotated(
    pixels: np.ndarray,
    found: Sequence[Box | Point],
    target: Path,
    *,
    source: Input,
    overwrite: bool,
    colours: Mapping[str, Colour],
) -> None:
    """Save an image with boxes and points drawn on it, without metadata.

    Args:
        pixels: (height, width, 3) uint8 RGB, upright.
        found: Detections in normalised coordinates.
        target: The file.
        source: The input whose image it is.
        overwrite: Whether an existing file may be replaced.
        colours: Label -> colour.

    Raises:
        OutputError: The file can't be written.
    """
    save_image(draw(pixels, found, colours), target, overwrite, [source])
