"""Draw gazes: a box round each face, a line that fades in towards the gaze target, and a mark on the target.

Each person has one colour, by track number. Named targets are grey until a person looks at them. Sizes scale with the
image.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import cv2
import numpy as np

from engine.contract import Point
from recipes.gaze import Gaze, tracks_looking_at
from recipes.regions import Region
from recipes.text_labels import (
    BLACK,
    WHITE,
    Colour,
    Pixels,
    TakenPixels,
    label_positions,
    paste_label,
    render_label,
    to_ascii,
)

UNIT, MIN_UNIT = 1 / 270, 1.0  # of the image's shorter side, pixels; the lengths below are in this unit
BOX_LINE = 1.0  # width
TARGET_LINE, HIT_LINE = 0.5, 1.5  # width of the box round a named target, and round one that a person looks at
TARGET_RIM = 0.3  # width of the dark edges of both, and of their labels
GAZE_WIDTHS, GAZE_OPACITIES = (0.8, 2.4), (0.15, 0.95)  # of the line, at the eye and at the target
HEAD_WIDTHS, HEAD_OPACITIES = (1.8, 1.8), (0.95, 0.6)  # of the line of a head pose, at the eye and at its end
DASH_PERIOD = 12.0  # from one dash to the next
MARK_RADIUS, CORE_RADIUS = 4.5, 2.0  # of the mark on the target, and of its white core
OUT_RADIUS = 4.5  # of the mark of a gaze out of the image
RIM = 0.8  # width of the dark edge of marks, which makes them visible on any background
LINE_RIM = 0.6  # the same of lines
FONT_SIZE, MIN_FONT_SIZE = 10.0, 11  # units, pixels
MAX_NAME_LENGTH = 40  # characters
NEUTRAL = (190, 190, 190)

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
FIRST_HUE = -math.pi / 12  # with these values any eight successive tracks differ by a CIE 1976 Delta E of 30
LIGHTNESS = 70, 85, 58  # in rotation, so that similar hues still differ
CHROMA = 56

MAX_DISTANCE = 4.0  # image sides: points farther out are moved to there, since OpenCV's coordinates have 32 bits
SHIFT = 4  # fractional bits of OpenCV's coordinates

PixelPoint = tuple[float, float]  # x, y in pixels; integers are the centres of pixels


def draw_gaze(image: np.ndarray, people: Sequence[Gaze], targets: Sequence[Region] = ()) -> None:
    """Draw the gazes of all people, and the named targets, on an image.

    A gaze out of the image is a barred disc on the corner of the face's box, with the label "out". A head pose is a
    dashed line without a mark, since its length is unknown, with the label "head". Without a gaze, only the face is
    drawn. A named target has the colour of the person who looks at it, white for several. Labels cover neither each
    other nor faces and marks where there is room; a target's name is left out where it would cover a face or a label.

    Args:
        image: HxWx3, uint8 RGB, contiguous; changed in place.
        people: The gazes on this frame.
        targets: The named targets on this frame.

    Raises:
        ValueError: The array has another shape or type, or is not contiguous and writable.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"gazes need an image of HxWx3 uint8, not an array of {image.shape} {image.dtype}")
    if not (image.flags.c_contiguous and image.flags.writeable):
        raise ValueError("gazes need a contiguous, writable image: copy it first")
    unit = max(min(image.shape[:2]) * UNIT, MIN_UNIT)
    targets_with_tracks = sorted(
        zip(targets, tracks_looking_at(people, targets), strict=True), key=lambda each: len(each[1])
    )
    for target, tracks in targets_with_tracks:  # those with a gaze on them over the others, faces over all
        _outline(image, target, tracks, unit)
    for step in (_face, _gaze_line):  # gaze marks over boxes
        for person in people:
            step(image, person, unit)
    faces, marks = [_around(image, person.face, 0) for person in people], [*_marks(image, people, unit)]
    taken = TakenPixels(image, avoided=[*faces, *marks])
    in_order = sorted(people, key=lambda each: each.track)  # fixed, so that labels don't jump between frames
    labels = [_person_label(image, person, unit, taken) for person in in_order]
    taken = TakenPixels(image, taken=[*faces, *labels], avoided=marks)
    for target, tracks in reversed(targets_with_tracks):
        _target_label(image, target, tracks, unit, taken=taken)


@lru_cache(maxsize=1024)
def colour_of_track(track: int) -> Colour:
    """Return the colour of a track, in CIE LCh: hues a golden angle apart, light enough for black letters."""
    hue = FIRST_HUE + track * GOLDEN_ANGLE
    lch = LIGHTNESS[track % len(LIGHTNESS)], CHROMA * math.cos(hue), CHROMA * math.sin(hue)
    red, green, blue = cv2.cvtColor(np.array([[lch]], np.float32), cv2.COLOR_LAB2RGB)[0, 0].tolist()
    return round(255 * red), round(255 * green), round(255 * blue)


