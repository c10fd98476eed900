"""Compositing for the sample videos: a person cut out of a portrait, textures and shapes, with boxes of the faces.

Coordinates are pixels of the displayed image, origin at its top left corner, so that (0.5, 0.5) is the centre of the
first pixel. Colours are RGB, 0..255. Angles are degrees, clockwise on the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import skimage.data

Box = tuple[float, float, float, float]
Colour = tuple[float, float, float]

# In the 512x512 portrait: from ear to ear, and from inside the fringe to just below the chin.
FACE: Box = (172, 62, 278, 198)

# The outline of the person in the portrait, clockwise from the top of the head, down to the lower edge.
# fmt: off
OUTLINE = [
    (227, 16), (250, 19), (276, 31), (288, 43), (296, 58), (300, 92), (296, 107), (290, 117), (275, 134), (266, 137),
    (264, 149), (259, 157), (256, 173), (264, 178), (280, 190), (292, 207), (299, 219), (303, 233), (319, 243),
    (340, 262), (347, 282), (352, 287), (356, 302), (357, 323), (360, 344), (403, 344), (441, 354), (455, 361),
    (478, 384), (493, 421), (495, 452), (501, 460), (490, 471), (489, 497), (496, 512), (39, 512), (37, 502),
    (26, 484), (20, 419), (19, 392), (26, 366), (27, 340), (40, 294), (46, 278), (65, 246), (76, 235), (90, 227),
    (110, 206), (123, 205), (121, 183), (131, 167), (140, 167), (157, 156), (183, 152), (182, 132), (174, 128),
    (170, 116), (157, 104), (154, 92), (153, 68), (156, 58), (163, 51), (185, 38), (201, 23), (212, 22),
]
# fmt: on


@dataclass(frozen=True)
class Sprite:
    """An image with transparency.

    Attributes:
        rgb: (height, width, 3) float32, premultiplied by alpha.
        alpha: (height, width) float32, 0..1.
        face: Box in its own pixels.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    face: Box

    @classmethod
    def cut(cls, rgb: np.ndarray, alpha: np.ndarray, face: Box) -> Sprite:
        """Cut an image out along `alpha`."""
        return cls(rgb.astype(np.float32) * alpha[..., None], alpha, face)

    def mirrored(self) -> Sprite:
        """Return the sprite flipped horizontally."""
        x0, y0, x1, y1 = self.face
        width = self.alpha.shape[1]
        return Sprite(self.rgb[:, ::-1].copy(), self.alpha[:, ::-1].copy(), (width - x1, y0, width - x0, y1))

    def halved(self) -> Sprite:
        """Return the sprite at half the size."""
        size = (self.alpha.shape[1] // 2, self.alpha.shape[0] // 2)
        rgb, alpha = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (self.rgb, self.alpha))
        x0, y0, x1, y1 = self.face
        return Sprite(rgb, alpha, (x0 / 2, y0 / 2, x1 / 2, y1 / 2))

    def halved_for(self, width: float) -> Sprite:
        """Return the sprite halved as often as leaves its face at least `width` pixels wide."""
        sprite = self
        while width * 2 < sprite.face[2] - sprite.face[0]:
            sprite = sprite.halved()
        return sprite


@dataclass(frozen=True)
class Pose:
    """Position of the centre of a sprite's face, width of the face (pixels) and rotation (degrees)."""

    x: float
    y: float
    width: float
    angle: float = 0.0

    def moved(self, dx: float, dy: float) -> Pose:
        """Return the pose moved right by `dx` and down by `dy` pixels."""
        return replace(self, x=self.x + dx, y=self.y + dy)


@cache
def portrait() -> np.ndarray:
    """Return the source of all faces, (512, 512, 3) uint8."""
    pixels: np.ndarray = skimage.data.astronaut()
    return pixels


@cache
def astronaut() -> Sprite:
    """Return the person of the portrait, cut out along her outline."""
    mask = np.zeros((512, 512), np.uint8)
    cv2.fillPoly(mask, [np.array(OUTLINE, np.int32)], 255)
    edge = cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)), (0, 0), 1.2)
    return Sprite.cut(portrait(), edge.astype(np.float32) / 255, FACE)


@cache
def badge(rim: Colour) -> Sprite:
    """Return a round image of the head with a coloured rim; the disc is 1.9 face widths wide."""
    size, left, top = 200, 127, 19
    crop = portrait()[top : top + size, left : left + size].copy()
    cv2.circle(crop, (size // 2, size // 2), 94, rim, 10, cv2.LINE_AA)
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 2), 98, 255, -1, cv2.LINE_AA)
    x0, y0, x1, y1 = FACE
    return Sprite.cut(crop, mask.astype(np.float32) / 255, (x0 - left, y0 - top, x1 - left, y1 - top))


