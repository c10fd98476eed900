"""A contact sheet shows all of its images, in order, none over another."""

import numpy as np
import pytest

from recipes.contact_sheet import BACKGROUND, columns_of, contact_sheet


def image(shade: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), (shade, 255 - shade, 7), np.uint8)


@pytest.mark.parametrize("count", range(1, 10))
def test_all_images_are_there_in_order(count: int) -> None:
    sizes = [(60 + 9 * number, 80 - 7 * number) for number in range(count)]
    sheet = contact_sheet([(image(20 * number, *size), f"{number}") for number, size in enumerate(sizes)])
    corners = []
    for number, (width, height) in enumerate(sizes):
        rows, columns = np.nonzero((sheet == (20 * number, 255 - 20 * number, 7)).all(axis=2))
        assert len(rows) == width * height
        corners.append((rows.min(), columns.min()))
    grid = [(number // columns_of(count), number % columns_of(count)) for number in range(count)]
    for (row, column), (y, x) in zip(grid, corners, strict=True):
        for (other_row, other_column), (other_y, other_x) in zip(grid, corners, strict=True):
            if row < other_row:
                assert y < other_y
            if column < other_column:
                assert x < other_x


def test_captions_do_not_cover_images_and_long_ones_are_cut() -> None:
    sheet = contact_sheet(
        [(image(9, 40, 30), "a caption that is far longer than the image is wide"), (image(9, 40, 30), "")]
    )
    assert (sheet == (9, 246, 7)).all(axis=2).sum() == 2 * 40 * 30
    assert (sheet[0, 0] == BACKGROUND).all()


def test_columns() -> None:
    assert [columns_of(count) for count in (1, 2, 4, 5, 9)] == [1, 2, 2, 3, 3]
