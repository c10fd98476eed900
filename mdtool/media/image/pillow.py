"""Pillow, set up: a limit of pixels, and no warnings on stderr."""

import logging
import warnings
from functools import cache
from typing import Any

MAX_PIXELS = 250_000_000  # the largest phone cameras have 200 million


@cache
def pillow() -> Any:
    """Return the module PIL.Image with the pixel limit set to `MAX_PIXELS`."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters is raised as an error too
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    return Image
