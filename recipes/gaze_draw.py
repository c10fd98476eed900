"""Drawing where people look: a box round each face, a line that fades in towards the target, and the target.

A person is all in one colour, which is the same for the same number in every run. Named targets are grey until somebody
looks at them. Sizes grow with the picture.
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
    first_free,
    label_positions,
    paste_label,
    place_label,
    render_label,
    to_ascii,
)

UNIT, MIN_UNIT = 1 / 270, 1.0  # of the picture's shorter side, pixels: the lengths below are so many units
BOX_LINE = 1.0  # width
NAMED_LINE, LOOKED_LINE = 0.5, 1.5  # width of the box round a named target, and round one that is looked at
NAMED_RIM = 0.3  # width of the dark edges of both, and of their names'
LINE, FADE = (0.8, 2.4), (0.15, 0.95)  # width and opacity at the eye and at the target
HEAD_LINE, HEAD_FADE = (1.8, 1.8), (0.95, 0.6)  # of a head's direction, at the eye and at its end
DASH = 12.0  # from one dash to the next
TARGET, CORE = 4.5, 2.0  # radius, and that of the white core
OUT = 4.5  # radius of the mark of a look out of the picture
RIM = 0.8  # width of the dark edge that shows marks on any ground
LINE_RIM = 0.6  # the same of lines
LETTERS, MIN_LETTERS = 10.0, 11  # units, pixels
LONGEST_NAME = 40  # letters
NEUTRAL = (190, 190, 190)

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
FIRST_HUE = -math.pi / 12  # this with the next two: any eight people in a row differ by 30 (CIE 1976)
LIGHTNESS = 70, 85, 58  # by turns, so that hues which come near to each other again still differ
CHROMA = 56

FAR = 4.0  # pictures: what lies farther out is drawn as if it were there, since OpenCV counts in 32 bits
SHIFT = 4  # bits after the point in OpenCV's coordinates

Place = tuple[float, float]  # x, y in pixels; whole numbers are the centres of pixels


def draw_gaze(image: np.ndarray, people: Sequence[Gaze], targets: Sequence[Region] = ()) -> None:
    """Draw all people and named targets on the picture (HxWx3 uint8 RGB), in place.

    A look out of the picture is a barred disc on the corner of the face's box, and the word "out". A head's direction
    is a dashed line without a target, since nothing tells how far it goes, and the word "head". Where a gaze is not
    known, the face alone is drawn. A named target that is looked at is in the colour of who does, white for several.
    Labels cover neither each other nor faces and marks where there is room; a target's name is left out where it would
    cover a face or a label everywhere. ValueError for an array that can't be drawn on.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"gazes are drawn on a picture of HxWx3 uint8, not on an array {image.shape} {image.dtype}")
    if not (image.flags.c_contiguous and image.flags.writeable):
        raise ValueError("gazes are drawn on a picture in one writable piece of memory: copy it first")
    unit = max(min(image.shape[:2]) * UNIT, MIN_UNIT)
    named = sorted(zip(targets, tracks_looking_at(people, targets), strict=True), key=lambda each: len(each[1]))
    for target, tracks in named:  # those that are looked at over the others, faces over all of them
        _outline(image, target, tracks, unit)
    for step in (_face, _look):  # no box over a target
        for one in people:
            step(image, one, unit)
    faces, marks = [_around(image, one.face, 0) for one in people], [*_marks(image, people, unit)]
    labels: list[Pixels] = []
    for one in sorted(people, key=lambda each: each.track):  # the same places from frame to frame
        _label(image, one, unit, labels=labels, avoid=[*faces, *marks])
    taken = [*faces, *labels]
    for target, tracks in reversed(named):
        _name(image, target, tracks, unit, taken=taken, avoid=marks)


@lru_cache(maxsize=1024)
def colour_of_track(track: int) -> Colour:
    """Hues a golden angle apart, so that any few tracks in a row differ; light enough for black letters (CIE LCh)."""
    hue = FIRST_HUE + track * GOLDEN_ANGLE
    lch = LIGHTNESS[track % len(LIGHTNESS)], CHROMA * math.cos(hue), CHROMA * math.sin(hue)
    red, green, blue = cv2.cvtColor(np.array([[lch]], np.float32), cv2.COLOR_LAB2RGB)[0, 0].tolist()
    return round(255 * red), round(255 * green), round(255 * blue)


