"""Pillow, set up: a limit of pixels, and nothing of its own, or of its libtiff, on stderr."""

import ctypes
import logging
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

MAX_PIXELS = 250_000_000  # the largest phone cameras have 200 million


@cache
def pillow() -> Any:
    """Return the module PIL.Image with the pixel limit set to `MAX_PIXELS`."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters is raised as an error too
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    for libtiff in (Path(Image.__file__).parents[1] / "pillow.libs").glob("libtiff*"):  # in the wheels for Linux
        with suppress(OSError, AttributeError):
            ctypes.CDLL(str(libtiff)).TIFFSetErrorHandler(None)  # Pillow raises an error of its own
    return Image
