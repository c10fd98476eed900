"""Colours in words, and in the planes of a picture: against swscale, which players use."""

from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from mdtool.media.colour import NAMES, colour_planes, fill_values, parse_colour
from mdtool.media.video.frame import planes

COLOURS = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (12, 200, 77)]
MATRICES = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 9: Colorspace.BT2020}


def by_swscale(rgb: tuple[int, int, int], layout: str, **options: Any) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), rgb, np.uint8), "rgb24")
    exactly = Interpolation.BILINEAR | Interpolation.ACCURATE_RND  # without, it dithers
    return picture.reformat(format=layout, interpolation=exactly, **options)


def values(picture: av.VideoFrame, count: int) -> list[int]:
    found = planes(picture)[:count]
    assert all(plane.min() == plane.max() for plane in found)
    return [int(plane.flat[0]) for plane in found]


def empty(layout: str, height: int = 64, matrix: int = 2, full: int = 0) -> av.VideoFrame:
    picture = av.VideoFrame(64, height, layout)
    picture.colorspace, picture.color_range = matrix, full
    return picture


def bits_of(picture: av.VideoFrame) -> int:
    return picture.format.components[0].bits


@pytest.mark.parametrize(
    ("text", "rgb"),
    [
        ("#ff00ff", (255, 0, 255)),
        ("#F0f", (255, 0, 255)),
        ("#01020a", (1, 2, 10)),
        (" Black ", (0, 0, 0)),
        ("white", (255, 255, 255)),
        ("grey", (128, 128, 128)),
        ("gray", (128, 128, 128)),
    ],
)
def test_colours_in_words(text: str, rgb: tuple[int, int, int]) -> None:
    assert parse_colour(text) == rgb


@pytest.mark.parametrize("text", ["", "#", "#ff", "#ffff", "#fffff", "#fffffff", "ff00ff", "#ggg", "#ff 0\n0", "mauve"])
def test_wrong_colours_are_told_with_the_right_ones(text: str) -> None:
    with pytest.raises(ValueError, match="unknown colour") as told:
        parse_colour(text)
    assert "\n" not in str(told.value)
    assert "#rrggbb" in str(told.value)


def test_every_name_is_a_colour() -> None:
    assert all(len(rgb) == 3 and all(0 <= part <= 255 for part in rgb) for rgb in NAMES.values())


@pytest.mark.parametrize("full", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "yuv422p10le", "yuva420p", "yuv420p12le", "yuv444p16le"])
def test_the_same_as_swscale(layout: str, matrix: int, full: ColorRange) -> None:
    for rgb in COLOURS:
        made = by_swscale(rgb, layout, dst_colorspace=MATRICES[matrix], dst_color_range=full)
        mine = fill_values(rgb, empty(layout, matrix=matrix, full=int(full)))
        # swscale works out 8-bit colours, so a level of deep pictures is a level of 8 bits.
        assert np.allclose(mine, values(made, len(mine)), atol=1 << bits_of(made) - 8), rgb


def test_a_yuvj_layout_is_full_range_whatever_it_says() -> None:
    for rgb in COLOURS:
        made = by_swscale(rgb, "yuvj420p", dst_colorspace=Colorspace.ITU601)
        for said in (0, 1, 2):
            mine = fill_values(rgb, empty("yuvj420p", matrix=5, full=said))
            assert np.allclose(mine, values(made, 3), atol=1), rgb


@pytest.mark.parametrize("layout", ["gbrp", "gbrap", "gbrp10le", "gbrap12le", "gbrp16le"])
def test_rgb_planes_are_green_blue_red(layout: str) -> None:
    for rgb in COLOURS:
        made = by_swscale(rgb, layout)
        mine = fill_values(rgb, empty(layout))
        assert len(mine) == 3
        assert np.allclose(mine, values(made, 3), atol=2 << bits_of(made) - 8), rgb  # deep ones come by way of YUV


@pytest.mark.parametrize("layout", ["gray", "gray10le", "gray16le"])
def test_grey(layout: str) -> None:
    for rgb in COLOURS:
        made = by_swscale(rgb, layout, dst_colorspace=Colorspace.ITU601)
        assert np.allclose(fill_values(rgb, empty(layout)), values(made, 1), atol=1 << bits_of(made) - 8), rgb


def test_grey_that_says_limited_is_limited() -> None:
    assert fill_values((255, 255, 255), empty("gray", full=1)) == [235]
    assert fill_values((0, 0, 0), empty("gray10le", full=1)) == [64]


def test_textbook_values() -> None:
    assert fill_values((0, 0, 0), empty("yuv420p")) == [16, 128, 128]
    assert fill_values((255, 255, 255), empty("yuv420p10le")) == [940, 512, 512]
    assert fill_values((255, 0, 0), empty("yuv420p", matrix=5)) == [81, 90, 240]
    assert fill_values((0, 0, 255), empty("yuv420p", matrix=1, full=2)) == [18, 255, 116]  # 255.5 does not wrap round


@pytest.mark.parametrize(("height", "like"), [(576, 5), (719, 5), (720, 1), (1080, 1)])
@pytest.mark.parametrize("unsaid", [2, 0, 3])
def test_a_matrix_that_is_not_said_goes_by_height(height: int, like: int, unsaid: int) -> None:
    rgb = (200, 30, 90)
    mine = fill_values(rgb, empty("yuv420p", height=height, matrix=unsaid))
    assert mine == fill_values(rgb, empty("yuv420p", height=height, matrix=like))
    assert fill_values(rgb, empty("yuv420p", matrix=5)) != fill_values(rgb, empty("yuv420p", matrix=1))


@pytest.mark.parametrize(
    ("layout", "count"),
    [("yuv420p", 3), ("yuva444p10le", 3), ("gray", 1), ("gray12le", 1), ("gbrp", 3), ("gbrap", 3), ("yuvj422p", 3)],
)
def test_alpha_is_no_colour(layout: str, count: int) -> None:
    assert colour_planes(empty(layout)) == count
    assert len(fill_values((1, 2, 3), empty(layout))) == count


@pytest.mark.parametrize("layout", ["rgb24", "nv12", "yuyv422", "p010le", "pal8", "rgba"])
def test_shared_planes_are_refused(layout: str) -> None:
    with pytest.raises(ValueError, match=layout):
        fill_values((0, 0, 0), empty(layout))
