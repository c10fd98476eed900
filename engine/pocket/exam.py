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
    Found,
    GazeRequest,
    Point,
    PointRequest,
    QueryRequest,
    Request,
)
from engine.generation.verbs import VisionModel
from engine.pocket.draw import draw
from engine.pocket.lessons import Caption, Detect, Gaze, Lesson, PointAt, Query, Sight, questions
from engine.pocket.scene import COLOURS, KINDS, imagine
from engine.pocket.words import NUMBERS

FIRST_SCENE = 100_000  # training takes its scenes from far above
OVERLAP = 0.5  # a box is right from this intersection over union on
NEAR = 0.1  # a gaze is right within this share of the picture's width

_NAMED = re.compile(rf"(?:\b({'|'.join(NUMBERS)}) )?(?:\b({'|'.join(COLOURS)}) )?\b({'|'.join(KINDS)})(?:e?s)?\b")


@dataclass
class Tally:
    """Right answers among those given; for lists also what was there to be found."""

    right: int = 0
    given: int = 0
    there: int = 0

    def add(self, right: int, given: int = 1, there: int = 1) -> None:
        self.right += right
        self.given += given
        self.there += there

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.there if self.there else 1.0


@dataclass
class Report:
    """What a model got right. detect: by the kind that was asked for."""

    detect: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    point: Tally = field(default_factory=Tally)
    told: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    wrong: list[str] = field(default_factory=list)

    def scores(self) -> dict[str, float]:
        """Each 0..1, by name.

        Boxes of one model all have the same score, so a kind's average precision is its precision times its recall.
        """
        precisions = [tally.precision * tally.recall for tally in self.detect.values()]
        scores = {"detect mAP@0.5": sum(precisions) / len(precisions)} if precisions else {}
        scores |= {"points inside": self.point.precision, "points found": self.point.recall}
        return scores | {name: tally.precision for name, tally in sorted(self.told.items())}

    def answers(self) -> dict[str, int]:
        """Of how many answers, or things to be found, each score is made."""
        there = {
            "detect mAP@0.5": sum(tally.there for tally in self.detect.values()),
            "points inside": self.point.given,
            "points found": self.point.there,
        }
        return there | {name: tally.given for name, tally in sorted(self.told.items())}


def seeds(scenes: int) -> range:
    """Of the scenes of an exam of this length."""
    return range(FIRST_SCENE, FIRST_SCENE + scenes)


def examine(model: VisionModel, seeds: Sequence[int], at_once: int = 4) -> Report:
    """Asks about the scenes of these seeds, so many pictures at a time."""
    report = Report()
    for first in range(0, len(seeds), at_once):
        asked: list[tuple[int, Sight, Lesson, Request]] = []
        drawn = [(seed, imagine(seed)) for seed in seeds[first : first + at_once]]
        drawings = [draw(scene) for _, scene in drawn]
        encoded = model.encode([drawing.pixels for drawing in drawings])
        for (seed, scene), drawing, image in zip(drawn, drawings, encoded, strict=True):
            sight = Sight.of(scene, drawing.boxes)
            lessons = questions(sight, np.random.default_rng(seed))
            asked += [(seed, sight, lesson, request(lesson, image)) for lesson in lessons]
        for event in model.run([one for *_, one in asked]):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                seed, sight, lesson, _ = asked[event.index]
                if not grade(report, sight, lesson, event.result):
                    report.wrong.append(f"scene {seed}: {lesson}: {event.result}")
    return report


def request(lesson: Lesson, image: EncodedImage) -> Request:
    if isinstance(lesson, Caption):
        return CaptionRequest(image, lesson.length)
    if isinstance(lesson, Query):
        return QueryRequest(image, lesson.question)
    if isinstance(lesson, Detect):
        return DetectRequest(image, lesson.prompt)
    if isinstance(lesson, PointAt):
        return PointRequest(image, lesson.prompt)
    return GazeRequest(image, lesson.eye)


def grade(report: Report, sight: Sight, lesson: Lesson, result: Answer | Found | Point | None) -> bool:
    """Enters a result into the report. Returns whether all of it is right."""
    if isinstance(lesson, Detect):
        assert isinstance(result, Found)
        right = _boxes_found(lesson, [one for one in result.items if isinstance(one, Box)])
        report.detect[lesson.prompt.split()[-1]].add(right, len(result.items), len(lesson.answer))
        return right == len(result.items) == len(lesson.answer)
    if isinstance(lesson, PointAt):
        assert isinstance(result, Found)
        right = _points_found(sight, lesson, [one for one in result.items if isinstance(one, Point)])
        report.point.add(right, len(result.items), len(lesson.answer))
        return right == len(result.items) == len(lesson.answer)
    name, holds = _judged(sight, lesson, result)
    report.told[name].add(holds)
    return holds


def named(text: str) -> Counter[tuple[str, str]]:
    """The colours and kinds of what a caption names."""
    names: Counter[tuple[str, str]] = Counter()
    for number, colour, kind in _NAMED.findall(text.lower()):
        names[colour, kind] += NUMBERS.index(number) if number else 1
    return names


def _judged(sight: Sight, lesson: Caption | Query | Gaze, result: object) -> tuple[str, bool]:
    """The name of its score, and whether it is right."""
    if isinstance(lesson, Caption):
        assert isinstance(result, Answer)
        there = Counter((thing.colour, thing.kind) for thing in sight.things)
        return f"captions ({lesson.length})", named(result.text) == there
    if isinstance(lesson, Query):
        assert isinstance(result, Answer)
        return lesson.about, result.text.strip().lower() == lesson.answer
    assert result is None or isinstance(result, Point)
    return "gaze", _is_near(sight, lesson, result)


def _is_near(sight: Sight, lesson: Gaze, result: Point | None) -> bool:
    if lesson.answer is None or result is None:
        return lesson.answer is result
    x, y = lesson.answer
    return math.hypot(x - result.x, (y - result.y) * sight.scene.height / sight.scene.width) <= NEAR


def _boxes_found(lesson: Detect, boxes: Sequence[Box]) -> int:
    """How many of the things have a box of their own."""
    left = [Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in lesson.answer]
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


def _points_found(sight: Sight, lesson: PointAt, points: Sequence[Point]) -> int:
    """How many of the things have a point of their own inside their box."""
    sizes = dict(zip(sight.middles, sight.sizes, strict=True))
    left = list(lesson.answer)
    found = 0
    for point in points:
        inside = [
            (x, y) for x, y in left if abs(point.x - x) <= sizes[x, y][0] / 2 and abs(point.y - y) <= sizes[x, y][1] / 2
        ]
        if inside:
            left.remove(min(inside, key=lambda middle: math.dist(middle, (point.x, point.y))))
            found += 1
    return found