def _outline(image: np.ndarray, target: Region, tracks: Sequence[int], unit: float) -> None:
    """Round a named target that those tracks look at, with dark edges, so that it shows on any ground."""
    line, rim = _width((LOOKED_LINE if tracks else NAMED_LINE) * unit), _width(NAMED_RIM * unit)
    _frame(image, _around(image, target, rim), BLACK, line + (2 * rim if tracks else rim))
    _frame(image, _around(image, target, 0), _paint(tracks), line)


def _frame(image: np.ndarray, place: Pixels, colour: Colour, width: int) -> None:
    """Along the edges of the place, inside it."""
    x0, y0, x1, y1 = place
    inside = image[max(0, y0) : y1, max(0, x0) : x1]
    for edge in (inside[:width], inside[-width:], inside[:, :width], inside[:, -width:]):
        edge[...] = colour


def _paint(tracks: Sequence[int]) -> Colour:
    """Of a named target that those tracks look at."""
    if len(tracks) == 1:
        return colour_of_track(tracks[0])
    return WHITE if tracks else NEUTRAL


def _face(image: np.ndarray, one: Gaze, unit: float) -> None:
    """Its box, as far as it lies in the picture; on its lower right corner the mark of a look out of the picture."""
    colour = colour_of_track(one.track)
    cv2.rectangle(image, *_corners(image, one.face), colour, _width(BOX_LINE * unit))
    if one.in_frame is False:
        _out_mark(image, _out_place(image, one, unit), colour, unit)


