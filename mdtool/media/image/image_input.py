"""Images as Python programs hold them (files, NumPy arrays, Pillow images), made into what a model encodes."""

import os
from pathlib import Path

import numpy as np
from PIL import Image as pillow_image

from mdtool.errors import InputError, read_error_message
from mdtool.media.image.decode_image import decode_image, rgb_of_pillow
from mdtool.media.image.image_file import StillImage

PixelSource = str | os.PathLike[str] | np.ndarray | pillow_image.Image
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the number of channels


def to_rgb(image: PixelSource) -> np.ndarray:
    """Decode or convert one image.

    Args:
        image: The path of an image file; an upright uint8 array, HxW or HxWx1 (grey), HxWx2 (grey and alpha), HxWx3
            (RGB) or HxWx4 (RGBA); or a Pillow image. Files and Pillow images are turned upright by their EXIF
            orientation and converted to sRGB by their ICC profile. Transparent pixels are laid over grey.

    Returns:
        HxWx3 uint8 sRGB, upright. It may share the memory of an array that was given.

    Raises:
        InputError: No such file, no image, damaged, too large, or an array of another shape or type.
        TypeError: Anything else.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, pillow_image.Image):
        return _from_pillow(image)
    if isinstance(image, str | os.PathLike):
        return _from_file(Path(image))
    raise TypeError(
        f"an image is a path, a NumPy array, a Pillow image or an encoded image, not {type(image).__name__}"
    )


def _from_file(path: Path) -> np.ndarray:
    try:
        return decode_image(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error


def _from_array(pixels: np.ndarray) -> np.ndarray:
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] not in _MODES or not planes.size:
        raise InputError(
            "an image array is height x width x 3 (RGB), x 4 (RGBA) or height x width (grey), uint8 from 0 to 255; "
            f"this one is {pixels.dtype} of shape {pixels.shape}"
        )
    return StillImage(planes, _MODES[planes.shape[2]], "").srgb()


def _from_pillow(image: pillow_image.Image) -> np.ndarray:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's errors have no common class
        raise InputError(f"the Pillow image can't be decoded: {error}") from error
    return rgb_of_pillow(image)
