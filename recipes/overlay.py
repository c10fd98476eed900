"""Draw detected objects on the frames of a video, as boxes or hit markers: fast, with OpenCV and cached labels.

Nothing is hidden; `recipes.redact` does that.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np

from recipes.draw import FONT_SIZE, LINE_WIDTH, MIN_FONT_SIZE, MIN_LINE_WIDTH
from recipes.gaze_draw import colour_of_track
from recipes.regions import Region
from recipes.text_labels import (
    BLACK,
    WHITE,
    Colour,
    TakenPixels,
    contrast,
    label_positions,
    label_rect,
    paste_label,
    render_label,
    to_ascii,
)

MAX_LABEL_LENGTH = 40  # characters
ARM, MIN_ARM, MAX_ARM = 0.3, 6.0, 0.08  # of the object's shorter side; pixels; of the image's shorter side
GAP = 0.35  # of an arm: the centre is left free
ARM_WIDTH, SHADOW = 0.14, 0.1  # of an arm: its width, and the margin of its shadow
SMALL_FONT = 0.75  # of the font size next to a box
DARK = (40, 40, 40)
SHIFT = 4  # fractional bits of OpenCV's coordinates

Name = Literal["boxes", "hitmarker"]


def draw_overlay(image: np.ndarray, objects: Sequence[Region], name: Name, colour: Colour | None = None) -> None:
    """Draw all objects on an image.

    Args:
        image: HxWx3, uint8 RGB, contiguous; changed in place.
        objects: Objects in fractions of the image.
        name: The kind of mark.
        colour: Colour of all marks; None for the track's colour for boxes, white for hit markers.
    """
    visible = [
        region for region in objects if region.x_min < 1 and region.y_min < 1 and region.x_max > 0 and region.y_max > 0
    ]
    draw_shape, draw_label = _DRAWERS[name]
    for region in visible:
        draw_shape(image, region, colour)
    taken = TakenPixels(image)  # by labels, which lie over all lines, and apart where there is room
    for region in sorted(visible, key=lambda each: each.track):  # fixed order, so that labels don't jump between frames
        draw_label(image, region, colour, taken)


def draw_unjudged_notice(image: np.ndarray) -> None:
    """Label an image (HxWx3, uint8) that could not be analysed as "not judged", in place."""
    label_image = render_label("not judged", _font_size(image), DARK, WHITE)
    paste_label(image, label_image, label_rect(image, label_image, 0, len(label_image)))


def _outline(image: np.ndarray, region: Region, colour: Colour | None) -> None:
    """Draw a box on even pixels, since subsampled chroma would make the lines pale."""
    x0, y0, x1, y1 = _corners(image, region)
    x0, y0, x1, y1 = x0 & ~1, y0 & ~1, x1 | 1, y1 | 1
    line_width = 2 * max(MIN_LINE_WIDTH // 2, round(min(image.shape[:2]) * LINE_WIDTH / 2))
    line_colour = colour or colour_of_track(region.track)
    for rows, columns in (
        (slice(y0, y0 + line_width), slice(x0, x1 + 1)),
        (slice(max(y0, y1 + 1 - line_width), y1 + 1), slice(x0, x1 + 1)),
        (slice(y0, y1 + 1), slice(x0, x0 + line_width)),
        (slice(y0, y1 + 1), slice(max(x0, x1 + 1 - line_width), x1 + 1)),
    ):
        image[rows, columns] = line_colour


def _label(image: np.ndarray, region: Region, colour: Colour | None, taken: TakenPixels) -> None:
    """Label a box above it, left-aligned, or where there is room."""
    x0, y0, x1, y1 = _corners(image, region)
    background = colour or colour_of_track(region.track)
    label_image = render_label(_legend(region), _font_size(image), background, contrast(background))
    rects = label_positions(image, label_image, (x0, y0, x1 + 1, y1 + 1))
    paste_label(image, label_image, taken.take(rects))


def _hitmarker(image: np.ndarray, region: Region, colour: Colour | None) -> None:
    (x, y), arm = _centre(image, region), _arm(image, region)
    width, shadow = max(1, round(ARM_WIDTH * arm)), max(1, round(SHADOW * arm))
    for thickness, line_colour in ((width + 2 * shadow, BLACK), (width, colour or WHITE)):
        for across in (-1, 1):
            for down in (-1, 1):
                start, end = (
                    (round((x + across * distance * arm) * 2**SHIFT), round((y + down * distance * arm) * 2**SHIFT))
                    for distance in (GAP, 1)
                )
                cv2.line(image, start, end, line_colour, thickness, cv2.LINE_AA, SHIFT)


def _small_label(image: np.ndarray, region: Region, colour: Colour | None, taken: TakenPixels) -> None:
    """Label a hit marker below it, above, or at a side."""
    (x, y), arm = _centre(image, region), _arm(image, region)
    label_image = render_label(_legend(region), max(MIN_FONT_SIZE, round(SMALL_FONT * _font_size(image))), DARK, WHITE)
    height, width = label_image.shape[:2]
    left, middle, reach = round(x - width / 2), round(y + height / 2), 1.5 * arm
    corners = (
        *((left, round(y + reach) + height), (left, round(y - reach))),
        *((round(x + reach), middle), (round(x - reach) - width, middle)),
    )
    rects = [label_rect(image, label_image, *corner) for corner in corners]
    paste_label(image, label_image, taken.take(rects))


_DrawShape = Callable[[np.ndarray, Region, Colour | None], None]
_DrawLabel = Callable[[np.ndarray, Region, Colour | None, TakenPixels], None]
_DRAWERS: dict[Name, tuple[_DrawShape, _DrawLabel]] = {
    "boxes": (_outline, _label),
    "hitmarker": (_hitmarker, _small_label),
}


def _legend(region: Region) -> str:
    parts = [to_ascii(region.label)[:MAX_LABEL_LENGTH], f"#{region.track}"]
    if region.score is not None:
        parts.append(f"{region.score:.2f}")
    return "  ".join(filter(None, parts))


def _font_size(image: np.ndarray) -> int:
    """Return the font size in pixels."""
    side: int = min(image.shape[:2])
    return max(MIN_FONT_SIZE, round(side * FONT_SIZE))


def _corners(image: np.ndarray, region: Region) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of a region's outermost pixels, all inclusive and clipped to the image."""
    height, width = image.shape[:2]
    x0, x1 = (min(max(int(x * width), 0), width - 1) for x in (region.x_min, region.x_max))
    y0, y1 = (min(max(int(y * height), 0), height - 1) for y in (region.y_min, region.y_max))
    return x0, y0, x1, y1


def _centre(image: np.ndarray, region: Region) -> tuple[float, float]:
    height, width = image.shape[:2]
    return (region.x_min + region.x_max) / 2 * width - 0.5, (region.y_min + region.y_max) / 2 * height - 0.5


def _arm(image: np.ndarray, region: Region) -> float:
    """Return how far a hit marker reaches from its centre along each axis, in pixels."""
    height, width = image.shape[:2]
    side: float = min((region.x_max - region.x_min) * width, (region.y_max - region.y_min) * height)
    longest: float = MAX_ARM * min(height, width)
    return max(MIN_ARM, min(ARM * side, longest))
