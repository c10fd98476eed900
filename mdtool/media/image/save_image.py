"""Saving new images in the format of the file's suffix."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mdtool.errors import OutputError, output_errors_for
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.image.pillow import pillow
from mdtool.media.sources.inputs import Input

QUALITY = 92
FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
    ".gif": "GIF",
}  # fmt: skip


def save_image(pixels: np.ndarray, target: Path, overwrite: bool, sources: Iterable[Input] = ()) -> None:
    """Encode and write an image atomically.

    Args:
        pixels: HxWx3 uint8 RGB.
        target: The file; its suffix, one of `FORMATS`, selects the format.
        overwrite: Whether an existing file is replaced.
        sources: What the image was made from: who may not read these may not read it.

    Raises:
        OutputError: It can't be encoded or written; with the target's name.
    """
    with output_errors_for(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target, overwrite) as output:
            for source in sources:
                output.restrict(source.path)
            try:
                with output.part.open("wb") as file:
                    pillow().fromarray(pixels).save(file, FORMATS[target.suffix.lower()], quality=QUALITY)
            except ValueError as error:  # the image is too large for the format, for example
                raise OutputError(f"can't be encoded: {error}") from error
            output.commit()
