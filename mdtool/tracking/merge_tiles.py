"""Merge the detections in an image and in its overlapping tiles, so that each object appears exactly once.

Where a tile shows only part of an object, its box ends at an inner border of the tile: it is cut. Two boxes belong to
one object if they agree in the area that both views cover: the overlap of two tiles, or a tile within the full image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from recipes.boxes import area, hull, iou, match, size
from recipes.regions import Region

BORDER_DISTANCE = 0.02  # of a tile's side: a box that ends this near to an inner border is cut
BOX_ERROR = 0.045  # tolerance for localisation error, relative to the box's side
FULL_MATCH_IOU = 0.5  # least IoU of two complete boxes of one object
PART_MATCH_IOU = 0.4  # least IoU of the parts of two boxes in the overlap, where at least one is cut
MIN_SLIVER_SHARE = 0.7  # a cut box with at least this share inside another is dropped


@dataclass(frozen=True)
class View:
    """A rectangle of the image that the model analysed, in pixels; x1 and y1 are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Pixels."""
        return self.y1 - self.y0

    @property
    def sides(self) -> np.ndarray:
        """(4,) float: x0, y0, x1, y1."""
        return np.array([self.x0, self.y0, self.x1, self.y1], float)

    def whole_of(self, width: int, height: int) -> bool:
        """Return whether the view is all of an image of this size."""
        return (self.width, self.height) == (width, height)

    def cuts(self, box: np.ndarray, width: int, height: int) -> bool:
        """Return whether a box reaches an inner border of the view, in an image of this size."""
        inner = self.sides != (0, 0, width, height)
        near = np.tile(np.maximum(BORDER_DISTANCE * size(self.sides), BOX_ERROR * size(box)), 2)
        return bool((inner & (np.abs(box - self.sides) <= near)).any())


@dataclass(frozen=True, eq=False)
class TileDetection:
    """A detection in one view.

    Attributes:
        box: (4,) float, x0, y0, x1, y1 in pixels of the full image.
        view: The view in which it was detected.
        region: Label, score and gaze; its coordinates are fractions of the view.
        cut: Whether an inner border of the view cuts the object.
    """

    box: np.ndarray
    view: View
    region: Region
    cut: bool = False

    @property
    def label(self) -> str:
        """Label of the region."""
        return self.region.label

    @property
    def score(self) -> float | None:
        """Score of the region, 0..1; None if the model returns none."""
        return self.region.score


def merge_detections(found: Sequence[TileDetection], width: int, height: int) -> list[TileDetection]:
    """Merge the detections of all views so that each object appears exactly once, with its best score.

    Args:
        found: Detections in the full image and in tiles.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        The objects, by label; of each label those detected in the full image first.
    """
    found = [replace(each, cut=each.view.cuts(each.box, width, height)) for each in found]
    by_label = {
        label: [each for each in found if each.label == label] for label in dict.fromkeys(f.label for f in found)
    }
    return [merged for same_label in by_label.values() for merged in _merge_label(same_label, width, height)]


def _merge_label(found: Sequence[TileDetection], width: int, height: int) -> list[TileDetection]:
    in_full = [each for each in found if each.view.whole_of(width, height)]
    in_tiles = [each for each in found if not each.view.whole_of(width, height)]
    in_full, in_tiles = _absorb(in_full, in_tiles)
    joined = [_merge_group(group, width, height) for group in _groups(in_tiles)]
    in_full, joined = _absorb(in_full, joined)
    return _drop_slivers([*in_full, *joined])


def _absorb(
    in_full: list[TileDetection], in_tiles: list[TileDetection]
) -> tuple[list[TileDetection], list[TileDetection]]:
    """Merge tile detections into the full-image detections that they match; return those and the unmatched rest.

    Where a tile shows the object completely, the larger box is used.
    """
    remaining: list[TileDetection] = []
    for view in dict.fromkeys(each.view for each in in_tiles):
        in_view = [each for each in in_tiles if each.view == view]
        pairs = match(_clipped(in_full, view.sides), _boxes(in_view), FULL_MATCH_IOU)
        for i, j in pairs:
            full, tile = in_full[i], in_view[j]
            larger = tile if not tile.cut and area(tile.box) > area(full.box) else full
            in_full[i] = _with_best_score(replace(full, box=larger.box), [full, tile])
        matched = {j for _, j in pairs}
        remaining += [each for j, each in enumerate(in_view) if j not in matched]
    return in_full, remaining


def _groups(found: Sequence[TileDetection]) -> list[list[TileDetection]]:
    """Group the tile detections that belong to one object."""
    group_of = list(range(len(found)))
    by_view = {view: [i for i, each in enumerate(found) if each.view == view] for view in {f.view for f in found}}
    for first, second in combinations(sorted(by_view, key=lambda view: (view.y0, view.x0)), 2):
        for i, j in _pairs([found[k] for k in by_view[first]], [found[k] for k in by_view[second]]):
            joined, absorbed = group_of[by_view[first][i]], group_of[by_view[second][j]]
            views = [each.view for each, group in zip(found, group_of, strict=True) if group in (joined, absorbed)]
            if len(set(views)) == len(views):  # a tile shows an object once
                group_of = [joined if group == absorbed else group for group in group_of]
    return [[found[i] for i, g in enumerate(group_of) if g == group] for group in dict.fromkeys(group_of)]


def _pairs(first: Sequence[TileDetection], second: Sequence[TileDetection]) -> list[tuple[int, int]]:
    """Match the detections of two tiles: each with at most one of the other tile, the best pair first."""
    low = np.maximum(first[0].view.sides[:2], second[0].view.sides[:2])
    high = np.minimum(first[0].view.sides[2:], second[0].view.sides[2:])
    if (low >= high).any():
        return []
    overlap = np.concatenate([low, high])
    iou_in_overlap = iou(_clipped(first, overlap), _clipped(second, overlap))
    cut = np.array([[a.cut or b.cut for b in second] for a in first])
    agree = np.where(cut, iou_in_overlap >= PART_MATCH_IOU, iou(_boxes(first), _boxes(second)) >= FULL_MATCH_IOU)
    order = sorted(np.argwhere(agree).tolist(), key=lambda pair: -iou_in_overlap[pair[0], pair[1]])
    pairs: list[tuple[int, int]] = []
    for i, j in order:
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def _merge_group(group: Sequence[TileDetection], width: int, height: int) -> TileDetection:
    """Return the enclosing box of the largest complete box and all cut ones, in a view that spans all their tiles."""
    complete = sorted((each for each in group if not each.cut), key=_negative_area)
    first, *others = [*complete[:1], *(each for each in group if each.cut)]
    box, sides = first.box, first.view.sides
    for other in others:
        box, sides = hull(box, other.box), hull(sides, other.view.sides)
    view = View(*sides.astype(int).tolist())
    return _with_best_score(TileDetection(box, view, first.region, view.cuts(box, width, height)), group)


def _drop_slivers(found: Sequence[TileDetection]) -> list[TileDetection]:
    """Drop cut boxes that lie mostly inside others: a part of an object that another view shows better."""
    retained: list[TileDetection] = []
    for each in sorted(found, key=_negative_area):
        others = [other for other in retained if other.view != each.view]
        if not (each.cut and others and _share_inside(each.box, _boxes(others)).max() >= MIN_SLIVER_SHARE):
            retained.append(each)
    return [each for each in found if each in retained]


def _negative_area(detection: TileDetection) -> float:
    return -float(area(detection.box))


def _share_inside(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / max(float(area(box)), 1e-9))


def _with_best_score(detection: TileDetection, group: Sequence[TileDetection]) -> TileDetection:
    """Return the detection with the best score of the group."""
    scores = [member.score for member in group if member.score is not None]
    return replace(detection, region=replace(detection.region, score=max(scores, default=None)))


def _boxes(found: Sequence[TileDetection]) -> np.ndarray:
    return np.array([detection.box for detection in found]).reshape(-1, 4)


def _clipped(found: Sequence[TileDetection], zone: np.ndarray) -> np.ndarray:
    return np.asarray(_boxes(found).clip(np.tile(zone[:2], 2), np.tile(zone[2:], 2)))
