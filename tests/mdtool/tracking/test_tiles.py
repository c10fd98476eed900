"""Tiles beside the whole picture: small objects are found, every object is there once, and none is lost at a border."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from make_media import SAMPLES
from PIL import Image

import engine
from mdtool.pipeline.findings_file import records
from mdtool.tracking.detector import Detector, ImageFindings, object_detector
from mdtool.tracking.merge_tiles import View
from mdtool.tracking.tiles import MIN_TILE_SIDE, OVERLAP, TileGrid, parse_tiles, tile_detector
from recipes.boxes import iou
from recipes.regions import GazeEstimate, Region

WIDTH, HEIGHT = 900, 900
GRID = TileGrid(2, 2)  # tiles of 500 pixels, that share those from 400 to 500
SEEN_WHOLE = 300  # pixels: what is smaller the planned model sees on tiles only


def seeing(*objects: tuple[int, int, int, int], label: str = "face", whole: int = SEEN_WHOLE) -> Detector:
    """Sees these objects, x0, y0, x1, y1 in pixels, as far as a view shows them, if they fill enough of the view.

    The pictures it is shown hold at each pixel where that is.
    """

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings(_shown(image, objects), {"dark?": str(image.shape[1])}) for image in images]

    def _shown(image: np.ndarray, objects: Sequence[tuple[int, int, int, int]]) -> list[Region]:
        height, width = image.shape[:2]
        left, top = (
            4 * int(part) + int(rest) for part, rest in zip(image[0, 0, :2], divmod(image[0, 0, 2], 4), strict=True)
        )
        shown = []
        for number, (x0, y0, x1, y1) in enumerate(objects):
            if max(x1 - x0, y1 - y0) < whole and (width, height) == (WIDTH, HEIGHT):
                continue
            ax, ay, bx, by = max(x0, left), max(y0, top), min(x1, left + width), min(y1, top + height)
            if bx - ax >= 10 and by - ay >= 10:
                x_min, y_min, x_max, y_max = (
                    (ax - left) / width,
                    (ay - top) / height,
                    (bx - left) / width,
                    (by - top) / height,
                )
                score = 0.5 + 0.4 * (bx - ax) * (by - ay) / ((x1 - x0) * (y1 - y0)) - 0.01 * number
                shown.append(Region(x_min, y_min, x_max, y_max, label, score=score))
        return shown

    return see


def places() -> np.ndarray:
    """A picture that says in each pixel where it is."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x // 4, y // 4, x % 4 * 4 + y % 4], -1).astype(np.uint8)


PLACES = places()


def pixels(sight: ImageFindings) -> list[tuple[int, ...]]:
    boxes = [(b.x_min * WIDTH, b.y_min * HEIGHT, b.x_max * WIDTH, b.y_max * HEIGHT) for b in _boxes(sight)]
    return sorted(tuple(round(side) for side in box) for box in boxes)


def _boxes(sight: ImageFindings) -> list[Region]:
    return [*sight.regions]


@pytest.mark.parametrize(
    "objects",
    [
        [(100, 100, 160, 180)],
        [(420, 100, 480, 180)],  # in the zone of two tiles
        [(300, 100, 520, 300)],  # cut by one border
        [(350, 100, 560, 300)],  # by both, on each side of the zone
        [(100, 350, 300, 560)],
        [(420, 420, 480, 480)],  # in the zone of four
        [(350, 350, 560, 560)],  # cut by all four
        [(430, 430, 560, 560)],
        [(340, 340, 470, 470)],
        [(390, 100, 450, 180)],  # a little of it is out of the zone
        [(395, 395, 505, 505)],
        [(480, 100, 540, 180)],  # of which one tile shows a sliver
        [(0, 0, 60, 60), (840, 840, 900, 900)],  # at the edges of the picture, which cut nothing
        [(0, 350, 100, 560), (800, 350, 900, 560)],
        [(100, 100, 800, 800)],  # larger than a tile
        [(0, 0, 900, 900)],
        [(100, 400, 800, 500)],
        [(430, 0, 470, 900)],
    ],
    ids=str,
)
def test_every_object_is_there_once_and_complete(objects: list[tuple[int, int, int, int]]) -> None:
    (sight,) = tile_detector(seeing(*objects), GRID)([PLACES])
    assert pixels(sight) == sorted(objects)


