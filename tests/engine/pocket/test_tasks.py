"""What is asked about scenes is worded as it is meant, and its answers are true."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.pocket.draw import Box, draw
from engine.pocket.naming import ANY_SHAPE, LENGTHS, OBJECT_NAMES, ObjectName, describe, join_with_and
from engine.pocket.scene import COLOURS, FACE, KINDS, SHAPES, SIGN, SKIN, Background, Scene, SceneObject, random_scene
from engine.pocket.tasks import (
    COUNTING,
    CaptionTask,
    DetectTask,
    GazeTask,
    PointTask,
    QueryTask,
    SceneLayout,
    Task,
    caption,
    caption_training_tasks,
    colours,
    count,
    detect,
    evaluation_tasks,
    gazes,
    lefts,
    point,
    presence,
    signs,
    training_tasks,
)

SEEDS = range(200)
Ask = Callable[[SceneLayout, np.random.Generator], list[Task]]


def thing(kind: str, colour: str = "", digits: str = "", looks_at: int | None = None) -> SceneObject:
    """Where it is does not matter here: its box says it."""
    return SceneObject(kind, colour, COLOURS.get(colour, SKIN[0]), 0, 0, 20, digits=digits, looks_at=looks_at)


def sight_of(*placed: tuple[SceneObject, Box]) -> SceneLayout:
    """Of a picture of 200 x 100 pixels, and the box of each thing in it."""
    things, boxes = zip(*placed, strict=True)
    return SceneLayout.of(Scene(200, 100, Background("striped", (90, 90, 90), (120, 120, 120)), things), boxes)


def in_a_row(*placed: tuple[SceneObject, float]) -> SceneLayout:
    """Things with their centres so far to the right, as shares of the width."""
    return sight_of(*((thing, (200 * x - 5, 45, 200 * x + 5, 55)) for thing, x in placed))


LEFT_CIRCLE, RIGHT_CIRCLE = thing("circle", "red"), replace(thing("circle", "red"), angle=0.1)
STAR, CROSS, SIGN_42 = thing("star", "orange"), thing("cross", "green"), thing(SIGN, "yellow", "42")
LOOKING = thing(FACE, looks_at=2)
SIGHT = sight_of(
    (LEFT_CIRCLE, (20, 40, 40, 60)),
    (STAR, (90, 70, 110, 90)),
    (RIGHT_CIRCLE, (130, 10, 150, 30)),
    (CROSS, (50, 0, 70, 20)),
    (SIGN_42, (155, 60, 195, 90)),
    (LOOKING, (72, 30, 88, 50)),
)
ALONE = sight_of((thing(FACE), (80, 40, 120, 60)))


def test_a_sight_goes_from_left_to_right() -> None:
    assert SIGHT.objects == (LEFT_CIRCLE, CROSS, LOOKING, STAR, RIGHT_CIRCLE, SIGN_42)
    assert SIGHT.centres == ((0.15, 0.5), (0.3, 0.1), (0.4, 0.4), (0.5, 0.8), (0.7, 0.2), (0.875, 0.75))
    assert SIGHT.sizes == ((0.1, 0.2), (0.1, 0.2), (0.08, 0.2), (0.1, 0.2), (0.1, 0.2), (0.2, 0.3))
    above, below = thing("heart", "blue"), thing("ring", "blue")
    assert sight_of((below, (0, 50, 20, 70)), (above, (0, 10, 20, 30))).objects == (above, below)


def test_captions() -> None:
    names = "Two red circles, an orange star, a green cross, a yellow sign that says 42 and a face"
    assert caption(SIGHT, "short") == CaptionTask("short", f"{names}.")
    assert caption(SIGHT, "normal") == CaptionTask("normal", f"{names} on a striped background.")
    assert caption(SIGHT, "long") == CaptionTask(
        "long",
        "A drawing of 6 things on a striped background: two red circles at the top right and the left; "
        "an orange star at the bottom; a green cross at the top left; "
        "a yellow sign that says 42 at the bottom right; a face at the middle.",
    )


def test_captions_put_together_what_is_alike() -> None:
    signs = [(thing(SIGN, "red", digits), 0.1 * i) for i, digits in enumerate(("7", "12"), 1)]
    crosses = [(thing("cross", colour), 0.3 + 0.1 * i) for i, colour in enumerate(("white", "red", "white"))]
    faces = [(thing(FACE), 0.8), (thing(FACE), 0.9)]
    assert caption(in_a_row(*signs, *crosses, *faces), "short").answer == (
        "A red cross, two white crosses, a red sign that says 12, a red sign that says 7 and two faces."
    )
    assert caption(in_a_row(*faces, (thing("star", "blue"), 0.85)), "long").answer == (
        "A drawing of 3 things on a striped background: a blue star at the right; two faces at the right."
    )
    scattered = [(thing(FACE), x) for x in (0.1, 0.2, 0.5, 0.9)]
    assert caption(in_a_row(*scattered), "long").answer == (
        "A drawing of 4 things on a striped background: four faces at the left, the middle and the right."
    )


def test_captions_of_one_thing() -> None:
    assert caption(ALONE, "short").answer == "A face."
    assert caption(ALONE, "normal").answer == "A face on a striped background."
    text = "A drawing of 1 thing on a striped background: a face at the middle."
    assert caption(ALONE, "long").answer == text


@pytest.mark.parametrize(
    ("x", "y", "where"),
    [
        *((0.3, 0.3, "top left"), (0.4, 0.3, "top"), (0.7, 0.3, "top right")),
        *((0.3, 0.6, "left"), (0.6, 0.4, "middle"), (0.7, 0.5, "right")),
        *((0.3, 0.7, "bottom left"), (0.6, 0.7, "bottom"), (0.7, 0.7, "bottom right")),
    ],
)
def test_places_are_told_by_thirds(x: float, y: float, where: str) -> None:
    layout = sight_of((thing("star", "red"), (200 * x - 4, 100 * y - 4, 200 * x + 4, 100 * y + 4)))
    text = f"A drawing of 1 thing on a striped background: a red star at the {where}."
    assert caption(layout, "long").answer == text


def test_lists() -> None:
    assert [join_with_and("a"), join_with_and("ab"), join_with_and("abc")] == ["a", "a and b", "a, b and c"]


def test_detections_are_all_there_are() -> None:
    circles = ((0.15, 0.5), (0.1, 0.2)), ((0.7, 0.2), (0.1, 0.2))
    assert detect(SIGHT, ObjectName("circle", "red")) == DetectTask("red circle", circles)
    assert detect(SIGHT, ObjectName("circle"), "circles") == DetectTask("circles", circles)
    assert detect(SIGHT, ObjectName("circle", "blue")) == DetectTask("blue circle", ())
    assert detect(SIGHT, ObjectName(SIGN)) == DetectTask("sign", (((0.875, 0.75), (0.2, 0.3)),))
    shapes = [middle for middle, _ in detect(SIGHT, ObjectName(ANY_SHAPE)).answer]
    assert shapes == [(0.15, 0.5), (0.3, 0.1), (0.5, 0.8), (0.7, 0.2)]


def test_points_are_the_middles() -> None:
    assert point(SIGHT, ObjectName(ANY_SHAPE, "red")) == PointTask("red shape", ((0.15, 0.5), (0.7, 0.2)))
    assert point(SIGHT, ObjectName(FACE), "faces") == PointTask("faces", ((0.4, 0.4),))
    assert point(SIGHT, ObjectName("heart")) == PointTask("heart", ())


def test_counts_in_every_wording() -> None:
    assert count(SIGHT, ObjectName(SIGN)) == QueryTask("How many signs are there?", "1", "count")
    assert [count(SIGHT, ObjectName("circle", "red"), wording) for wording in COUNTING] == [
        QueryTask("How many red circles are there?", "2", "count"),
        QueryTask("How many red circles?", "2", "count"),
        QueryTask("有几个红色的圆形？", "2", "count"),
        QueryTask("图中有多少个红色的圆形？", "2", "count"),
    ]
    assert count(SIGHT, ObjectName("cross"), COUNTING[1]) == QueryTask("How many crosses?", "1", "count")
    assert count(SIGHT, ObjectName(ANY_SHAPE), COUNTING[2]) == QueryTask("有几个形状？", "4", "count")
    assert count(SIGHT, ObjectName("heart", "black")) == QueryTask("How many black hearts are there?", "0", "count")


def test_presence() -> None:
    assert presence(SIGHT, ObjectName("star", "orange")) == QueryTask("Is there an orange star?", "yes", "presence")
    assert presence(SIGHT, ObjectName("star", "purple")) == QueryTask("Is there a purple star?", "no", "presence")
    assert presence(SIGHT, ObjectName(FACE)) == QueryTask("Is there a face?", "yes", "presence")
    assert presence(SIGHT, ObjectName(ANY_SHAPE, "yellow")) == QueryTask("Is there a yellow shape?", "no", "presence")


def test_colours_are_asked_of_the_only_one_of_a_kind() -> None:
    assert colours(SIGHT) == [
        QueryTask("What color is the cross?", "green", "colour"),
        QueryTask("What colour is the cross?", "green", "colour"),
        QueryTask("What color is the star?", "orange", "colour"),
        QueryTask("What colour is the star?", "orange", "colour"),
        QueryTask("What color is the sign?", "yellow", "colour"),
        QueryTask("What colour is the sign?", "yellow", "colour"),
    ]
    assert colours(ALONE) == []
    assert colours(in_a_row((thing("ring", "red"), 0.2), (thing("ring", "blue"), 0.8))) == []


def test_signs_are_read_where_there_is_one() -> None:
    assert signs(SIGHT) == [
        QueryTask("What does the sign say?", "42", "sign"),
        QueryTask("What number is on the sign?", "42", "sign"),
    ]
    assert signs(ALONE) == []
    assert signs(in_a_row((SIGN_42, 0.2), (thing(SIGN, "red", "7"), 0.8))) == []


def test_what_is_left_of_things_with_a_name_of_their_own() -> None:
    assert lefts(SIGHT) == [
        QueryTask("What is left of the green cross?", "a red circle", "left"),
        QueryTask("What is left of the face?", "a green cross", "left"),
        QueryTask("What is left of the orange star?", "a face", "left"),
        QueryTask("What is left of the yellow sign?", "a red circle", "left"),
    ]
    assert lefts(ALONE) == [QueryTask("What is left of the face?", "nothing", "left")]
    after_a_sign = in_a_row((SIGN_42, 0.2), (STAR, 0.4))
    assert [query.answer for query in lefts(after_a_sign)] == ["nothing", "a yellow sign that says 42"]


@pytest.mark.parametrize(
    ("x", "asked"),
    [
        ((0.1, 0.3, 0.5, 0.7), ["heart", "star", "cross", "sign"]),
        ((0.1, 0.3, 0.34, 0.7), ["heart", "star", "cross", "sign"]),
        ((0.1, 0.3, 0.32, 0.7), ["heart", "star"]),  # which of two is nearer to the last is not clear
        ((0.1, 0.12, 0.3, 0.7), ["heart", "sign"]),
        ((0.1, 0.3, 0.5, 0.52), ["heart", "star", "cross"]),
    ],
)
def test_left_is_asked_only_where_it_is_clear(x: tuple[float, ...], asked: list[str]) -> None:
    layout = in_a_row(*zip((thing("heart", "blue"), STAR, CROSS, SIGN_42), x, strict=True))
    assert [query.question.rstrip("?").split()[-1] for query in lefts(layout)] == asked


def test_gazes_end_at_the_middle_of_what_is_looked_at() -> None:
    assert gazes(SIGHT) == [GazeTask((0.4, 0.4), (0.7, 0.2))]
    assert gazes(ALONE) == [GazeTask((0.5, 0.5), None)]
    (gaze,) = gazes(SIGHT, lambda: (0.25, 0.75))
    assert gaze.eye == pytest.approx((0.38, 0.45))
    assert gazes(in_a_row((STAR, 0.2), (CROSS, 0.4))) == []


def test_nouns_mean_things() -> None:
    assert (
        len(set(OBJECT_NAMES)) == len(OBJECT_NAMES) == 10 * 9 - 8
    )  # kinds and "shape" by colours and none; faces have no colour
    of = {noun.singular: noun for noun in OBJECT_NAMES}
    for word, matches in {
        "circle": [LEFT_CIRCLE, RIGHT_CIRCLE],
        "red circle": [LEFT_CIRCLE, RIGHT_CIRCLE],
        "blue circle": [],
        "shape": [LEFT_CIRCLE, CROSS, STAR, RIGHT_CIRCLE],
        "orange shape": [STAR],
        "yellow shape": [],
        "sign": [SIGN_42],
        "yellow sign": [SIGN_42],
        "face": [LOOKING],
    }.items():
        assert [thing for thing in SIGHT.objects if of[word].matches(thing)] == matches, word


def test_nouns_are_worded() -> None:
    noun = ObjectName("cross", "orange")
    assert (noun.singular, noun.plural, noun.article, noun.chinese) == (
        "orange cross",
        "orange crosses",
        "an",
        "橙色的十字",
    )
    noun = ObjectName(FACE)
    assert (noun.singular, noun.plural, noun.article, noun.chinese) == ("face", "faces", "a", "脸")
    assert [noun.article for noun in OBJECT_NAMES if noun.colour == "orange"] == ["an"] * 9
    assert {noun.article for noun in OBJECT_NAMES if noun.colour != "orange"} == {"a"}
    assert describe(STAR) == "an orange star"
    assert describe(SIGN_42) == "a yellow sign that says 42"


CHINESE_KINDS = {
    **{"circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "ring": "圆环", "cross": "十字"},
    **{"heart": "心形", "sign": "牌子", "face": "脸", "shape": "形状"},
}
CHINESE_COLOURS = {
    **{"red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色"},
    **{"black": "黑色", "white": "白色"},
}


def test_chinese_nouns() -> None:
    for noun in OBJECT_NAMES:
        colour = f"{CHINESE_COLOURS[noun.colour]}的" if noun.colour else ""
        assert noun.chinese == colour + CHINESE_KINDS[noun.kind]
    assert len({noun.chinese for noun in OBJECT_NAMES}) == len(OBJECT_NAMES)


@pytest.mark.parametrize("ask", [training_tasks, evaluation_tasks])
def test_what_is_asked_is_settled_by_the_seed_and_asked_once(ask: Ask) -> None:
    differ = 0
    for seed in SEEDS[:60]:
        scene = random_scene(seed)
        layout = SceneLayout.of(scene, draw(scene).boxes)
        asked = ask(layout, np.random.default_rng(seed))
        assert asked == ask(layout, np.random.default_rng(seed))
        assert len(set(asked)) == len(asked)
        differ += asked != ask(layout, np.random.default_rng(seed + 1))
    assert differ > 55


def test_a_curriculum_begins_with_what_is_most_useful() -> None:
    tasks = training_tasks(SIGHT, np.random.default_rng(0))
    assert [type(task) for task in tasks[:3]] == [DetectTask, CaptionTask, QueryTask]
    of_faces = [i for i, task in enumerate(tasks) if isinstance(task, GazeTask)]
    assert of_faces == [of_faces[0]]
    assert of_faces[0] in (3, 4)  # the second detection may be the first again
    (gaze,) = [task for task in tasks if isinstance(task, GazeTask)]
    assert gaze.answer == (0.7, 0.2)
    x, y = gaze.eye
    assert abs(x - 0.4) <= 0.3 * 0.08
    assert abs(y - 0.4) <= 0.3 * 0.2
    about = {task.about for task in tasks if isinstance(task, QueryTask)}
    assert about == {"count", "presence", "colour", "sign", "left"}


def test_an_exam_asks_of_every_skill() -> None:
    asked = evaluation_tasks(SIGHT, np.random.default_rng(3))
    assert asked[:3] == [caption(SIGHT, length) for length in LENGTHS]
    skills = Counter(type(task) for task in asked)
    assert skills[DetectTask] in (2, 3, 4)
    assert skills[PointTask] in (1, 2)
    about = Counter(task.about for task in asked if isinstance(task, QueryTask))
    assert about == {"count": 2, "presence": 1, "colour": 1, "sign": 1, "left": 1}
    counted = [task.question for task in asked if isinstance(task, QueryTask) and task.about == "count"]
    assert [question[:3] for question in counted] == ["How", "有几个"]
    assert asked[-1] == GazeTask((0.4, 0.4), (0.7, 0.2))


def test_a_lesson_in_captions_begins_with_two() -> None:
    """The long one and another; what follows is what every lesson has."""
    lengths: Counter[str] = Counter()
    for seed in range(40):
        tasks = caption_training_tasks(SIGHT, np.random.default_rng(seed))
        long, other = tasks[:2]
        assert isinstance(other, CaptionTask)
        lengths[other.length] += 1
        assert (long, other) == (caption(SIGHT, "long"), caption(SIGHT, other.length))
        assert not any(isinstance(task, CaptionTask) for task in tasks[2:])
        assert {DetectTask, PointTask, QueryTask, GazeTask} == {type(task) for task in tasks[2:]}
    assert lengths.keys() == {"short", "normal"}
    assert min(lengths.values()) > 10


# A second reading of what is asked, from the words alone.

PLURALS = {"crosses": "cross"} | {f"{kind}s": kind for kind in (*KINDS, ANY_SHAPE) if kind != "cross"}
SAID = {  # what is said of a thing in Chinese, to its colour and kind
    (f"{CHINESE_COLOURS[colour]}的" if colour else "") + CHINESE_KINDS[kind]: (colour, kind)
    for kind in CHINESE_KINDS
    for colour in ("", *CHINESE_COLOURS)
}


def meant(words: str) -> tuple[str, str]:
    """The colour, or "", and the kind."""
    *colour, kind = words.split()
    return " ".join(colour), PLURALS.get(kind, kind)


def which(scene: Scene, colour: str, kind: str) -> list[int]:
    """The things of the scene that are meant."""
    kinds = SHAPES if kind == "shape" else (kind,)
    return [i for i, thing in enumerate(scene.objects) if thing.kind in kinds and colour in ("", thing.colour)]


def name(thing: SceneObject) -> str:
    article = "an" if thing.colour == "orange" else "a"
    says = f" that says {thing.digits}" if thing.digits else ""
    return f"{article} {thing.colour} {thing.kind}{says}".replace("  ", " ")


def check_words(scene: Scene, centres: np.ndarray, question: str, answer: str) -> str:
    """Answers a question once more; gives what it is about."""
    in_order = [scene.objects[i] for i in np.lexsort(centres.T[::-1])]
    if words := re.fullmatch(r"How many (.+?)(?: are there)?\?", question):
        assert answer == str(len(which(scene, *meant(words[1]))))
        return "count"
    if words := re.fullmatch(r"(?:有几个|图中有多少个)(.+)？", question):
        assert answer == str(len(which(scene, *SAID[words[1]])))
        return "count"
    if words := re.fullmatch(r"Is there (an?) (.+)\?", question):
        assert (words[1] == "an") == words[2].startswith("orange")
        assert answer == ("yes" if which(scene, *meant(words[2])) else "no")
        return "presence"
    if words := re.fullmatch(r"What colou?r is the (\w+)\?", question):
        (of,) = which(scene, "", words[1])
        assert answer == scene.objects[of].colour
        return "colour"
    if question in ("What does the sign say?", "What number is on the sign?"):
        (of,) = which(scene, "", "sign")
        assert answer == scene.objects[of].digits
        return "sign"
    words = re.fullmatch(r"What is left of the (.+)\?", question)
    assert words
    (of,) = which(scene, *meant(words[1]))
    before = in_order.index(scene.objects[of]) - 1
    assert answer == ("nothing" if before < 0 else name(in_order[before]))
    return "left"


_NUMBER = "an?|two|three|four|five|six|seven|eight"
TOLD = re.compile(rf"({_NUMBER}) (?:({'|'.join(COLOURS)}) )?({'|'.join(KINDS)})(?:e?s)?(?: that says (\d+))?")
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")


def counted(text: str) -> Counter[tuple[str, ...]]:
    """What a list names; nothing else is in it."""
    assert TOLD.sub("#", text) in {"#", "# and #", *(", ".join("#" * n) + " and #" for n in range(2, 8))}, text
    numbers = ["", "a", "two", "three", "four", "five", "six", "seven", "eight"]
    named: Counter[tuple[str, ...]] = Counter()
    for number, *what in TOLD.findall(text):
        assert tuple(what) not in named or what[1] == SIGN
        named[tuple(what)] += numbers.index(number.removesuffix("n") if number == "an" else number)
    return named


def check_caption(scene: Scene, centres: np.ndarray, task: CaptionTask) -> None:
    def there(things: tuple[SceneObject, ...]) -> Counter[tuple[str, ...]]:
        return Counter((thing.colour, thing.kind, thing.digits) for thing in things)

    told = task.answer[0].lower() + task.answer[1:].removesuffix(".")
    ground = f" on a {scene.background.kind} background"
    if task.length != "long":
        assert told.endswith(ground) == (task.length == "normal")
        assert counted(told.removesuffix(ground)) == there(scene.objects)
        return
    count = "1 thing" if len(scene.objects) == 1 else f"{len(scene.objects)} things"
    head, told = told.split(": ")
    assert head == f"a drawing of {count}{ground}"
    at = [f"{ROWS[int(3 * y)]} {COLUMNS[int(3 * x)]}".strip() or "middle" for x, y in centres]
    parts = [part.split(" at the ") for part in told.split("; ")]
    names = [name for name, _ in parts]
    assert counted(join_with_and(names)) == there(scene.objects)
    for name, places in parts:
        (what,) = counted(name)
        its = {place for thing, place in zip(scene.objects, at, strict=True) if what in there((thing,))}
        assert set(re.split(", the | and the ", places)) == its


def check(scene: Scene, boxes: np.ndarray, task: Task) -> str:
    """boxes: (things, 4) as fractions of the picture. Gives what the lesson is about."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    order = np.lexsort(centres.T[::-1])
    if isinstance(task, CaptionTask):
        check_caption(scene, centres, task)
        return task.length
    if isinstance(task, QueryTask):
        about = check_words(scene, centres, task.question, task.answer)
        assert about == task.about
        return about
    if isinstance(task, GazeTask):
        (of,) = [
            i
            for i, (x0, y0, x1, y1) in enumerate(boxes)
            if x0 < task.eye[0] < x1 and y0 < task.eye[1] < y1 and scene.objects[i].kind == FACE
        ]
        looks_at = scene.objects[of].looks_at
        assert task.answer == (None if looks_at is None else pytest.approx(tuple(centres[looks_at])))
        return "gaze"
    found = [i for i in order if i in which(scene, *meant(task.prompt))]
    if isinstance(task, PointTask):
        np.testing.assert_allclose(np.reshape(task.answer, (-1, 2)), centres[found])
        return "point"
    places = np.concatenate([centres[found], sizes[found]], axis=1)
    np.testing.assert_allclose(np.reshape(task.answer, (-1, 4)), places)
    return "detect"


