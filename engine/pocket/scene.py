"""The world of `pocket`: what there is in a scene, and how scenes are made up.

Lengths are pixels, origin at the top left corner of the picture; y points down; angles are radians.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
SIGN, FACE = "sign", "face"
KINDS = (*SHAPES, SIGN, FACE)

Colour = tuple[int, int, int]  # RGB, 0..255

COLOURS: dict[str, Colour] = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (245, 225, 40),
    "green": (35, 160, 60),
    "blue": (40, 85, 220),
    "purple": (145, 50, 180),
    "black": (22, 22, 22),
    "white": (246, 246, 246),
}
SKIN: tuple[Colour, ...] = ((255, 220, 185), (235, 190, 150), (205, 150, 105), (150, 100, 65), (100, 65, 45))

BACKGROUNDS = ("plain", "gradient", "striped", "checked", "spotted")

MOST_THINGS = 8
HOW_MANY = (0.15, 0.18, 0.18, 0.15, 0.12, 0.09, 0.07, 0.06)  # the share of scenes with 1, 2, ... things
LEAST_SIDE, LONGEST_SIDE, LONGEST_ASPECT = 96, 480, 3.0
LEAST_SIZE, LEAST_WITH_DETAIL = 12, 26  # shapes; signs and faces
SHARE_CUT, MOST_CUT = 0.15, 0.5  # of shapes that may be cut by the edge; of half of its size, how near its middle comes
CONE = math.radians(28)  # what a head looks at has no other thing this close to the line of sight


@dataclass(frozen=True)
class Thing:
    """One thing of a scene, around its middle (x, y). size: across.

    rgb: its paint; for a face its skin, and `colour` is "". digits: what a sign says. looks_at: for a face the index
    of the thing that it looks at, or None: straight out of the picture.
    """

    kind: str
    colour: str
    rgb: Colour
    x: float
    y: float
    size: float
    angle: float = 0.0
    digits: str = ""
    looks_at: int | None = None

    @property
    def half(self) -> tuple[float, float]:
        """Half of its width and height, within which it stays at any angle."""
        if self.kind == SIGN:
            return self.size / 2, self.size * 0.36
        if self.kind == FACE:
            return self.size * 0.42, self.size / 2
        return self.size / 2, self.size / 2


@dataclass(frozen=True)
class Background:
    """first, second: its colours. period: the width of a stripe or spot, in pixels. angle: of stripes and gradients."""

    kind: str
    first: Colour
    second: Colour
    period: float = 20.0
    angle: float = 0.0


@dataclass(frozen=True)
class Degradation:
    """What a camera and a file do to a picture. blur: standard deviation in pixels; noise: in grey levels.

    jpeg: quality, or None: not compressed.
    """

    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None


@dataclass(frozen=True)
class Scene:
    """things: from back to front. seed: of its noise."""

    width: int
    height: int
    background: Background
    things: tuple[Thing, ...]
    degradation: Degradation = Degradation()
    seed: int = 0


def random_scene(seed: int, side: float | None = None) -> Scene:
    """A scene made up from a seed. side: its mean side in pixels, if that is not to be left to chance."""
    rng = np.random.default_rng(seed)
    width, height = _sides(rng, side)
    colours, kinds = list(COLOURS), list(SHAPES)
    if rng.random() < 0.35:  # of a few kinds and colours only, so that many are alike
        colours = list(rng.permutation(colours)[: rng.integers(1, 4)])
        kinds = list(rng.permutation(kinds)[: rng.integers(1, 4)])
    count = int(rng.choice(MOST_THINGS, p=HOW_MANY)) + 1
    crowded = bool(rng.random() < 0.3)
    placed: list[Thing] = []
    for _ in range(count):
        thing = _thing(rng, colours, kinds, placed)
        for attempt in range(30):
            tried = _placed(rng, thing, width, height, shrink=0.95**attempt)
            if tried and all(_apart(tried, other, crowded) for other in placed):
                placed.append(tried)
                break
    placed.sort(key=lambda thing: thing.kind in (SIGN, FACE))  # which nothing covers
    things = tuple(_looking(rng, thing, placed) for thing in placed)
    degradation = Degradation(
        blur=float(rng.uniform(0.3, 1.2)) if rng.random() < 0.4 else 0.0,
        noise=float(rng.uniform(2, 12)) if rng.random() < 0.5 else 0.0,
        jpeg=int(rng.integers(35, 96)) if rng.random() < 0.5 else None,
    )
    return Scene(width, height, _background(rng, things, min(width, height)), things, degradation, seed)


def targets(face: Thing, things: Sequence[Thing]) -> list[int]:
    """The things that a face can look at so that it is clear which one is meant."""
    seen = {i: (thing.x - face.x, thing.y - face.y) for i, thing in enumerate(things) if not _same_place(thing, face)}
    angles = {i: math.atan2(dy, dx) for i, (dx, dy) in seen.items()}
    return [
        i
        for i, angle in angles.items()
        if all(abs(math.remainder(angle - other, math.tau)) > CONE for j, other in angles.items() if j != i)
    ]


def _same_place(one: Thing, other: Thing) -> bool:
    return (one.x, one.y) == (other.x, other.y)


def _sides(rng: np.random.Generator, side: float | None) -> tuple[int, int]:
    aspect = math.exp(rng.uniform(-1, 1) * math.log(LONGEST_ASPECT)) if rng.random() < 0.6 else rng.uniform(0.75, 1.33)
    if side is None:
        side = rng.uniform(100, 140) if rng.random() < 0.45 else math.exp(rng.uniform(math.log(130), math.log(360)))
    root = math.sqrt(aspect)
    width, height = side * root, side / root
    scale = min(1, LONGEST_SIDE / max(width, height)) * max(1, LEAST_SIDE / min(width, height))
    return round(width * scale), round(height * scale)


def _thing(rng: np.random.Generator, colours: Sequence[str], kinds: Sequence[str], placed: Sequence[Thing]) -> Thing:
    """One without a place, its size as a share of the picture's mean side."""
    draw = rng.random()
    already = [thing.kind for thing in placed]
    if draw < 0.12 and already.count(FACE) < 2:
        return Thing(FACE, "", _near(rng, SKIN[rng.integers(len(SKIN))], 8), 0, 0, rng.uniform(0.24, 0.46))
    colour = str(rng.choice(colours))
    rgb = _near(rng, COLOURS[colour], 14)
    if draw > 0.88 and already.count(SIGN) < 2:
        digits = "".join(str(digit) for digit in rng.integers(0, 10, rng.integers(1, 3)))
        return Thing(SIGN, colour, rgb, 0, 0, rng.uniform(0.26, 0.44), digits=digits)
    kind = str(rng.choice(kinds))
    turned = 0.0 if kind in ("circle", "ring") else rng.uniform(-0.4, 0.4)
    return Thing(kind, colour, rgb, 0, 0, math.exp(rng.uniform(math.log(0.14), math.log(0.42))), turned)


