"""Scores of boxes. A box is x_min, y_min, x_max, y_max; both sides of a comparison are in one unit."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdtool.errors import UsageError
from recipes.boxes import iou as iou_of_pairs

Box = tuple[float, float, float, float]
SAME_BOX = 0.5  # intersection over union from which two boxes match
RECALL_STEPS = 10  # of the 11-point average precision


@dataclass(frozen=True)
class TrueBox:
    """A box of the ground truth, in pixels; `area` is the object's, in pixels, where it is less than the box's."""

    image: Hashable
    category: str
    box: Box
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class DetectedBox:
    """A detection, in pixels. A model that has no confidence gives every box the same score."""

    image: Hashable
    category: str
    box: Box
    score: float = 1.0


@dataclass(frozen=True)
class CocoScores:
    """COCO's twelve figures, 0..1, in the order in which pycocotools gives them; None where no true box counts."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar_1: float | None
    ar_10: float | None
    ar_100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None


@dataclass(frozen=True)
class DetectionScores:
    """Scores of boxes without confidences, 0..1."""

    precision: float
    recall: float
    f1: float


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes, 0..1; 0 if both are empty."""
    return float(iou_of_pairs(np.array([a], float), np.array([b], float))[0, 0])


def coco_map(
    truths: Sequence[TrueBox], detections: Sequence[DetectedBox], images: Collection[Hashable] | None = None
) -> CocoScores:
    """Return COCO's figures, computed by pycocotools: AP over IoU 0.5 to 0.95, over all categories of the truth.

    Args:
        truths: The true boxes.
        detections: The detected ones; those of other images or categories don't count.
        images: All images that the model has seen, so that false detections where nothing is count too. Default: those
            with true boxes.

    Raises:
        UsageError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise UsageError("COCO mAP needs pycocotools: pip install 'mdtool[eval]'") from error
    image_numbers = _numbered([*(truth.image for truth in truths), *(images or ())])
    categories = _numbered([truth.category for truth in truths])
    annotations = [
        {
            "id": number,
            "image_id": image_numbers[truth.image],
            "category_id": categories[truth.category],
            "bbox": _xywh(truth.box),
            "area": _area(truth.box) if truth.area is None else truth.area,
            "iscrowd": int(truth.crowd),
        }
        for number, truth in enumerate(truths, 1)
    ]
    results = [
        {
            "id": number,
            "image_id": image_numbers[found.image],
            "category_id": categories[found.category],
            "bbox": _xywh(found.box),
            "area": _area(found.box),
            "iscrowd": 0,
            "score": found.score,
        }
        for number, found in enumerate(detections, 1)
        if found.image in image_numbers and found.category in categories
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        evaluation = COCOeval(
            _coco(COCO(), image_numbers.values(), categories, annotations),
            _coco(COCO(), image_numbers.values(), categories, results),
            "bbox",
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoScores(*(None if value < 0 else float(value) for value in evaluation.stats))


def _coco(
    coco: Any, images: Collection[int], categories: Mapping[Hashable, int], annotations: list[dict[str, Any]]
) -> Any:
    """Fill an empty COCO object, which else reads a file."""
    coco.dataset = {
        "images": [{"id": number} for number in images],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _numbered(names: Sequence[Hashable]) -> dict[Hashable, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names), 1)}


def _xywh(box: Box) -> list[float]:
    x_min, y_min, x_max, y_max = box
    return [x_min, y_min, x_max - x_min, y_max - y_min]


def _area(box: Box) -> float:
    _, _, width, height = _xywh(box)
    return width * height


def reference_map(truths: Sequence[TrueBox], detections: Sequence[DetectedBox]) -> float:
    """Return the figure that moondream's own evaluation calls COCO mAP, 0..1. It is not COCO's.

    The 11-point average precision at IoU 0.5 of each image and category in it, averaged over all of these pairs. So
    what is detected of categories that an image has not doesn't count, and neither do stricter overlaps. Recall is
    compared exactly, where moondream's evaluation compares it with rounded steps (0.30000000000000004).

    Source: eval/coco_map.py of github.com/vikhyat/moondream.

    Raises:
        ValueError: There are no true boxes.
    """
    true_boxes, found_boxes = defaultdict(list), defaultdict(list)
    for truth in truths:
        true_boxes[truth.image, truth.category].append(truth.box)
    for found in sorted(detections, key=lambda found: -found.score):
        found_boxes[found.image, found.category].append(found.box)
    if not true_boxes:
        raise ValueError("no true boxes")
    precisions = [_average_precision(boxes, found_boxes.get(pair, [])) for pair, boxes in true_boxes.items()]
    return sum(precisions) / len(precisions)


def _average_precision(truths: Sequence[Box], found: Sequence[Box]) -> float:
    """Return the 11-point average precision of one image and category; `found` by descending score."""
    right = np.cumsum(_greedy_matches(truths, found))
    precision = right / np.arange(1, len(found) + 1)
    best = [precision[right * RECALL_STEPS >= step * len(truths)] for step in range(RECALL_STEPS + 1)]
    return sum(float(values.max()) for values in best if values.size) / (RECALL_STEPS + 1)


def _greedy_matches(truths: Sequence[Box], found: Sequence[Box]) -> list[bool]:
    """Return which boxes are right: each in order takes the true box that it overlaps most of those not yet taken."""
    if not truths or not found:
        return [False] * len(found)
    overlaps = iou_of_pairs(np.array(found, float), np.array(truths, float))
    matches = []
    for row in overlaps:
        best = int(row.argmax())
        matches.append(bool(row[best] >= SAME_BOX))
        if matches[-1]:
            overlaps[:, best] = 0
    return matches


def detection_scores(groups: Sequence[tuple[Sequence[Box], Sequence[Box]]]) -> DetectionScores:
    """Return precision, recall and F1 at IoU 0.5 over groups of (true boxes, detected boxes), in the model's order.

    A group is one category in one image.

    Source: eval/waste_detection.py of github.com/vikhyat/moondream.
    """
    right = sum(sum(_greedy_matches(truths, found)) for truths, found in groups)
    true, said = sum(len(truths) for truths, _ in groups), sum(len(found) for _, found in groups)
    return DetectionScores(
        precision=right / said if said else 0.0,
        recall=right / true if true else 0.0,
        f1=2 * right / (true + said) if true + said else 0.0,
    )


def refcoco_accuracy(pairs: Sequence[tuple[Box | None, Box]]) -> float:
    """Return the share of boxes, None where none was given, that overlap the true one by an IoU of at least 0.5.

    Source: Yu et al., "Modeling Context in Referring Expressions", 2016; later papers' "Acc@0.5".

    Raises:
        ValueError: There are no pairs.
    """
    if not pairs:
        raise ValueError("no boxes")
    return sum(found is not None and iou(found, true) >= SAME_BOX for found, true in pairs) / len(pairs)
