"""Image resizing: with a Lanczos-3 filter by libvips or Pillow, where a model names no other; or by torch.

libvips and Pillow differ: when they enlarge, their sampling grids are up to half a pixel apart. Bit-exact input to a
model takes the library of its reference implementation, which for Moondream is libvips wherever it is installed.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from engine.contract import EngineError

Resize = Callable[[np.ndarray, int, int], np.ndarray]  # image, width, height -> image
Filter = Literal["bilinear", "bicubic"]


def resizer(library: Literal["vips", "pillow"] | None = None) -> Resize:
    """Return a function that resizes a (height, width, 3) uint8 image without keeping its aspect ratio.

    Args:
        library: None: libvips, or Pillow if pyvips can't be imported.

    Raises:
        EngineError: "vips" was requested, and pyvips can't be imported.
    """
    if library == "pillow":
        return resize_with_pillow
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: pyvips is installed, libvips is not
        if library is None:
            return resize_with_pillow
        raise EngineError(f"resizing with libvips needs pyvips ({error}): pip install 'pyvips[binary]'") from error
    pyvips.cache_set_max(0)  # each image is resized once
    return resize_with_vips


def version(resize: Resize) -> str:
    """Return name and version of the library behind `resize`; another one may give other pixels."""
    if resize is resize_with_vips:
        import pyvips

        return "libvips " + ".".join(str(pyvips.version(part)) for part in range(3))
    import PIL

    return f"pillow {PIL.__version__}"


def resize_with_vips(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image with libvips; ValueError unless it is (height, width, 3) uint8."""
    import pyvips

    check_image(image)
    source = pyvips.Image.new_from_array(image)
    resized: np.ndarray = source.resize(width / image.shape[1], vscale=height / image.shape[0]).numpy()
    return resized


def resize_with_pillow(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image with Pillow; ValueError unless it is (height, width, 3) uint8."""
    from PIL import Image

    check_image(image)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless an image is a non-empty (height, width, 3) uint8 array."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be an HxWx3 uint8 array, not {type(image).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"an image must be an HxWx3 uint8 array, not {image.dtype} of shape {image.shape}")


def resize_with_torch(image: np.ndarray, width: int, height: int, filter: Literal["bilinear", "bicubic"]) -> np.ndarray:
    """Resize an image with an antialiased filter, as torchvision and Pillow do.

    Args:
        image: (height, width, 3) uint8.
        width: Of the result.
        height: Of the result.
        filter: Of the resizing.

    Raises:
        ValueError: The array is of another shape or type.
    """
    import torch
    from torch.nn.functional import interpolate

    check_image(image)
    if image.shape[:2] == (height, width):
        return image
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    resized = interpolate(pixels, (height, width), mode=filter, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())
