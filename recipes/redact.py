"""Irreversible redaction: blur, pixelate, fill or obfuscate objects in an image.

An image is a list of planes: arrays HxW or HxWxC, uint8 or uint16, writable, with any strides. The first plane has the
size of the image; the others may be subsampled by 2 or 4 in each direction (YUV 4:2:0, 4:2:2, 4:1:1, NV12).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from recipes.regions import Region

MARGIN = (0.3, 0.3)  # of the box's width and height, added on each side
MIN_STRENGTH = 0.15
MIN_CELL = 4  # pixels: the average of a smaller cell would be close to the samples that it hides
MIN_GROWTH = 0.1  # least margin of an obfuscated box: otherwise its edges would show where the object is
OBFUSCATE_WEIGHT = 0.9  # weight of the surrounding colour in an obfuscated cell
SUBSAMPLING = (1, 2, 4)  # possible factors, at most MIN_CELL

Name = Literal["blur", "pixelate", "solid", "obfuscate"]
Shape = Literal["box", "ellipse"]
Value = int | Sequence[int] | np.ndarray  # one sample, or one for each channel


@dataclass(frozen=True)
class Style:
    """How an object is hidden.

    An ellipse goes through the corners of the expanded box. "obfuscate" blends the averaged cells with the mean colour
    of a ring around, so that the object's position is hidden too.

    Attributes:
        name: Kind of effect.
        strength: Side of one averaged cell, as a fraction of the object's shorter side.
        shape: Shape of the mask.
        feather: Width of the soft edge outside of the shape, as a fraction of the object's shorter side.
        margin: Fractions of the box's (width, height) added on each side; one number stands for both.

    Raises:
        ValueError: A value is out of range.
    """

    name: Name = "blur"
    strength: float = 0.33
    shape: Shape = "box"
    feather: float = 0.0
    margin: float | tuple[float, float] = MARGIN

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ValueError(f"unknown style {self.name!r}; known: {', '.join(get_args(Name))}")
        if self.shape not in get_args(Shape):
            raise ValueError(f"unknown shape {self.shape!r}; known: {', '.join(get_args(Shape))}")
        if not MIN_STRENGTH <= self.strength <= 1:
            raise ValueError(f"strength goes from {MIN_STRENGTH} (any less could be undone) to 1, not {self.strength}")
        if not 0 <= self.feather <= 1:
            raise ValueError(f"feather goes from 0 to 1, not {self.feather}")
        if not all(0 <= part < math.inf for part in self.margins):
            raise ValueError(f"margin is 0 or more, not {self.margin}")

    @property
    def margins(self) -> tuple[float, float]:
        """Margins (x, y) as fractions of the box's width and height."""
        x, y = self.margin if isinstance(self.margin, tuple) else (self.margin, self.margin)
        return (max(x, MIN_GROWTH), max(y, MIN_GROWTH)) if self.name == "obfuscate" else (x, y)


def redact(planes: Sequence[np.ndarray], regions: Sequence[Region], style: Style, fill: Sequence[Value]) -> None:
    """Hide regions of an image.

    Args:
        planes: The image, as described above; changed in place.
        regions: Regions in fractions of the image as stored.
        style: How they are hidden.
        fill: For each plane, the value of the colour of a solid style.

    Raises:
        ValueError: A box is invalid, or the planes don't fit together; raised before anything is painted.
    """
    subsampling = _subsampling(planes, fill)
    height, width = planes[0].shape[:2]
    for mask in [_mask_of(region, style, width, height) for region in regions]:
        if mask is not None:
            for plane, step, value in zip(planes, subsampling, fill, strict=True):
                _paint(plane, step, mask, name=style.name, value=value)


def blank(planes: Sequence[np.ndarray], fill: Sequence[Value]) -> None:
    """Fill the whole image, in place.

    Args:
        planes: The image.
        fill: The value of each plane.
    """
    for plane, value in zip(planes, fill, strict=True):
        plane[...] = value


