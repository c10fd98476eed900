"""Tasks whose answers are points: ScreenSpot, GazeFollow."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from engine.contract import Box, GazeRequest, Point, PointRequest
from mdtool.errors import InputError
from mdtool.jobs.evals.data.fields import field, numbers, optional, text
from mdtool.jobs.evals.data.read_rows import Row
from mdtool.jobs.evals.figures import mean_figures
from mdtool.jobs.evals.metrics.gaze import gazefollow_auc, gazefollow_dist, point_heatmap
from mdtool.jobs.evals.metrics.points import screenspot_accuracy
from mdtool.jobs.evals.sample import Entry, Figure, Sample, Scored
from mdtool.jobs.evals.tasks.questions import ID, IMAGE
from mdtool.jobs.evals.tasks.task import Judgement, RowContext, Task

SAME_HEAD = 0.001  # of the picture: by which boxes of one head may differ
CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
CHANCE = 0.5  # area under the curve of a map that says nothing


def screenspot_samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make the sample of an instruction. A box in fractions is two corners; one in pixels a corner and its size."""
    name = str(optional(row, *ID) if optional(row, *ID) is not None else context.number)
    picture = context.picture(row, name, "img_filename", "file_name", *IMAGE)
    x, y, right, bottom = numbers(field(row, "bbox"), 4)
    in_pixels = max(x, y, right, bottom) > 1
    if min(right, bottom) < 0 or (not in_pixels and (right < x or bottom < y)):
        raise InputError(f"{row['bbox']} is no box: two corners in fractions, or a corner and a size in pixels")
    box = [x, y, x + right, y + bottom] if in_pixels else [x, y, right, bottom]
    kinds = [optional(row, "data_type"), optional(row, "data_source")]
    request = PointRequest(None, text(row, "instruction", "question"))
    yield Sample(
        name, picture, request, {"box": box, "in_pixels": in_pixels}, picture.key, tuple(str(k) for k in kinds if k)
    )


def judge_click(sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
    """Score the model's first point: 1 if it is in the box."""
    truth, found = sample.truth, entry["points"]
    scale = (1, 1) if truth["in_pixels"] else size
    box = [side * by for side, by in zip(truth["box"], (*scale, *scale), strict=True)]
    point = (found[0]["x"] * size[0], found[0]["y"] * size[1]) if found else None
    return Judgement(found, point, screenspot_accuracy([(point, tuple(box))]), {"box": box})


def screenspot_figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return the share of points in the element to click, of all and of each kind of element and platform."""
    return mean_figures("click accuracy", scored)


def gaze_samples(row: Row, context: RowContext) -> Iterator[Sample]:
    """Make a sample of each head of a picture, with the marks of all people who looked at it."""
    name = str(optional(row, *ID) if optional(row, *ID) is not None else context.number)
    picture = context.picture(row, name, *IMAGE)
    heads: list[tuple[list[float], tuple[float, float], list[list[float]]]] = []
    for gaze in field(row, "gazes"):
        box, mark = _box(field(gaze, "head_bbox")), list(_point(field(gaze, "gaze")))
        for known, _, marks in heads:
            if all(abs(a - b) < SAME_HEAD for a, b in zip(known, box, strict=True)):
                marks.append(mark)
                break
        else:
            heads.append((box, _point(field(gaze, "eye")), [mark]))
    for place, (_, eye, marks) in enumerate(heads):
        yield Sample(f"{name}/{place}", picture, GazeRequest(None, eye), marks, picture.key)


def _point(value: Any) -> tuple[float, float]:
    x, y = numbers([value.get("x"), value.get("y")] if isinstance(value, dict) else value, 2)
    return x, y


def _box(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = [value.get(side) for side in ("xmin", "ymin", "xmax", "ymax")]
    return numbers(value, 4)


def judge_gaze(sample: Sample, entry: Entry, size: tuple[int, int]) -> Judgement:
    """Score by the distance to the mean of people's marks, in fractions of the picture.

    A model that says the target is not in the picture, where all of this set's are, gets the distance of the farthest
    corner.
    """
    point = _gaze(entry["points"])
    said = point or max(CORNERS, key=lambda corner: gazefollow_dist(corner, sample.truth).mean)
    return Judgement(entry["points"], point, gazefollow_dist(said, sample.truth).mean)


def _gaze(points: Sequence[dict[str, float]]) -> tuple[float, float] | None:
    return (points[0]["x"], points[0]["y"]) if points else None


def gaze_figures(scored: Sequence[Scored]) -> list[Figure]:
    """Return distances, the area under the curve, and the share of heads for which the model gave a target."""

    def figure(name: str, value: Any) -> list[Figure]:
        return mean_figures(name, [replace(one, score=value(one.prediction, one.truth)) for one in scored])

    return [
        *mean_figures("distance to the mean mark", scored),
        *figure("distance to the nearest mark", _nearest),
        *figure("AUC", lambda point, marks: gazefollow_auc(point_heatmap(point), marks) if point else CHANCE),
        *figure("targets given", lambda point, marks: float(point is not None)),
    ]


def _nearest(point: tuple[float, float] | None, marks: Sequence[tuple[float, float]]) -> float:
    if point:
        return gazefollow_dist(point, marks).minimum
    return min(max(math.dist(corner, mark) for corner in CORNERS) for mark in marks)


def drawn_click(scored: Scored, size: tuple[int, int]) -> list[Box | Point]:
    """Return the box of the element and the model's point."""
    x_min, y_min, x_max, y_max = (side / by for side, by in zip(scored.truth["box"], (*size, *size), strict=True))
    said = [Point(scored.prediction[0] / size[0], scored.prediction[1] / size[1], "said")] if scored.prediction else []
    return [Box(x_min, y_min, x_max, y_max, "true"), *said]


def drawn_gaze(scored: Scored, size: tuple[int, int]) -> list[Box | Point]:
    """Return people's marks and the model's target."""
    said = [Point(scored.prediction[0], scored.prediction[1], "said")] if scored.prediction else []
    return [*(Point(x, y, "true") for x, y in scored.truth), *said]


POINT_TASKS = (
    Task(
        "screenspot", "the element of a screen that an instruction means", "point", screenspot_samples, judge_click,
        screenspot_figures, "the instruction alone", drawn=drawn_click,
    ),
    Task(
        "gazefollow", "where people look", "gaze", gaze_samples, judge_gaze, gaze_figures, "an eye of each head",
        is_distance=True, drawn=drawn_gaze,
    ),
)  # fmt: skip
