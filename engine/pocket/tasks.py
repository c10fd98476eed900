"""Prompts on synthetic scenes with ground-truth answers, for training and evaluation.

Boxes and points are ordered from left to right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.pocket.draw import Box
from engine.pocket.naming import (
    ANY_SHAPE,
    LENGTHS,
    OBJECT_NAMES,
    ObjectName,
    describe,
    inventory,
    join_with_and,
    object_name_of,
)
from engine.pocket.scene import FACE, SIGN, Scene, SceneObject

Place = tuple[float, float]  # fractions of the image's width and height
PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
CLEARLY = 0.03  # of the width: least distance between two objects for one to be left of the other


@dataclass(frozen=True)
class CaptionTask:
    """A caption of one length."""

    length: str
    answer: str


@dataclass(frozen=True)
class QueryTask:
    """A question.

    Attributes:
        about: "count", "colour", "presence", "left" or "sign".
    """

    question: str
    answer: str
    about: str


@dataclass(frozen=True)
class DetectTask:
    """Detection of all objects of a class.

    Attributes:
        answer: Centre and size of each.
    """

    prompt: str
    answer: tuple[tuple[Place, Place], ...]


@dataclass(frozen=True)
class PointTask:
    """Points on all objects of a class: their centres."""

    prompt: str
    answer: tuple[Place, ...]


@dataclass(frozen=True)
class GazeTask:
    """The gaze of one face: a target, or None: out of the frame."""

    eye: Place
    answer: Place | None


Task = CaptionTask | QueryTask | DetectTask | PointTask | GazeTask


@dataclass(frozen=True)
class SceneLayout:
    """The objects of a scene from left to right.

    Attributes:
        scene: The scene.
        objects: Its objects.
        centres: Their centres, as fractions of the image.
        sizes: Their widths and heights, as fractions of the image.
    """

    scene: Scene
    objects: tuple[SceneObject, ...]
    centres: tuple[Place, ...]
    sizes: tuple[Place, ...]

    @classmethod
    def of(cls, scene: Scene, boxes: Sequence[Box]) -> "SceneLayout":
        """Build the layout of a scene from the boxes of its objects, in pixels."""
        width, height = scene.width, scene.height
        centres = [((x0 + x1) / 2 / width, (y0 + y1) / 2 / height) for x0, y0, x1, y1 in boxes]
        sizes = [((x1 - x0) / width, (y1 - y0) / height) for x0, y0, x1, y1 in boxes]
        order = sorted(range(len(boxes)), key=lambda i: centres[i])
        objects = tuple(scene.objects[i] for i in order)
        return cls(scene, objects, tuple(centres[i] for i in order), tuple(sizes[i] for i in order))

    def all(self, noun: ObjectName) -> list[int]:
        """Return the indices of the objects of a class."""
        return [i for i, obj in enumerate(self.objects) if noun.matches(obj)]

    def only(self) -> list[int]:
        """Return the indices of objects whose most specific name is unique."""
        return [i for i, obj in enumerate(self.objects) if len(self.all(object_name_of(obj))) == 1]


def caption(layout: SceneLayout, length: str) -> CaptionTask:
    """Make the caption of a length: the objects in a fixed order, in the long caption each with its places."""
    ground = f"on a {layout.scene.background.kind} background"
    names = inventory(layout.objects)
    text = join_with_and([name for name, _ in names])
    if length == "normal":
        text = f"{text} {ground}"
    elif length == "long":
        count = f"{len(layout.objects)} thing{'s' if len(layout.objects) > 1 else ''}"
        placed = [f"{name} at {_places(layout, members)}" for name, members in names]
        text = f"a drawing of {count} {ground}: {'; '.join(placed)}"
    return CaptionTask(length, f"{text[0].upper()}{text[1:]}.")


def _places(layout: SceneLayout, members: Sequence[int]) -> str:
    places = {_where(*layout.centres[i]) for i in members}
    return join_with_and([f"the {place}" for place in PLACES if place in places])


def _where(x: float, y: float) -> str:
    return PLACES[3 * min(int(3 * y), 2) + min(int(3 * x), 2)]


def detect(layout: SceneLayout, noun: ObjectName, prompt: str | None = None) -> DetectTask:
    """Make a task to detect the objects of a class."""
    found = layout.all(noun)
    return DetectTask(prompt or noun.singular, tuple((layout.centres[i], layout.sizes[i]) for i in found))


def point(layout: SceneLayout, noun: ObjectName, prompt: str | None = None) -> PointTask:
    """Make a task to point at the objects of a class."""
    return PointTask(prompt or noun.singular, tuple(layout.centres[i] for i in layout.all(noun)))


def count(layout: SceneLayout, noun: ObjectName, wording: str = "How many {plural} are there?") -> QueryTask:
    """Make a question about the number of objects of a class."""
    question = wording.format(plural=noun.plural, chinese=noun.chinese)
    return QueryTask(question, str(len(layout.all(noun))), "count")


def presence(layout: SceneLayout, noun: ObjectName) -> QueryTask:
    """Make a question whether there are objects of a class."""
    return QueryTask(f"Is there {noun.article} {noun.singular}?", "yes" if layout.all(noun) else "no", "presence")


COUNTING = ("How many {plural} are there?", "How many {plural}?", "有几个{chinese}？", "图中有多少个{chinese}？")
COLOUR = ("What color is the {kind}?", "What colour is the {kind}?")
SIGNS = ("What does the sign say?", "What number is on the sign?")


def colours(layout: SceneLayout) -> list[QueryTask]:
    """Make questions about the colour of each object that is the only one of its kind, in every wording."""
    kinds = [obj.kind for obj in layout.objects]
    return [
        QueryTask(wording.format(kind=obj.kind), obj.colour, "colour")
        for obj in layout.objects
        if obj.colour and kinds.count(obj.kind) == 1
        for wording in COLOUR
    ]


def signs(layout: SceneLayout) -> list[QueryTask]:
    """Make questions about the text of the sign, if there is exactly one."""
    texts = [obj.digits for obj in layout.objects if obj.kind == SIGN]
    return [QueryTask(question, texts[0], "sign") for question in SIGNS] if len(texts) == 1 else []


def lefts(layout: SceneLayout) -> list[QueryTask]:
    """Make questions about the left neighbour of each object with a unique name, where it is unambiguous."""
    queries = []
    for i in layout.only():
        x = [centre[0] for centre in layout.centres]
        if i and (x[i] - x[i - 1] < CLEARLY or (i > 1 and x[i - 1] - x[i - 2] < CLEARLY)):
            continue
        answer = describe(layout.objects[i - 1]) if i else "nothing"
        queries.append(QueryTask(f"What is left of the {object_name_of(layout.objects[i]).singular}?", answer, "left"))
    return queries


def gazes(layout: SceneLayout, at: Callable[[], Place] = lambda: (0.5, 0.5)) -> list[GazeTask]:
    """Make a gaze task for each face.

    Args:
        layout: Of the scene.
        at: Returns the eye position within the face, as fractions of its width and height.
    """
    tasks = []
    for obj, (x, y), (width, height) in zip(layout.objects, layout.centres, layout.sizes, strict=True):
        if obj.kind == FACE:
            across, down = at()
            target = None if obj.looks_at is None else layout.scene.objects[obj.looks_at]
            answer = None if target is None else layout.centres[layout.objects.index(target)]
            tasks.append(GazeTask((x + (across - 0.5) * width, y + (down - 0.5) * height), answer))
    return tasks


def caption_training_tasks(layout: SceneLayout, rng: np.random.Generator) -> list[Task]:
    """Draw the training tasks of an image for captions: two of them, then some of each other skill."""
    captions = [caption(layout, "long"), caption(layout, "normal" if rng.random() < 0.5 else "short")]
    others = [task for task in training_tasks(layout, rng) if not isinstance(task, CaptionTask)]
    return [*captions, *others]


def training_tasks(layout: SceneLayout, rng: np.random.Generator) -> list[Task]:
    """Draw the training tasks of an image, the most useful first."""
    tasks: list[Task] = [
        detect(layout, *_prompt(layout, rng)),
        caption(layout, str(rng.choice(LENGTHS, p=(0.4, 0.4, 0.2)))),
        count(layout, _noun(layout, rng), str(rng.choice(COUNTING))),
        detect(layout, *_prompt(layout, rng)),
    ]
    gaze_tasks = gazes(layout, lambda: (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)))
    special = [_choice(rng, queries) for queries in (colours(layout), signs(layout), lefts(layout)) if queries]
    more: list[Task] = [
        *special,
        point(layout, *_prompt(layout, rng)),
        presence(layout, _noun(layout, rng)),
        *(detect(layout, *_prompt(layout, rng)) for _ in range(3)),
        count(layout, _noun(layout, rng), str(rng.choice(COUNTING))),
        point(layout, *_prompt(layout, rng)),
    ]
    return list(dict.fromkeys([*tasks, *gaze_tasks, *(more[i] for i in rng.permutation(len(more)))]))


def _choice(rng: np.random.Generator, queries: Sequence[QueryTask]) -> QueryTask:
    return queries[int(rng.integers(len(queries)))]


def _noun(layout: SceneLayout, rng: np.random.Generator) -> ObjectName:
    """Draw a class: three times in four one in the scene, otherwise often one that shares a kind or colour with it."""
    obj = layout.objects[rng.integers(len(layout.objects))]
    draw = rng.random()
    if draw < 0.75:
        options = [ObjectName(obj.kind)]
        if obj.colour:
            options += [object_name_of(obj), object_name_of(obj)]
        if obj.kind not in (FACE, SIGN):
            options += [ObjectName(ANY_SHAPE), ObjectName(ANY_SHAPE, obj.colour)]
        return options[rng.integers(len(options))]
    if draw < 0.9:  # the same kind or colour
        near = [noun for noun in OBJECT_NAMES if noun.colour and (noun.kind == obj.kind or noun.colour == obj.colour)]
        if near:
            return near[rng.integers(len(near))]
    return OBJECT_NAMES[rng.integers(len(OBJECT_NAMES))]


def _prompt(layout: SceneLayout, rng: np.random.Generator) -> tuple[ObjectName, str]:
    """Draw a class and its prompt, mostly in the singular."""
    noun = _noun(layout, rng)
    prompt = noun.plural if rng.random() < 0.2 else noun.singular
    return noun, prompt


def evaluation_tasks(layout: SceneLayout, rng: np.random.Generator) -> list[Task]:
    """Draw the evaluation tasks of an image: some of each skill."""
    nouns = [_noun(layout, rng) for _ in range(9)]
    tasks: list[Task] = [caption(layout, length) for length in LENGTHS]
    tasks += [detect(layout, noun) for noun in nouns[:4]]
    tasks += [point(layout, noun) for noun in nouns[4:6]]
    tasks += [count(layout, nouns[6], COUNTING[0]), count(layout, nouns[7], COUNTING[2]), presence(layout, nouns[8])]
    tasks += [_choice(rng, queries) for queries in (colours(layout), signs(layout), lefts(layout)) if queries]
    return list(dict.fromkeys([*tasks, *gazes(layout)]))
