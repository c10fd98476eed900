"""Evaluates a model on synthetic scenes that `pocket` was not trained on.

Works with any model of the contract. The same seeds give the same scenes and tasks.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Done,
    EncodedImage,
    Failed,
    GazeRequest,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.generation.verbs import VisionModel
from engine.pocket.draw import draw
from engine.pocket.naming import NUMBERS
from engine.pocket.scene import COLOURS, KINDS, random_scene
from engine.pocket.tasks import (
    CaptionTask,
    DetectTask,
    GazeTask,
    PointTask,
    QueryTask,
    SceneLayout,
    Task,
    evaluation_tasks,
)

FIRST_SCENE = 100_000  # training seeds are far above
OVERLAP = 0.5  # IoU from which a box is correct
NEAR = 0.1  # of the image's width: distance within which a gaze target is correct

_NAMED = re.compile(rf"(?:\b({'|'.join(NUMBERS)}) )?(?:\b({'|'.join(COLOURS)}) )?\b({'|'.join(KINDS)})(?:e?s)?\b")


@dataclass
class Tally:
    """Counts of correct, predicted and expected answers or objects."""

    correct: int = 0
    predicted: int = 0
    expected: int = 0

    def add(self, correct: int, predicted: int = 1, expected: int = 1) -> None:
        """Add the counts of one task."""
        self.correct += correct
        self.predicted += predicted
        self.expected += expected

    @property
    def precision(self) -> float:
        """Share of the predicted that is correct; 1 if nothing was predicted."""
        return self.correct / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the expected that was found; 1 if nothing was expected."""
        return self.correct / self.expected if self.expected else 1.0


@dataclass
class EvaluationReport:
    """The results of an evaluation.

    Attributes:
        detect: By kind of object.
        point: Of all points.
        replies: Of captions, questions and gazes, by name of the score.
        wrong: A description of each task with an error.
    """

    detect: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    point: Tally = field(default_factory=Tally)
    replies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    wrong: list[str] = field(default_factory=list)

    def scores(self) -> dict[str, float]:
        """Compute all scores, 0..1, by name.

        Boxes have no confidence score, so the average precision of a kind is its precision times its recall.
        """
        precisions = [tally.precision * tally.recall for tally in self.detect.values()]
        scores = {"detect mAP@0.5": sum(precisions) / len(precisions)} if precisions else {}
        scores |= {"points inside": self.point.precision, "points found": self.point.recall}
        return scores | {name: tally.precision for name, tally in sorted(self.replies.items())}

    def answers(self) -> dict[str, int]:
        """Return the number of answers or objects behind each score."""
        expected = {
            "detect mAP@0.5": sum(tally.expected for tally in self.detect.values()),
            "points inside": self.point.predicted,
            "points found": self.point.expected,
        }
        return expected | {name: tally.predicted for name, tally in sorted(self.replies.items())}


def seeds(scenes: int) -> range:
    """Return the seeds of an evaluation with this number of scenes."""
    return range(FIRST_SCENE, FIRST_SCENE + scenes)


def evaluate_model(model: VisionModel, seeds: Sequence[int], batch_size: int = 4) -> EvaluationReport:
    """Evaluate a model.

    Args:
        model: Any.
        seeds: Of the scenes.
        batch_size: Images that are encoded and served together.
    """
    report = EvaluationReport()
    for first in range(0, len(seeds), batch_size):
        requests: list[tuple[int, SceneLayout, Task, Request]] = []
        scenes = [(seed, random_scene(seed)) for seed in seeds[first : first + batch_size]]
        drawings = [draw(scene) for _, scene in scenes]
        encoded = model.encode([drawing.pixels for drawing in drawings])
        for (seed, scene), drawing, image in zip(scenes, drawings, encoded, strict=True):
            layout = SceneLayout.of(scene, drawing.boxes)
            tasks = evaluation_tasks(layout, np.random.default_rng(seed))
            requests += [(seed, layout, task, request(task, image)) for task in tasks]
        for event in model.run([entry[-1] for entry in requests]):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                seed, layout, task, _ = requests[event.index]
                if not grade(report, layout, task, event.result):
                    report.wrong.append(f"scene {seed}: {task}: {event.result}")
    return report


