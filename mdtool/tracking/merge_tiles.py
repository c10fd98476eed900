"""Makes one list of what was found on a picture and on its tiles, in which every object is once.

A tile may show a part of an object only: its box then ends at an inner border of the tile. Two boxes are of one object
if they agree where both views have a say: two tiles in the zone that they share, the whole picture and a tile in that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from recipes.boxes import area, hull, iou, match, size
from recipes.regions import Region

TOUCH = 0.02  # of a tile's side: a box that ends so near to a border is cut by it
INEXACT = 0.045  # of a box's own side: by so much the model may be off, so that a long box is cut from farther away
SAME = 0.5  # least IoU of two whole boxes of one object
PARTS = 0.4  # the same of the parts of two boxes in a shared zone, where at least one of them is cut
INSIDE = 0.7  # part of a cut box that lies in another, above which it shows nothing of its own


@dataclass(frozen=True)
class View:
    """A part of a picture that the model was shown, in pixels."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def sides(self) -> np.ndarray:
        return np.array([self.x0, self.y0, self.x1, self.y1], float)

    def whole_of(self, width: int, height: int) -> bool:
        return (self.width, self.height) == (width, height)

    def cuts(self, box: np.ndarray, width: int, height: int) -> bool:
        """Whether the box reaches a border behind which a picture of that size goes on."""
        inner = self.sides != (0, 0, width, height)
        near = np.tile(np.maximum(TOUCH * size(self.sides), INEXACT * size(box)), 2)
        return bool((inner & (np.abs(box - self.sides) <= near)).any())


@dataclass(frozen=True, eq=False)
class TileDetection:
    """One region, its box x0, y0, x1, y1 in pixels of the picture, and the view that it was found in."""

    box: np.ndarray
    view: View
    region: Region
    cut: bool = False

    @property
    def label(self) -> str:
        return self.region.label

    @property
    def score(self) -> float | None:
        return self.region.score


def merge_detections(found: Sequence[TileDetection], width: int, height: int) -> list[TileDetection]:
    """Every object once, with its best score; of a picture of that size. Those of the whole picture come first."""
    found = [replace(one, cut=one.view.cuts(one.box, width, height)) for one in found]
    labels = dict.fromkeys(one.label for one in found)
    return [one for label in labels for one in _of_one_label([f for f in found if f.label == label], width, height)]


def _of_one_label(found: Sequence[TileDetection], width: int, height: int) -> list[TileDetection]:
    whole = [one for one in found if one.view.whole_of(width, height)]
    parts = [one for one in found if not one.view.whole_of(width, height)]
    whole, parts = _absorbed(whole, parts)
    joined = [_united(group, width, height) for group in _groups(parts)]
    whole, joined = _absorbed(whole, joined)
    return _without_slivers([*whole, *joined])


def _absorbed(
    whole: list[TileDetection], parts: list[TileDetection]
) -> tuple[list[TileDetection], list[TileDetection]]:
    """What the whole picture shows, and of the parts those that are nothing of it.

    Of an object that a tile shows completely, the larger box is kept.
    """
    left: list[TileDetection] = []
    for view in dict.fromkeys(part.view for part in parts):
        here = [part for part in parts if part.view == view]
        pairs = match(_clipped(whole, view.sides), _boxes(here), SAME)
        for i, j in pairs:
            larger = here[j] if not here[j].cut and area(here[j].box) > area(whole[i].box) else whole[i]
            whole[i] = _scored(replace(whole[i], box=larger.box), [whole[i], here[j]])
        taken = {j for _, j in pairs}
        left += [part for j, part in enumerate(here) if j not in taken]
    return whole, left


def _groups(parts: Sequence[TileDetection]) -> list[list[TileDetection]]:
    """Boxes of one object together."""
    group_of = list(range(len(parts)))
    places = {view: [i for i, part in enumerate(parts) if part.view == view] for view in {p.view for p in parts}}
    for one, other in combinations(sorted(places, key=lambda view: (view.y0, view.x0)), 2):
        for i, j in _pairs([parts[k] for k in places[one]], [parts[k] for k in places[other]]):
            joined, gone = group_of[places[one][i]], group_of[places[other][j]]
            views = [part.view for part, group in zip(parts, group_of, strict=True) if group in (joined, gone)]
            if len(set(views)) == len(views):  # a tile shows an object once
                group_of = [joined if group == gone else group for group in group_of]
    return [[parts[i] for i, of in enumerate(group_of) if of == group] for group in dict.fromkeys(group_of)]


def _pairs(here: Sequence[TileDetection], there: Sequence[TileDetection]) -> list[tuple[int, int]]:
    """Which box of one tile is of the same object as which of another: each of one at most, the best pair first."""
    low = np.maximum(here[0].view.sides[:2], there[0].view.sides[:2])
    high = np.minimum(here[0].view.sides[2:], there[0].view.sides[2:])
    if (low >= high).any():
        return []
    zone = np.concatenate([low, high])
    first, second = _boxes(here), _boxes(there)
    shared = iou(_clipped(here, zone), _clipped(there, zone))
    cut = np.array([[a.cut or b.cut for b in there] for a in here])
    agree = np.where(cut, shared >= PARTS, iou(first, second) >= SAME)
    order = sorted(np.argwhere(agree).tolist(), key=lambda pair: -shared[pair[0], pair[1]])
    pairs: list[tuple[int, int]] = []
    for i, j in order:
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def _united(group: Sequence[TileDetection], width: int, height: int) -> TileDetection:
    """The hull of all that borders cut and of the largest of the others, as if all their tiles were one."""
    complete = sorted((one for one in group if not one.cut), key=lambda one: -float(area(one.box)))
    first, *others = [*complete[:1], *(one for one in group if one.cut)]
    box, sides = first.box, first.view.sides
    for one in others:
        box, sides = hull(box, one.box), hull(sides, one.view.sides)
    view = View(*sides.astype(int).tolist())
    return _scored(TileDetection(box, view, first.region, view.cuts(box, width, height)), group)


def _without_slivers(found: Sequence[TileDetection]) -> list[TileDetection]:
    """Without the cut boxes of which others have nearly all: what one tile shows of an object that another has."""
    kept: list[TileDetection] = []
    for one in sorted(found, key=lambda one: -float(area(one.box))):
        others = [other for other in kept if other.view != one.view]
        if not (one.cut and others and _share_inside(one.box, _boxes(others)).max() >= INSIDE):
            kept.append(one)
    return [one for one in found if one in kept]


def _share_inside(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=1) / max(float(area(box)), 1e-9))


def _scored(one: TileDetection, group: Sequence[TileDetection]) -> TileDetection:
    """With the best score of the group."""
    scores = [member.score for member in group if member.score is not None]
    return replace(one, region=replace(one.region, score=max(scores, default=None)))


def _boxes(found: Sequence[TileDetection]) -> np.ndarray:
    return np.array([one.box for one in found]).reshape(-1, 4)


def _clipped(found: Sequence[TileDetection], zone: np.ndarray) -> np.ndarray:
    return np.asarray(_boxes(found).clip(np.tile(zone[:2], 2), np.tile(zone[2:], 2)))
