"""The synthetic scenes of `pocket`: their objects, and how random scenes are generated.

Lengths are in pixels, the origin is the top left corner, y points down, angles are in radians.
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

MAX_OBJECTS = 8
COUNT_SHARES = (0.15, 0.18, 0.18, 0.15, 0.12, 0.09, 0.07, 0.06)  # shares of scenes with 1, 2, ... objects
MIN_SIDE, MAX_SIDE, MAX_ASPECT = 96, 480, 3.0
MIN_SIZE, MIN_DETAILED_SIZE = 12, 26  # of shapes; of signs and faces
TRUNCATED_SHARE = 0.15  # of shapes, that the edge of the image may cut
TRUNCATED_ROOM = 0.5  # least distance of their centre from the edge, in half sizes
CONE = math.radians(28)  # no other object is this close to the line of sight to a gaze target


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        kind: One of `KINDS`.
        colour: Name of its colour; "" for a face.
        rgb: Its actual colour; for a face that of the skin.
        x: Of its centre.
        y: Of its centre.
        size: Its diameter.
        angle: Of rotation.
        digits: Text of a sign.
        looks_at: For a face the index of the object that it looks at; None: out of the frame.
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
        """Half of the width and height that contain it at any angle."""
        if self.kind == SIGN:
            return self.size / 2, self.size * 0.36
        if self.kind == FACE:
            return self.size * 0.42, self.size / 2
        return self.size / 2, self.size / 2


@dataclass(frozen=True)
class Background:
    """The background of a scene.

    Attributes:
        kind: One of `BACKGROUNDS`.
        first: One of its colours.
        second: Its other colour.
        period: Width of a stripe or spot, in pixels.
        angle: Of stripes and gradients.
    """

    kind: str
    first: Colour
    second: Colour
    period: float = 20.0
    angle: float = 0.0


@dataclass(frozen=True)
class Degradation:
    """Image degradation, as by a camera and a file format.

    Attributes:
        blur: Standard deviation of a Gaussian blur, in pixels.
        noise: Standard deviation of Gaussian noise, in grey levels.
        jpeg: Quality; None: not compressed.
    """

    blur: float = 0.0
    noise: float = 0.0
    jpeg: int | None = None


@dataclass(frozen=True)
class Scene:
    """A synthetic scene.

    Attributes:
        width: In pixels.
        height: In pixels.
        background: Behind the objects.
        objects: From back to front.
        degradation: Of the rendered image.
        seed: Of its noise.
    """

    width: int
    height: int
    background: Background
    objects: tuple[SceneObject, ...]
    degradation: Degradation = Degradation()
    seed: int = 0


def random_scene(seed: int, side: float | None = None) -> Scene:
    """Generate a random scene.

    Args:
        seed: The same seed gives the same scene.
        side: Geometric mean of width and height, in pixels; None: random.
    """
    rng = np.random.default_rng(seed)
    width, height = _sides(rng, side)
    colours, kinds = list(COLOURS), list(SHAPES)
    if rng.random() < 0.35:  # few kinds and colours, so that many objects are alike
        colours = list(rng.permutation(colours)[: rng.integers(1, 4)])
        kinds = list(rng.permutation(kinds)[: rng.integers(1, 4)])
    count = int(rng.choice(MAX_OBJECTS, p=COUNT_SHARES)) + 1
    crowded = bool(rng.random() < 0.3)
    placed: list[SceneObject] = []
    for _ in range(count):
        obj = _random_object(rng, colours, kinds, placed)
        for attempt in range(30):
            candidate = _placed(rng, obj, width, height, shrink=0.95**attempt)
            if candidate and all(_apart(candidate, other, crowded) for other in placed):
                placed.append(candidate)
                break
    placed.sort(key=lambda obj: obj.kind in (SIGN, FACE))  # in front: they are never occluded
    objects = tuple(_with_gaze(rng, obj, placed) for obj in placed)
    degradation = Degradation(
        blur=float(rng.uniform(0.3, 1.2)) if rng.random() < 0.4 else 0.0,
        noise=float(rng.uniform(2, 12)) if rng.random() < 0.5 else 0.0,
        jpeg=int(rng.integers(35, 96)) if rng.random() < 0.5 else None,
    )
    return Scene(width, height, _background(rng, objects, min(width, height)), objects, degradation, seed)


def targets(face: SceneObject, objects: Sequence[SceneObject]) -> list[int]:
    """Return the indices of objects that a face can look at unambiguously."""
    offsets = {i: (obj.x - face.x, obj.y - face.y) for i, obj in enumerate(objects) if not _same_place(obj, face)}
    angles = {i: math.atan2(dy, dx) for i, (dx, dy) in offsets.items()}
    return [
        i
        for i, angle in angles.items()
        if all(abs(math.remainder(angle - other, math.tau)) > CONE for j, other in angles.items() if j != i)
    ]


def _same_place(one: SceneObject, other: SceneObject) -> bool:
    return (one.x, one.y) == (other.x, other.y)


def _sides(rng: np.random.Generator, side: float | None) -> tuple[int, int]:
    aspect = math.exp(rng.uniform(-1, 1) * math.log(MAX_ASPECT)) if rng.random() < 0.6 else rng.uniform(0.75, 1.33)
    if side is None:
        side = rng.uniform(100, 140) if rng.random() < 0.45 else math.exp(rng.uniform(math.log(130), math.log(360)))
    root = math.sqrt(aspect)
    width, height = side * root, side / root
    scale = min(1, MAX_SIDE / max(width, height)) * max(1, MIN_SIDE / min(width, height))
    return round(width * scale), round(height * scale)


def _random_object(
    rng: np.random.Generator, colours: Sequence[str], kinds: Sequence[str], placed: Sequence[SceneObject]
) -> SceneObject:
    """Draw an object without a position, its size relative to the mean side of the image."""
    draw = rng.random()
    kinds_placed = [obj.kind for obj in placed]
    if draw < 0.12 and kinds_placed.count(FACE) < 2:
        return SceneObject(FACE, "", _near(rng, SKIN[rng.integers(len(SKIN))], 8), 0, 0, rng.uniform(0.24, 0.46))
    colour = str(rng.choice(colours))
    rgb = _near(rng, COLOURS[colour], 14)
    if draw > 0.88 and kinds_placed.count(SIGN) < 2:
        digits = "".join(str(digit) for digit in rng.integers(0, 10, rng.integers(1, 3)))
        return SceneObject(SIGN, colour, rgb, 0, 0, rng.uniform(0.26, 0.44), digits=digits)
    kind = str(rng.choice(kinds))
    angle = 0.0 if kind in ("circle", "ring") else rng.uniform(-0.4, 0.4)
    return SceneObject(kind, colour, rgb, 0, 0, math.exp(rng.uniform(math.log(0.14), math.log(0.42))), angle)


def _placed(
    rng: np.random.Generator, obj: SceneObject, width: int, height: int, *, shrink: float
) -> SceneObject | None:
    """Place an object at random inside the image; the edge may cut some shapes. None: no room."""
    min_size = MIN_SIZE if obj.kind in SHAPES else MIN_DETAILED_SIZE
    size = max(min_size, min(obj.size * shrink * math.sqrt(width * height), 0.85 * min(width, height)))
    obj = replace(obj, size=size)
    x_room, y_room = obj.half
    if obj.kind in SHAPES and rng.random() < TRUNCATED_SHARE:
        x_room, y_room = TRUNCATED_ROOM * x_room, TRUNCATED_ROOM * y_room
    if width <= 2 * x_room + 2 or height <= 2 * y_room + 2:
        return None
    x, y = rng.uniform(x_room + 1, width - x_room - 1), rng.uniform(y_room + 1, height - y_room - 1)
    return replace(obj, x=float(x), y=float(y))


def _apart(one: SceneObject, other: SceneObject, crowded: bool) -> bool:
    """Return whether boxes are disjoint, or in a crowded scene shapes that overlap by less than a fifth."""
    (w1, h1), (w2, h2) = one.half, other.half
    x = min(one.x + w1, other.x + w2) - max(one.x - w1, other.x - w2)
    y = min(one.y + h1, other.y + h2) - max(one.y - h1, other.y - h2)
    if x < 0 or y < 0:
        return True
    shapes = one.kind in SHAPES and other.kind in SHAPES
    return crowded and shapes and x * y < 0.2 * 4 * min(w1 * h1, w2 * h2)


def _with_gaze(rng: np.random.Generator, obj: SceneObject, objects: Sequence[SceneObject]) -> SceneObject:
    if obj.kind != FACE:
        return obj
    possible = targets(obj, objects)
    return replace(obj, looks_at=int(rng.choice(possible)) if possible and rng.random() < 0.88 else None)


def _background(rng: np.random.Generator, objects: Sequence[SceneObject], short: int) -> Background:
    """Draw a greyish background with contrast to the objects on it."""

    def distance(colour: Colour) -> float:
        return min((math.dist(colour, obj.rgb) for obj in objects), default=255.0)

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
