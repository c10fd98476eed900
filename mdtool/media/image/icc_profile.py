"""Colour profiles (ICC): what colours look like that are not in sRGB."""

from functools import lru_cache

import numpy as np

from mdtool.media.image.libvips import vips

NOTICED = 3  # levels of 255 by which colours must differ for a profile to count as another than sRGB


def to_srgb(pixels: np.ndarray, mode: str, icc: bytes) -> np.ndarray | None:
    """HxWx3 uint8 of the colours in pixels, HxWxC without alpha. mode: as in `StillImage`.

    None where the profile does not fit them, or makes no difference.
    """
    return None if _is_srgb(icc) else _converted(pixels, mode, icc)


@lru_cache(maxsize=64)
def _is_srgb(icc: bytes) -> bool:
    """Whether RGB colours look the same with this profile and without any."""
    if icc[16:20] != b"RGB ":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    converted = _converted(colours, "RGB", icc)
    return converted is None or int(np.abs(converted.astype(int) - colours).max()) < NOTICED


def _converted(pixels: np.ndarray, mode: str, icc: bytes) -> np.ndarray | None:
    pyvips = vips()
    deep = pixels.dtype == np.uint16
    spaces = {"L": ("b-w", "grey16"), "LA": ("b-w", "grey16"), "CMYK": ("cmyk", "cmyk")}
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(
        interpretation=spaces.get(mode, ("srgb", "rgb16"))[deep]
    )
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    try:
        return image.icc_transform("srgb", embedded=True, depth=8).numpy().reshape(*pixels.shape[:2], 3)
    except (pyvips.Error, ValueError):
        return None