def _look(image: np.ndarray, one: Gaze, unit: float) -> None:
    if one.target is None:
        return
    colour, eye, target = colour_of_track(one.track), _place(image, one.eye), _place(image, one.target)
    if one.method == "head":
        _line(image, eye, target, colour, widths=HEAD_LINE, fade=HEAD_FADE, unit=unit, dash=DASH * unit)
        return
    _line(image, eye, target, colour, widths=LINE, fade=FADE, unit=unit)
    for radius, fill in ((TARGET + RIM, BLACK), (TARGET, colour), (CORE, WHITE)):
        cv2.circle(image, _fixed(target), round(radius * unit * 2**SHIFT), fill, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _out_place(image: np.ndarray, one: Gaze, unit: float) -> Place:
    """The lower right corner of the face, or as near to it as shows all of the mark."""
    corner, (height, width) = _corners(image, one.face)[1], image.shape[:2]
    return min(corner[0], width - (OUT + RIM) * unit), min(corner[1], height - (OUT + RIM) * unit)


def _out_mark(image: np.ndarray, place: Place, colour: Colour, unit: float) -> None:
    x, y = place
    for radius, fill in ((OUT + RIM, BLACK), (OUT, colour)):
        cv2.circle(image, _fixed((x, y)), round(radius * unit * 2**SHIFT), fill, cv2.FILLED, cv2.LINE_AA, SHIFT)
    end = OUT * unit * math.sqrt(0.5)
    bar = _fixed((x - end, y - end)), _fixed((x + end, y + end))
    cv2.line(image, *bar, BLACK, _width(2 * RIM * unit), cv2.LINE_AA, SHIFT)


def _line(
    image: np.ndarray,
    start: Place,
    end: Place,
    colour: Colour,
    *,
    widths: tuple[float, float],
    fade: tuple[float, float],
    unit: float,
    dash: float = math.inf,
) -> None:
    """A smooth line, with dark edges, whose width and opacity go evenly from one end to the other.

    Only the pixels along it are touched. widths: in units. dash: pixels from one dash to the next.
    """
    (x0, y0), (dx, dy) = start, (end[0] - start[0], end[1] - start[1])
    length = math.hypot(dx, dy)
    if length < 1:
        return
    rim = LINE_RIM * unit
    x, y = _strip(image, start, (dx, dy), max(widths) / 2 * unit + rim + 1)
    right, down = x.astype(np.float32) - x0, y.astype(np.float32) - y0
    along = (right * dx + down * dy) / length
    part = (along / length).clip(0, 1)
    beside = np.hypot(right - part * dx, down - part * dy)
    half = (widths[0] + part * (widths[1] - widths[0])) / 2 * unit
    opacity = fade[0] + part * (fade[1] - fade[0])
    inked, dark = (
        opacity * (half + more + 0.5 - beside).clip(0, 1) * ((along + more) % dash < 0.6 * dash + 2 * more)
        for more in (0.0, rim)
    )
    shown = (1 - dark)[:, None] * image[y, x] + inked[:, None] * np.array(colour, np.float32)
    image[y, x] = np.rint(shown).astype(np.uint8)


def _strip(image: np.ndarray, start: Place, step: Place, half: float) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the picture's pixels that lie within about `half` of the line from `start` by `step`."""
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
    """What the marks of targets and of looks out of the picture cover."""
    for one in people:
        if one.in_frame is False:
            place, radius = _out_place(image, one, unit), math.ceil((OUT + RIM) * unit)
        elif one.target and one.method == "model":
            place, radius = _place(image, one.target), math.ceil((TARGET + RIM) * unit)
        else:
            continue
        x, y = round(place[0]), round(place[1])
        yield x - radius, y - radius, x + radius + 1, y + radius + 1


def _label(image: np.ndarray, one: Gaze, unit: float, *, labels: list[Pixels], avoid: Sequence[Pixels]) -> None:
    """Above the face, their left sides in line, or where else there is room; the labels then have it."""
    label_image = [f"P{one.track}"]
    if one.in_frame is not None:
        label_image += ["head"] * (one.method == "head") + ["out"] * (not one.in_frame)
    made = render_label(" ".join(label_image), _letters(unit), colour_of_track(one.track))
    place_label(image, made, label_positions(image, made, _around(image, one.face, 0)), labels, avoid=avoid)


def _name(
    image: np.ndarray,
    target: Region,
    tracks: Sequence[int],
    unit: float,
    *,
    taken: list[Pixels],
    avoid: Sequence[Pixels],
) -> None:
    """By its box, in the first place that is not taken, which then is, and not shunned if there is such a one."""
    text = to_ascii(target.label)[:LONGEST_NAME]
    if not text:
        return
    label_image = render_label(text, _letters(unit), _paint(tracks))
    places = label_positions(image, label_image, _around(image, target, 0))
    if place := first_free(places, [*taken, *avoid]) or first_free(places, taken):
        paste_label(image, label_image, place)
        _frame(image, place, BLACK, _width(NAMED_RIM * unit))
        taken.append(place)


def _around(image: np.ndarray, box: Region, more: int) -> Pixels:
    """A face or a thing, and so many pixels more on each side."""
    (x0, y0), (x1, y1) = _corners(image, box)
    return x0 - more, y0 - more, x1 + 1 + more, y1 + 1 + more


def _letters(unit: float) -> int:
    """Their size in pixels."""
    return max(MIN_LETTERS, round(LETTERS * unit))


def _corners(image: np.ndarray, box: Region) -> tuple[tuple[int, int], tuple[int, int]]:
    """Upper left and lower right pixel of a face or a thing, in the picture."""
    height, width = image.shape[:2]
    x0, x1 = (min(max(int(x * width), 0), width - 1) for x in (box.x_min, box.x_max))
    y0, y1 = (min(max(int(y * height), 0), height - 1) for y in (box.y_min, box.y_max))
    return (x0, y0), (x1, y1)


def _place(image: np.ndarray, point: Point) -> Place:
    x, y = (min(max(at, -FAR), 1 + FAR) for at in (point.x, point.y))
    return x * image.shape[1] - 0.5, y * image.shape[0] - 0.5


def _fixed(place: Place) -> tuple[int, int]:
    """For OpenCV, in parts of a pixel."""
    return round(place[0] * 2**SHIFT), round(place[1] * 2**SHIFT)


def _width(pixels: float) -> int:
    return max(1, round(pixels))