@dataclass(frozen=True)
class _Mask:
    """One region in pixels of the image.

    Attributes:
        shape: ((x0, x1), (y0, y1)) of the opaque part; may extend beyond the image.
        painted: The same with the soft edge, clipped to the image.
        cells: Columns and rows of averages in `painted`.
        soft: Width of the soft edge.
        ellipse: Whether the shape is an ellipse.
    """

    shape: tuple[tuple[float, float], tuple[float, float]]
    painted: tuple[tuple[int, int], tuple[int, int]]
    cells: tuple[int, int]
    soft: float
    ellipse: bool


def _mask_of(region: Region, style: Style, width: int, height: int) -> _Mask | None:
    """Return the mask of a region; None if it lies outside of the image."""
    box = (region.x_min * width, region.x_max * width), (region.y_min * height, region.y_max * height)
    sizes = [high - low for low, high in box]
    if not all(0 <= side < math.inf for side in sizes):  # NaN too
        raise ValueError(f"{region} is not a box: its sides are swapped or not numbers")
    soft = style.feather * min(sizes)
    shape, painted = [], []
    for (low, high), size, margin, limit in zip(box, sizes, style.margins, (width, height), strict=True):
        low, high = _outward(low - margin * size, high + margin * size)
        if style.shape == "ellipse":
            centre, half = (low + high) / 2, (high - low) * math.sqrt(0.5)
            low, high = centre - half, centre + half
        shape.append((low, high))
        start, end = _outward(low - soft, high + soft)
        painted.append((max(start, 0), min(end, limit)))
    if any(start >= end for start, end in painted):
        return None
    cell = max(style.strength * min(sizes), MIN_CELL)
    cells = [max(1, int((end - start) / cell)) for start, end in painted]
    ellipse = style.shape == "ellipse"
    return _Mask((shape[0], shape[1]), (painted[0], painted[1]), (cells[0], cells[1]), soft, ellipse)


def _outward(low: float, high: float) -> tuple[int, int]:
    """Round outward to integers, at least one apart."""
    start = math.floor(low)
    return start, max(math.ceil(high), start + 1)


def _subsampling(planes: Sequence[np.ndarray], fill: Sequence[Value]) -> list[tuple[int, int]]:
    """Return the subsampling factors (x, y) of each plane."""
    if len(fill) != len(planes):
        raise ValueError(f"{len(fill)} fill values for {len(planes)} planes")
    for plane in planes:
        if plane.dtype not in (np.uint8, np.uint16) or plane.ndim not in (2, 3) or not plane.size:
            raise ValueError(f"not a plane of an image: {plane.dtype} {plane.shape}")
        if not plane.flags.writeable:
            raise ValueError("a plane is read-only")
    height, width = planes[0].shape[:2]
    return [(_step(width, plane.shape[1]), _step(height, plane.shape[0])) for plane in planes]