def _outline(image: np.ndarray, target: Region, tracks: Sequence[int], unit: float) -> None:
    """Draw the box of a named target, with dark edges that make it visible on any background."""
    line, rim = _width((HIT_LINE if tracks else TARGET_LINE) * unit), _width(TARGET_RIM * unit)
    _draw_frame(image, _around(image, target, rim), BLACK, line + (2 * rim if tracks else rim))
    _draw_frame(image, _around(image, target, 0), _target_colour(tracks), line)


def _draw_frame(image: np.ndarray, rect: Pixels, colour: Colour, width: int) -> None:
    """Draw the border of a rectangle, inside it."""
    x0, y0, x1, y1 = rect
    inside = image[max(0, y0) : y1, max(0, x0) : x1]
    for edge in (inside[:width], inside[-width:], inside[:, :width], inside[:, -width:]):
        edge[...] = colour


def _target_colour(tracks: Sequence[int]) -> Colour:
    """Return the colour of a named target that these tracks look at."""
    if len(tracks) == 1:
        return colour_of_track(tracks[0])
    return WHITE if tracks else NEUTRAL


def _face(image: np.ndarray, person: Gaze, unit: float) -> None:
    """Draw the part of the face's box inside the image, and at its lower right corner the mark of a gaze out of it."""
    colour = colour_of_track(person.track)
    cv2.rectangle(image, *_corners(image, person.face), colour, _width(BOX_LINE * unit))
    if person.in_frame is False:
        _out_mark(image, _out_place(image, person, unit), colour, unit)


