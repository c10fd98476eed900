"""One interface to paint on images however they are stored: video frames, still images and animation frames."""

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
    """Writable access to the pixels of one image.

    Attributes:
        planes: HxW views on the stored samples, one per component, as `recipes.redact` takes them.
        fill: Returns the value of each plane that shows an RGB colour, opaque.
        display_size: (width, height) in pixels, as displayed.
        draw: Calls a function with the image as displayed (HxWx3 uint8 RGB) and stores only the pixels it changed.
        orientation: The rotation and mirroring between stored planes and display.
    """

    planes: list[np.ndarray]
    fill: Callable[[Colour], list[int]]
    display_size: tuple[int, int]
    draw: Callable[[Paint], None]
    orientation: Orientation = UPRIGHT


def frame_canvas(frame: av.VideoFrame, orientation: Orientation) -> Canvas:
    """Return a canvas on a decoded video frame.

    Raises:
        ValueError: Components of its pixel format share a plane.
    """
    frame.make_writable()  # the decoder may still predict later frames from it
    stored_planes = planes(frame)
    opaque = [(1 << frame.format.components[0].bits) - 1] * (len(stored_planes) - colour_planes(frame))

    def draw(paint: Paint) -> None:
        stored = reformatter().reformat(frame, format="rgb24", **_colorspace(frame, "src")).to_ndarray()
        shown = orientation.show(stored).copy(order="C")
        paint(shown)
        drawn = np.ascontiguousarray(orientation.store(shown))
        changed = _differ(drawn, stored)
        if not changed.any():
            return
        encoded = reformatter().reformat(
            av.VideoFrame.from_ndarray(drawn, "rgb24"), format=frame.format.name, **_colorspace(frame, "dst")
        )
        for plane, new in zip(stored_planes, planes(encoded), strict=True):
            where = _subsample(changed, plane.shape)
            plane[where] = new[where]  # faster than a masked copy where few samples change

    width, height = frame.width, frame.height
    display_size = (height, width) if orientation.swaps_sides else (width, height)
    return Canvas(stored_planes, lambda colour: fill_values(colour, frame) + opaque, display_size, draw, orientation)


def image_canvas(image: StillImage) -> Canvas:
    """Return a canvas on a still image, its alpha channel included."""
    alpha = image.alpha()
    alpha_planes = [] if alpha is None else [alpha]  # alpha alone can show the outline of a face

    def fill(colour: Colour) -> list[int]:
        return image.fill(colour) + [int(np.iinfo(plane.dtype).max) for plane in alpha_planes]

    def draw(paint: Paint) -> None:
        before = image.rgb()
        drawn = before.copy()
        paint(drawn)
        changed = (drawn != before).any(axis=2)
        image.set_rgb(drawn, changed)

    height, width = image.pixels.shape[:2]
    return Canvas([*image.planes(), *alpha_planes], fill, (width, height), draw)


def rgba_canvas(pixels: np.ndarray) -> Canvas:
    """Return a canvas on HxWx4 uint8 RGBA."""

    def draw(paint: Paint) -> None:
        drawn = pixels[:, :, :3].copy(order="C")
        paint(drawn)
        changed = (drawn != pixels[:, :, :3]).any(axis=2)
        pixels[changed, :3] = drawn[changed]
        pixels[changed, 3] = 255

    height, width = pixels.shape[:2]
    return Canvas([pixels[:, :, channel] for channel in range(4)], lambda rgb: [*rgb, 255], (width, height), draw)


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return HxW bool: the pixels in which two HxWx3 uint8 images differ."""
    return np.asarray(cv2.inRange(cv2.absdiff(a, b), (0, 0, 0), (0, 0, 0)) == 0)


def _colorspace(frame: av.VideoFrame, end: str) -> dict[str, Any]:
    """Return the reformatter's arguments for the frame's colours at the "src" or "dst" end of a conversion."""
    if frame.format.is_rgb:
        return {}
    return {f"{end}_colorspace": matrix_of(frame)} | (
        {f"{end}_color_range": int(frame.color_range)} if frame.color_range else {}
    )


def _subsample(changed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which samples of a (perhaps chroma-subsampled) plane of that shape cover a changed pixel."""
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
