"""How well a model answers about scenes that it was not trained on.

Any model that meets the contract can sit it; the scenes and questions of a seed are always the same.
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

FIRST_SCENE = 100_000  # training takes its scenes from far above
OVERLAP = 0.5  # a box is right from this intersection over union on
NEAR = 0.1  # a gaze is right within this share of the picture's width

_NAMED = re.compile(rf"(?:\b({'|'.join(NUMBERS)}) )?(?:\b({'|'.join(COLOURS)}) )?\b({'|'.join(KINDS)})(?:e?s)?\b")


@dataclass
class Tally:
    """Right answers among those given; for lists also what was there to be found."""

    correct: int = 0
    predicted: int = 0
    expected: int = 0

    def add(self, correct: int, predicted: int = 1, expected: int = 1) -> None:
        self.correct += correct
        self.predicted += predicted
        self.expected += expected

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 1.0

    @property
    def recall(self) -> float:
        return self.correct / self.expected if self.expected else 1.0


@dataclass
class EvaluationReport:
    """What a model got right. detect: by the kind that was asked for."""

    detect: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    point: Tally = field(default_factory=Tally)
    replies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    wrong: list[str] = field(default_factory=list)

    def scores(self) -> dict[str, float]:
        """Each 0..1, by name.

        Boxes of one model all have the same score, so a kind's average precision is its precision times its recall.
        """
        precisions = [tally.precision * tally.recall for tally in self.detect.values()]
        scores = {"detect mAP@0.5": sum(precisions) / len(precisions)} if precisions else {}
        scores |= {"points inside": self.point.precision, "points found": self.point.recall}
        return scores | {name: tally.precision for name, tally in sorted(self.replies.items())}

    def answers(self) -> dict[str, int]:
        """Of how many answers, or things to be found, each score is made."""
        expected = {
            "detect mAP@0.5": sum(tally.expected for tally in self.detect.values()),
            "points inside": self.point.predicted,
            "points found": self.point.expected,
        }
        return expected | {name: tally.predicted for name, tally in sorted(self.replies.items())}


def seeds(scenes: int) -> range:
    """Of the scenes of an exam of this length."""
    return range(FIRST_SCENE, FIRST_SCENE + scenes)


def evaluate_model(model: VisionModel, seeds: Sequence[int], at_once: int = 4) -> EvaluationReport:
    """Asks about the scenes of these seeds, so many pictures at a time."""
    report = EvaluationReport()
    for first in range(0, len(seeds), at_once):
        asked: list[tuple[int, SceneLayout, Task, Request]] = []
        drawn = [(seed, random_scene(seed)) for seed in seeds[first : first + at_once]]
        drawings = [draw(scene) for _, scene in drawn]
        encoded = model.encode([drawing.pixels for drawing in drawings])
        for (seed, scene), drawing, image in zip(drawn, drawings, encoded, strict=True):
            layout = SceneLayout.of(scene, drawing.boxes)
            tasks = evaluation_tasks(layout, np.random.default_rng(seed))
            asked += [(seed, layout, task, request(task, image)) for task in tasks]
        for event in model.run([one for *_, one in asked]):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                seed, layout, task, _ = asked[event.index]
                if not grade(report, layout, task, event.result):
                    report.wrong.append(f"scene {seed}: {task}: {event.result}")
    return report


def request(task: Task, image: EncodedImage) -> Request:
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
    """Enters a result into the report. Returns whether all of it is right."""
    if isinstance(task, DetectTask):
        assert isinstance(result, ObjectList)
        correct = _boxes_found(task, [one for one in result.items if isinstance(one, Box)])
        report.detect[task.prompt.split()[-1]].add(correct, len(result.items), len(task.answer))
        return correct == len(result.items) == len(task.answer)
    if isinstance(task, PointTask):
        assert isinstance(result, ObjectList)
        correct = _points_found(layout, task, [one for one in result.items if isinstance(one, Point)])
        report.point.add(correct, len(result.items), len(task.answer))
        return correct == len(result.items) == len(task.answer)
    name, holds = _judged(layout, task, result)
    report.replies[name].add(holds)
    return holds


def named(text: str) -> Counter[tuple[str, str]]:
    """The colours and kinds of what a caption names."""
    names: Counter[tuple[str, str]] = Counter()
    for number, colour, kind in _NAMED.findall(text.lower()):
        names[colour, kind] += NUMBERS.index(number) if number else 1
    return names


def _judged(layout: SceneLayout, task: CaptionTask | QueryTask | GazeTask, result: object) -> tuple[str, bool]:
    """The name of its score, and whether it is right."""
    if isinstance(task, CaptionTask):
        assert isinstance(result, Answer)
        expected = Counter((thing.colour, thing.kind) for thing in layout.things)
        return f"captions ({task.length})", named(result.text) == expected
    if isinstance(task, QueryTask):
        assert isinstance(result, Answer)
        return task.about, result.text.strip().lower() == task.answer
    assert result is None or isinstance(result, Point)
    return "gaze", _is_near(layout, task, result)


def _is_near(layout: SceneLayout, task: GazeTask, result: Point | None) -> bool:
    if task.answer is None or result is None:
        return task.answer is result
    x, y = task.answer
    return math.hypot(x - result.x, (y - result.y) * layout.scene.height / layout.scene.width) <= NEAR


def _boxes_found(task: DetectTask, boxes: Sequence[Box]) -> int:
    """How many of the things have a box of their own."""
    left = [Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in task.answer]
    found = 0
    for box in boxes:
        best = max(left, key=lambda true: intersection_over_union(box, true), default=None)
        if best and intersection_over_union(box, best) >= OVERLAP:
            left.remove(best)
            found += 1
    return found


def intersection_over_union(one: Box, other: Box) -> float:
    across = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    down = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    if across <= 0 or down <= 0:
        return 0.0
    areas = [(box.x_max - box.x_min) * (box.y_max - box.y_min) for box in (one, other)]
    return across * down / (sum(areas) - across * down)


def _points_found(layout: SceneLayout, task: PointTask, points: Sequence[Point]) -> int:
    """How many of the things have a point of their own inside their box."""
    sizes = dict(zip(layout.middles, layout.sizes, strict=True))
    left = list(task.answer)
    found = 0
    for point in points:
        inside = [
            (x, y) for x, y in left if abs(point.x - x) <= sizes[x, y][0] / 2 and abs(point.y - y) <= sizes[x, y][1] / 2
        ]
        if inside:
            left.remove(min(inside, key=lambda middle: math.dist(middle, (point.x, point.y))))
            found += 1
    return found
