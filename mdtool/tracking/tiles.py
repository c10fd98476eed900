"""Small objects: the model sees a picture as a whole and in overlapping tiles, and its detections become one list."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.merge_tiles import TileDetection, View, merge_detections
from recipes.regions import Region

MOST = 8  # tiles a side
OVERLAP = 0.2  # of a tile, that it shares with the next
LEAST_SIDE = 64  # pixels: smaller tiles show too little of anything


@dataclass(frozen=True)
class TileGrid:
    """Raises ValueError where there can't be so many."""

    columns: int
    rows: int

    def __post_init__(self) -> None:
        if not (1 <= self.columns <= MOST and 1 <= self.rows <= MOST):
            raise ValueError(f"there can be 1 to {MOST} columns and rows of tiles, not {self.columns}x{self.rows}")

    def views(self, width: int, height: int) -> list[View]:
        """Of a picture of so many pixels; none where one tile would be all of it. A small picture has fewer."""
        across, down = _spans(width, self.columns), _spans(height, self.rows)
        if len(across) == len(down) == 1:
            return []
        return [View(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across]


def parse_tiles(text: str) -> TileGrid:
    """From "2x3": columns and rows. Raises ValueError with one line."""
    numbers = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not numbers:
        raise ValueError(f"{text!r} is no grid of tiles; give columns and rows, such as 2x2")
    return TileGrid(int(numbers[1]), int(numbers[2]))


def tile_detector(detect: Detector, tiles: TileGrid | None, tile_detect: Detector | None = None) -> Detector:
    """The same, but with tiles beside the whole picture; replies and gazes are those to the whole picture.

    tile_detect: finds the same things on tiles, where they need not be asked for all; None: `detect`.
    """
    if tiles is None:
        return detect

    def detect_all(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        # one after the other: each is many pictures already
        return [_detected(image, tiles, detect, tile_detect) for image in images]

    return detect_all


def _detected(image: np.ndarray, tiles: TileGrid, detect: Detector, tile_detect: Detector | None) -> ImageFindings:
    height, width = image.shape[:2]
    views = tiles.views(width, height)
    cuttings = [np.ascontiguousarray(image[v.y0 : v.y1, v.x0 : v.x1]) for v in views]
    whole, *parts = detect([image]) + tile_detect(cuttings) if tile_detect else detect([image, *cuttings])
    everywhere = [View(0, 0, width, height), *views]
    found = [
        TileDetection(_in_picture(region, view), view, region)
        for view, findings in zip(everywhere, [whole, *parts], strict=True)
        for region in findings.regions
    ]
    return ImageFindings([_region(one, width, height) for one in merge_detections(found, width, height)], whole.replies)


def _in_picture(region: Region, view: View) -> np.ndarray:
    """x0, y0, x1, y1 in pixels of the picture."""
    corner, size = np.array([view.x0, view.y0] * 2), np.array([view.width, view.height] * 2)
    return corner + size * np.array(region.sides)


def _region(one: TileDetection, width: int, height: int) -> Region:
    sides = (one.box / [width, height, width, height]).tolist()
    return one.region.at(sides, gaze=one.region.gaze if one.view.whole_of(width, height) else None)


def _spans(side: int, count: int) -> list[tuple[int, int]]:
    """(start, end) of as many overlapping tiles, fewer if they would be too small, that cover so many pixels."""
    while count > 1 and _length(side, count) < LEAST_SIDE:
        count -= 1
    length = _length(side, count)
    return [(start, start + length) for start in (round(i * (side - length) / max(1, count - 1)) for i in range(count))]


def _length(side: int, count: int) -> int:
    return min(side, int(np.ceil(side / (1 + (count - 1) * (1 - OVERLAP)))))