def _placed(rng: np.random.Generator, thing: Thing, width: int, height: int, *, shrink: float) -> Thing | None:
    """The thing somewhere inside the picture; now and then a shape is cut by the picture's edge."""
    least = LEAST_SIZE if thing.kind in SHAPES else LEAST_WITH_DETAIL
    size = max(least, min(thing.size * shrink * math.sqrt(width * height), 0.85 * min(width, height)))
    thing = replace(thing, size=size)
    x_room, y_room = thing.half
    if thing.kind in SHAPES and rng.random() < SHARE_CUT:
        x_room, y_room = MOST_CUT * x_room, MOST_CUT * y_room
    if width <= 2 * x_room + 2 or height <= 2 * y_room + 2:
        return None
    x, y = rng.uniform(x_room + 1, width - x_room - 1), rng.uniform(y_room + 1, height - y_room - 1)
    return replace(thing, x=float(x), y=float(y))


def _apart(one: Thing, other: Thing, crowded: bool) -> bool:
    """Whether they keep off each other; where it is crowded, shapes may cover up to a fifth of each other's boxes."""
    (w1, h1), (w2, h2) = one.half, other.half
    x = min(one.x + w1, other.x + w2) - max(one.x - w1, other.x - w2)
    y = min(one.y + h1, other.y + h2) - max(one.y - h1, other.y - h2)
    if x < 0 or y < 0:
        return True
    shapes = one.kind in SHAPES and other.kind in SHAPES
    return crowded and shapes and x * y < 0.2 * 4 * min(w1 * h1, w2 * h2)


def _looking(rng: np.random.Generator, thing: Thing, things: Sequence[Thing]) -> Thing:
    if thing.kind != FACE:
        return thing
    possible = targets(thing, things)
    return replace(thing, looks_at=int(rng.choice(possible)) if possible and rng.random() < 0.88 else None)


def _background(rng: np.random.Generator, things: Sequence[Thing], short: int) -> Background:
    """Greyish, and unlike the things that are on it."""

    def distance(colour: Colour) -> float:
        return min((math.dist(colour, thing.rgb) for thing in things), default=255.0)

    candidates = sorted((_greyish(rng) for _ in range(12)), key=distance, reverse=True)
    first = candidates[0] if distance(candidates[3]) < 70 else candidates[rng.integers(4)]
    second = max((_near(rng, first, 45) for _ in range(4)), key=distance)
    kind = str(rng.choice(BACKGROUNDS))
    return Background(kind, first, second, float(rng.uniform(0.05, 0.16) * short), float(rng.uniform(0, math.tau)))


def _greyish(rng: np.random.Generator) -> Colour:
    light = rng.uniform(40, 230)
    return _near(rng, (light, light, light), 24)


def _near(rng: np.random.Generator, colour: Sequence[float], spread: float) -> Colour:
    red, green, blue = (min(max(int(value + rng.uniform(-spread, spread)), 0), 255) for value in colour)
    return red, green, blue
