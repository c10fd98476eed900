"""Regions and sizes as people type them, and whom they leave unhidden."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.regions import PictureArea, Region, Size, parse_region, parse_size, select_regions

LEFT, RIGHT, TINY = Region(0.1, 0.4, 0.3, 0.6), Region(0.7, 0.4, 0.9, 0.6), Region(0.5, 0.5, 0.51, 0.51)
ALL = [LEFT, RIGHT, TINY]


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("0,0,1,1", PictureArea(0, 0, 1, 1)),
        ("0.1, .2 ,0.5,1", PictureArea(0.1, 0.2, 0.5, 1)),
        ("10,20,30,40", PictureArea(10, 20, 30, 40, pixels=True)),
        ("0,0,1,2", PictureArea(0, 0, 1, 2, pixels=True)),
        ("0,0,2.0,2", PictureArea(0, 0, 2, 2, pixels=True)),
    ],
)
def test_regions_are_fractions_or_pixels(text: str, region: PictureArea) -> None:
    assert parse_region(text) == region


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a number"),
        ("0.1,0.2,0.3", "four numbers"),
        ("0.1,0.2,0.3,0.4,0.5", "four numbers"),
        ("0.5,0,0.1,1", "upper left"),
        ("0,0.5,1,0.1", "upper left"),
        ("0.5,0,0.5,1", "upper left"),
        ("-0.1,0,1,1", "0 or more"),
        ("nan,0,1,1", "0 or more"),
        ("0,0,inf,5", "0 or more"),
        ("a,0,1,1", "'a' is not a number"),
        ("0.5,0.5,1,1.5", "whole pixels"),
        ("0.1,0.1,0.9,200", "whole pixels"),
        ("10;20;30;40", "not a number"),
    ],
)
def test_wrong_regions_are_told_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        parse_region(text)
    assert "\n" not in str(error.value)


def test_pixels_become_fractions_of_each_picture() -> None:
    region = parse_region("100,50,200,150")
    assert region.in_fractions(400, 200) == PictureArea(0.25, 0.25, 0.5, 0.75)
    assert region.in_fractions(200, 100) == PictureArea(0.5, 0.5, 1, 1.5)
    assert parse_region("0.1,0.2,0.3,0.4").in_fractions(7, 9) == PictureArea(0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(("width", "height"), [(100, 400), (400, 50)])
def test_a_region_that_misses_the_picture_is_told(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"100,50,200,150 lies outside of an image of {width}x{height}"):
        parse_region("100,50,200,150").in_fractions(width, height)
    with pytest.raises(ValueError, match="lies outside"):
        select_regions([], width, height, only=[parse_region("100,50,200,150")])


@pytest.mark.parametrize(("text", "pixels"), [("24", 24), ("0.02", 2), ("0", 0), ("1", 1), ("1.0", 1), ("0.5", 50)])
def test_sizes_are_pixels_or_parts_of_the_shorter_side(text: str, pixels: float) -> None:
    assert parse_size(text).in_pixels(300, 100) == pytest.approx(pixels)


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1.5", "24px", "0,02"])
def test_wrong_sizes_are_told_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"number|whole pixels") as error:
        parse_size(text)
    assert "\n" not in str(error.value)


def test_all_are_hidden_unless_something_is_said() -> None:
    assert select_regions(ALL, 640, 480) == ALL


def test_a_box_is_kept_by_where_its_centre_is() -> None:
    assert select_regions(ALL, 640, 480, keep=[PictureArea(0, 0, 0.19, 1)]) == ALL
    assert select_regions(ALL, 640, 480, keep=[PictureArea(0, 0, 0.21, 1)]) == [RIGHT, TINY]
    assert select_regions(ALL, 640, 480, keep=[PictureArea(0, 0, 0.21, 1), PictureArea(0.75, 0, 1, 1)]) == [TINY]
    assert select_regions(ALL, 640, 480, keep=[PictureArea(0, 0, 135, 480, pixels=True)]) == [RIGHT, TINY]


def test_only_hides_what_it_touches_at_all() -> None:
    assert select_regions(ALL, 640, 480, only=[PictureArea(0.9, 0.6, 1, 1)]) == [RIGHT]  # a corner
    assert select_regions(ALL, 640, 480, only=[PictureArea(0.91, 0, 1, 1)]) == []
    assert select_regions(ALL, 640, 480, only=[PictureArea(0, 0, 0.1, 1), PictureArea(0.5, 0, 0.6, 1)]) == [LEFT, TINY]


def test_keep_goes_before_only() -> None:
    whole = PictureArea(0, 0, 1, 1)
    assert select_regions(ALL, 640, 480, keep=[PictureArea(0, 0, 0.4, 1)], only=[whole]) == [RIGHT, TINY]


def test_the_longer_side_counts_as_size_in_pixels_of_the_picture() -> None:
    assert select_regions(ALL, 640, 480, min_size=Size(7, pixels=True)) == [LEFT, RIGHT]
    assert select_regions(ALL, 640, 480, min_size=Size(6, pixels=True)) == ALL  # 6.4 x 4.8
    assert select_regions(ALL, 640, 480, min_size=parse_size("0.25")) == [LEFT, RIGHT]  # 128 of 120 wanted
    assert select_regions(ALL, 640, 480, min_size=parse_size("0.3")) == []


def test_what_cant_be_told_is_hidden() -> None:
    box = Region(math.nan, math.nan, math.nan, math.nan)
    whole, part = [PictureArea(0, 0, 1, 1)], [PictureArea(0, 0, 0.1, 0.1)]
    assert select_regions([box], 640, 480, keep=whole, only=part, min_size=Size(99, pixels=True)) == [box]


@given(
    st.lists(st.builds(Region, *[st.floats(-0.2, 1.2)] * 4), max_size=6),
    st.lists(st.builds(lambda x, y: PictureArea(x, y, x + 0.3, y + 0.3), *[st.floats(0, 0.7)] * 2), max_size=2),
)
def test_keep_and_only_can_but_take_away_and_order_stays(boxes: list[Region], regions: list[PictureArea]) -> None:
    for hidden in (select_regions(boxes, 64, 48, keep=regions), select_regions(boxes, 64, 48, only=regions)):
        left = iter(boxes)
        assert all(box in left for box in hidden)
