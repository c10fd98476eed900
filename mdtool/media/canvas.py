"""A picture to paint on, however it is stored: of a video, a photo or an animation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np

from mdtool.media.colour import colour_planes, fill_values, matrix_of
from mdtool.media.image.display_matrix import UPRIGHT, Orientation
from mdtool.media.image.image_file import StillImage
from mdtool.media.video.frame import planes, reformatter

Colour = tuple[int, int, int]  # red, green, blue, 0..255
Paint = Callable[[np.ndarray], None]  # on HxWx3 uint8 RGB, in place


@dataclass(frozen=True)
class Canvas:
    """planes: views on the stored picture, as `recipes.redact` takes them; fill: a colour's value in each.

    display_size: (width, height) as displayed. orientation: how the planes are turned to be displayed.
    draw: lets a function paint on the picture as displayed; only what that changed is changed in the planes.
    """

    planes: list[np.ndarray]
    fill: Callable[[Colour], list[int]]
    display_size: tuple[int, int]
    draw: Callable[[Paint], None]
    orientation: Orientation = UPRIGHT


def frame_canvas(picture: av.VideoFrame, orientation: Orientation) -> Canvas:
    """On a video's picture, in a format with a plane for each component."""
    picture.make_writable()  # the decoder may still build later frames on it
    own = planes(picture)
    opaque = [(1 << picture.format.components[0].bits) - 1] * (len(own) - colour_planes(picture))

    def draw(paint: Paint) -> None:
        stored = reformatter().reformat(picture, format="rgb24", **_matrix(picture, "src")).to_ndarray()
        shown = orientation.show(stored).copy(order="C")
        paint(shown)
        drawn = np.ascontiguousarray(orientation.store(shown))
        changed = _differ(drawn, stored)
        if not changed.any():
            return
        encoded = reformatter().reformat(
            av.VideoFrame.from_ndarray(drawn, "rgb24"), format=picture.format.name, **_matrix(picture, "dst")
        )
        for plane, new in zip(own, planes(encoded), strict=True):
            where = _blocks(changed, plane.shape)
            plane[where] = new[where]  # of few samples quicker than a masked copy

    width, height = picture.width, picture.height
    display_size = (height, width) if orientation.swaps_sides else (width, height)
    return Canvas(own, lambda colour: fill_values(colour, picture) + opaque, display_size, draw, orientation)


def image_canvas(photo: StillImage) -> Canvas:
    alpha = photo.alpha()
    hidden = [] if alpha is None else [alpha]  # it can draw a face all by itself

    def fill(colour: Colour) -> list[int]:
        return photo.fill(colour) + [int(np.iinfo(plane.dtype).max) for plane in hidden]

    def draw(paint: Paint) -> None:
        before = photo.rgb()
        drawn = before.copy()
        paint(drawn)
        changed = (drawn != before).any(axis=2)
        photo.set_rgb(drawn, changed)

    height, width = photo.pixels.shape[:2]
    return Canvas([*photo.planes(), *hidden], fill, (width, height), draw)


def rgba_canvas(pixels: np.ndarray) -> Canvas:
    """On HxWx4 uint8."""

    def draw(paint: Paint) -> None:
        drawn = pixels[:, :, :3].copy(order="C")
        paint(drawn)
        changed = (drawn != pixels[:, :, :3]).any(axis=2)
        pixels[changed, :3] = drawn[changed]
        pixels[changed, 3] = 255

    height, width = pixels.shape[:2]
    return Canvas([pixels[:, :, channel] for channel in range(4)], lambda rgb: [*rgb, 255], (width, height), draw)


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """HxW bool: where two HxWx3 uint8 differ."""
    return np.asarray(cv2.inRange(cv2.absdiff(a, b), (0, 0, 0), (0, 0, 0)) == 0)


def _matrix(picture: av.VideoFrame, end: str) -> dict[str, Any]:
    """How to convert from ("src") or to ("dst") a picture with its colours."""
    if picture.format.is_rgb:
        return {}
    return {f"{end}_colorspace": matrix_of(picture)} | (
        {f"{end}_color_range": int(picture.color_range)} if picture.color_range else {}
    )


def _blocks(changed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which samples of a plane of that shape stand for a pixel that is changed."""
    (height, width), (rows, columns) = changed.shape, shape
    if (rows, columns) == (height, width):
        return changed
    down, across = -(-height // rows), -(-width // columns)
    padded = np.pad(changed, ((0, rows * down - height), (0, columns * across - width)))
    blocks = np.zeros(shape, bool)
    for y in range(down):
        for x in range(across):
            blocks |= padded[y::down, x::across]
    return blocks
