"""What is drawn on a picture shows there in its colours, and nothing else of the picture changes."""

from typing import Any

import av
import numpy as np
import pytest

from mdtool.media.canvas import Canvas, frame_canvas, image_canvas, rgba_canvas
from mdtool.media.image.display_matrix import Orientation
from mdtool.media.image.image_file import StillImage
from mdtool.media.video.frame import planes

RED = (255, 0, 0)
TURNS = [Orientation(quarters, mirror) for quarters in range(4) for mirror in (False, True)]


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(3).integers(np.iinfo(dtype).max, size=shape, dtype=dtype)


def picture(layout: str, width: int = 96, height: int = 64, matrix: int = 2, full: bool = False) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, layout)
    top = 1 << frame.format.components[0].bits
    for plane, samples in zip(frame.planes, planes(frame), strict=True):
        samples[...] = noise(plane.height, plane.width, dtype=np.uint16) % (top // 2) + top // 4
    frame.colorspace = matrix
    frame.color_range = 2 if full else 1
    return frame


def red_square(image: np.ndarray) -> None:
    image[8:24, 16:32] = RED


def painted(canvas: Canvas) -> list[np.ndarray]:
    """What has changed in each plane after a red square is drawn."""
    before = [plane.copy() for plane in canvas.planes]
    canvas.draw(red_square)
    return [new != old for new, old in zip(canvas.planes, before, strict=True)]


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (1, True), (6, False), (9, False)])
@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "yuv422p10le", "gbrp"])
def test_a_video_picture_shows_the_colour_as_its_tags_say(layout: str, matrix: int, full: bool) -> None:
    frame = picture(layout, matrix=0 if layout == "gbrp" else matrix, full=full)
    canvas = frame_canvas(frame, Orientation())
    wanted = canvas.fill(RED)
    canvas.draw(red_square)
    for plane, value in zip(planes(frame), wanted, strict=True):
        down, across = 64 // plane.shape[0], 96 // plane.shape[1]
        inside = plane[12 // down : 20 // down, 20 // across : 28 // across].astype(int)
        assert np.abs(inside - value).max() <= 3 << (frame.format.components[0].bits - 8)


@pytest.mark.parametrize("turn", TURNS)
def test_what_is_drawn_upright_lies_where_it_is_displayed(turn: Orientation) -> None:
    frame = picture("yuv420p")
    canvas = frame_canvas(frame, turn)
    assert canvas.display_size == ((64, 96) if turn.swaps_sides else (96, 64))
    changed, *_ = painted(canvas)
    shown = turn.show(changed)
    assert shown[8:24, 16:32].mean() > 0.9
    shown[8:24, 16:32] = False
    assert not shown.any()


def test_a_function_that_draws_nothing_changes_nothing() -> None:
    frame = picture("yuv420p")
    before = [plane.copy() for plane in planes(frame)]
    frame_canvas(frame, Orientation(1)).draw(lambda image: None)
    assert all((new == old).all() for new, old in zip(planes(frame), before, strict=True))


def test_odd_sides_have_a_last_block_of_chroma() -> None:
    frame = picture("yuv420p", 97, 65)
    canvas = frame_canvas(frame, Orientation())
    before = [plane.copy() for plane in canvas.planes]

    def corner(image: np.ndarray) -> None:
        image[64, 96] = RED

    canvas.draw(corner)
    changed = [np.argwhere(new != old).tolist() for new, old in zip(canvas.planes, before, strict=True)]
    assert changed == [[[64, 96]], [[32, 48]], [[32, 48]]]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_photos_keep_their_mode_and_depth(mode: str, depth: Any) -> None:
    photo = StillImage(noise(64, 96, len(mode), dtype=depth), mode, "png")
    canvas = image_canvas(photo)
    wanted = canvas.fill(RED)
    changed = painted(canvas)
    for plane, mask, value in zip(canvas.planes, changed, wanted, strict=True):
        square = plane[8:24, 16:32].astype(int)
        assert np.abs(square - value).max() <= np.iinfo(depth).max // 255
        mask[8:24, 16:32] = False
        assert not mask.any()


def test_an_animation_is_opaque_where_it_is_drawn_on() -> None:
    pixels = noise(64, 96, 4)
    before = pixels.copy()
    rgba_canvas(pixels).draw(red_square)
    assert (pixels[8:24, 16:32] == (*RED, 255)).all()
    before[8:24, 16:32] = pixels[8:24, 16:32]
    assert (pixels == before).all()
