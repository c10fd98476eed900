"""The heatmap: hot where and as long as something was, clear elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contract import Point
from recipes.gaze import Gaze
from recipes.heatmap import CELLS, HeatMap, add_gaze
from recipes.regions import Region


def alpha_at(heat: HeatMap, x: float, y: float) -> int:
    return int(heat.overlay(320, 180)[int(y * 179), int(x * 319), 3])


def test_the_grid_has_the_pictures_shape() -> None:
    assert HeatMap(16 / 9).grid.shape == (54, CELLS)
    assert HeatMap(9 / 16).grid.shape == (CELLS, 54)
    assert HeatMap(1000).grid.shape == (1, CELLS)


def test_without_heat_all_is_clear() -> None:
    heat = HeatMap(16 / 9)
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    assert not heat.overlay(160, 90)[..., 3].any()
    assert (heat.blend_onto(picture) == picture).all()
    heat.add(0.5, 0.5, 0)
    assert not heat.overlay(160, 90)[..., 3].any()


def test_heat_is_where_it_was_added_and_clear_far_from_it() -> None:
    heat = HeatMap(16 / 9)
    heat.add(0.25, 0.75, 2)
    overlay = heat.overlay(320, 180)
    assert overlay.shape == (180, 320, 4)
    row, column = np.unravel_index(overlay[..., 3].astype(int).argmax(), (180, 320))
    rows, columns = np.nonzero(overlay[..., 3] == overlay[..., 3].max())
    assert abs(rows.mean() - 135) < 3
    assert abs(columns.mean() - 80) < 3
    assert overlay[row, column, 3] > 200
    assert not overlay[:, 160:, 3].any()
    assert not overlay[:70, :, 3].any()


def test_seconds_add_up() -> None:
    often, once = HeatMap(1), HeatMap(1)
    for _ in range(50):
        often.add(0.3, 0.3, 0.1)
    once.add(0.3, 0.3, 5)
    for heat in (often, once):
        heat.add(0.8, 0.8, 2)
        assert heat.grid.sum() == pytest.approx(7)
    assert np.allclose(often.levels(), once.levels())


def test_a_gaze_is_hot_at_its_target_and_a_head_along_its_line() -> None:
    face, eye, end = Region(0.0, 0.4, 0.2, 0.6), Point(0.1, 0.5), Point(1.0, 0.5)
    look, head = HeatMap(1), HeatMap(1)
    add_gaze(look, Gaze(1, face, eye, end, True), 2)
    add_gaze(head, Gaze(1, face, eye, end, True, "head"), 2)
    for heat in (look, head):
        add_gaze(heat, Gaze(1, face, eye, None, False), 2)
    assert look.grid.sum() == pytest.approx(2)
    assert look.grid[48, -1] == pytest.approx(2)
    line = head.grid[48]
    assert line[:19].sum() == 0  # the face itself
    assert line[25:].min() > 0
    assert line.max() < 0.1


def test_longer_is_hotter_and_brighter() -> None:
    heat = HeatMap(1)
    places = (0.1, 0.3, 0.5, 0.7, 0.9)
    for place, seconds in zip(places, (0.5, 2, 5, 10, 20), strict=True):
        heat.add(place, 0.5, seconds)
    overlay = heat.overlay(400, 400)
    luma = [float(overlay[200, int(400 * place), :3] @ np.array([0.299, 0.587, 0.114])) for place in places]
    assert luma == sorted(luma)
    assert min(np.diff(luma)) > 10
    alphas = [int(overlay[200, int(400 * place), 3]) for place in places]
    assert alphas == sorted(alphas)


def test_one_long_stare_does_not_hide_a_glance() -> None:
    heat = HeatMap(16 / 9)
    heat.add(0.2, 0.2, 60)
    heat.add(0.8, 0.8, 0.5)
    assert alpha_at(heat, 0.8, 0.8) > 30
    assert alpha_at(heat, 0.8, 0.2) == 0


def test_the_overlay_tints_the_picture_and_leaves_it_as_it_was() -> None:
    heat = HeatMap(16 / 9)
    heat.add(0.25, 0.5, 1)
    picture = np.full((180, 320, 3), 128, np.uint8)
    tinted = heat.blend_onto(picture)
    assert (picture == 128).all()
    assert tinted.dtype == np.uint8
    assert (tinted[:, 200:] == 128).all()
    assert np.abs(tinted[90, 80].astype(int) - 128).max() > 60
    overlay = heat.overlay(320, 180)[90, 80].astype(float)
    mixed = 128 + overlay[3] / 255 * (overlay[:3] - 128)
    assert np.abs(tinted[90, 80] - mixed).max() <= 1


def test_heat_spreads_alike_in_both_directions() -> None:
    heat = HeatMap(2)
    heat.add(0.5, 0.5, 1)
    alpha = heat.overlay(400, 200)[..., 3] > 0
    assert abs(int(alpha.any(axis=0).sum()) - int(alpha.any(axis=1).sum())) <= 8


def test_what_lies_outside_adds_nothing_and_no_number_is_refused() -> None:
    heat = HeatMap(1)
    heat.add(-0.1, 0.5, 1)
    heat.add(0.5, 1.01, 1)
    assert not heat.grid.any()
    for bad in ((float("nan"), 0, 1), (0, float("inf"), 1), (0, 0, -1), (0, 0, float("nan"))):
        with pytest.raises(ValueError, match="two numbers"):
            heat.add(*bad)
    for aspect in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            HeatMap(aspect)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6)), max_size=5),
    st.floats(0.01, 100),
    st.integers(1, 80),
    st.integers(1, 80),
)
def test_any_heat_over_any_picture(
    places: list[tuple[float, float, float]], aspect: float, width: int, height: int
) -> None:
    maps = HeatMap(aspect), HeatMap(aspect)
    for heat in maps:
        for place in places:
            heat.add(*place)
    levels = maps[0].levels()
    assert 0 <= levels.min() <= levels.max() <= 1
    pictures = [heat.blend_onto(np.full((height, width, 3), 50, np.uint8)) for heat in maps]
    assert pictures[0].shape == (height, width, 3)
    assert (pictures[0] == pictures[1]).all()