def _step(pixels: int, samples: int) -> int:
    for step in SUBSAMPLING:
        if -(-pixels // step) == samples:
            return step
    raise ValueError(f"planes of {pixels} and {samples} samples a side don't belong to one image")


def _paint(plane: np.ndarray, step: tuple[int, int], mask: _Mask, *, name: Name, value: Value) -> None:
    (left, right), (top, bottom) = (
        (start // each, -(-end // each)) for (start, end), each in zip(mask.painted, step, strict=True)
    )
    samples = plane[top:bottom, left:right]
    fill_value = _around(plane, (left, right), (top, bottom), mask.cells) if name == "obfuscate" else value
    paint = _FILLS[name](samples, mask.cells, fill_value)
    if not mask.soft and not mask.ellipse:
        samples[...] = paint
        return
    x = _offsets(mask.shape[0], step[0], left, right, from_centre=mask.ellipse)
    y = _offsets(mask.shape[1], step[1], top, bottom, from_centre=mask.ellipse)[:, None]
    radii = _radii(x, y, mask) if mask.ellipse else None
    channels = (1,) * (plane.ndim - 2)
    if mask.soft:
        opacity = _opacity(x, y, radii, mask.soft)
        _blend(samples, paint, opacity.reshape(*opacity.shape, *channels))
    elif radii is not None:
        np.copyto(samples, paint, where=(radii <= 1).reshape(*radii.shape, *channels))


def _blurred(samples: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return _scaled(_averages(samples, cells), samples, cv2.INTER_LINEAR)


def _pixelated(samples: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return _scaled(_averages(samples, cells), samples, cv2.INTER_NEAREST)


def _obfuscated(samples: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    blended = _averages(samples, cells) * np.float32(1 - OBFUSCATE_WEIGHT) + np.asarray(value, np.float32) * np.float32(
        OBFUSCATE_WEIGHT
    )
    return _scaled(np.rint(blended).astype(samples.dtype), samples, cv2.INTER_NEAREST)


def _solid(samples: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return np.asarray(value, samples.dtype)


_FILLS: dict[str, Callable[[np.ndarray, tuple[int, int], Value], np.ndarray]] = {
    "blur": _blurred,
    "pixelate": _pixelated,
    "solid": _solid,
    "obfuscate": _obfuscated,
}


def _around(plane: np.ndarray, x: tuple[int, int], y: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """Return the mean of each channel in a ring as wide as a cell; in the part itself if there is no room for one."""
    (left, right), (top, bottom) = x, y
    ring_width, ring_height = -(-(right - left) // cells[0]), -(-(bottom - top) // cells[1])
    start, end, first, last = (
        max(0, left - ring_width),
        right + ring_width,
        max(0, top - ring_height),
        bottom + ring_height,
    )
    ring: tuple[np.ndarray, ...] = (
        plane[first:top, start:end],
        plane[bottom:last, start:end],
        plane[top:bottom, start:left],
        plane[top:bottom, right:end],
    )
    if not any(side.size for side in ring):
        ring = (plane[top:bottom, left:right],)
    return np.asarray(np.concatenate([side.reshape(-1, *plane.shape[2:]) for side in ring]).mean(axis=0))


def _averages(samples: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(samples), cells, interpolation=cv2.INTER_AREA)


def _scaled(cells: np.ndarray, samples: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = samples.shape[:2]
    return cv2.resize(cells, (width, height), interpolation=interpolation).reshape(samples.shape)


def _offsets(side: tuple[float, float], step: int, first: int, last: int, *, from_centre: bool) -> np.ndarray:
    """Return the pixels from `side`, or its centre, to the nearest edge of each sample; 0 for samples that touch it."""
    low, high = side
    if from_centre:
        low = high = (low + high) / 2
    starts = np.arange(first, last) * float(step)
    return np.asarray(np.maximum(np.maximum(low - (starts + step), starts - high), 0), np.float32)


def _radii(x: np.ndarray, y: np.ndarray, mask: _Mask) -> np.ndarray:
    """Return (H, W): the squared radius of each sample relative to the ellipse, on which it is 1."""
    half_x, half_y = (np.float32((high - low) / 2) for low, high in mask.shape)
    return np.asarray((x / half_x) ** 2 + (y / half_y) ** 2)


def _opacity(x: np.ndarray, y: np.ndarray, radii: np.ndarray | None, soft: float) -> np.ndarray:
    """Return (H, W): 1 in the shape, falling to 0 over `soft` pixels; from an ellipse, along the line to its centre."""
    falloff = x * x + y * y
    np.sqrt(falloff, out=falloff)
    if radii is not None:  # distance * (1 - 1 / radius), in place: allocation costs more than the arithmetic
        radius_ratio = np.maximum(radii, 1)
        np.sqrt(radius_ratio, out=radius_ratio)
        np.divide(falloff, radius_ratio, out=radius_ratio)
        falloff -= radius_ratio
    falloff *= np.float32(-1 / soft)
    falloff += 1
    return np.asarray(np.maximum(falloff, 0, out=falloff))


def _blend(samples: np.ndarray, paint: np.ndarray, opacity: np.ndarray) -> None:
    original = samples.astype(np.float32)  # exact for 16-bit samples and their differences
    mixed = paint - original
    mixed *= opacity
    mixed += original
    np.copyto(samples, np.rint(mixed, out=mixed), casting="unsafe")
