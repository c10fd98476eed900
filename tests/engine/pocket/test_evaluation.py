"""The exam gives full marks for the truth, and takes off just those of what is wrong."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    ChatRequest,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Failed,
    GazeRequest,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    TextDelta,
)
from engine.generation.verbs import VisionModel
from engine.pocket.draw import draw
from engine.pocket.evaluation import EvaluationReport, evaluate_model, grade, intersection_over_union, named, seeds
from engine.pocket.scene import COLOURS, FACE, SIGN, SKIN, Background, Scene, SceneObject, random_scene
from engine.pocket.tasks import (
    CaptionTask,
    DetectTask,
    GazeTask,
    PointTask,
    QueryTask,
    SceneLayout,
    Task,
    caption,
    evaluation_tasks,
)
from engine.pocket.training.trainer import FIRST_SCENE

SEEDS = seeds(12)
ALL = {
    *("detect mAP@0.5", "points inside", "points found"),
    *("captions (short)", "captions (normal)", "captions (long)"),
    *("count", "presence", "colour", "sign", "left", "gaze"),
}
Damage = Callable[[Task, Any], Any]


def truth(task: Task) -> Any:
    """The right answer as a model gives it."""
    if isinstance(task, CaptionTask | QueryTask):
        return Answer(task.answer)
    if isinstance(task, DetectTask):
        return ObjectList([Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for (x, y), (w, h) in task.answer], True)
    if isinstance(task, PointTask):
        return ObjectList([Point(x, y) for x, y in task.answer], True)
    return None if task.answer is None else Point(*task.answer)


def key(asked: Request | Task) -> tuple[str, object]:
    """What is asked for, however it is put."""
    if isinstance(asked, CaptionRequest | CaptionTask):
        return "caption", asked.length
    if isinstance(asked, QueryRequest | QueryTask):
        return "query", asked.question
    if isinstance(asked, DetectRequest | DetectTask):
        return "detect", asked.prompt
    if isinstance(asked, PointRequest | PointTask):
        return "point", asked.prompt
    assert isinstance(asked, GazeRequest | GazeTask)
    return "gaze", asked.eye


@dataclass
class KnownImage(EncodedImage):
    tasks: dict[tuple[str, object], Task]


class Knowing:
    """Knows scenes by their pixels, and what is asked about them; tells the truth, or it damaged."""

    def __init__(self, damage: Damage = lambda task, result: result) -> None:
        self.damage = damage
        self.known: dict[bytes, KnownImage] = {}
        for seed in SEEDS:
            scene = random_scene(seed)
            drawing = draw(scene)
            tasks = evaluation_tasks(SceneLayout.of(scene, drawing.boxes), np.random.default_rng(seed))
            self.known[drawing.pixels.tobytes()] = KnownImage({key(task): task for task in tasks})
        self.image_batch_size: list[int] = []

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        self.image_batch_size.append(len(images))
        return [self.known[image.tobytes()] for image in images]

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[TextDelta | Done | Failed]:
        """The last first, with a piece of text before each."""
        for index, request in reversed(list(enumerate(requests))):
            assert not isinstance(request, ChatRequest)
            assert isinstance(request.image, KnownImage)
            task = request.image.tasks[key(request)]
            yield TextDelta(index, "some ")
            yield Done(index, self.damage(task, truth(task)))


def sat(model: Knowing, at_once: int = 4) -> EvaluationReport:
    return evaluate_model(cast(VisionModel, model), SEEDS, at_once)


def damaged(damage: Damage) -> set[str]:
    """The scores that are not full."""
    return {name for name, score in sat(Knowing(damage)).scores().items() if score != 1}


@pytest.mark.parametrize(("at_once", "pictures"), [(4, [4, 4, 4]), (5, [5, 5, 2])])
def test_who_knows_everything_has_full_marks(at_once: int, pictures: list[int]) -> None:
    model = Knowing()
    report = sat(model, at_once)
    assert report.scores() == dict.fromkeys(ALL, 1.0)
    assert report.wrong == []
    assert model.image_batch_size == pictures


def test_who_knows_nothing_has_few_marks() -> None:
    def nothing(task: Task, result: Any) -> Any:
        if isinstance(task, DetectTask | PointTask):
            return ObjectList([], True)
        return Answer("") if isinstance(task, CaptionTask | QueryTask) else None

    report = sat(Knowing(nothing))
    scores = report.scores()
    assert scores["points found"] == 0
    assert scores["detect mAP@0.5"] < 0.3  # kinds that are never there are rightly not found
    of_text = ALL - {"points inside", "points found", "detect mAP@0.5", "gaze"}
    assert {name: scores[name] for name in of_text} == dict.fromkeys(of_text, 0)
    asked = [(seed, task) for seed in SEEDS for task in asked_of(seed)]
    missed = [(seed, task) for seed, task in asked if isinstance(task, CaptionTask | QueryTask) or task.answer]
    assert len(report.wrong) == len(missed)


def asked_of(seed: int) -> list[Task]:
    scene = random_scene(seed)
    return evaluation_tasks(SceneLayout.of(scene, draw(scene).boxes), np.random.default_rng(seed))


def test_answers_are_counted() -> None:
    tasks = [task for seed in SEEDS for task in asked_of(seed)]
    points = sum(len(task.answer) for task in tasks if isinstance(task, PointTask))
    right = {
        "detect mAP@0.5": sum(len(task.answer) for task in tasks if isinstance(task, DetectTask)),
        "points inside": points,
        "points found": points,
        "gaze": sum(isinstance(task, GazeTask) for task in tasks),
    }
    right |= {f"captions ({length})": len(SEEDS) for length in ("short", "normal", "long")}
    for about in ("count", "presence", "colour", "sign", "left"):
        right[about] = sum(isinstance(task, QueryTask) and task.about == about for task in tasks)
    assert sat(Knowing()).answers() == right


def on_boxes(change: Callable[[list[Box]], list[Box]]) -> Damage:
    return lambda task, result: ObjectList(change(result.items), True) if isinstance(task, DetectTask) else result


def on_points(change: Callable[[list[Point]], list[Point]]) -> Damage:
    return lambda task, result: ObjectList(change(result.items), True) if isinstance(task, PointTask) else result


def on_text(about: str, change: Callable[[str], str]) -> Damage:
    """Of captions of a length, or answers about something."""

    def damage(task: Task, result: Any) -> Any:
        if isinstance(task, CaptionTask) and task.length == about:
            return Answer(change(result.text))
        return Answer(change(result.text)) if isinstance(task, QueryTask) and task.about == about else result

    return damage


FAR = Box(-9, -9, -8, -8)


@pytest.mark.parametrize(
    ("damage", "scores"),
    [
        (on_boxes(lambda boxes: boxes[1:]), {"detect mAP@0.5"}),
        (on_boxes(lambda boxes: [*boxes, FAR]), {"detect mAP@0.5"}),
        (on_boxes(lambda boxes: boxes[::-1]), set()),
        (on_points(lambda points: points[1:]), {"points found"}),
        (on_points(lambda points: [*points, Point(-9, -9)]), {"points inside"}),
        (
            on_points(lambda points: [Point(point.x + 9, point.y) for point in points]),
            {"points inside", "points found"},
        ),
        (on_points(lambda points: points[::-1]), set()),
        *((on_text(name, lambda text: text + " blue"), {name}) for name in ("count", "presence", "colour", "sign")),
        (on_text("left", lambda text: "a thing"), {"left"}),
        (on_text("left", lambda text: f" {text.upper()}\n"), set()),
        *(
            (on_text(length, lambda text: f"{text} A red star."), {f"captions ({length})"})
            for length in ("short", "normal", "long")
        ),
        (lambda task, result: Point(-9, 0) if isinstance(task, GazeTask) else result, {"gaze"}),
    ],
)
def test_a_damage_takes_off_its_own_marks_alone(damage: Damage, scores: set[str]) -> None:
    assert damaged(damage) == scores


def test_a_failure_ends_the_exam() -> None:
    class Failing(Knowing):
        def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[TextDelta | Done | Failed]:
            yield Failed(0, EngineError("no memory"))

    with pytest.raises(EngineError, match="no memory"):
        sat(Failing())


def test_an_exam_asks_about_scenes_that_nobody_trains_on() -> None:
    assert seeds(300) == range(100_000, 100_300)
    assert seeds(300)[-1] < FIRST_SCENE


# One answer at a time, about a picture that is twice as wide as high.


def thing(kind: str, colour: str = "", digits: str = "", looks_at: int | None = None) -> SceneObject:
    return SceneObject(kind, colour, COLOURS.get(colour, SKIN[0]), 0, 0, 20, digits=digits, looks_at=looks_at)


STAR, OTHER_STAR, SIGN_42 = thing("star", "red"), thing("star", "blue"), thing(SIGN, "orange", "42")
SCENE = Scene(
    200,
    100,
    Background("plain", (99, 99, 99), (99, 99, 99)),
    (STAR, OTHER_STAR, SIGN_42, thing(FACE, looks_at=1)),
)
SIGHT = SceneLayout.of(SCENE, [(20, 15, 60, 45), (100, 60, 140, 80), (60, 10, 80, 20), (10, 60, 30, 90)])
STARS = DetectTask("star", (((0.2, 0.3), (0.2, 0.3)), ((0.6, 0.7), (0.2, 0.2))))
FIRST, SECOND = Box(0.1, 0.15, 0.3, 0.45), Box(0.5, 0.6, 0.7, 0.8)
NONE_THERE = DetectTask("heart", ())


def marks(task: Task, result: Any) -> dict[str, float]:
    """The scores of one answer, and whether all of it is right."""
    report = EvaluationReport()
    right = grade(report, SIGHT, task, result)
    return report.scores() | {"right": right}


def shifted(box: Box, share: float) -> Box:
    """To the right by this share of its width."""
    by = share * (box.x_max - box.x_min)
    return Box(box.x_min + by, box.y_min, box.x_max + by, box.y_max)


@pytest.mark.parametrize(
    ("boxes", "precision", "recall"),
    [
        ([FIRST, SECOND], 1, 1),
        ([SECOND, FIRST], 1, 1),
        ([FIRST], 1, 1 / 2),
        ([], 1, 0),
        ([FIRST, SECOND, FAR], 2 / 3, 1),
        ([FIRST, FIRST, SECOND], 2 / 3, 1),  # the same one twice is right once
        ([shifted(FIRST, 0.33), SECOND], 1, 1),  # 0.67 / 1.33 is a little more than a half
        ([shifted(FIRST, 0.34), SECOND], 1 / 2, 1 / 2),
        ([shifted(FIRST, 0.34), shifted(SECOND, -0.34)], 0, 0),
        ([shifted(FIRST, 0.2), shifted(FIRST, -0.1), SECOND], 2 / 3, 1),
    ],
)
def test_boxes_have_precision_and_recall(boxes: list[Box], precision: float, recall: float) -> None:
    scored = marks(STARS, ObjectList(boxes, True))
    assert scored["detect mAP@0.5"] == pytest.approx(precision * recall)
    assert scored["right"] == (precision == recall == 1)


def test_what_is_not_there_is_not_to_be_found() -> None:
    for boxes, right in (([], True), ([FIRST], False)):
        scored = marks(NONE_THERE, ObjectList(boxes, True))
        assert (scored["detect mAP@0.5"], scored["right"]) == (right, right)


def test_the_mean_is_taken_over_kinds() -> None:
    """Whatever colour is asked for, and however often."""
    report = EvaluationReport()
    for _ in range(3):
        grade(report, SIGHT, STARS, ObjectList([FIRST, SECOND], True))
    grade(report, SIGHT, DetectTask("red star", STARS.answer[:1]), ObjectList([], True))
    grade(report, SIGHT, DetectTask("orange sign", (((0.35, 0.15), (0.1, 0.1)),)), ObjectList([FIRST], True))
    assert set(report.detect) == {"star", "sign"}
    assert report.scores()["detect mAP@0.5"] == pytest.approx((6 / 7 + 0) / 2)
    assert report.answers()["detect mAP@0.5"] == 8


def test_intersection_over_union() -> None:
    one = Box(0, 0, 4, 2)
    assert intersection_over_union(one, one) == 1
    assert intersection_over_union(one, Box(2, 1, 6, 3)) == pytest.approx(2 / 14)
    assert intersection_over_union(one, Box(1, 0, 3, 1)) == pytest.approx(2 / 8)
    assert intersection_over_union(one, Box(4, 0, 8, 2)) == 0
    assert intersection_over_union(one, Box(5, 3, 8, 4)) == 0


@pytest.mark.parametrize(
    ("points", "inside", "found"),
    [
        ([(0.2, 0.3), (0.6, 0.7)], 1, 1),
        ([(0.29, 0.44), (0.51, 0.61)], 1, 1),
        ([(0.31, 0.3), (0.6, 0.7)], 1 / 2, 1 / 2),
        ([(0.2, 0.46), (0.6, 0.7)], 1 / 2, 1 / 2),
        ([(0.2, 0.3), (0.22, 0.3)], 1 / 2, 1 / 2),  # both in one box
        ([(0.6, 0.7)], 1, 1 / 2),
        ([(0.6, 0.7), (0.2, 0.3), (0.35, 0.15)], 2 / 3, 1),
    ],
)
def test_points_are_right_inside_a_box(points: list[tuple[float, float]], inside: float, found: float) -> None:
    task = PointTask("star", ((0.2, 0.3), (0.6, 0.7)))
    scored = marks(task, ObjectList([Point(x, y) for x, y in points], True))
    assert scored == {"points inside": inside, "points found": found, "right": inside == found == 1}


@pytest.mark.parametrize("length", ["short", "normal", "long"])
@pytest.mark.parametrize(
    ("old", "new", "right"),
    [
        ("", "", True),
        ("red", "green", False),
        ("red star", "star", False),
        ("face", "red face", False),
        ("star", "ring", False),
        ("face", "hand", False),
        ("blue star", "blue star, a blue star", False),
        ("plain", "checked", True),  # what it stands on is not asked for
        ("42", "43", True),  # nor what it says: there is a question about it
        ("a red star", "one red star", True),
    ],
)
def test_captions_name_each_thing_once(length: str, old: str, new: str, right: bool) -> None:
    told = caption(SIGHT, length)
    assert told.answer.lower().count("star") == 2
    assert marks(told, Answer(told.answer.replace(old, new, 1))) == {
        f"captions ({length})": right,
        "points inside": 1,
        "points found": 1,
        "right": right,
    }


def test_the_things_that_a_text_names() -> None:
    text = (
        "A drawing of 3 things on a plain background: a red star, a face, an orange sign that says 12 and a red star."
    )
    assert named(text) == {("red", "star"): 2, ("", "face"): 1, ("orange", "sign"): 1}
    assert named("Nothing but surfaces, startling things and encircled designs.") == {}


@pytest.mark.parametrize(
    ("text", "right"), [("2", True), (" 2\n", True), ("3", False), ("12", False), ("", False), ("two", False)]
)
def test_answers_are_taken_at_their_word(text: str, right: bool) -> None:
    scored = marks(QueryTask("How many stars are there?", "2", "count"), Answer(text))
    assert (scored["count"], scored["right"]) == (right, right)


@pytest.mark.parametrize(
    ("x", "y", "right"),
    [
        (0.6, 0.7, True),
        (0.69, 0.7, True),
        (0.51, 0.7, True),
        (0.71, 0.7, False),
        (0.49, 0.7, False),
        (0.6, 0.88, True),  # the picture's height is half of its width
        (0.6, 0.52, True),
        (0.6, 0.92, False),
        (0.6, 0.48, False),
        (0.67, 0.83, True),
        (0.68, 0.84, False),
    ],
)
def test_a_gaze_is_right_within_a_tenth_of_the_width(x: float, y: float, right: bool) -> None:
    scored = marks(GazeTask((0.1, 0.75), (0.6, 0.7)), Point(x, y))
    assert (scored["gaze"], scored["right"]) == (right, right)


def test_a_gaze_out_of_the_picture_has_no_place() -> None:
    nowhere, somewhere = GazeTask((0.1, 0.75), None), GazeTask((0.1, 0.75), (0.6, 0.7))
    assert marks(nowhere, None)["gaze"] == 1
    assert marks(nowhere, Point(0.1, 0.75))["gaze"] == 0
    assert marks(somewhere, None)["gaze"] == 0
