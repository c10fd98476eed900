"""Copies of photos with what was found drawn on them."""

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
    """Where the copy of each goes: to `output`, or below it if there are many, or if it is a folder.

    UsageError if a copy would replace a photo that is asked about, or another copy; and what `check_target` raises
    if there is but one.
    """
    if not output:
        raise UsageError("--draw: is empty; give the name of a file, or of a folder for several photos")
    in_folder = many or output.endswith(os.sep) or os.path.isdir(output)
    targets = {source: Path(output, source.relative) if in_folder else Path(output) for source in sources}
    originals = {os.path.realpath(source.path) for source in targets if source.path}
    if over := next((target for target in targets.values() if os.path.realpath(target) in originals), None):
        raise UsageError(f"--draw {output}: {over} would replace a photo that is asked about; give another name")
    if not in_folder:
        check_target(Path(output), overwrite)
    if len(set(targets.values())) < len(targets):
        raise UsageError(f"--draw {output}: two photos have the same name; ask about them one folder at a time")
    return targets


def check_target(target: Path, overwrite: bool) -> None:
    """UsageError for a format that can't be written, OutputError if the file is there."""
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"--draw {target}: end the name in {', '.join(FORMATS)}")
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target}: exists already; --overwrite replaces it")


def save_annotated(
    pixels: np.ndarray, found: Sequence[Box | Point], target: Path, *, overwrite: bool, colours: Mapping[str, Colour]
) -> None:
    """pixels: HxWx3 uint8 RGB, upright. colours: of labels. The copy has no metadata. OutputError where it can't be
    written."""
    save_image(draw(pixels, found, colours), target, overwrite)
