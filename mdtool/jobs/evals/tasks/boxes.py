"""Tasks whose answers are boxes: COCO, RefCOCO, waste detection."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine import contract
from engine.contract import DetectRequest
from mdtool.errors import InputError
from mdtool.jobs.evals.data.coco_names import COCO_NAMES
from mdtool.jobs.evals.data.fields import checked_text, field, numbers, optional
from mdtool.jobs.evals.data.read_rows import Row
from mdtool.jobs.evals.figures import figures_of, mean_figures, plain_figures
from mdtool.jobs.evals.metrics.boxes import (
    Box,
    DetectedBox,
    TrueBox,
    coco_map,
    detection_scores,
    refcoco_accuracy,
    reference_map,
)
from mdtool.jobs.evals.sample import Entry, Figure, Sample, Scored
from mdtool.jobs.evals.tasks.questions import ID, IMAGE
from mdtool.jobs.evals.tasks.task import Judgement, RowContext, Task
from mdtool.records.answers import SIDES

LABEL = "the label alone, as in moondream's eval folder"
REFERENCE_MAP = "11-point AP at IoU 0.5 of each picture and category in it, averaged (moondream's coco_map)"


@dataclass(frozen=True)
class _Object:
    """A true object; `box` as in the row's unit."""

    label: str
    box: Box
    crowd: bool = False
    area: float | None = None