@pytest.mark.parametrize("ask", [training_tasks, evaluation_tasks])
def test_answers_are_true(ask: Ask) -> None:
    checked: Counter[str] = Counter()
    for seed in SEEDS:
        scene = random_scene(seed)
        boxes = draw(scene).boxes
        sides = np.array((scene.width, scene.height) * 2)
        for task in ask(SceneLayout.of(scene, boxes), np.random.default_rng(seed)):
            checked[check(scene, np.array(boxes) / sides, task)] += 1
    about = {"count", "presence", "colour", "sign", "left", "gaze", "point", "detect", *LENGTHS}
    assert set(checked) == about
    assert min(checked.values()) >= 20


def test_training_asks_for_one_and_for_all() -> None:
    prompts = [
        task.prompt
        for seed in range(400)
        for task in training_tasks(SIGHT, np.random.default_rng(seed))
        if isinstance(task, DetectTask | PointTask)
    ]
    many = sum(prompt.split()[-1] in PLURALS for prompt in prompts)
    assert many / len(prompts) == pytest.approx(0.2, abs=0.05)
    asked = [
        task for task in evaluation_tasks(SIGHT, np.random.default_rng(0)) if isinstance(task, DetectTask | PointTask)
    ]
    assert not any(task.prompt.split()[-1] in PLURALS for task in asked)


def test_none_one_and_many_are_all_looked_for() -> None:
    """So no model is right that always finds the same number."""
    found: Counter[int] = Counter()
    for seed in SEEDS:
        scene = random_scene(seed)
        for task in evaluation_tasks(SceneLayout.of(scene, draw(scene).boxes), np.random.default_rng(seed)):
            if isinstance(task, DetectTask):
                found[min(len(task.answer), 2)] += 1
    assert min(found[0], found[1], found[2]) > 0.1 * found.total()
