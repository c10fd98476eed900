"""New pictures into files, in the format that the file's name tells."""

from pathlib import Path

import numpy as np

from mdtool.errors import OutputError, output_errors_for
from mdtool.media.files.atomic_file import AtomicFile
from mdtool.media.image.image_file import pillow

QUALITY = 92
FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
    ".gif": "GIF",
}  # fmt: skip


def save_image(pixels: np.ndarray, target: Path, overwrite: bool) -> None:
    """HxWx3 uint8 RGB, whole or not at all, in the format that the name tells. OutputError where it can't be."""
    with output_errors_for(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target, overwrite) as whole:
            try:
                with whole.part.open("wb") as file:
                    pillow().fromarray(pixels).save(file, FORMATS[target.suffix.lower()], quality=QUALITY)
            except ValueError as error:  # as a format refuses a picture that is too large for it
                raise OutputError(f"can't be encoded: {error}") from error
            whole.commit()
