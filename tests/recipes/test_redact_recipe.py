"""What is hidden is gone, all of it, and nothing else is changed."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.redact import MIN_CELL, Style, blank, redact
from recipes.regions import Region

STYLES = ["blur", "pixelate", "solid", "obfuscate"]
CENTRE = Region(0.25, 0.25, 0.75, 0.75)
BARE = 0.0  # no margin


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Random samples from 1 to just under the top, so that 0 and the top stay free for fills."""
    return np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, shape, dtype=dtype)


def redacted(plane: np.ndarray, style: Style, *areas: Region, fill: int | Sequence[int] = 0) -> np.ndarray:
    plane = plane.copy()
    redact([plane], areas, style, [fill])
    return plane


def around(area: Region, width: int, height: int, step: int = 1) -> tuple[slice, slice]:
    """The samples that hold any bit of an area of width x height pixels: worked out the long way."""
    columns = [
        i for i in range(-(-width // step)) if i * step < area.x_max * width and (i + 1) * step > area.x_min * width
    ]
    rows = [
        i for i in range(-(-height // step)) if i * step < area.y_max * height and (i + 1) * step > area.y_min * height
    ]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@st.composite
def some_areas(draw: st.DrawFn) -> Region:
    def side() -> tuple[float, float]:
        low = draw(st.floats(-0.3, 1))
        return low, low + draw(st.floats(0.001, 1))

    (x0, x1), (y0, y1) = side(), side()
    return Region(x0, y0, x1, y1)


# --- what is hidden


@pytest.mark.parametrize("strength", [0.15, 0.25, 0.5, 1.0])
def test_pixelate_leaves_one_value_a_cell(strength: float) -> None:
    inside = redacted(noise(80, 120, 3), Style("pixelate", strength, margin=BARE), CENTRE)[20:60, 30:90]
    across, down = int(60 / max(40 * strength, MIN_CELL)), int(40 / max(40 * strength, MIN_CELL))
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) <= across * down


@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("name", ["blur", "pixelate", "obfuscate"])
def test_different_faces_with_equal_averages_become_the_same(name: Any, shape: Any) -> None:
    cell = 8  # a quarter of the 32 pixels of the object
    low, high = np.indices((64, 64)).sum(0) % 2 * 100 + 50, np.indices((64, 64))[0] % 2 * 100 + 50
    low, high = low.astype(np.uint8), high.astype(np.uint8)
    assert np.array_equal(*(face.reshape(8, cell, 8, cell).mean((1, 3)) for face in (low, high)))
    style = Style(name, 0.25, shape, margin=0.5)  # to the edges of the picture
    assert np.array_equal(redacted(low, style, CENTRE), redacted(high, style, CENTRE))


@pytest.mark.parametrize("name", ["blur", "pixelate", "obfuscate"])
def test_detail_does_not_shine_through(name: Any) -> None:
    plane = noise(96, 96)
    inside = (slice(24, 72), slice(24, 72))
    hidden = redacted(plane, Style(name, margin=BARE), CENTRE)[inside].astype(float)
    fine = plane[inside] - plane[inside].reshape(4, 12, 4, 12).mean((1, 3)).repeat(12, 0).repeat(12, 1)
    assert abs(np.corrcoef(fine.ravel(), hidden.ravel())[0, 1]) < 0.1
    assert hidden.std() < plane[inside].std() / 4


@pytest.mark.parametrize("name", STYLES)
def test_a_tiny_object_is_one_cell(name: Any) -> None:
    plane = noise(90, 90)
    area = Region(0.5, 0.5, 0.5 + 3 / 90, 0.5 + 3 / 90)
    hidden = redacted(plane, Style(name), area)[45:48, 45:48]
    assert len(np.unique(hidden)) == 1


@pytest.mark.parametrize("area", [Region(0.1, 0.4, 0.9, 0.6), Region(0.4, 0.1, 0.6, 0.9)])
def test_the_shorter_side_sets_the_cell(area: Region) -> None:
    ramp = np.add.outer(np.arange(100), np.arange(100)).astype(np.uint8)
    rows, columns = around(area, 100, 100)
    cells = redacted(ramp, Style("pixelate", 0.5, margin=BARE), area)[rows, columns]
    assert {len(np.unique(cells[0])), len(np.unique(cells[:, 0]))} == {2, 8}  # cells of 10 pixels, 80 x 20


def test_a_grown_box_has_cells_of_the_same_size() -> None:
    ramp = np.tile(np.arange(100, dtype=np.uint8) * 2, (100, 1))
    hidden = redacted(ramp, Style("pixelate", 0.25, margin=0.5), Region(0.3, 0.3, 0.7, 0.7))
    ends = np.flatnonzero(np.diff(hidden[50, 10:90].astype(int)))
    assert ends.tolist() == [9, 19, 29, 39, 49, 59, 69]  # a quarter of the object's 40 pixels


@given(some_areas(), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.32, (0.5, 0.1)]))
def test_solid_covers_all_of_the_grown_box_and_nothing_else(area: Region, width: int, height: int, margin: Any) -> None:
    plane = noise(height, width)
    hidden = redacted(plane, Style("solid", margin=margin), area)
    x, y = margin if isinstance(margin, tuple) else (margin, margin)
    grown = [
        (low * size - margin * (high * size - low * size), high * size + margin * (high * size - low * size))
        for low, high, size, margin in ((area.x_min, area.x_max, width, x), (area.y_min, area.y_max, height, y))
    ]
    over_x, over_y = (
        (np.arange(size) + 1 > low) & (np.arange(size) < high)
        for (low, high), size in zip(grown, (width, height), strict=True)
    )
    covered = over_y[:, None] & over_x
    assert np.array_equal(hidden == 0, covered)
    assert np.array_equal(hidden[~covered], plane[~covered])


@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("feather", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(area=some_areas(), width=st.integers(1, 40), height=st.integers(1, 40))
def test_every_shape_covers_the_whole_box(
    shape: Any, feather: float, dtype: Any, area: Region, width: int, height: int
) -> None:
    hidden = redacted(noise(height, width, dtype=dtype), Style("solid", 1, shape, feather, BARE), area)
    if area.x_max > 0 and area.y_max > 0 and area.x_min * width < width and area.y_min * height < height:
        assert not hidden[around(area, width, height)].any()


@pytest.mark.parametrize(("x_step", "y_step"), [(2, 2), (2, 1), (4, 1), (4, 4)])
@given(
    area=some_areas(), width=st.integers(1, 40), height=st.integers(1, 40), shape=st.sampled_from(["box", "ellipse"])
)
def test_small_planes_are_covered_where_the_large_one_is(
    x_step: int, y_step: int, area: Region, width: int, height: int, shape: Any
) -> None:
    luma = noise(height, width)
    chroma = noise(-(-height // y_step), -(-width // x_step))
    redact([luma, chroma], [area], Style("solid", shape=shape, margin=BARE), [0, 0])
    rows, columns = np.nonzero(luma == 0)
    assert not chroma[rows // y_step, columns // x_step].any()
    assert (chroma == 0).sum() <= len({(y // y_step, x // x_step) for y, x in zip(rows, columns, strict=True)}) or (
        shape == "ellipse"  # whose border a large sample can touch where no small one of the picture does
    )


@pytest.mark.parametrize(("x_step", "y_step"), [(2, 2), (4, 1)])
def test_colour_has_the_cells_that_brightness_has(x_step: int, y_step: int) -> None:
    luma, chroma = noise(101, 131), noise(-(-101 // y_step), -(-131 // x_step))
    redact([luma, chroma], [CENTRE], Style("pixelate", margin=BARE), [0, 0])
    rows, columns = around(CENTRE, 131, 101)
    part = chroma[rows.start // y_step : -(-rows.stop // y_step), columns.start // x_step : -(-columns.stop // x_step)]
    across, down = (
        (columns.stop - columns.start) * 4 // 50,
        (rows.stop - rows.start) * 4 // 50,
    )  # the box is 65.5 x 50.5
    assert len(np.unique(luma[rows, columns])) <= across * down
    assert len(np.unique(part)) <= across * down


def test_interleaved_colour_planes() -> None:
    luma, chroma = noise(40, 60), noise(20, 30, 2)
    redact([luma, chroma], [CENTRE], Style("solid", margin=BARE), [16, (128, 200)])
    assert (luma[10:30, 15:45] == 16).all()
    assert (chroma[5:15, 7:23] == (128, 200)).all()


# --- what is left


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_outside_nothing_changes(name: Any, shape: Any, dtype: Any) -> None:
    plane = noise(61, 83, 3, dtype=dtype)
    style = Style(name, shape=shape, feather=0.1, margin=0.1)
    hidden = redacted(plane, style, Region(0.4, 0.4, 0.6, 0.6))
    grown = 1.2 * (math.sqrt(2) if shape == "ellipse" else 1)
    reach_x, reach_y = (0.1 * side * grown + 0.1 * 0.2 * 61 + 2 for side in (83, 61))
    changed = (hidden != plane).any(2)
    rows, columns = np.nonzero(changed)
    assert abs(rows + 0.5 - 61 / 2).max() <= reach_y
    assert abs(columns + 0.5 - 83 / 2).max() <= reach_x
    assert changed[25:36, 34:49].mean() > 0.9


@pytest.mark.parametrize("name", ["blur", "pixelate", "solid"])
@pytest.mark.parametrize(
    "area", [Region(-0.5, 0.2, -0.2, 0.6), Region(1.2, 0, 1.4, 1), Region(0, -2, 1, -1), Region(0, 1.0, 1, 1.5)]
)
def test_boxes_outside_of_the_picture_do_nothing(name: Any, area: Region) -> None:
    plane = noise(30, 40)
    assert np.array_equal(redacted(plane, Style(name, margin=BARE), area), plane)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("area", [Region(-1, -1, 2, 2), Region(-0.1, -0.1, 0.1, 0.1), Region(0.9, 0.95, 3, 9)])
def test_boxes_over_the_edge_are_cut(name: Any, shape: Any, area: Region) -> None:
    plane = noise(50, 70, 3)
    hidden = redacted(plane, Style(name, shape=shape, feather=0.2), area, fill=(0, 0, 0))
    rows, columns = around(area, 70, 50)
    assert (hidden[rows, columns] != plane[rows, columns]).mean() > 0.9


def test_a_box_of_no_size_still_hides_the_sample_it_is_in() -> None:
    plane = noise(10, 10)
    hidden = redacted(plane, Style("solid"), Region(0.55, 0.5, 0.55, 0.5))
    assert np.argwhere(hidden != plane).tolist() == [[5, 5]]


def test_no_areas_no_change() -> None:
    plane = noise(10, 10)
    assert np.array_equal(redacted(plane, Style()), plane)


# --- the soft edge


@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_soft_edge_is_outside_of_the_shape_and_falls_to_nothing(shape: Any, dtype: Any) -> None:
    plane = np.full((200, 200), np.iinfo(dtype).max, dtype)
    hard, soft = (
        redacted(plane, Style("solid", 1, shape, feather, BARE), Region(0.4, 0.4, 0.6, 0.6)) for feather in (0.0, 0.5)
    )
    assert not soft[hard == 0].any()
    right = soft[100, 100:].astype(int)
    edge = int((hard[100, 100:] == 0).sum())
    assert (np.diff(right[edge : edge + 21]) > 0).all()  # 20 pixels: half of the shorter side
    assert (right[edge + 20 :] == plane[0, 0]).all()


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("shape", ["box", "ellipse"])
@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_neighbours_bring_nothing_back(name: Any, shape: Any, order: list[int]) -> None:
    areas = [
        Region(0.25, 0.25, 0.5, 0.5),
        Region(0.4, 0.3, 0.7, 0.6),
        Region(0.2, 0.4, 0.3, 0.5),
        Region(0.3, 0.3, 0.4, 0.4),
    ]
    areas = [areas[i] for i in order]
    plane = noise(384, 384)
    covered = redacted(plane, Style("solid", shape=shape, margin=BARE), *areas) == 0
    hidden = redacted(plane, Style(name, shape=shape, feather=0.5, margin=BARE), *areas)
    if name == "solid":
        assert not hidden[covered].any()
    else:  # a twentieth of what was there would make it 0.7; an average of 100 samples makes it 0.1
        assert abs(np.corrcoef(plane[covered], hidden[covered])[0, 1]) < 0.2


# --- how pictures lie in memory


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_views_with_any_strides_are_painted_in_place(name: Any, dtype: Any) -> None:
    style = Style(name, shape="ellipse", feather=0.2)
    views: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        lambda big: big[3:53, 5:65, 0],
        lambda big: big[::2, ::3, 1],
        lambda big: big[::-1, ::-1, 0],
        lambda big: big[:, :, 0].T,
        lambda big: big[..., :3],
        lambda big: big[..., ::-1],
        lambda big: big[..., :1],
    )
    for make in views:
        big = noise(70, 90, 4, dtype=dtype)
        view = make(big)
        alone = np.ascontiguousarray(view)
        untouched = big.copy()
        make(untouched)[...] = 0
        for plane in (view, alone):
            redact([plane], [CENTRE], style, [7])
        assert np.array_equal(view, alone)
        view[...] = 0
        assert np.array_equal(big, untouched)


def test_sixteen_bits_stay_sixteen_bits() -> None:
    plane = np.full((40, 40), 60001, np.uint16)
    for style in (Style(shape="ellipse", feather=0.3), Style("pixelate", feather=0.3)):
        assert (redacted(plane, style, CENTRE) == 60001).all()
    assert redacted(plane, Style("solid", feather=0.3), CENTRE, fill=40007)[20, 20] == 40007


@pytest.mark.parametrize("name", STYLES)
def test_the_same_in_the_same_out(name: Any) -> None:
    plane, areas = noise(77, 99, 3), [CENTRE, Region(0.1, 0.1, 0.4, 0.3)]
    style = Style(name, shape="ellipse", feather=0.1)
    assert np.array_equal(redacted(plane, style, *areas), redacted(plane, style, *areas))


def test_blank_hides_all() -> None:
    luma, chroma = noise(9, 9), noise(5, 5, 2)
    blank([luma, chroma], [16, (128, 127)])
    assert (luma == 16).all()
    assert (chroma == (128, 127)).all()
    with pytest.raises(ValueError, match="zip"):
        blank([luma, chroma], [16])


# --- what is refused


@pytest.mark.parametrize(
    "area",
    [
        Region(math.nan, 0, 1, 1),
        Region(0, 0, 1, math.nan),
        Region(0.6, 0, 0.4, 1),
        Region(0, 0.6, 1, 0.4),
        Region(0, 0, math.inf, 1),
        Region(-math.inf, 0, 1, 1),
        Region(0, 0, 1e308, 1),
    ],
)
def test_boxes_that_are_none_are_refused_before_anything_is_painted(area: Region) -> None:
    plane = noise(20, 20)
    before = plane.copy()
    with pytest.raises(ValueError, match="not a box"):
        redact([plane], [CENTRE, area], Style(), [0])
    assert np.array_equal(plane, before)


@pytest.mark.parametrize(
    ("planes", "fill"),
    [
        ([noise(20, 20), noise(7, 10)], [0, 0]),
        ([noise(20, 20), noise(21, 20)], [0, 0]),
        ([noise(20, 20), noise(2, 2)], [0, 0]),
        ([noise(20, 20)], [0, 0]),
        ([noise(20, 20), noise(10, 10)], [0]),
        ([noise(20, 20).astype(np.float32)], [0]),
        ([noise(20, 20).astype(">u2")], [0]),
        ([noise(20)], [0]),
        ([noise(0, 20)], [0]),
        ([np.broadcast_to(np.uint8(1), (20, 20))], [0]),
    ],
)
def test_planes_that_cant_be_painted_are_refused(planes: list[np.ndarray], fill: list[int]) -> None:
    with pytest.raises(ValueError, match="plane"):
        redact(planes, [CENTRE], Style(), fill)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "swirl"}, "blur, pixelate, solid, obfuscate"),
        ({"shape": "star"}, "box, ellipse"),
        ({"strength": 0.05}, "could be undone"),
        ({"strength": 1.1}, "strength goes from"),
        ({"strength": math.nan}, "strength goes from"),
        ({"feather": -0.1}, "feather goes from"),
        ({"feather": math.inf}, "feather goes from"),
        ({"margin": -0.1}, "margin is"),
        ({"margin": (0.1, math.nan)}, "margin is"),
    ],
)
def test_styles_that_cant_be_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Style(**options)


def test_it_keeps_up_with_video() -> None:
    planes = [noise(1080, 1920), noise(540, 960), noise(540, 960)]
    areas = [Region(i / 12, 0.2, (i + 1) / 12, 0.4) for i in range(10)]
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        redact(planes, areas, Style(), [16, 128, 128])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.03  # about 0.004 on a slow core: room for a busy machine


# --- obfuscation


def test_what_is_obfuscated_is_nearly_the_colour_around() -> None:
    plane = np.full((200, 200, 3), (60, 120, 180), np.uint8)
    plane[80:120, 80:120] = noise(40, 40, 3)
    hidden = redacted(plane, Style("obfuscate"), Region(0.4, 0.4, 0.6, 0.6))
    assert np.abs(hidden.astype(int) - (60, 120, 180)).max() < 0.1 * 200
    plain = redacted(plane, Style("pixelate"), Region(0.4, 0.4, 0.6, 0.6))
    assert hidden[80:120, 80:120].std(axis=(0, 1)).max() < plain[80:120, 80:120].std(axis=(0, 1)).max() / 5


def test_the_colour_around_is_that_of_a_ring_and_not_of_the_object() -> None:
    plane = np.full((200, 200), 50, np.uint8)
    plane[80:120, 80:120] = 250
    far = plane.copy()
    far[:20], far[180:] = 255, 255
    style, area = Style("obfuscate", 0.2, margin=BARE), Region(0.4, 0.4, 0.6, 0.6)
    hidden = redacted(plane, style, area)
    assert (hidden[100, 100], hidden[0, 0]) == (70, 50)  # a tenth of the object's, nine of the ring's
    assert (redacted(far, style, area)[60:140, 60:140] == hidden[60:140, 60:140]).all()


@pytest.mark.parametrize("margin", [0.0, (0.0, 0.05)])
def test_an_obfuscated_box_is_grown_in_any_case(margin: Any) -> None:
    plane = noise(200, 200)
    changed = np.argwhere(redacted(plane, Style("obfuscate", margin=margin), Region(0.4, 0.4, 0.6, 0.6)) != plane)
    assert changed.min(axis=0).tolist() == [76, 76]
    assert changed.max(axis=0).tolist() == [123, 123]


def test_a_box_that_is_grown_into_the_picture_is_obfuscated_there() -> None:
    plane = noise(30, 40)
    assert np.array_equal(redacted(plane, Style("obfuscate", margin=BARE), Region(0, 1.1, 1, 1.5)), plane)
    hidden = redacted(plane, Style("obfuscate", margin=BARE), Region(0, 1.0, 1, 1.5))
    assert np.argwhere(hidden != plane)[:, 0].min() == 28


def test_a_picture_that_leaves_no_room_for_a_ring() -> None:
    plane = noise(40, 40, 3)
    hidden = redacted(plane, Style("obfuscate"), Region(0, 0, 1, 1))
    assert np.abs(hidden - plane.mean(axis=(0, 1))).max() < 15


def test_objects_that_differ_a_little_can_no_longer_be_told_apart() -> None:
    """Eight bits can't hold what is left of a difference of a few levels between the averages of two faces."""
    one = np.full((200, 200), 100, np.uint8)
    other = one.copy()
    one[80:120, 80:120], other[80:120, 80:120] = 130, 133
    style, area = Style("obfuscate", margin=BARE), Region(0.4, 0.4, 0.6, 0.6)
    assert (redacted(one, style, area) == redacted(other, style, area)).all()