def texture(name: str, dark: Colour, light: Colour, size: tuple[int, int], *, zoom: float = 1.0) -> np.ndarray:
    """Return a texture of scikit-image ("brick", "grass", "gravel") from `dark` to `light`; size: (width, height)."""
    width, height = size
    grey = getattr(skimage.data, name)().astype(np.float32) / 255
    if name == "brick":  # its courses are vertical
        grey = np.rot90(grey).copy()
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    grey = cv2.GaussianBlur(cv2.resize(grey, None, fx=zoom, fy=zoom, interpolation=method), (0, 0), 0.7)
    low, high = np.percentile(grey, (2, 98))
    grey = np.clip((grey - low) / (high - low), 0, 1)
    repeats = (math.ceil(height / grey.shape[0]), math.ceil(width / grey.shape[1]))
    return mix(dark, light, np.tile(grey, repeats)[:height, :width])


def gradient(top: Colour, bottom: Colour, size: tuple[int, int]) -> np.ndarray:
    """Return a vertical gradient from `top` to `bottom`; size: (width, height)."""
    width, height = size
    return mix(top, bottom, np.tile(np.linspace(0, 1, height, dtype=np.float32)[:, None], (1, width)))


def mix(first: Colour, second: Colour, share: np.ndarray) -> np.ndarray:
    """Return a blend of two colours, (height, width, 3) float32; share: (height, width), 0..1, of the second one."""
    start, end = np.array(first, np.float32), np.array(second, np.float32)
    blend: np.ndarray = start + share[..., None] * (end - start)
    return blend


def rounded(image: np.ndarray, dim: float = 0.45) -> np.ndarray:
    """Shade an image like a column lit from the left; its right edge keeps 1 - `dim` of the light."""
    across = np.linspace(-1, 1, image.shape[1], dtype=np.float32)
    shaded: np.ndarray = image * (1 - dim * ((across + 0.35) / 1.35) ** 2)[None, :, None]
    return shaded


def regular(sides: int, centre: tuple[float, float], radius: float, angle: float = 0.0) -> np.ndarray:
    """Return the corners of a regular polygon, (sides, 2); many sides approximate a circle."""
    turns = np.radians(angle) + np.arange(sides) * (2 * np.pi / sides)
    return np.stack([centre[0] + radius * np.cos(turns), centre[1] + radius * np.sin(turns)], axis=1)


def star(centre: tuple[float, float], radius: float, angle: float = 0.0) -> np.ndarray:
    """Return the corners of a five-pointed star, (10, 2)."""
    corners = np.empty((10, 2))
    corners[0::2] = regular(5, centre, radius, angle)
    corners[1::2] = regular(5, centre, radius * 0.45, angle + 36)
    return corners


