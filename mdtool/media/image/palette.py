"""Colours as indices: exact where a picture has few enough of them, and else with the untouched ones still exact."""

import numpy as np


def rgba(pixels: np.ndarray) -> np.ndarray:
    """HxWxC uint8, C of 1..4 (grey, grey+alpha, RGB, RGBA) -> HxWx4."""
    channels = pixels.shape[2]
    full = np.full((*pixels.shape[:2], 4), 255, np.uint8)
    full[:, :, :3] = pixels[:, :, : 1 if channels < 3 else 3]
    if channels in (2, 4):
        full[:, :, 3] = pixels[:, :, -1]
    return full


def packed(colours: np.ndarray) -> np.ndarray:
    """...x4 uint8 -> ... uint32, a number for each colour."""
    return np.ascontiguousarray(colours).view(np.uint32)[..., 0]


def unpacked(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers)[..., None].view(np.uint8)


def indexed(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Packed colours -> (uint8 indices of the same shape, palette of packed colours), or None if they are over 256."""
    colours = np.unique(numbers)
    if len(colours) > 256:
        return None
    return np.searchsorted(colours, numbers).astype(np.uint8), colours


def reduced(numbers: np.ndarray, exact: np.ndarray, limit: int) -> np.ndarray:
    """Packed opaque colours, as few as `limit`: those in `exact` stay, the others go to the nearest that is there.

    Where the exact ones alone are over the limit (of a GIF only a canvas that several frames painted is), all give way.
    """
    from PIL import Image

    untouched = np.isin(numbers, exact)
    fixed = np.unique(numbers[untouched])
    if len(fixed) > limit:
        untouched, fixed = np.zeros_like(untouched), fixed[:0]
    others = unpacked(numbers[~untouched])[None, :, :3]
    strip = Image.fromarray(np.ascontiguousarray(others))
    colours = fixed
    if len(fixed) < limit:
        new = strip.quantize(limit - len(fixed), dither=Image.Dither.NONE).getpalette() or []
        table = np.array(new, np.uint8).reshape(-1, 3)
        opaque = np.column_stack([table, np.full(len(table), 255, np.uint8)])
        colours = np.concatenate([fixed, packed(opaque)])[:limit]
    palette = Image.new("P", (1, 1))
    palette.putpalette(unpacked(colours)[:, :3].tobytes())
    nearest = np.asarray(strip.quantize(palette=palette, dither=Image.Dither.NONE))[0]
    result = numbers.copy()
    result[~untouched] = colours[np.minimum(nearest, len(colours) - 1)]
    return result
