"""Colour management: conversion of pixels with an ICC profile to sRGB."""

from functools import lru_cache
from typing import Any

import numpy as np

from mdtool.media.image.libvips import vips

MIN_DIFFERENCE = 3  # levels of 255 by which some colour must change for a profile to count as other than sRGB


def to_srgb(pixels: np.ndarray, mode: str, icc: bytes) -> np.ndarray | None:
    """Convert pixels to sRGB.

    Args:
        pixels: HxWxC uint8 or uint16, without alpha.
        mode: As in `StillImage`.
        icc: The profile.

    Returns:
        HxWx3 uint8; None if the profile does not fit the mode, or is sRGB itself.
    """
    return None if _is_srgb(icc) else _converted(pixels, mode, icc)


@lru_cache(maxsize=64)
def _is_srgb(icc: bytes) -> bool:
    """Return whether the profile changes no RGB colour noticeably."""
    if icc[16:20] != b"RGB ":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    converted = _converted(colours, "RGB", icc)
    return converted is None or int(np.abs(converted.astype(int) - colours).max()) < MIN_DIFFERENCE


def _converted(pixels: np.ndarray, mode: str, icc: bytes) -> np.ndarray | None:
    pyvips = vips()
    deep = pixels.dtype == np.uint16
    spaces = {"L": ("b-w", "grey16"), "LA": ("b-w", "grey16"), "CMYK": ("cmyk", "cmyk")}
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(
        interpretation=spaces.get(mode, ("srgb", "rgb16"))[deep]
    )
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    try:
        converted: Any = image.icc_transform("srgb", embedded=True, depth=8).numpy().reshape(*pixels.shape[:2], 3)
    except (pyvips.Error, ValueError):
        return None
    return np.asarray(converted)
