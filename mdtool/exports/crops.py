"""Found boxes cut out of their picture, each a JPEG of its own:

folder/LABEL/TREE/NAME-N.jpg

LABEL is the label, without what can't stand in the name of a folder; TREE and NAME are the picture's own, with its
ending, so that a.jpg and a.png stay apart, and for a frame of a video with its time in seconds; N counts the objects of
the picture from 0, as they stand in its record. So a folder is a data set for a classifier, with a folder for each
class. Boxes are clipped to their picture, and take in all pixels that they touch. Crops have no metadata.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdtool.exports.boxes import ClippedBox, clip_boxes
from mdtool.exports.paths import folder_name, with_timestamp
from mdtool.media.image.save_image import save_image


def write_crops(
    pixels: np.ndarray, answers: Sequence[dict[str, Any]], folder: Path, relative: Path, *, time: float | None = None
) -> list[Path]:
    """Those that were written. A crop that is there is written over, so doing it again changes nothing.

    pixels: HxWx3 uint8 RGB, upright. relative: the picture's place in its tree; `check_distinct` tells if two share
    one.
    OutputError where one can't be written.
    """
    written = []
    for box in clip_boxes(answers):
        name = f"{with_timestamp(relative.name, time)}-{box.index}.jpg"
        target = folder / folder_name(box.label) / relative.parent / name
        save_image(_cut(pixels, box), target, overwrite=True)
        written.append(target)
    return written


def _cut(pixels: np.ndarray, box: ClippedBox) -> np.ndarray:
    height, width = pixels.shape[:2]
    columns, rows = _touched(box.x_min, box.x_max, width), _touched(box.y_min, box.y_max, height)
    return np.ascontiguousarray(pixels[rows, columns])


def _touched(start: float, end: float, size: int) -> slice:
    """To the hundredth of a pixel, for fractions are rounded. At least one pixel."""
    first = min(math.floor(round(start * size, 2)), size - 1)
    return slice(first, max(math.ceil(round(end * size, 2)), first + 1))
