"""A picture at another size, by Lanczos filters of three lobes; the aspect is not kept.

libvips and Pillow differ: where a picture grows they place it up to half a pixel apart. A model sees what the reference
sees only with the library that the reference takes, which is libvips wherever it is installed.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from engine.contract import EngineError

Resize = Callable[[np.ndarray, int, int], np.ndarray]  # picture, width, height -> picture


def resizer(library: Literal["vips", "pillow"] | None = None) -> Resize:
    """What resizes HxWx3 uint8 pictures, and raises ValueError for anything else.

    library None: libvips, or Pillow where pyvips can't be imported. EngineError for "vips" without pyvips.
    """
    if library == "pillow":
        return resize_with_pillow
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: pyvips is there, libvips is not
        if library is None:
            return resize_with_pillow
        raise EngineError(f"resizing with libvips needs pyvips ({error}): pip install 'pyvips[binary]'") from error
    pyvips.cache_set_max(0)  # each picture is resized once
    return resize_with_vips


def version(resize: Resize) -> str:
    """Of the library that `resizer` gave: another may round otherwise."""
    if resize is resize_with_vips:
        import pyvips

        return "libvips " + ".".join(str(pyvips.version(part)) for part in range(3))
    import PIL

    return f"pillow {PIL.__version__}"


def resize_with_vips(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """ValueError for what is no picture."""
    import pyvips

    check_image(image)
    picture = pyvips.Image.new_from_array(image)
    resized: np.ndarray = picture.resize(width / image.shape[1], vscale=height / image.shape[0]).numpy()
    return resized


def resize_with_pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """ValueError for what is no picture."""
    from PIL import Image

    check_image(image)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def check_image(image: np.ndarray) -> None:
    """ValueError unless it is an HxWx3 uint8 array with pixels."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"a picture must be an HxWx3 uint8 array, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"a picture must be an HxWx3 uint8 array, not {image.dtype} of shape {image.shape}")
