"""Detected objects as cropped JPEG files, a data set for a classifier with a folder per class:

folder/LABEL/TREE/NAME-N.jpg

LABEL is the label as a valid folder name. TREE and NAME are the folder and name of the image, with its extension, so
that a.jpg and a.png differ, and with the timestamp in seconds for a video frame. N is the index of the object in its
record, from 0. Boxes are clipped to the image and extended to whole pixels. Crops have no metadata.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdtool.exports.boxes import ClippedBox, clip_boxes
from mdtool.exports.paths import folder_name, with_timestamp
from mdtool.media.image.save_image import save_image
from mdtool.media.sources.inputs import Input


def write_crops(
    pixels: np.ndarray, answers: Sequence[dict[str, Any]], folder: Path, source: Input, *, time: float | None = None
) -> list[Path]:
    """Write the crops of an image; existing ones are replaced.

    Args:
        pixels: (height, width, 3) uint8 RGB, upright.
        answers: Of the image's record.
        folder: Of the data set.
        source: The input whose image it is; `check_distinct` finds two that share a path in the data set.
        time: Timestamp of a video frame in seconds.

    Returns:
        The files that were written.

    Raises:
        OutputError: A crop can't be written.
    """
    written, relative = [], source.relative
    for box in clip_boxes(answers):
        name = f"{with_timestamp(relative.name, time)}-{box.index}.jpg"
        target = folder / folder_name(box.label) / relative.parent / name
        save_image(_crop(pixels, box), target, True, [source])
        written.append(target)
    return written


def _crop(pixels: np.ndarray, box: ClippedBox) -> np.ndarray:
    height, width = pixels.shape[:2]
    columns, rows = _pixel_range(box.x_min, box.x_max, width), _pixel_range(box.y_min, box.y_max, height)
    return np.ascontiguousarray(pixels[rows, columns])


def _pixel_range(start: float, end: float, size: int) -> slice:
    """Return the pixels that an interval touches, at least one; to 0.01 pixel, as coordinates are rounded."""
    first = min(math.floor(round(start * size, 2)), size - 1)
    return slice(first, max(math.ceil(round(end * size, 2)), first + 1))
