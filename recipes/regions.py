"""Objects in a picture, parts of it and sizes that a person gives, and which objects are hidden because of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Sides = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True)
class GazeEstimate:
    """Where a face looks, in fractions of the displayed picture.

    target: None if it is not in the picture, or not known. in_frame: None where that is not known. method: "model", or
    "head" for the direction of the head, whose target is only the end of a line that is looked along.
    """

    target: tuple[float, float] | None
    in_frame: bool | None
    method: Literal["model", "head"] = "model"


@dataclass(frozen=True, slots=True)
class Region:
    """One object in a picture, in fractions of it; parts of it may lie outside.

    track: the same number for the same object on all frames of a video; 0 before it is tracked. seen: by the model
    itself, on this frame. label, score, gaze: as the model told them when it last saw the object, on this frame or
    before; on frames before it first saw it, as it did then. score None: the model does not say.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str = ""
    track: int = 0
    score: float | None = None
    seen: bool = True
    gaze: GazeEstimate | None = None

    @property
    def sides(self) -> Sides:
        return self.x_min, self.y_min, self.x_max, self.y_max

    def at(self, sides: Sides, **changes: Any) -> "Region":
        """The same object in another place."""
        x_min, y_min, x_max, y_max = sides
        return replace(self, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, **changes)


@dataclass(frozen=True, slots=True)
class PictureArea:
    """A part of the displayed picture: in fractions of it, or in its pixels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    pixels: bool = False

    def in_fractions(self, width: int, height: int) -> "PictureArea":
        """The same region of a picture of that many pixels. ValueError: the picture has nothing of it."""
        if not self.pixels:
            return self
        if self.x_min >= width or self.y_min >= height:
            numbers = ",".join(f"{n:g}" for n in (self.x_min, self.y_min, self.x_max, self.y_max))
            raise ValueError(f"the region {numbers} lies outside of a picture of {width}x{height} pixels")
        return PictureArea(self.x_min / width, self.y_min / height, self.x_max / width, self.y_max / height)


@dataclass(frozen=True, slots=True)
class Size:
    """A length: a part of the picture's shorter side, or pixels."""

    value: float
    pixels: bool

    def in_pixels(self, width: int, height: int) -> float:
        return self.value if self.pixels else self.value * min(width, height)


def parse_region(text: str) -> PictureArea:
    """From "x0,y0,x1,y1": fractions of the displayed picture if none is above 1, else whole pixels of it.

    Raises ValueError with one line for the person.
    """
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(f"a region is four numbers, x0,y0,x1,y1, not {text!r}")
    x0, y0, x1, y1 = numbers
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"a region goes from its upper left to its lower right corner; {text!r} does not")
    pixels = max(numbers) > 1
    if pixels and not all(number.is_integer() for number in numbers):  # a slip such as 0.5,0.5,1,1.5
        raise ValueError(f"a region is fractions from 0 to 1 or whole pixels; {text!r} is neither")
    return PictureArea(x0, y0, x1, y1, pixels)


def parse_size(text: str) -> Size:
    """From "24" (pixels) or "0.02" (under 1: part of the picture's shorter side). Raises ValueError with one line."""
    number = _number(text)
    pixels = number >= 1
    if pixels and not number.is_integer():
        raise ValueError(f"a size is whole pixels or a fraction under 1, not {text!r}")
    return Size(number, pixels)


def select_regions(
    regions: Iterable[Region],
    width: int,
    height: int,
    *,
    keep: Sequence[PictureArea] = (),
    only: Sequence[PictureArea] = (),
    min_size: Size | None = None,
) -> list[Region]:
    """The objects to hide in a displayed picture of that many pixels.

    Left alone are those whose centre lies in a region to keep, those that touch none of the `only` regions where there
    are any, and those whose longer side is under min_size. Whatever can't be told is hidden.
    Raises ValueError for a region that the picture has nothing of.
    """
    kept = [area.in_fractions(width, height) for area in keep]
    wanted = [area.in_fractions(width, height) for area in only]
    least = min_size.in_pixels(width, height) if min_size else 0.0
    return [
        region
        for region in regions
        if not any(_holds_centre(area, region) for area in kept)
        and (not wanted or any(_touch(area, region) for area in wanted))
        and not max((region.x_max - region.x_min) * width, (region.y_max - region.y_min) * height) < least
    ]


def _holds_centre(area: PictureArea, region: Region) -> bool:
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return area.x_min <= x <= area.x_max and area.y_min <= y <= area.y_max


def _touch(area: PictureArea, region: Region) -> bool:
    """Also where only their edges meet, and where a side is not a number."""
    apart = area.x_max < region.x_min or region.x_max < area.x_min
    return not (apart or area.y_max < region.y_min or region.y_max < area.y_min)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is no number") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{text.strip()!r} is no number of 0 or more")
    return number