@pytest.mark.parametrize("objects", [[(100, 100, 800, 800)], [(100, 420, 800, 480)], [(350, 50, 560, 850)]], ids=str)
def test_what_only_tiles_show_is_put_together_over_any_number_of_them(objects: list[tuple[int, int, int, int]]) -> None:
    for grid in (TileGrid(2, 2), TileGrid(3, 3), TileGrid(4, 2), TileGrid(1, 5), TileGrid(8, 8)):
        (sight,) = tile_detector(seeing(*objects, whole=10**6), grid)([PLACES])
        assert pixels(sight) == objects


@pytest.mark.parametrize(
    "objects",
    [
        [(300, 100, 440, 240), (445, 100, 585, 240)],  # side by side in the zone
        [(350, 100, 560, 240), (350, 245, 560, 385)],  # one above the other, both cut by both borders
        [(350, 100, 560, 240), (350, 225, 560, 365)],  # and overlapping a little
        [(350, 300, 560, 445), (350, 450, 560, 600)],  # at the corner of four tiles
        [(300, 300, 448, 448), (452, 452, 600, 600)],
        [(420, 100, 455, 150), (460, 100, 495, 150)],
        [(200, 100, 498, 300), (510, 100, 800, 300)],  # each ends near a border of a tile
        [(100, 100, 400, 800), (410, 100, 800, 800)],  # large ones
        [(100, 100, 800, 800), (420, 420, 470, 470)],  # a small one in front of one that fills the picture
    ],
    ids=str,
)
def test_neighbours_stay_apart(objects: list[tuple[int, int, int, int]]) -> None:
    (sight,) = tile_detector(seeing(*objects), GRID)([PLACES])
    assert pixels(sight) == sorted(objects)


@st.composite
def some_objects(draw: st.DrawFn) -> tuple[int, int, int, int]:
    def side() -> tuple[int, int]:
        low = draw(st.integers(0, 850))
        return low, draw(st.integers(low + 40, min(900, low + 880)))

    (x0, x1), (y0, y1) = side(), side()
    return x0, y0, x1, y1


@given(some_objects(), st.builds(TileGrid, st.integers(1, 5), st.integers(1, 5)), st.sampled_from([0, 300, 10**6]))
@settings(max_examples=60, deadline=None)
def test_any_object_is_there_once(place: tuple[int, int, int, int], grid: TileGrid, whole: int) -> None:
    views = grid.views(WIDTH, HEIGHT)
    if not views and whole:
        return
    (sight,) = tile_detector(seeing(place, whole=whole), grid)([PLACES])
    assert pixels(sight) == [place]


@given(some_objects(), st.sampled_from([GRID, TileGrid(3, 3), TileGrid(1, 4)]), st.integers(0, 10**6))
@example((0, 0, 40, 703), GRID, 0)
@example((494, 74, 561, 502), TileGrid(1, 4), 413)
@settings(max_examples=60, deadline=None)
def test_a_model_that_is_not_exact(place: tuple[int, int, int, int], grid: TileGrid, seed: int) -> None:
    """Sides that are off by up to 4 % lose no object, and none of it."""
    luck, steady = np.random.default_rng(seed), seeing(place, whole=10**6)

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings([shaken(box) for box in _boxes(sight)]) for sight in steady(images)]

    def shaken(box: Region) -> Region:
        sides = np.array(box.sides)
        size = np.tile(sides[2:] - sides[:2], 2)
        return box.at((sides + luck.uniform(-0.04, 0.04, 4) * size).clip(0, 1).tolist())

    (sight,) = tile_detector(see, grid)([PLACES])
    assert iou(in_pixels(sight, PLACES), np.array([place], float)).max() > 0.7


def test_labels_are_kept_apart() -> None:
    place = (350, 100, 560, 300)
    cats, dogs = seeing(place, label="cat"), seeing(place, label="dog")

    def both(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings([*a.regions, *b.regions]) for a, b in zip(cats(images), dogs(images), strict=True)]

    (sight,) = tile_detector(both, GRID)([PLACES])
    assert sorted(box.label for box in _boxes(sight)) == ["cat", "dog"]
    assert pixels(sight) == [place, place]


