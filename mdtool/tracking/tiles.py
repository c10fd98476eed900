"""Tiled detection of small objects: run the detector on the full image and on overlapping tiles."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.merge_tiles import TileDetection, View, merge_detections
from recipes.regions import Region

MAX_TILES = 8  # columns, and rows
OVERLAP = 0.2  # of a tile's side, shared with the next tile
MIN_TILE_SIDE = 64  # pixels; smaller tiles show too little


@dataclass(frozen=True)
class TileGrid:
    """Columns and rows of tiles, each 1 to MAX_TILES.

    Raises:
        ValueError: There are fewer or more.
    """

    columns: int
    rows: int

    def __post_init__(self) -> None:
        if not (1 <= self.columns <= MAX_TILES and 1 <= self.rows <= MAX_TILES):
            raise ValueError(f"tiles are 1 to {MAX_TILES} columns and rows, not {self.columns}x{self.rows}")

    def views(self, width: int, height: int) -> list[View]:
        """Return the tiles of an image.

        Args:
            width: Pixels.
            height: Pixels.

        Returns:
            The tiles, row by row; fewer for a small image, none where a single tile would be the full image.
        """
        across, down = _spans(width, self.columns), _spans(height, self.rows)
        if len(across) == len(down) == 1:
            return []
        return [View(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across]


def parse_tiles(text: str) -> TileGrid:
    """Parse columns and rows, such as "2x3".

    Raises:
        ValueError: It is not two numbers, or too many tiles.
    """
    numbers = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not numbers:
        raise ValueError(f"{text!r} is not a grid of tiles; give columns and rows, such as 2x2")
    return TileGrid(int(numbers[1]), int(numbers[2]))


def tile_detector(detect: Detector, tiles: TileGrid | None, tile_detect: Detector | None = None) -> Detector:
    """Wrap a detector so that it also runs on tiles of each image, and merge the detections.

    Replies and gazes are those to the full image.

    Args:
        detect: Runs the model on a batch of images.
        tiles: The grid; None returns `detect` itself.
        tile_detect: Detector to run on the tiles, such as one without the questions; None for `detect`.
    """
    if tiles is None:
        return detect

    def detect_all(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        # one after the other: the tiles of each image are a batch
        return [_detected(image, tiles, detect, tile_detect) for image in images]

    return detect_all


def _detected(image: np.ndarray, tiles: TileGrid, detect: Detector, tile_detect: Detector | None) -> ImageFindings:
    height, width = image.shape[:2]
    views = tiles.views(width, height)
    crops = [np.ascontiguousarray(image[v.y0 : v.y1, v.x0 : v.x1]) for v in views]
    whole, *parts = detect([image]) + tile_detect(crops) if tile_detect else detect([image, *crops])
    all_views = [View(0, 0, width, height), *views]
    found = [
        TileDetection(_to_image_pixels(region, view), view, region)
        for view, findings in zip(all_views, [whole, *parts], strict=True)
        for region in findings.regions
    ]
    return ImageFindings(
        [_region(detection, width, height) for detection in merge_detections(found, width, height)], whole.replies
    )


def _to_image_pixels(region: Region, view: View) -> np.ndarray:
    """Return x0, y0, x1, y1 of a region of the view in pixels of the full image."""
    corner, size = np.array([view.x0, view.y0] * 2), np.array([view.width, view.height] * 2)
    return np.asarray(corner + size * np.array(region.sides))


def _region(detection: TileDetection, width: int, height: int) -> Region:
    sides = (detection.box / [width, height, width, height]).tolist()
    return detection.region.at(sides, gaze=detection.region.gaze if detection.view.whole_of(width, height) else None)


def _spans(side: int, count: int) -> list[tuple[int, int]]:
    """Divide a side of the image into `count` overlapping spans (start, end), fewer if they would be too short."""
    while count > 1 and _length(side, count) < MIN_TILE_SIDE:
        count -= 1
    length = _length(side, count)
    return [(start, start + length) for start in (round(i * (side - length) / max(1, count - 1)) for i in range(count))]


def _length(side: int, count: int) -> int:
    return min(side, int(np.ceil(side / (1 + (count - 1) * (1 - OVERLAP)))))
