"""Renders synthetic scenes, with the bounding boxes and masks of their objects."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.pocket.scene import FACE, SIGN, Background, Colour, Scene, SceneObject

Box = tuple[float, float, float, float]

SUBPIXEL = 4  # fractional bits of OpenCV's coordinates
EDGE = 0.5  # pixels: OpenCV fills a shape including its outline
DARK: Colour = (25, 20, 20)
LIGHT: Colour = (250, 250, 250)
EYE_APART, EYE_UP, EYE = 0.19, 0.06, 0.17  # of a head's size: from its centre, above its centre, radius
DIGIT_WIDTH, DIGIT_APART = 0.21, 0.36  # of a sign's size; digits are twice as high as they are wide
PUPIL, GLANCE = 0.52, 0.46  # of an eye's radius: the pupil's radius, its offset towards the gaze target


@dataclass(frozen=True, eq=False)
class Drawing:
    """A rendered scene.

    Attributes:
        pixels: (height, width, 3) uint8 RGB.
        owners: (height, width) uint8, 1 + index of the visible object, 0 for the background.
        boxes: x_min, y_min, x_max, y_max of each object, in pixels, including occluded parts.
    """

    pixels: np.ndarray
    owners: np.ndarray
    boxes: tuple[Box, ...]


def draw(scene: Scene) -> Drawing:
    """Render a scene; the result is deterministic."""
    image = _background(scene.background, scene.width, scene.height)
    owners = np.zeros((scene.height, scene.width), np.uint8)
    boxes = []
    for i, obj in enumerate(scene.objects):
        outlines = outline(obj)
        _fill(owners, outlines, i + 1, cv2.LINE_8)
        if obj.kind == FACE:
            target = scene.objects[obj.looks_at] if obj.looks_at is not None else None
            _draw_face(image, obj, outlines, target)
        else:
            _fill(image, outlines, obj.rgb)
            if obj.kind == SIGN:
                _draw_digits(image, obj)
        corners = np.concatenate(outlines)
        (x0, y0), (x1, y1) = (corners.min(0) - EDGE).tolist(), (corners.max(0) + EDGE).tolist()
        boxes.append((max(x0, 0.0), max(y0, 0.0), min(x1, float(scene.width)), min(y1, float(scene.height))))
    return Drawing(_degraded(image, scene), owners, tuple(boxes))


def outline(obj: SceneObject) -> list[np.ndarray]:
    """Return the closed outlines of an object, (corners, 2) each, in pixels; an inner outline is a hole."""
    unit = [np.array(corners) for corners in _UNIT[obj.kind]]
    cos, sin = math.cos(obj.angle), math.sin(obj.angle)
    rotation = np.array([[cos, sin], [-sin, cos]])
    return [corners @ rotation * (obj.size / 2) + (obj.x, obj.y) for corners in unit]


def _regular(corners: int, radius: float = 1.0, start: float = -math.pi / 2) -> np.ndarray:
    angles = start + np.arange(corners) * (math.tau / corners)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    corners = np.empty((10, 2))
    corners[0::2] = _regular(5)
    corners[1::2] = _regular(5, 0.45, -math.pi / 2 + math.pi / 5)
    return corners


def _heart() -> np.ndarray:
    t = np.linspace(0, math.tau, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y + 2.5], axis=1) / 17.5


_ARM = 0.3
# fmt: off
_CROSS = [(-_ARM, -.94), (_ARM, -.94), (_ARM, -_ARM), (.94, -_ARM), (.94, _ARM), (_ARM, _ARM),
          (_ARM, .94), (-_ARM, .94), (-_ARM, _ARM), (-.94, _ARM), (-.94, -_ARM), (-_ARM, -_ARM)]
# fmt: on
# In a box of 1 x 2, y down.
_STROKES: dict[str, list[list[tuple[float, float]]]] = {
    "0": [[(0, 0), (1, 0), (1, 2), (0, 2), (0, 0)]],
    "1": [[(0.1, 0.5), (0.6, 0), (0.6, 2)]],
    "2": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)]],
    "3": [[(0, 0), (1, 0), (1, 2), (0, 2)], [(0.3, 1), (1, 1)]],
    "4": [[(0, 0), (0, 1.2), (1, 1.2)], [(0.75, 0.4), (0.75, 2)]],
    "5": [[(1, 0), (0, 0), (0, 1), (1, 1), (1, 2), (0, 2)]],
    "6": [[(1, 0), (0, 0), (0, 2), (1, 2), (1, 1), (0, 1)]],
    "7": [[(0, 0), (1, 0), (0.35, 2)]],
    "8": [[(0, 1), (0, 0), (1, 0), (1, 2), (0, 2), (0, 1), (1, 1)]],
    "9": [[(1, 1), (0, 1), (0, 0), (1, 0), (1, 2), (0, 2)]],
}
_UNIT = {  # within 1 of the centre
    "circle": [_regular(48)],
    "square": [_regular(4, 0.98, math.pi / 4)],
    "triangle": [_regular(3)],
    "star": [_star()],
    "ring": [_regular(48), _regular(48, 0.55)],
    "cross": [np.array(_CROSS)],
    "heart": [_heart()],
    SIGN: [np.array([(-1, -0.68), (1, -0.68), (1, 0.68), (-1, 0.68)])],
    FACE: [_regular(48) * (0.8, 1)],
}


def _fill(image: np.ndarray, outlines: list[np.ndarray], colour: Colour | int, line: int = cv2.LINE_AA) -> None:
    # OpenCV's origin is the centre of a pixel
    fixed = [np.round((corners - 0.5) * (1 << SUBPIXEL)).astype(np.int32) for corners in outlines]
    cv2.fillPoly(image, fixed, colour, line, SUBPIXEL)


def _disc(image: np.ndarray, x: float, y: float, *, radius: float, colour: Colour) -> None:
    _fill(image, [_regular(24, radius) + np.array((x, y))], colour)


def _draw_face(image: np.ndarray, face: SceneObject, outlines: list[np.ndarray], target: SceneObject | None) -> None:
    size = face.size
    _fill(image, outlines, face.rgb)
    hair = outlines[0][outlines[0][:, 1] < face.y - 0.29 * size]
    _fill(image, [hair], DARK)
    offset = np.zeros(2)
    if target:
        direction = np.array([target.x - face.x, target.y - face.y])
        offset = direction / np.hypot(*direction) * GLANCE * EYE * size
    for side in (-1, 1):
        x, y = face.x + side * EYE_APART * size, face.y - EYE_UP * size
        _disc(image, x, y, radius=EYE * size, colour=LIGHT)
        _disc(image, x + offset[0], y + offset[1], radius=PUPIL * EYE * size, colour=DARK)
    mouth = np.array([(-0.15, 0.26), (0.15, 0.26), (0.08, 0.34), (-0.08, 0.34)]) * size + (face.x, face.y)
    _fill(image, [mouth], (150, 40, 50))


def _draw_digits(image: np.ndarray, sign: SceneObject) -> None:
    red, green, blue = sign.rgb
    ink = DARK if 0.3 * red + 0.59 * green + 0.11 * blue > 130 else LIGHT
    thickness = max(1, round(sign.size * 0.065))
    for index, digit in enumerate(sign.digits):
        x = sign.x + (index - (len(sign.digits) - 1) / 2) * DIGIT_APART * sign.size
        for stroke in _STROKES[digit]:
            corners = (np.array(stroke) - (0.5, 1)) * DIGIT_WIDTH * sign.size + (x, sign.y)
            fixed = np.round((corners - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
            cv2.polylines(image, [fixed], False, ink, thickness, cv2.LINE_AA, SUBPIXEL)


def _background(background: Background, width: int, height: int) -> np.ndarray:
    first, second = np.array(background.first, np.float32), np.array(background.second, np.float32)
    if background.kind == "plain":
        return np.full((height, width, 3), background.first, np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = math.cos(background.angle), math.sin(background.angle)
    along, across = x * cos + y * sin, y * cos - x * sin
    if background.kind == "gradient":
        share = (along - along.min()) / max(float(np.ptp(along)), 1)
    else:
        waves = np.sin(along * (math.pi / background.period)), np.sin(across * (math.pi / background.period))
        pattern = {"striped": waves[0], "checked": waves[0] * waves[1], "spotted": waves[0] * waves[1] - 0.45}
        share = np.clip(pattern[background.kind] * 4 + 0.5, 0, 1)
    pixels: np.ndarray = np.rint(first + share[..., None] * (second - first)).astype(np.uint8)
    return pixels


def _degraded(image: np.ndarray, scene: Scene) -> np.ndarray:
    degradation = scene.degradation
    if degradation.blur:
        image = cv2.GaussianBlur(image, (0, 0), degradation.blur)
    if degradation.noise:
        noise = np.random.default_rng(scene.seed).normal(0, degradation.noise, image.shape)
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    if degradation.jpeg is not None:
        _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, degradation.jpeg])
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        assert decoded is not None
        image = np.ascontiguousarray(decoded[..., ::-1])
    return image
