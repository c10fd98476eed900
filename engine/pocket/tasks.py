"""What is asked about a scene, with the right answers.

Boxes and points are listed from left to right.
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
from engine.pocket.scene import FACE, SIGN, Scene, Thing

Place = tuple[float, float]  # of the picture's width and height
PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
CLEARLY = 0.03  # of the width: how much further left a thing must be than another to be called left of it


@dataclass(frozen=True)
class CaptionTask:
    length: str
    answer: str


@dataclass(frozen=True)
class QueryTask:
    question: str
    answer: str
    about: str  # count, colour, presence, left, sign


@dataclass(frozen=True)
class DetectTask:
    """answer: the middles and sizes of all there are."""

    prompt: str
    answer: tuple[tuple[Place, Place], ...]


@dataclass(frozen=True)
class PointTask:
    prompt: str
    answer: tuple[Place, ...]


@dataclass(frozen=True)
class GazeTask:
    eye: Place
    answer: Place | None


Task = CaptionTask | QueryTask | DetectTask | PointTask | GazeTask


@dataclass(frozen=True)
class SceneLayout:
    """A scene as it is asked about: its things from left to right, and where they are, as fractions of the picture."""

    scene: Scene
    things: tuple[Thing, ...]
    middles: tuple[Place, ...]
    sizes: tuple[Place, ...]

    @classmethod
    def of(cls, scene: Scene, boxes: Sequence[Box]) -> "SceneLayout":
        width, height = scene.width, scene.height
        middles = [((x0 + x1) / 2 / width, (y0 + y1) / 2 / height) for x0, y0, x1, y1 in boxes]
        sizes = [((x1 - x0) / width, (y1 - y0) / height) for x0, y0, x1, y1 in boxes]
        order = sorted(range(len(boxes)), key=lambda i: middles[i])
        things = tuple(scene.things[i] for i in order)
        return cls(scene, things, tuple(middles[i] for i in order), tuple(sizes[i] for i in order))

    def all(self, noun: ObjectName) -> list[int]:
        return [i for i, thing in enumerate(self.things) if noun.matches(thing)]

    def only(self) -> list[int]:
        """The things whose full name means no other."""
        return [i for i, thing in enumerate(self.things) if len(self.all(object_name_of(thing))) == 1]


def caption(layout: SceneLayout, length: str) -> CaptionTask:
    """What there is, in a fixed order; the long one goes through the picture place by place."""
    ground = f"on a {layout.scene.background.kind} background"
    if length == "short":
        text = join_with_and(inventory(layout.things))
    elif length == "normal":
        text = f"{join_with_and(inventory(layout.things))} {ground}"
    else:
        count = f"{len(layout.things)} thing{'s' if len(layout.things) > 1 else ''}"
        where = [_where(*middle) for middle in layout.middles]
        there = {
            place: inventory(thing for thing, at in zip(layout.things, where, strict=True) if at == place)
            for place in PLACES
        }
        placed = [f"{join_with_and(names)} at the {place}" for place, names in there.items() if names]
        text = f"a drawing of {count} {ground}: {join_with_and(placed)}"
    return CaptionTask(length, f"{text[0].upper()}{text[1:]}.")


def _where(x: float, y: float) -> str:
    return PLACES[3 * min(int(3 * y), 2) + min(int(3 * x), 2)]


def detect(layout: SceneLayout, noun: ObjectName, prompt: str | None = None) -> DetectTask:
    found = layout.all(noun)
    return DetectTask(prompt or noun.one, tuple((layout.middles[i], layout.sizes[i]) for i in found))


def point(layout: SceneLayout, noun: ObjectName, prompt: str | None = None) -> PointTask:
    return PointTask(prompt or noun.one, tuple(layout.middles[i] for i in layout.all(noun)))


def count(layout: SceneLayout, noun: ObjectName, wording: str = "How many {many} are there?") -> QueryTask:
    question = wording.format(many=noun.many, chinese=noun.chinese)
    return QueryTask(question, str(len(layout.all(noun))), "count")


def presence(layout: SceneLayout, noun: ObjectName) -> QueryTask:
    return QueryTask(f"Is there {noun.article} {noun.one}?", "yes" if layout.all(noun) else "no", "presence")


COUNTING = ("How many {many} are there?", "How many {many}?", "有几个{chinese}？", "图中有多少个{chinese}？")
COLOUR = ("What color is the {kind}?", "What colour is the {kind}?")
SIGNS = ("What does the sign say?", "What number is on the sign?")


def colours(layout: SceneLayout) -> list[QueryTask]:
    """The color of each thing that is the only one of its kind, in every wording."""
    kinds = [thing.kind for thing in layout.things]
    return [
        QueryTask(wording.format(kind=thing.kind), thing.colour, "colour")
        for thing in layout.things
        if thing.colour and kinds.count(thing.kind) == 1
        for wording in COLOUR
    ]


def signs(layout: SceneLayout) -> list[QueryTask]:
    """What the sign says, if there is one sign."""
    said = [thing.digits for thing in layout.things if thing.kind == SIGN]
    return [QueryTask(question, said[0], "sign") for question in SIGNS] if len(said) == 1 else []


def lefts(layout: SceneLayout) -> list[QueryTask]:
    """What is next on the left of each thing that has a name of its own, where that is clear."""
    queries = []
    for i in layout.only():
        x = [middle[0] for middle in layout.middles]
        if i and (x[i] - x[i - 1] < CLEARLY or (i > 1 and x[i - 1] - x[i - 2] < CLEARLY)):
            continue
        answer = describe(layout.things[i - 1]) if i else "nothing"
        queries.append(QueryTask(f"What is left of the {object_name_of(layout.things[i]).one}?", answer, "left"))
    return queries


def gazes(layout: SceneLayout, at: Callable[[], Place] = lambda: (0.5, 0.5)) -> list[GazeTask]:
    """Where each face looks. at: which place in the face is asked about, as a share of its width and height."""
    made = []
    for thing, (x, y), (width, height) in zip(layout.things, layout.middles, layout.sizes, strict=True):
        if thing.kind == FACE:
            across, down = at()
            target = None if thing.looks_at is None else layout.scene.things[thing.looks_at]
            answer = None if target is None else layout.middles[layout.things.index(target)]
            made.append(GazeTask((x + (across - 0.5) * width, y + (down - 0.5) * height), answer))
    return made


def training_tasks(layout: SceneLayout, rng: np.random.Generator) -> list[Task]:
    """What a picture is used for in training, the most useful first: as much of it as there is room for."""
    tasks: list[Task] = [
        detect(layout, *_asked(layout, rng)),
        caption(layout, str(rng.choice(LENGTHS, p=(0.4, 0.4, 0.2)))),
        count(layout, _noun(layout, rng), str(rng.choice(COUNTING))),
        detect(layout, *_asked(layout, rng)),
    ]
    looks = gazes(layout, lambda: (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)))
    special = [_any(rng, some) for some in (colours(layout), signs(layout), lefts(layout)) if some]
    more: list[Task] = [
        *special,
        point(layout, *_asked(layout, rng)),
        presence(layout, _noun(layout, rng)),
        *(detect(layout, *_asked(layout, rng)) for _ in range(3)),
        count(layout, _noun(layout, rng), str(rng.choice(COUNTING))),
        point(layout, *_asked(layout, rng)),
    ]
    return list(dict.fromkeys([*tasks, *looks, *(more[i] for i in rng.permutation(len(more)))]))


def _any(rng: np.random.Generator, queries: Sequence[QueryTask]) -> QueryTask:
    return queries[int(rng.integers(len(queries)))]


def _noun(layout: SceneLayout, rng: np.random.Generator) -> ObjectName:
    """Three times in four something that is there; otherwise often something that is nearly there."""
    thing = layout.things[rng.integers(len(layout.things))]
    draw = rng.random()
    if draw < 0.75:
        options = [ObjectName(thing.kind)]
        if thing.colour:
            options += [object_name_of(thing), object_name_of(thing)]
        if thing.kind not in (FACE, SIGN):
            options += [ObjectName(ANY_SHAPE), ObjectName(ANY_SHAPE, thing.colour)]
        return options[rng.integers(len(options))]
    if draw < 0.9:  # the same kind or colour
        near = [
            noun for noun in OBJECT_NAMES if noun.colour and (noun.kind == thing.kind or noun.colour == thing.colour)
        ]
        if near:
            return near[rng.integers(len(near))]
    return OBJECT_NAMES[rng.integers(len(OBJECT_NAMES))]


def _asked(layout: SceneLayout, rng: np.random.Generator) -> tuple[ObjectName, str]:
    """And how it is put: mostly as one, sometimes as many."""
    noun = _noun(layout, rng)
    prompt = noun.many if rng.random() < 0.2 else noun.one
    return noun, prompt


def evaluation_tasks(layout: SceneLayout, rng: np.random.Generator) -> list[Task]:
    """What an exam asks about a picture: something of each skill."""
    nouns = [_noun(layout, rng) for _ in range(9)]
    asked: list[Task] = [caption(layout, length) for length in LENGTHS]
    asked += [detect(layout, noun) for noun in nouns[:4]]
    asked += [point(layout, noun) for noun in nouns[4:6]]
    asked += [count(layout, nouns[6], COUNTING[0]), count(layout, nouns[7], COUNTING[2]), presence(layout, nouns[8])]
    asked += [_any(rng, some) for some in (colours(layout), signs(layout), lefts(layout)) if some]
    return list(dict.fromkeys([*asked, *gazes(layout)]))
