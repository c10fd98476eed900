"""Painting over objects in a picture so that what lies under the paint can't be had back.

A picture is a list of planes: arrays HxW or HxWxC, uint8 or uint16, writable, with any strides. The first plane sets
the picture's size; in the others one sample may stand for 2 or 4 pixels a side (YUV 4:2:0, 4:2:2, 4:1:1, NV12).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from recipes.regions import Region

MARGIN = (0.3, 0.3)  # parts of the box's width and height added on each side
MIN_STRENGTH = 0.15
MIN_CELL = 4  # pixels: under it, an average would be near to the samples it hides
MIN_GROWTH = 0.1  # of a box that is obfuscated, on each side: else its edges would show where the object is
SUNK = 0.9  # part that the colour around has in an obfuscated cell
STEPS = (1, 2, 4)  # pixels a side that one sample can stand for; none is above MIN_CELL

Name = Literal["blur", "pixelate", "solid", "obfuscate"]
Shape = Literal["box", "ellipse"]
Value = int | Sequence[int] | np.ndarray  # one sample, or one per channel


@dataclass(frozen=True)
class Style:
    """How an object is hidden.

    strength: side of one averaged cell, as a part of the object's shorter side.
    feather: width of the soft edge round the shape, as a part of the same.
    margin: parts of the box's (width, height) by which it is grown on each side; one number stands for both.
    An ellipse goes through the corners of the grown box. What is obfuscated is nearly lost in the mean colour of a ring
    around, so that its place is hidden too. Raises ValueError where a value can't be.
    """

    name: Name = "blur"
    strength: float = 0.33
    shape: Shape = "box"
    feather: float = 0.0
    margin: float | tuple[float, float] = MARGIN

    def __post_init__(self) -> None:
        if self.name not in get_args(Name):
            raise ValueError(f"no style is called {self.name!r}; there are {', '.join(get_args(Name))}")
        if self.shape not in get_args(Shape):
            raise ValueError(f"no shape is called {self.shape!r}; there are {', '.join(get_args(Shape))}")
        if not MIN_STRENGTH <= self.strength <= 1:
            raise ValueError(f"strength goes from {MIN_STRENGTH} (any less could be undone) to 1, not {self.strength}")
        if not 0 <= self.feather <= 1:
            raise ValueError(f"feather goes from 0 to 1, not {self.feather}")
        if not all(0 <= part < math.inf for part in self.margins):
            raise ValueError(f"margin is 0 or more, not {self.margin}")

    @property
    def margins(self) -> tuple[float, float]:
        """(x, y)"""
        x, y = self.margin if isinstance(self.margin, tuple) else (self.margin, self.margin)
        return (max(x, MIN_GROWTH), max(y, MIN_GROWTH)) if self.name == "obfuscate" else (x, y)


def redact(planes: Sequence[np.ndarray], regions: Sequence[Region], style: Style, fill: Sequence[Value]) -> None:
    """Hide the regions of the stored picture, in place. fill: for each plane, the value of a solid style's colour.

    Raises ValueError, before anything is painted, for boxes that are none and for planes that don't go together.
    """
    steps = _steps(planes, fill)
    height, width = planes[0].shape[:2]
    for cover in [_cover(region, style, width, height) for region in regions]:
        if cover is not None:
            for plane, step, value in zip(planes, steps, fill, strict=True):
                _paint(plane, step, cover, name=style.name, value=value)


def blank(planes: Sequence[np.ndarray], fill: Sequence[Value]) -> None:
    """Hide the whole picture, in place."""
    for plane, value in zip(planes, fill, strict=True):
        plane[...] = value


@dataclass(frozen=True)
class _Cover:
    """One region in pixels of the picture; sides are (x, y).

    shape: ((x0, x1), (y0, y1)) that is hidden in full, may go over the edge; painted: the same with the soft edge, cut
    to the picture; cells: how many averages stand for `painted`; soft: width of the soft edge.
    """

    shape: tuple[tuple[float, float], tuple[float, float]]
    painted: tuple[tuple[int, int], tuple[int, int]]
    cells: tuple[int, int]
    soft: float
    ellipse: bool


def _cover(region: Region, style: Style, width: int, height: int) -> _Cover | None:
    """None: the picture has nothing of the region."""
    box = (region.x_min * width, region.x_max * width), (region.y_min * height, region.y_max * height)
    sizes = [high - low for low, high in box]
    if not all(0 <= side < math.inf for side in sizes):  # NaN too
        raise ValueError(f"{region} is no box")
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
    return _Cover((shape[0], shape[1]), (painted[0], painted[1]), (cells[0], cells[1]), soft, ellipse)


def _outward(low: float, high: float) -> tuple[int, int]:
    """Whole samples, at least one, that hold all from low to high."""
    start = math.floor(low)
    return start, max(math.ceil(high), start + 1)


def _steps(planes: Sequence[np.ndarray], fill: Sequence[Value]) -> list[tuple[int, int]]:
    """For each plane, the (x, y) pixels that one sample stands for."""
    if len(fill) != len(planes):
        raise ValueError(f"{len(fill)} fill values for {len(planes)} planes")
    for plane in planes:
        if plane.dtype not in (np.uint8, np.uint16) or plane.ndim not in (2, 3) or not plane.size:
            raise ValueError(f"no plane of a picture: {plane.dtype} {plane.shape}")
        if not plane.flags.writeable:
            raise ValueError("a plane can't be written to")
    height, width = planes[0].shape[:2]
    return [(_step(width, plane.shape[1]), _step(height, plane.shape[0])) for plane in planes]


def _step(pixels: int, samples: int) -> int:
    for step in STEPS:
        if -(-pixels // step) == samples:
            return step
    raise ValueError(f"planes of {pixels} and {samples} samples a side are not of one picture")


def _paint(plane: np.ndarray, step: tuple[int, int], cover: _Cover, *, name: Name, value: Value) -> None:
    (left, right), (top, bottom) = (
        (start // each, -(-end // each)) for (start, end), each in zip(cover.painted, step, strict=True)
    )
    under = plane[top:bottom, left:right]
    behind = _around(plane, (left, right), (top, bottom), cover.cells) if name == "obfuscate" else value
    paint = _PAINTS[name](under, cover.cells, behind)
    if not cover.soft and not cover.ellipse:
        under[...] = paint
        return
    x = _offsets(cover.shape[0], step[0], left, right, from_centre=cover.ellipse)
    y = _offsets(cover.shape[1], step[1], top, bottom, from_centre=cover.ellipse)[:, None]
    radii = _radii(x, y, cover) if cover.ellipse else None
    channels = (1,) * (plane.ndim - 2)
    if cover.soft:
        thickness = _thickness(x, y, radii, cover.soft)
        _blend(under, paint, thickness.reshape(*thickness.shape, *channels))
    elif radii is not None:
        np.copyto(under, paint, where=(radii <= 1).reshape(*radii.shape, *channels))


def _blurred(under: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return _scaled(_averages(under, cells), under, cv2.INTER_LINEAR)


def _pixelated(under: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return _scaled(_averages(under, cells), under, cv2.INTER_NEAREST)


def _obfuscated(under: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    faint = _averages(under, cells) * np.float32(1 - SUNK) + np.asarray(value, np.float32) * np.float32(SUNK)
    return _scaled(np.rint(faint).astype(under.dtype), under, cv2.INTER_NEAREST)


def _solid(under: np.ndarray, cells: tuple[int, int], value: Value) -> np.ndarray:
    return np.asarray(value, under.dtype)


_PAINTS: dict[str, Callable[[np.ndarray, tuple[int, int], Value], np.ndarray]] = {
    "blur": _blurred,
    "pixelate": _pixelated,
    "solid": _solid,
    "obfuscate": _obfuscated,
}


def _around(plane: np.ndarray, x: tuple[int, int], y: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """The mean, for each channel, of a ring as wide as a cell; of the part itself where it leaves no room for one."""
    (left, right), (top, bottom) = x, y
    wide, high = -(-(right - left) // cells[0]), -(-(bottom - top) // cells[1])
    start, end, first, last = max(0, left - wide), right + wide, max(0, top - high), bottom + high
    ring: tuple[np.ndarray, ...] = (
        plane[first:top, start:end],
        plane[bottom:last, start:end],
        plane[top:bottom, start:left],
        plane[top:bottom, right:end],
    )
    if not any(side.size for side in ring):
        ring = (plane[top:bottom, left:right],)
    return np.asarray(np.concatenate([side.reshape(-1, *plane.shape[2:]) for side in ring]).mean(axis=0))


def _averages(under: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(under), cells, interpolation=cv2.INTER_AREA)


def _scaled(cells: np.ndarray, under: np.ndarray, way: int) -> np.ndarray:
    height, width = under.shape[:2]
    return cv2.resize(cells, (width, height), interpolation=way).reshape(under.shape)


def _offsets(side: tuple[float, float], step: int, first: int, last: int, *, from_centre: bool) -> np.ndarray:
    """Pixels from `side`, or from its centre, to the nearest edge of each sample; 0 for a sample that holds a part."""
    low, high = side
    if from_centre:
        low = high = (low + high) / 2
    starts = np.arange(first, last) * float(step)
    return np.maximum(np.maximum(low - (starts + step), starts - high), 0).astype(np.float32)


def _radii(x: np.ndarray, y: np.ndarray, cover: _Cover) -> np.ndarray:
    """HxW: square of how many times the ellipse must be widened to reach each sample; 1 on the ellipse."""
    half_x, half_y = (np.float32((high - low) / 2) for low, high in cover.shape)
    return (x / half_x) ** 2 + (y / half_y) ** 2


def _thickness(x: np.ndarray, y: np.ndarray, radii: np.ndarray | None, soft: float) -> np.ndarray:
    """HxW: 1 in the shape, falling to 0 over `soft` pixels; from an ellipse, along the line to its centre."""
    beyond = x * x + y * y
    np.sqrt(beyond, out=beyond)
    if radii is not None:  # distance * (1 - 1 / radius), without new arrays, which cost more than the sums
        times = np.maximum(radii, 1)
        np.sqrt(times, out=times)
        np.divide(beyond, times, out=times)
        beyond -= times
    beyond *= np.float32(-1 / soft)
    beyond += 1
    return np.maximum(beyond, 0, out=beyond)


def _blend(under: np.ndarray, paint: np.ndarray, thickness: np.ndarray) -> None:
    below = under.astype(np.float32)  # holds 16 bits, and the difference of two, without loss
    mixed = paint - below
    mixed *= thickness
    mixed += below
    np.copyto(under, np.rint(mixed, out=mixed), casting="unsafe")