def test_the_best_score_is_kept() -> None:
    (sight,) = tile_detector(seeing((300, 100, 520, 300)), GRID)([PLACES])
    assert _boxes(sight)[0].score == pytest.approx(0.9 - 0.08 * 0.0, abs=0.06)
    without = Region(0.1, 0.1, 0.2, 0.2, "face", score=None)
    (sight,) = tile_detector(lambda images: [ImageFindings([without])] + [ImageFindings()] * (len(images) - 1), GRID)(
        [PLACES]
    )
    assert _boxes(sight) == [without]


def test_the_larger_of_two_boxes_of_one_object_is_kept() -> None:
    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        whole, tile = Region(0.11, 0.11, 0.2, 0.2, "face", score=0.4), Region(0.18, 0.18, 0.36, 0.36, "face", score=0.8)
        return [ImageFindings([whole]), ImageFindings([tile]), *[ImageFindings()] * 3]

    (sight,) = tile_detector(see, GRID)([PLACES])
    assert _boxes(sight) == [Region(0.1, 0.1, 0.2, 0.2, "face", score=0.8)]


def test_what_the_whole_picture_says_beside_boxes_is_kept() -> None:
    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        look = GazeEstimate((0.5, 0.5), True)
        return [
            ImageFindings([Region(0.1, 0.1, 0.15, 0.15, "face", gaze=look)], {"dark?": f"no, {len(images)}"}),
            ImageFindings([Region(0.8, 0.1, 0.9, 0.2, "face", gaze=look)], {"dark?": "yes"}),
            *[ImageFindings()] * 3,
        ]

    (sight,) = tile_detector(see, GRID)([PLACES])
    assert sight.replies == {"dark?": "no, 5"}
    assert [one.gaze for one in sight.regions] == [
        GazeEstimate((0.5, 0.5), True),
        None,
    ]  # that of a tile is of the tile


def test_each_picture_is_seen_with_its_tiles_in_one_go() -> None:
    asked: list[list[tuple[int, ...]]] = []

    def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        asked.append([image.shape for image in images])
        return [ImageFindings()] * len(images)

    assert len(tile_detector(see, GRID)([PLACES, PLACES])) == 2
    assert asked == [[(900, 900, 3), *[(500, 500, 3)] * 4]] * 2


def test_what_is_asked_of_the_whole_need_not_be_asked_of_tiles() -> None:
    asked: list[tuple[str, int]] = []

    def seeing(name: str) -> Detector:
        def see(images: Sequence[np.ndarray]) -> list[ImageFindings]:
            asked.append((name, len(images)))
            return [ImageFindings()] * len(images)

        return see

    tile_detector(seeing("all"), GRID, tile_detect=seeing("boxes"))([PLACES])
    assert asked == [("all", 1), ("boxes", 4)]


def test_without_a_grid_nothing_is_added() -> None:
    see = seeing()
    assert tile_detector(see, None) is see
    assert TileGrid(1, 1).views(900, 900) == []


@pytest.mark.parametrize("size", [(900, 900), (1919, 1081), (640, 360), (130, 3000), (65, 64), (40, 40), (1, 1)])
@pytest.mark.parametrize("grid", [TileGrid(2, 2), TileGrid(3, 1), TileGrid(8, 8)])
def test_tiles_cover_the_picture_and_overlap(grid: TileGrid, size: tuple[int, int]) -> None:
    views = grid.views(*size)
    for axis, side in enumerate(size):
        spans = sorted({((v.x0, v.x1), (v.y0, v.y1))[axis] for v in views}) or [(0, side)]
        assert (spans[0][0], spans[-1][1]) == (0, side)
        assert len(spans) <= (grid.columns, grid.rows)[axis]
        length = spans[0][1]
        assert all(end - start == length for start, end in spans)
        assert length >= min(side, MIN_TILE_SIDE)
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= OVERLAP * length - 2
    assert len(set(views)) == len(views)


