"""Palettes of at most 256 colours: exact where they suffice, else quantised with the unchanged colours exact."""

import numpy as np


def rgba(pixels: np.ndarray) -> np.ndarray:
    """Convert HxWxC uint8, C in 1..4 (grey, grey and alpha, RGB, RGBA), to HxWx4 RGBA."""
    channels = pixels.shape[2]
    full = np.full((*pixels.shape[:2], 4), 255, np.uint8)
    full[:, :, :3] = pixels[:, :, : 1 if channels < 3 else 3]
    if channels in (2, 4):
        full[:, :, 3] = pixels[:, :, -1]
    return full


def packed(colours: np.ndarray) -> np.ndarray:
    """Pack RGBA (...x4 uint8) into one uint32 per colour."""
    return np.ascontiguousarray(colours).view(np.uint32)[..., 0]


def unpacked(numbers: np.ndarray) -> np.ndarray:
    """Unpack uint32 colours into RGBA (...x4 uint8)."""
    return np.ascontiguousarray(numbers)[..., None].view(np.uint8)


def indexed(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (uint8 indices of the same shape, palette) of packed colours, or None if there are more than 256."""
    colours = np.unique(numbers)
    if len(colours) > 256:
        return None
    return np.searchsorted(colours, numbers).astype(np.uint8), colours


def reduced(numbers: np.ndarray, exact: np.ndarray, limit: int) -> np.ndarray:
    """Quantise packed opaque colours (Pillow's median cut), keeping those in `exact`.

    If the exact colours alone exceed the limit, as on a GIF canvas painted by several frames, all are quantised.

    Args:
        numbers: Packed colours.
        exact: Packed colours that keep their value.
        limit: The most colours of the result.

    Returns:
        Packed colours, of the shape of `numbers`.
    """
    from PIL import Image

    is_exact = np.isin(numbers, exact)
    fixed = np.unique(numbers[is_exact])
    if len(fixed) > limit:
        is_exact, fixed = np.zeros_like(is_exact), fixed[:0]
    others = unpacked(numbers[~is_exact])[None, :, :3]
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
    result[~is_exact] = colours[np.minimum(nearest, len(colours) - 1)]
    return result
