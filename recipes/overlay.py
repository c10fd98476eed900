"""Showing what was found on the frames of a video: quickly, so with OpenCV, and words on plates that are kept.

These hide nothing; `recipes.redact` does.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np

from recipes.draw import LINE, MIN_LINE, MIN_TEXT, TEXT
from recipes.gaze_draw import colour_of_track
from recipes.regions import Region
from recipes.text_labels import (
    BLACK,
    WHITE,
    Colour,
    Pixels,
    contrast,
    label_positions,
    label_rect,
    paste_label,
    place_label,
    render_label,
    to_ascii,
)

LONGEST_LABEL = 40  # letters
ARM, MIN_ARM, MAX_ARM = 0.3, 6.0, 0.08  # of the object's shorter side, pixels, of the picture's shorter side
GAP = 0.35  # of an arm: the middle is left free
ARM_WIDTH, SHADOW = 0.14, 0.1  # of an arm: its width, and how far the shadow sticks out
SMALL = 0.75  # of the letters beside a box
DARK = (40, 40, 40)
SHIFT = 4  # bits after the point in OpenCV's coordinates

Name = Literal["boxes", "hitmarker"]


def draw_overlay(image: np.ndarray, objects: Sequence[Region], name: Name, colour: Colour | None = None) -> None:
    """Draw all objects on the picture (HxWx3 uint8 RGB in one piece of memory), in place.

    colour None: boxes have that of their track, hitmarkers are white.
    """
    shown = [one for one in objects if one.x_min < 1 and one.y_min < 1 and one.x_max > 0 and one.y_max > 0]
    stroke, label = _STEPS[name]
    for one in shown:
        stroke(image, one, colour)
    taken: list[Pixels] = []  # by labels, which no line goes over, nor another label where there is room
    for one in sorted(shown, key=lambda each: each.track):  # the same places from frame to frame
        label(image, one, colour, taken)


def draw_unjudged_notice(image: np.ndarray) -> None:
    """Say on the picture that nobody knows what it shows, in place."""
    label_image = render_label("not judged", _letters(image), DARK, WHITE)
    paste_label(image, label_image, label_rect(image, label_image, 0, len(label_image)))


def _outline(image: np.ndarray, one: Region, colour: Colour | None) -> None:
    """On even pixels, or the halved colour planes of a video would make the lines pale."""
    x0, y0, x1, y1 = _corners(image, one)
    x0, y0, x1, y1 = x0 & ~1, y0 & ~1, x1 | 1, y1 | 1
    line = 2 * max(MIN_LINE // 2, round(min(image.shape[:2]) * LINE / 2))
    paint = colour or colour_of_track(one.track)
    for rows, columns in (
        (slice(y0, y0 + line), slice(x0, x1 + 1)),
        (slice(max(y0, y1 + 1 - line), y1 + 1), slice(x0, x1 + 1)),
        (slice(y0, y1 + 1), slice(x0, x0 + line)),
        (slice(y0, y1 + 1), slice(max(x0, x1 + 1 - line), x1 + 1)),
    ):
        image[rows, columns] = paint


def _label(image: np.ndarray, one: Region, colour: Colour | None, taken: list[Pixels]) -> None:
    """Above the box, their left sides in line, or where else there is room."""
    x0, y0, x1, y1 = _corners(image, one)
    ground = colour or colour_of_track(one.track)
    label_image = render_label(_legend(one), _letters(image), ground, contrast(ground))
    place_label(image, label_image, label_positions(image, label_image, (x0, y0, x1 + 1, y1 + 1)), taken)


def _cross(image: np.ndarray, one: Region, colour: Colour | None) -> None:
    (x, y), arm = _centre(image, one), _arm(image, one)
    width, shadow = max(1, round(ARM_WIDTH * arm)), max(1, round(SHADOW * arm))
    for stroke, paint in ((width + 2 * shadow, BLACK), (width, colour or WHITE)):
        for across in (-1, 1):
            for down in (-1, 1):
                start, end = (
                    (round((x + across * part * arm) * 2**SHIFT), round((y + down * part * arm) * 2**SHIFT))
                    for part in (GAP, 1)
                )
                cv2.line(image, start, end, paint, stroke, cv2.LINE_AA, SHIFT)


def _small_label(image: np.ndarray, one: Region, colour: Colour | None, taken: list[Pixels]) -> None:
    """Under the cross, or above it, or beside it."""
    (x, y), arm = _centre(image, one), _arm(image, one)
    label_image = render_label(_legend(one), max(MIN_TEXT, round(SMALL * _letters(image))), DARK, WHITE)
    height, width = label_image.shape[:2]
    left, middle, reach = round(x - width / 2), round(y + height / 2), 1.5 * arm
    corners = (
        *((left, round(y + reach) + height), (left, round(y - reach))),
        *((round(x + reach), middle), (round(x - reach) - width, middle)),
    )
    place_label(image, label_image, [label_rect(image, label_image, *corner) for corner in corners], taken)


_Stroke = Callable[[np.ndarray, Region, Colour | None], None]
_Label = Callable[[np.ndarray, Region, Colour | None, list[Pixels]], None]
_STEPS: dict[Name, tuple[_Stroke, _Label]] = {"boxes": (_outline, _label), "hitmarker": (_cross, _small_label)}


def _legend(one: Region) -> str:
    label_image = [to_ascii(one.label)[:LONGEST_LABEL], f"#{one.track}"]
    if one.score is not None:
        label_image.append(f"{one.score:.2f}")
    return "  ".join(filter(None, label_image))


def _letters(image: np.ndarray) -> int:
    """Their size in pixels."""
    return max(MIN_TEXT, round(min(image.shape[:2]) * TEXT))


def _corners(image: np.ndarray, one: Region) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of its outermost pixels in the picture."""
    height, width = image.shape[:2]
    x0, x1 = (min(max(int(x * width), 0), width - 1) for x in (one.x_min, one.x_max))
    y0, y1 = (min(max(int(y * height), 0), height - 1) for y in (one.y_min, one.y_max))
    return x0, y0, x1, y1


def _centre(image: np.ndarray, one: Region) -> tuple[float, float]:
    height, width = image.shape[:2]
    return (one.x_min + one.x_max) / 2 * width - 0.5, (one.y_min + one.y_max) / 2 * height - 0.5


def _arm(image: np.ndarray, one: Region) -> float:
    """How far the cross reaches from its middle along each axis, in pixels."""
    height, width = image.shape[:2]
    side = min((one.x_max - one.x_min) * width, (one.y_max - one.y_min) * height)
    return max(MIN_ARM, min(ARM * side, MAX_ARM * min(height, width)))
