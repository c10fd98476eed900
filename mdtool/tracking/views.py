"""Detection in other views of an image than the first one: turned, and in enlarged tiles.

A second look finds what the first misses: faces that lie on their side or are small. It also errs more often, so only
detections with a high score count.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.tiles import TileGrid, tile_detector
from mdtool.tracking.turned_views import turned_detector
from recipes.boxes import iou
from recipes.regions import Region

TILES = TileGrid(2, 2)
TURNED = (270, 180, 90)  # degrees clockwise
TILE_SIDE = 640  # pixels of a tile's longer side, to which smaller ones are enlarged
MAX_SCALE = 2.0  # of that: more would only blur
MIN_SCORE = 0.5
MIN_TURNED_SCORE = 0.6  # in turned views detectors take more for faces that are none
SAME_IOU = 0.3  # of two detections of one object


def view_detector(detect: Detector) -> Detector:
    """Wrap a detector so that it runs on each image as it is, in enlarged tiles, and turned by quarters.

    Args:
        detect: Runs the model on a batch of images.

    Returns:
        A detector of the objects that are found in any view with a high score, or by a model that returns none.
    """
    tiled = tile_detector(detect, TILES, lambda crops: detect([_enlarged(crop) for crop in crops]))

    def detect_all(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings(_distinct(_in_views(image, detect, tiled))) for image in images]

    return detect_all


def sure_detector(detect: Detector) -> Detector:
    """Wrap a detector so that it returns only what has a high score, or none."""

    def detect_all(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        return [ImageFindings(_over(found.regions, MIN_SCORE)) for found in detect(images)]

    return detect_all


def _in_views(image: np.ndarray, detect: Detector, tiled: Detector) -> Iterator[Region]:
    yield from _over(tiled([image])[0].regions, MIN_SCORE)
    for degrees in TURNED:
        yield from _over(turned_detector(detect, degrees)([image])[0].regions, MIN_TURNED_SCORE)


def _over(regions: Sequence[Region], score: float) -> list[Region]:
    return [region for region in regions if region.score is None or region.score >= score]


def _enlarged(image: np.ndarray) -> np.ndarray:
    scale = min(MAX_SCALE, TILE_SIDE / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else image


def _distinct(found: Iterator[Region]) -> list[Region]:
    """Drop those that overlap a better one of their label."""
    distinct: list[Region] = []
    for region in sorted(found, key=lambda each: -(each.score or 0)):
        same = [other.sides for other in distinct if other.label == region.label]
        if not same or iou(np.array([region.sides]), np.array(same)).max() < SAME_IOU:
            distinct.append(region)
    return distinct
