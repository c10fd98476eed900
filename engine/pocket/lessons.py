"""What is asked about a scene, with the right answers.

Boxes and points are listed from left to right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.pocket.draw import Box
from engine.pocket.scene import FACE, SIGN, Scene, Thing
from engine.pocket.words import ANY_SHAPE, LENGTHS, NOUNS, Noun, described, inventory, listed, noun_of

Place = tuple[float, float]  # of the picture's width and height
PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
CLEARLY = 0.03  # of the width: how much further left a thing must be than another to be called left of it


@dataclass(frozen=True)
class Caption:
    length: str
    answer: str


@dataclass(frozen=True)
class Query:
    question: str
    answer: str
    about: str  # count, colour, presence, left, sign


@dataclass(frozen=True)
class Detect:
    """answer: the middles and sizes of all there are."""

    prompt: str
    answer: tuple[tuple[Place, Place], ...]


@dataclass(frozen=True)
class PointAt:
    prompt: str
    answer: tuple[Place, ...]


@dataclass(frozen=True)
class Gaze:
    eye: Place
    answer: Place | None


Lesson = Caption | Query | Detect | PointAt | Gaze


@dataclass(frozen=True)
class Sight:
    """A scene as it is asked about: its things from left to right, and where they are, as fractions of the picture."""

    scene: Scene
    things: tuple[Thing, ...]
    middles: tuple[Place, ...]
    sizes: tuple[Place, ...]

    @classmethod
    def of(cls, scene: Scene, boxes: Sequence[Box]) -> "Sight":
        width, height = scene.width, scene.height
        middles = [((x0 + x1) / 2 / width, (y0 + y1) / 2 / height) for x0, y0, x1, y1 in boxes]
        sizes = [((x1 - x0) / width, (y1 - y0) / height) for x0, y0, x1, y1 in boxes]
        order = sorted(range(len(boxes)), key=lambda i: middles[i])
        things = tuple(scene.things[i] for i in order)
        return cls(scene, things, tuple(middles[i] for i in order), tuple(sizes[i] for i in order))

    def all(self, noun: Noun) -> list[int]:
        return [i for i, thing in enumerate(self.things) if noun.means(thing)]

    def only(self) -> list[int]:
        """The things whose full name means no other."""
        return [i for i, thing in enumerate(self.things) if len(self.all(noun_of(thing))) == 1]


def caption(sight: Sight, length: str) -> Caption:
    """What there is, in a fixed order; the long one goes through the picture place by place."""
    ground = f"on a {sight.scene.background.kind} background"
    if length == "short":
        text = listed(inventory(sight.things))
    elif length == "normal":
        text = f"{listed(inventory(sight.things))} {ground}"
    else:
        count = f"{len(sight.things)} thing{'s' if len(sight.things) > 1 else ''}"
        where = [_where(*middle) for middle in sight.middles]
        there = {
            place: inventory(thing for thing, at in zip(sight.things, where, strict=True) if at == place)
            for place in PLACES
        }
        placed = [f"{listed(names)} at the {place}" for place, names in there.items() if names]
        text = f"a drawing of {count} {ground}: {listed(placed)}"
    return Caption(length, f"{text[0].upper()}{text[1:]}.")


def _where(x: float, y: float) -> str:
    return PLACES[3 * min(int(3 * y), 2) + min(int(3 * x), 2)]


def detect(sight: Sight, noun: Noun, prompt: str | None = None) -> Detect:
    found = sight.all(noun)
    return Detect(prompt or noun.one, tuple((sight.middles[i], sight.sizes[i]) for i in found))


def point(sight: Sight, noun: Noun, prompt: str | None = None) -> PointAt:
    return PointAt(prompt or noun.one, tuple(sight.middles[i] for i in sight.all(noun)))


def count(sight: Sight, noun: Noun, wording: str = "How many {many} are there?") -> Query:
    question = wording.format(many=noun.many, chinese=noun.chinese)
    return Query(question, str(len(sight.all(noun))), "count")


def presence(sight: Sight, noun: Noun) -> Query:
    return Query(f"Is there {noun.article} {noun.one}?", "yes" if sight.all(noun) else "no", "presence")


COUNTING = ("How many {many} are there?", "How many {many}?", "有几个{chinese}？", "图中有多少个{chinese}？")
COLOUR = ("What color is the {kind}?", "What colour is the {kind}?")
SIGNS = ("What does the sign say?", "What number is on the sign?")


def colours(sight: Sight) -> list[Query]:
    """The color of each thing that is the only one of its kind, in every wording."""
    kinds = [thing.kind for thing in sight.things]
    return [
        Query(wording.format(kind=thing.kind), thing.colour, "colour")
        for thing in sight.things
        if thing.colour and kinds.count(thing.kind) == 1
        for wording in COLOUR
    ]


def signs(sight: Sight) -> list[Query]:
    """What the sign says, if there is one sign."""
    said = [thing.digits for thing in sight.things if thing.kind == SIGN]
    return [Query(question, said[0], "sign") for question in SIGNS] if len(said) == 1 else []


def lefts(sight: Sight) -> list[Query]:
    """What is next on the left of each thing that has a name of its own, where that is clear."""
    queries = []
    for i in sight.only():
        x = [middle[0] for middle in sight.middles]
        if i and (x[i] - x[i - 1] < CLEARLY or (i > 1 and x[i - 1] - x[i - 2] < CLEARLY)):
            continue
        answer = described(sight.things[i - 1]) if i else "nothing"
        queries.append(Query(f"What is left of the {noun_of(sight.things[i]).one}?", answer, "left"))
    return queries


def gazes(sight: Sight, at: Callable[[], Place] = lambda: (0.5, 0.5)) -> list[Gaze]:
    """Where each face looks. at: which place in the face is asked about, as a share of its width and height."""
    made = []
    for thing, (x, y), (width, height) in zip(sight.things, sight.middles, sight.sizes, strict=True):
        if thing.kind == FACE:
            across, down = at()
            target = None if thing.looks_at is None else sight.scene.things[thing.looks_at]
            answer = None if target is None else sight.middles[sight.things.index(target)]
            made.append(Gaze((x + (across - 0.5) * width, y + (down - 0.5) * height), answer))
    return made


def curriculum(sight: Sight, rng: np.random.Generator) -> list[Lesson]:
    """What a picture is used for in training, the most useful first: as much of it as there is room for."""
    lessons: list[Lesson] = [
        detect(sight, *_asked(sight, rng)),
        caption(sight, str(rng.choice(LENGTHS, p=(0.4, 0.4, 0.2)))),
        count(sight, _noun(sight, rng), str(rng.choice(COUNTING))),
        detect(sight, *_asked(sight, rng)),
    ]
    looks = gazes(sight, lambda: (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)))
    special = [_any(rng, some) for some in (colours(sight), signs(sight), lefts(sight)) if some]
    more: list[Lesson] = [
        *special,
        point(sight, *_asked(sight, rng)),
        presence(sight, _noun(sight, rng)),
        *(detect(sight, *_asked(sight, rng)) for _ in range(3)),
        count(sight, _noun(sight, rng), str(rng.choice(COUNTING))),
        point(sight, *_asked(sight, rng)),
    ]
    return list(dict.fromkeys([*lessons, *looks, *(more[i] for i in rng.permutation(len(more)))]))


def _any(rng: np.random.Generator, queries: Sequence[Query]) -> Query:
    return queries[int(rng.integers(len(queries)))]


def _noun(sight: Sight, rng: np.random.Generator) -> Noun:
    """Three times in four something that is there; otherwise often something that is nearly there."""
    thing = sight.things[rng.integers(len(sight.things))]
    draw = rng.random()
    if draw < 0.75:
        options = [Noun(thing.kind)]
        if thing.colour:
            options += [noun_of(thing), noun_of(thing)]
        if thing.kind not in (FACE, SIGN):
            options += [Noun(ANY_SHAPE), Noun(ANY_SHAPE, thing.colour)]
        return options[rng.integers(len(options))]
    if draw < 0.9:  # the same kind or colour
        near = [noun for noun in NOUNS if noun.colour and (noun.kind == thing.kind or noun.colour == thing.colour)]
        if near:
            return near[rng.integers(len(near))]
    return NOUNS[rng.integers(len(NOUNS))]


def _asked(sight: Sight, rng: np.random.Generator) -> tuple[Noun, str]:
    """And how it is put: mostly as one, sometimes as many."""
    noun = _noun(sight, rng)
    prompt = noun.many if rng.random() < 0.2 else noun.one
    return noun, prompt


def questions(sight: Sight, rng: np.random.Generator) -> list[Lesson]:
    """What an exam asks about a picture: something of each skill."""
    nouns = [_noun(sight, rng) for _ in range(9)]
    asked: list[Lesson] = [caption(sight, length) for length in LENGTHS]
    asked += [detect(sight, noun) for noun in nouns[:4]]
    asked += [point(sight, noun) for noun in nouns[4:6]]
    asked += [count(sight, nouns[6], COUNTING[0]), count(sight, nouns[7], COUNTING[2]), presence(sight, nouns[8])]
    asked += [_any(rng, some) for some in (colours(sight), signs(sight), lefts(sight)) if some]
    return list(dict.fromkeys([*asked, *gazes(sight)]))