class Canvas:
    """An image painted from back to front, which tracks the visible part of each face."""

    def __init__(self, background: np.ndarray) -> None:
        self.pixels = background.astype(np.float32)
        self.height, self.width = self.pixels.shape[:2]
        self._faces: dict[int, tuple[Box, np.ndarray]] = {}
        self._ovals: dict[int, float] = {}

    def person(self, face_id: int, sprite: Sprite, pose: Pose) -> None:
        """Paste a sprite so that its face has the given pose, and register the face."""
        sprite = sprite.halved_for(pose.width)
        matrix = _matrix(sprite, pose)
        height, width = sprite.alpha.shape
        corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ matrix.T
        x0, y0, x1, y1 = self._window(corners)
        if x0 < x1 and y0 < y1:
            matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - (x0 + 0.5, y0 + 0.5)
            rgb, alpha = (cv2.warpAffine(part, matrix, (x1 - x0, y1 - y0)) for part in (sprite.rgb, sprite.alpha))
            self._composite(x0, y0, rgb, alpha)
        self._faces[face_id] = self._ellipse(sprite.face, pose)
        left, top, right, bottom = sprite.face
        self._ovals[face_id] = math.pi / 4 * pose.width**2 * (bottom - top) / (right - left)

    def polygon(self, corners: np.ndarray, colour: Colour) -> None:
        """Fill a polygon; corners: (n, 2)."""
        x0, y0, x1, y1 = self._window(corners)
        if x0 < x1 and y0 < y1:
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            fixed_point = np.round((corners - (x0 + 0.5, y0 + 0.5)) * 16).astype(np.int32)
            cv2.fillPoly(mask, [fixed_point], 255, cv2.LINE_AA, shift=4)
            alpha = mask.astype(np.float32) / 255
            self._composite(x0, y0, np.array(colour, np.float32) * alpha[..., None], alpha)

    def block(self, x: int, y: int, image: np.ndarray) -> None:
        """Paste an opaque image with its top left corner at (x, y); it must be inside the canvas."""
        self._composite(x, y, image.astype(np.float32), np.ones(image.shape[:2], np.float32))

    def boxes(self) -> dict[int, Box]:
        """Return the box of each visible face, clipped at the edge of the image but not at occlusions."""
        boxes = {}
        for face_id, ((x0, y0, x1, y1), visible) in sorted(self._faces.items()):
            if visible.size and visible.max() >= 0.5:
                right, bottom = min(x1, float(self.width)), min(y1, float(self.height))
                boxes[face_id] = (round(max(x0, 0.0), 1), round(max(y0, 0.0), 1), round(right, 1), round(bottom, 1))
        return boxes

    def visible_part(self, face_id: int) -> np.ndarray:
        """Return the mask of a face's oval, (height, width) float32, 0..1: less where something occludes it."""
        return self._faces[face_id][1]

    def oval_area(self, face_id: int) -> float:
        """Return the area of a face's whole oval in pixels, also of what is outside of the image."""
        return self._ovals[face_id]

    def finished(self, light: float = 1.0, noise: float = 0.0, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the image, (height, width, 3) uint8.

        Args:
            light: Factor of brightness.
            noise: Standard deviation of sensor noise, in grey levels.
            rng: Of the noise; None: no noise.
        """
        image = self.pixels * light
        if rng is not None:
            image = image + rng.normal(0, noise, (self.height, self.width, 1))
        image_8_bit: np.ndarray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return image_8_bit

    def _window(self, corners: np.ndarray) -> tuple[int, int, int, int]:
        """Return the bounding rectangle of a shape on the canvas: x0, y0, x1, y1; empty if x0 >= x1 or y0 >= y1."""
        low, high = np.floor(corners.min(axis=0)) - 1, np.ceil(corners.max(axis=0)) + 1
        return max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), self.width), min(int(high[1]), self.height)

    def _composite(self, x: int, y: int, rgb: np.ndarray, alpha: np.ndarray) -> None:
        window = np.s_[y : y + alpha.shape[0], x : x + alpha.shape[1]]
        self.pixels[window] = self.pixels[window] * (1 - alpha[..., None]) + rgb
        for _, visible in self._faces.values():
            visible[window] *= 1 - alpha

    def _ellipse(self, face: Box, pose: Pose) -> tuple[Box, np.ndarray]:
        """Return the bounding box of the rotated ellipse that fills the face's box, and its mask on the canvas."""
        half_width = pose.width / 2
        half_height = half_width * (face[3] - face[1]) / (face[2] - face[0])
        cos, sin = math.cos(math.radians(pose.angle)), math.sin(math.radians(pose.angle))
        extent_x, extent_y = (
            math.hypot(half_width * cos, half_height * sin),
            math.hypot(half_width * sin, half_height * cos),
        )
        y, x = np.ogrid[: self.height, : self.width]
        x, y = x + 0.5 - pose.x, y + 0.5 - pose.y
        inside = ((x * cos + y * sin) / half_width) ** 2 + ((y * cos - x * sin) / half_height) ** 2 <= 1
        return (pose.x - extent_x, pose.y - extent_y, pose.x + extent_x, pose.y + extent_y), inside.astype(np.float32)


def _matrix(sprite: Sprite, pose: Pose) -> np.ndarray:
    """Return the (2, 3) affine matrix from a sprite's coordinates to the canvas."""
    x0, y0, x1, y1 = sprite.face
    scale = pose.width / (x1 - x0)
    cos, sin = scale * math.cos(math.radians(pose.angle)), scale * math.sin(math.radians(pose.angle))
    rotation = np.array([[cos, -sin], [sin, cos]])
    shift = np.array([pose.x, pose.y]) - rotation @ ((x0 + x1) / 2, (y0 + y1) / 2)
    return np.column_stack([rotation, shift])


def smooth(points: Sequence[tuple[float, float]], at: float) -> float:
    """Interpolate between points (position, value), positions ascending, with a cubic ease."""
    positions, values = [position for position, _ in points], [value for _, value in points]
    if at <= positions[0] or at >= positions[-1]:
        return values[0] if at <= positions[0] else values[-1]
    right = next(i for i, position in enumerate(positions) if position > at)
    share = (at - positions[right - 1]) / (positions[right] - positions[right - 1])
    return values[right - 1] + (values[right] - values[right - 1]) * share * share * (3 - 2 * share)