def test_a_tile_knows_which_of_its_borders_cut() -> None:
    corner = View(0, 0, 500, 500)
    cuts = [corner.cuts(np.array(box, float), 900, 900) for box in ((0, 0, 99, 99), (9, 9, 500, 99), (9, 9, 99, 494))]
    assert cuts == [False, True, True]


@pytest.mark.parametrize(("text", "grid"), [("2x2", TileGrid(2, 2)), ("8x1", TileGrid(8, 1)), ("1x3", TileGrid(1, 3))])
def test_grids(text: str, grid: TileGrid) -> None:
    assert parse_tiles(text) == grid


@pytest.mark.parametrize("text", ["", "2", "x", "2x", "0x2", "9x1", "2x9", "-1x2", "2x2x2", "2*2", " 2x2", "1000x1"])
def test_what_is_no_grid(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = run("redact", SAMPLES / "group.png", "-o", "-", "--tiles", text, "--dry-run")
    assert outcome.code == 2
    assert outcome.err.startswith("mdtool: --tiles: ")
    assert len(outcome.lines) == 1


# -- with a real model


def crowd(width: int = 1920, height: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    """Four times four small groups of four people, and the boxes of the faces in pixels."""
    with Image.open(SAMPLES / "group.png") as group:
        small = group.convert("RGB").resize((128, 80), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (width, height), (120, 120, 120))
    faces = np.array([(226, 138, 270, 194), (493, 118, 547, 186), (99, 101, 161, 179), (330, 185, 410, 287)]) / 5
    truth = []
    for column in range(4):
        for row in range(4):
            x, y = round((column + 0.5) * width / 4) - 64, round((row + 0.5) * height / 4) - 40
            canvas.paste(small, (x, y))
            truth.append(faces + np.array([x, y, x, y]))
    return np.asarray(canvas), np.concatenate(truth)


def in_pixels(sight: ImageFindings, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    sides = [(b.x_min * width, b.y_min * height, b.x_max * width, b.y_max * height) for b in _boxes(sight)]
    return np.array(sides).reshape(-1, 4)


def test_small_faces_are_found_on_tiles_only() -> None:
    image, truth = crowd()
    see = object_detector(engine.load("centerface"), ["face"])
    assert len(see([image])[0].regions) == 0
    found = in_pixels(tile_detector(see, TileGrid(4, 4))([image])[0], image)
    overlap = iou(found, truth)
    assert (overlap.max(axis=0) > 0.3).mean() > 0.95
    assert ((overlap > 0.3).sum(axis=0) <= 1).all()  # none is there twice, though some are on borders
    assert len(found) <= len(truth) + 3


@pytest.mark.parametrize("grid", [TileGrid(2, 2), TileGrid(3, 3), TileGrid(2, 1)])
def test_large_faces_are_the_same_with_tiles_and_without(grid: TileGrid) -> None:
    with Image.open(SAMPLES / "group.png") as group:
        image = np.asarray(group.convert("RGB"))
    see = object_detector(engine.load("centerface"), ["face"])
    without, with_tiles = (in_pixels(one([image])[0], image) for one in (see, tile_detector(see, grid)))
    assert len(with_tiles) == len(without) == 4
    assert (iou(without, with_tiles).max(axis=1) > 0.7).all()


@pytest.mark.parametrize(
    "command",
    [("redact", "--style", "solid"), ("moderate", "-p", "face", "--action", "solid", "--margin", "0.3")],
    ids=lambda command: command[0],
)
def test_through_the_program(tmp_path: Path, command: tuple[str, ...]) -> None:
    image, truth = crowd()
    photo, findings = tmp_path / "crowd.png", tmp_path / "f.jsonl"
    Image.fromarray(image).save(photo)
    outcome = run(*command, photo, "-o", tmp_path / "out.png", "--tiles", "4x4", "--findings", findings)
    assert outcome.code == 0, outcome.err
    (record,) = records(findings)
    assert len(record.findings.regions) > 0.95 * len(truth)
    with Image.open(tmp_path / "out.png") as redacted:
        pixels = np.asarray(redacted.convert("RGB"))
    bare = [pixels[round(y0) : round(y1), round(x0) : round(x1)].any(axis=2).mean() for x0, y0, x1, y1 in truth]
    assert np.mean(np.array(bare) < 0.2) > 0.95