def _gaze_line(image: np.ndarray, person: Gaze, unit: float) -> None:
    if person.target is None:
        return
    colour, eye, target = colour_of_track(person.track), _to_pixels(image, person.eye), _to_pixels(image, person.target)
    if person.method == "head":
        _line(image, eye, target, colour, widths=HEAD_WIDTHS, fade=HEAD_OPACITIES, unit=unit, dash=DASH_PERIOD * unit)
        return
    _line(image, eye, target, colour, widths=GAZE_WIDTHS, fade=GAZE_OPACITIES, unit=unit)
    for radius, fill in ((MARK_RADIUS + RIM, BLACK), (MARK_RADIUS, colour), (CORE_RADIUS, WHITE)):
        cv2.circle(image, _fixed(target), round(radius * unit * 2**SHIFT), fill, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _out_place(image: np.ndarray, person: Gaze, unit: float) -> PixelPoint:
    """Return the lower right corner of the face, moved so that all of the mark is visible."""
    corner, (height, width) = _corners(image, person.face)[1], image.shape[:2]
    return min(corner[0], width - (OUT_RADIUS + RIM) * unit), min(corner[1], height - (OUT_RADIUS + RIM) * unit)


def _out_mark(image: np.ndarray, point: PixelPoint, colour: Colour, unit: float) -> None:
    x, y = point
    for radius, fill in ((OUT_RADIUS + RIM, BLACK), (OUT_RADIUS, colour)):
        cv2.circle(image, _fixed((x, y)), round(radius * unit * 2**SHIFT), fill, cv2.FILLED, cv2.LINE_AA, SHIFT)
    end = OUT_RADIUS * unit * math.sqrt(0.5)
    bar = _fixed((x - end, y - end)), _fixed((x + end, y + end))
    cv2.line(image, *bar, BLACK, _width(2 * RIM * unit), cv2.LINE_AA, SHIFT)


def _line(
    image: np.ndarray,
    start: PixelPoint,
    end: PixelPoint,
    colour: Colour,
    *,
    widths: tuple[float, float],
    fade: tuple[float, float],
    unit: float,
    dash: float = math.inf,
) -> None:
    """Draw an antialiased line with dark edges, interpolating width and opacity from one end to the other.

    Args:
        image: Changed in place, only along the line.
        start: First end, in pixels.
        end: Last end, in pixels.
        colour: Colour of the line.
        widths: Width at both ends, in units.
        fade: Opacity at both ends, 0..1.
        unit: Pixels.
        dash: Pixels from one dash to the next; infinite for a solid line.
    """
    (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    length = math.hypot(dx, dy)
    if length < 1:
        return
    rim = LINE_RIM * unit
    x, y = _strip(image, start, (dx, dy), max(widths) / 2 * unit + rim + 1)
    dx_pixels, dy_pixels = x.astype(np.float32) - x0, y.astype(np.float32) - y0
    along = (dx_pixels * dx + dy_pixels * dy) / length
    fraction = (along / length).clip(0, 1)
    distance = np.hypot(dx_pixels - fraction * dx, dy_pixels - fraction * dy)
    half = (widths[0] + fraction * (widths[1] - widths[0])) / 2 * unit
    opacity = fade[0] + fraction * (fade[1] - fade[0])
    core_alpha, rim_alpha = (
        opacity * (half + extra + 0.5 - distance).clip(0, 1) * ((along + extra) % dash < 0.6 * dash + 2 * extra)
        for extra in (0.0, rim)
    )
    blended = (1 - rim_alpha)[:, None] * image[y, x] + core_alpha[:, None] * np.array(colour, np.float32)
    image[y, x] = np.rint(blended).astype(np.uint8)


def _strip(image: np.ndarray, start: PixelPoint, step: PixelPoint, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the image's pixels within about `half` pixels of the line from `start` to `start + step`."""
    major = 0 if abs(step[0]) >= abs(step[1]) else 1  # the axis along which it goes farther
    sizes = image.shape[1], image.shape[0]
    low, high = sorted((start[major], start[major] + step[major]))
    along = np.arange(max(0, math.floor(low - half)), min(sizes[major], math.ceil(high + half) + 1))
    middle = start[1 - major] + (along - start[major]) * (step[1 - major] / step[major])
    reach = math.ceil(half * math.sqrt(2))
    across = np.rint(middle).astype(int)[:, None] + np.arange(-reach, reach + 1)
    inside = (across >= 0) & (across < sizes[1 - major])
    pair = np.broadcast_to(along[:, None], across.shape)[inside], across[inside]
    return (pair[0], pair[1]) if major == 0 else (pair[1], pair[0])


def _marks(image: np.ndarray, people: Sequence[Gaze], unit: float) -> Iterator[Pixels]:
    """Return the rectangles of the marks of gaze targets, and of gazes out of the image."""
    for person in people:
        if person.in_frame is False:
            point, radius = _out_place(image, person, unit), math.ceil((OUT_RADIUS + RIM) * unit)
        elif person.target and person.method == "model":
            point, radius = _to_pixels(image, person.target), math.ceil((MARK_RADIUS + RIM) * unit)
        else:
            continue
        x, y = round(point[0]), round(point[1])
        yield x - radius, y - radius, x + radius + 1, y + radius + 1


def _person_label(image: np.ndarray, person: Gaze, unit: float, taken: TakenPixels) -> Pixels:
    """Label a person above the face, left-aligned with it, or where there is room; return the label's rectangle."""
    text = [f"P{person.track}"]
    if person.in_frame is not None:
        text += ["head"] * (person.method == "head") + ["out"] * (not person.in_frame)
    label_image = render_label(" ".join(text), _font_size(unit), colour_of_track(person.track))
    rect = taken.take(label_positions(image, label_image, _around(image, person.face, 0)))
    paste_label(image, label_image, rect)
    return rect


def _target_label(image: np.ndarray, target: Region, tracks: Sequence[int], unit: float, *, taken: TakenPixels) -> None:
    """Label a named target next to its box, if a rectangle is free."""
    text = to_ascii(target.label)[:MAX_NAME_LENGTH]
    if not text:
        return
    label_image = render_label(text, _font_size(unit), _target_colour(tracks))
    if rect := taken.take_free(label_positions(image, label_image, _around(image, target, 0))):
        paste_label(image, label_image, rect)
        _draw_frame(image, rect, BLACK, _width(TARGET_RIM * unit))


def _around(image: np.ndarray, box: Region, extra: int) -> Pixels:
    """Return the rectangle of a box, with extra pixels on each side."""
    (x0, y0), (x1, y1) = _corners(image, box)
    return x0 - extra, y0 - extra, x1 + 1 + extra, y1 + 1 + extra


def _font_size(unit: float) -> int:
    """Return the font size in pixels."""
    return max(MIN_FONT_SIZE, round(FONT_SIZE * unit))


def _corners(image: np.ndarray, box: Region) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the upper left and lower right pixel of a box, clipped to the image."""
    height, width = image.shape[:2]
    x0, x1 = (min(max(int(x * width), 0), width - 1) for x in (box.x_min, box.x_max))
    y0, y1 = (min(max(int(y * height), 0), height - 1) for y in (box.y_min, box.y_max))
    return (x0, y0), (x1, y1)


def _to_pixels(image: np.ndarray, point: Point) -> PixelPoint:
    x, y = (min(max(at, -MAX_DISTANCE), 1 + MAX_DISTANCE) for at in (point.x, point.y))
    return x * image.shape[1] - 0.5, y * image.shape[0] - 0.5


def _fixed(point: PixelPoint) -> tuple[int, int]:
    """Return fixed-point coordinates for OpenCV."""
    return round(point[0] * 2**SHIFT), round(point[1] * 2**SHIFT)


def _width(pixels: float) -> int:
    return max(1, round(pixels))
