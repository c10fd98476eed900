"""Rectangles and sizes that a person gives, and which of the objects found are hidden because of them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Rectangle(Protocol):
    """Any box, in fractions of the displayed picture."""

    @property
    def x_min(self) -> float: ...
    @property
    def y_min(self) -> float: ...
    @property
    def x_max(self) -> float: ...
    @property
    def y_max(self) -> float: ...


R = TypeVar("R", bound=Rectangle)


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


def chosen(
    boxes: Iterable[R],
    width: int,
    height: int,
    *,
    keep: Sequence[PictureArea] = (),
    only: Sequence[PictureArea] = (),
    min_size: Size | None = None,
) -> list[R]:
    """The boxes to hide in a displayed picture of that many pixels.

    Left alone are those whose centre lies in a region to keep, those that touch none of the `only` regions where there
    are any, and those whose longer side is under min_size. Whatever can't be told is hidden.
    Raises ValueError for a region that the picture has nothing of.
    """
    kept = [region.in_fractions(width, height) for region in keep]
    wanted = [region.in_fractions(width, height) for region in only]
    least = min_size.in_pixels(width, height) if min_size else 0.0
    return [
        box
        for box in boxes
        if not any(_holds_centre(region, box) for region in kept)
        and (not wanted or any(_touch(region, box) for region in wanted))
        and not max((box.x_max - box.x_min) * width, (box.y_max - box.y_min) * height) < least
    ]


def _holds_centre(region: Rectangle, box: Rectangle) -> bool:
    x, y = (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2
    return region.x_min <= x <= region.x_max and region.y_min <= y <= region.y_max


def _touch(a: Rectangle, b: Rectangle) -> bool:
    """Also where only their edges meet, and where a side is not a number."""
    return not (a.x_max < b.x_min or b.x_max < a.x_min or a.y_max < b.y_min or b.y_max < a.y_min)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is no number") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{text.strip()!r} is no number of 0 or more")
    return number
