"""Detected objects, areas and sizes given by the person, and the selection of objects by these."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Sides = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max


@dataclass(frozen=True, slots=True)
class GazeEstimate:
    """The estimated gaze of a face, in fractions of the displayed image.

    Attributes:
        target: (x, y) of the gaze target; None if it is outside of the image or unknown.
        in_frame: Whether the gaze target is in the image; None if that is unknown.
        method: "model", or "head" for a head pose, whose target is only the end of a line of sight.
    """

    target: tuple[float, float] | None
    in_frame: bool | None
    method: Literal["model", "head"] = "model"


@dataclass(frozen=True, slots=True)
class Region:
    """One object in an image, in fractions of it; parts may lie outside of the image.

    Label, score and gaze are those of the last detection of the object, or of the first one on frames before that.

    Attributes:
        x_min: Left side.
        y_min: Top side.
        x_max: Right side.
        y_max: Bottom side.
        label: What was detected.
        track: Track number, the same on all frames of a video; 0 before tracking.
        score: Confidence, 0..1; None if the model returns none.
        seen: Whether the model detected the object on this very frame.
        gaze: For a face, where it looks; None if that was not requested.
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
        """x_min, y_min, x_max, y_max."""
        return self.x_min, self.y_min, self.x_max, self.y_max

    def at(self, sides: Sides, **changes: Any) -> "Region":
        """Return the object with other sides, and other changed fields."""
        x_min, y_min, x_max, y_max = sides
        return replace(self, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max, **changes)


@dataclass(frozen=True, slots=True)
class PictureArea:
    """An area of the displayed image, in fractions of it or in pixels."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    pixels: bool = False

    def in_fractions(self, width: int, height: int) -> "PictureArea":
        """Return the area in fractions of an image.

        Args:
            width: Width of the image in pixels.
            height: Height of the image in pixels.

        Raises:
            ValueError: The area lies outside of the image.
        """
        if not self.pixels:
            return self
        if self.x_min >= width or self.y_min >= height:
            numbers = ",".join(f"{n:g}" for n in (self.x_min, self.y_min, self.x_max, self.y_max))
            raise ValueError(f"the region {numbers} lies outside of an image of {width}x{height} pixels")
        return PictureArea(self.x_min / width, self.y_min / height, self.x_max / width, self.y_max / height)


@dataclass(frozen=True, slots=True)
class Size:
    """A length, as a fraction of the image's shorter side or in pixels."""

    value: float
    pixels: bool

    def in_pixels(self, width: int, height: int) -> float:
        """Return the length in pixels of an image of this width and height."""
        return self.value if self.pixels else self.value * min(width, height)


def parse_region(text: str) -> PictureArea:
    """Parse an area "x0,y0,x1,y1": fractions of the displayed image if none is above 1, otherwise whole pixels.

    Raises:
        ValueError: It is not an area; one line for the person.
    """
    numbers = [_number(part) for part in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(f"a region is four numbers, x0,y0,x1,y1, not {text!r}")
    x0, y0, x1, y1 = numbers
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"a region goes from its upper left to its lower right corner; {text!r} does not")
    pixels = max(numbers) > 1
    if pixels and not all(number.is_integer() for number in numbers):  # a typing error such as 0.5,0.5,1,1.5
        raise ValueError(f"a region is fractions from 0 to 1 or whole pixels; {text!r} is neither")
    return PictureArea(x0, y0, x1, y1, pixels)


def parse_size(text: str) -> Size:
    """Parse a size: whole pixels, such as "24", or under 1 a fraction of the image's shorter side, such as "0.02".

    Raises:
        ValueError: It is not a size; one line for the person.
    """
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
    """Select the objects to which an effect applies, by position and size.

    Objects with coordinates that are not numbers are always selected, so that redaction fails closed.

    Args:
        regions: Objects in fractions of the displayed image.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        keep: Objects whose centre lies in one of these areas are left out.
        only: If there are any, objects that touch none of these areas are left out.
        min_size: Objects whose longer side is shorter are left out.

    Raises:
        ValueError: An area lies outside of the image.
    """
    excluded = [area.in_fractions(width, height) for area in keep]
    included = [area.in_fractions(width, height) for area in only]
    min_length = min_size.in_pixels(width, height) if min_size else 0.0
    return [
        region
        for region in regions
        if not any(_holds_centre(area, region) for area in excluded)
        and (not included or any(_touch(area, region) for area in included))
        and not max((region.x_max - region.x_min) * width, (region.y_max - region.y_min) * height) < min_length
    ]


def _holds_centre(area: PictureArea, region: Region) -> bool:
    x, y = (region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2
    return area.x_min <= x <= area.x_max and area.y_min <= y <= area.y_max


def _touch(area: PictureArea, region: Region) -> bool:
    """Return whether an area and a region overlap or share an edge; true where a side is not a number."""
    apart = area.x_max < region.x_min or region.x_max < area.x_min
    return not (apart or area.y_max < region.y_min or region.y_max < area.y_min)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text.strip()!r} is not a number") from None
    if not 0 <= number < math.inf:
        raise ValueError(f"{text.strip()!r} is not a number of 0 or more")
    return number