def request(task: Task, image: EncodedImage) -> Request:
    """Return the request of a task."""
    if isinstance(task, CaptionTask):
        return CaptionRequest(image, task.length)
    if isinstance(task, QueryTask):
        return QueryRequest(image, task.question)
    if isinstance(task, DetectTask):
        return DetectRequest(image, task.prompt)
    if isinstance(task, PointTask):
        return PointRequest(image, task.prompt)
    return GazeRequest(image, task.eye)


def grade(
    report: EvaluationReport, layout: SceneLayout, task: Task, result: Answer | ObjectList | Point | None
) -> bool:
    """Grade a result and add it to the report.

    Args:
        report: Updated in place.
        layout: Of the scene.
        task: With the ground truth.
        result: The model's.

    Returns:
        Whether it is entirely correct.
    """
    if isinstance(task, DetectTask):
        assert isinstance(result, ObjectList)
        correct = _boxes_found(task, [box for box in result.items if isinstance(box, Box)])
        report.detect[task.prompt.split()[-1]].add(correct, len(result.items), len(task.answer))
        return correct == len(result.items) == len(task.answer)
    if isinstance(task, PointTask):
        assert isinstance(result, ObjectList)
        correct = _points_found(layout, task, [point for point in result.items if isinstance(point, Point)])
        report.point.add(correct, len(result.items), len(task.answer))
        return correct == len(result.items) == len(task.answer)
    name, is_correct = _graded(layout, task, result)
    report.replies[name].add(is_correct)
    return is_correct


def named(text: str) -> Counter[tuple[str, str]]:
    """Count the (colour, kind) of the objects that a caption names."""
    names: Counter[tuple[str, str]] = Counter()
    for number, colour, kind in _NAMED.findall(text.lower()):
        names[colour, kind] += NUMBERS.index(number) if number else 1
    return names


def _graded(layout: SceneLayout, task: CaptionTask | QueryTask | GazeTask, result: object) -> tuple[str, bool]:
    """Return the name of the score, and whether the result is correct."""
    if isinstance(task, CaptionTask):
        assert isinstance(result, Answer)
        expected = Counter((obj.colour, obj.kind) for obj in layout.objects)
        return f"captions ({task.length})", named(result.text) == expected
    if isinstance(task, QueryTask):
        assert isinstance(result, Answer)
        return task.about, result.text.strip().lower() == task.answer
    assert result is None or isinstance(result, Point)
    return "gaze", _is_near(layout, task, result)


def _is_near(layout: SceneLayout, task: GazeTask, result: Point | None) -> bool:
    if task.answer is None or result is None:
        return task.answer is None and result is None
    x, y = task.answer
    return math.hypot(x - result.x, (y - result.y) * layout.scene.height / layout.scene.width) <= NEAR


def _boxes_found(task: DetectTask, boxes: Sequence[Box]) -> int:
    """Count the objects that a box of their own matches."""
    unmatched = [Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in task.answer]
    found = 0
    for box in boxes:
        best = max(unmatched, key=lambda true: intersection_over_union(box, true), default=None)
        if best and intersection_over_union(box, best) >= OVERLAP:
            unmatched.remove(best)
            found += 1
    return found


def intersection_over_union(one: Box, other: Box) -> float:
    """Compute the intersection over union of two boxes."""
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box.x_max - box.x_min) * (box.y_max - box.y_min) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _points_found(layout: SceneLayout, task: PointTask, points: Sequence[Point]) -> int:
    """Count the objects with a point of their own inside their box."""
    sizes = dict(zip(layout.centres, layout.sizes, strict=True))
    unmatched = list(task.answer)
    found = 0
    for point in points:
        inside = [
            (x, y)
            for x, y in unmatched
            if abs(point.x - x) <= sizes[x, y][0] / 2 and abs(point.y - y) <= sizes[x, y][1] / 2
        ]
        if inside:
            unmatched.remove(min(inside, key=lambda centre: math.dist(centre, (point.x, point.y))))
            found += 1
    return found