def coco_samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make a sample of each category of the set, if the row names them (COCO JSON), else of each that it has.

    The reference asks only for what a picture has. COCO mAP counts what is detected of other categories too.
    """
    found = _objects(row)
    categories = [checked_text(name, "the name of a category") for name in row.get("categories") or found]
    yield from _per_label(row, context, found, categories, in_pixels=True)


def waste_samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make a sample of each label of a row; boxes are centre and size in fractions, or as COCO's."""
    if "boxes" not in row:
        found = _objects(row)
        yield from _per_label(row, context, found, list(found), in_pixels=True)
        return
    objects: defaultdict[str, list[_Object]] = defaultdict(list)
    for values, value in _pairs(field(row, "boxes"), field(row, "labels")):
        x, y, width, height = _sized(values)
        label = _label(value)
        objects[label].append(_Object(label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
    yield from _per_label(row, context, objects, list(objects), in_pixels=False)


def refcoco_samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make a sample of each expression that refers to the object of a row."""
    expressions = field(row, "expressions", "sentences", "expression", "answer")
    if not isinstance(expressions, list):
        expressions = [expressions]
    name, box = _name(row, context), list(_referred(row))
    picture = context.picture(row, name, *IMAGE)
    split = optional(row, "split")
    for place, expression in enumerate(expressions):
        text = checked_text(expression.get("sent") if isinstance(expression, dict) else expression, "an expression")
        yield Sample(
            name if len(expressions) == 1 else f"{name}/{place}", picture, DetectRequest(None, text),
            {"boxes": [box], "in_pixels": True}, picture.key, () if split is None else (str(split),),
        )  # fmt: skip


def _per_label(
    row: Row, context: RowContext, objects: dict[str, list[_Object]], labels: Sequence[str], *, in_pixels: bool
) -> Iterator[Sample]:
    name = _name(row, context)
    picture = context.picture(row, name, *IMAGE)
    for label in labels:
        own = objects.get(label, [])
        truth = {"boxes": [list(one.box) for one in own], "in_pixels": in_pixels}
        if any(one.crowd for one in own):
            truth["crowd"] = [one.crowd for one in own]
        if any(one.area is not None for one in own):
            truth["area"] = [one.area for one in own]
        yield Sample(f"{name}/{label}", picture, DetectRequest(None, label), truth, picture.key)


def _name(row: Row, context: RowContext) -> str:
    name = optional(row, *ID, "image_id")
    return str(context.number if name is None else name)


def _objects(row: Row) -> dict[str, list[_Object]]:
    """Return the objects of a row by their labels.

    Boxes are (x, y, width, height) in pixels, as COCO's, or two corners if they have a bbox_id, as detection-datasets'.
    """
    value = field(row, "objects")
    if isinstance(value, str):
        value = _document(value, "objects")
    first = value[0] if isinstance(value, list) and value else value
    corners = _two_corners if isinstance(first, dict) and "bbox_id" in first else _corners
    if isinstance(value, dict):  # columns
        columns = _pairs(value.get("bbox") or [], value.get("label") or value.get("category") or [])
        value = [{"bbox": box, "label": label} for box, label in columns]
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise InputError("objects is no list of objects with bbox and label")
    found: defaultdict[str, list[_Object]] = defaultdict(list)
    for one in value:
        label = _label(field(one, "label", "category"))
        area = optional(one, "area")
        [area] = [None] if area is None else numbers([area], 1)
        found[label].append(_Object(label, corners(field(one, "bbox")), bool(one.get("crowd")), area))
    return dict(found)


def _referred(row: Row) -> Box:
    """Return the box of a row's object: (x, y, width, height), except in the layout of jxu124's copies of the sets.

    These have two corners, and the annotation as COCO has it in raw_anns.
    """
    if not {"sentences", "image_path"} <= row.keys():
        return _corners(field(row, "bbox"))
    if raw := optional(row, "raw_anns"):
        return _corners(field(_document(raw, "raw_anns"), "bbox"))
    return _two_corners(field(row, "bbox"))


def _document(text: Any, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{name} is not valid JSON: {error}") from error


def _pairs(boxes: Any, labels: Any) -> list[tuple[Any, Any]]:
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise InputError("boxes and their labels are not two lists of one length")
    return list(zip(boxes, labels, strict=True))


def _label(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 < value < len(COCO_NAMES):
            raise InputError(f"the label {value} is no number of a COCO category")
        return COCO_NAMES[value]
    return checked_text(value, "a label")


def _corners(bbox: Any) -> Box:
    x, y, width, height = _sized(bbox)
    return x, y, x + width, y + height


def _two_corners(bbox: Any) -> Box:
    x_min, y_min, x_max, y_max = numbers(bbox, 4)
    if x_max < x_min or y_max < y_min:
        raise InputError(f"the box {bbox} should be two corners, as this layout has them")
    return x_min, y_min, x_max, y_max


def _sized(bbox: Any) -> list[float]:
    """Return a box of which the last two numbers are its size. Raises InputError for a negative one."""
    found = numbers(bbox, 4)
    if min(found[2:]) < 0:
        raise InputError(f"the size of the box {bbox} is negative")
    return found


def judge(sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
    """Score the boxes of one category by average precision; of one that the picture has not, 1 for no box."""
    truth, found = _in_pixels(sample.truth, size), boxes_in(entry, size)
    wanted = [TrueBox(0, "", _box(box)) for box in _without_crowds(truth)]
    detected = [DetectedBox(0, "", _box(box), box[4] if len(box) > 4 else 1.0) for box in found]
    score = reference_map(wanted, detected) if wanted else float(not found)
    return Judgement(entry["objects"], found, score, truth)


def judge_reference(sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
    """Score the box that the model is surest of, else its first one, by IoU."""
    truth, found = _in_pixels(sample.truth, size), boxes_in(entry, size)
    best = max(found, key=lambda box: box[4] if len(box) > 4 else 0.0) if found else None
    pair = None if best is None else _box(best), _box(truth["boxes"][0])
    return Judgement(entry["objects"], best, refcoco_accuracy([pair]), truth)


def _in_pixels(truth: Any, size: tuple[int, int]) -> dict[str, Any]:
    scale = (1.0, 1.0, 1.0, 1.0) if truth["in_pixels"] else (*size, *size)
    boxes = [[side * by for side, by in zip(box, scale, strict=True)] for box in truth["boxes"]]
    return {name: value for name, value in truth.items() if name != "in_pixels"} | {"boxes": boxes}


def boxes_in(entry: Entry, size: tuple[int, int]) -> list[list[float]]:
    """Return the boxes of an entry in pixels, x_min, y_min, x_max, y_max, and their confidence if they have one."""
    scale = (*size, *size)
    return [
        [one[side] * by for side, by in zip(SIDES, scale, strict=True)] + ([one["score"]] if "score" in one else [])
        for one in entry["objects"]
    ]


def _box(values: Sequence[float]) -> Box:
    x_min, y_min, x_max, y_max, *_ = values
    return x_min, y_min, x_max, y_max


def _without_crowds(truth: dict[str, Any]) -> list[list[float]]:
    crowds = truth.get("crowd") or [False] * len(truth["boxes"])
    return [box for box, crowd in zip(truth["boxes"], crowds, strict=True) if not crowd]


def coco_figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return COCO's mAP, by pycocotools, and the reference's own figure, which is another."""
    present = [one for one in scored if _without_crowds(one.truth)]
    return [*plain_figures(_coco, scored), *mean_figures(REFERENCE_MAP, present)] if present else []


def _coco(scored: Sequence[Scored]) -> dict[str, float | None]:
    truths, detections = [], []
    for one in scored:
        count = len(one.truth["boxes"])
        crowds, areas = one.truth.get("crowd") or [False] * count, one.truth.get("area") or [None] * count
        truths += [
            TrueBox(one.unit, one.request, _box(box), crowd, area)
            for box, crowd, area in zip(one.truth["boxes"], crowds, areas, strict=True)
        ]
        detections += [
            DetectedBox(one.unit, one.request, _box(box), box[4] if len(box) > 4 else 1.0) for box in one.prediction
        ]
    scores = coco_map(truths, detections, list(dict.fromkeys(one.unit for one in scored)))
    return {
        "COCO mAP (IoU 0.5 to 0.95)": scores.ap, "AP at IoU 0.5": scores.ap50, "AP at IoU 0.75": scores.ap75,
        "mAP of small objects": scores.ap_small, "mAP of medium objects": scores.ap_medium,
        "mAP of large objects": scores.ap_large,
    }  # fmt: skip


def waste_figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return precision, recall and F1 at IoU 0.5."""
    return figures_of(_detection, scored)


def _detection(scored: Sequence[Scored]) -> dict[str, float | None]:
    scores = detection_scores(
        [(list(map(_box, one.truth["boxes"])), list(map(_box, one.prediction))) for one in scored]
    )
    return {"F1": scores.f1, "precision": scores.precision, "recall": scores.recall}


def refcoco_figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return the accuracy at IoU 0.5, of all and of each split."""
    return mean_figures("accuracy at IoU 0.5", scored)


def drawn(scored: Scored, size: tuple[int, int]) -> list[contract.Box | contract.Point]:
    """Return the true boxes and those of the model."""
    said = scored.prediction or []
    if said and not isinstance(said[0], list):  # one box
        said = [said]
    width, height = size
    return [
        contract.Box(box[0] / width, box[1] / height, box[2] / width, box[3] / height, label)
        for label, boxes in (("true", scored.truth["boxes"]), ("said", said))
        for box in boxes
    ]


BOX_TASKS = (
    Task(
        "coco", "detecting 80 kinds of objects", "detect", coco_samples, judge, coco_figures, LABEL,
        package="pycocotools", drawn=drawn,
    ),
    Task(
        "refcoco", "the box of what a sentence refers to", "detect", refcoco_samples, judge_reference, refcoco_figures,
        "the expression alone", drawn=drawn,
    ),
    Task("waste_detection", "detecting kinds of waste", "detect", waste_samples, judge, waste_figures, LABEL,
        drawn=drawn),
)  # fmt: skip
