"""Hard clips: faces under hard light and motion, with exact ground truth, to see where tracking leaves one visible.

Each kind is a function of a random generator, so that a seed is a variant: it draws the backgrounds, the faces, their
sizes and paths, and the settings of the kind. A face is in the ground truth of a frame if a person could see it there
(`visible_faces`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from clip import Frame, write_clip
from scene import Canvas, Colour, Pose, Sprite, astronaut, gradient, regular, texture

FRAMES = 60
SIZES = ((320, 180), (384, 216), (480, 270))
MIN_VISIBLE = 0.1  # of a face's oval, inside the image and not occluded
MIN_CONTRAST = 5.0  # standard deviation of a face's luma, in grey levels
MAX_SMEAR = 0.5  # of a face's width: motion during the exposure that leaves it recognisable
BLUR_STEPS = 5  # images averaged into one with motion blur
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

Size = tuple[int, int]  # width, height


@dataclass(frozen=True)
class Light:
    """Light of one frame: the image times `gain`, then blended with a `veil`, then with sensor noise.

    Attributes:
        gain: Factors of red, green and blue.
        veil: Share of the veil, 0..1.
        colour: Of the veil.
        noise: Standard deviation in grey levels.
    """

    gain: Colour = (1, 1, 1)
    veil: float = 0.0
    colour: Colour = (0, 0, 0)
    noise: float = 1.0

    def on(self, pixels: np.ndarray) -> np.ndarray:
        """Return lit pixels, (height, width, 3) float32, 0..255, without the noise."""
        lit = np.clip(pixels * np.array(self.gain, np.float32), 0, 255)
        return np.asarray(lit * (1 - self.veil) + self.veil * np.array(self.colour, np.float32), np.float32)


@dataclass(frozen=True)
class Shot:
    """A painted frame before it is lit.

    Attributes:
        canvas: With its faces.
        light: Of this frame.
        smeared: Faces that motion blur makes unrecognisable.
    """

    canvas: Canvas
    light: Light = Light()
    smeared: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Actor:
    """A person in a world: a number, a look, the pose on frame 0, and pixels per frame."""

    number: int
    sprite: Sprite
    pose: Pose
    dx: float = 0.0
    dy: float = 0.0

    def moved(self, dx: float, dy: float = 0.0) -> Actor:
        """Return the actor at another place."""
        return replace(self, pose=self.pose.moved(dx, dy))

    def within(self, i: int, size: Size) -> Actor:
        """Return the actor on frame i, turned back wherever its face would leave an image of this size."""
        x = turned_back(self.pose.x + self.dx * i, 0.5 * self.pose.width, size[0] - 0.5 * self.pose.width)
        y = turned_back(self.pose.y + self.dy * i, 0.6 * self.pose.width, size[1] - 0.6 * self.pose.width)
        return replace(self, pose=replace(self.pose, x=x, y=y))


@dataclass(frozen=True)
class View:
    """What the camera sees of a world: the point at the image's centre, a zoom factor, and a rotation in degrees."""

    x: float
    y: float
    zoom: float = 1.0
    angle: float = 0.0

    def towards(self, other: View, share: float) -> View:
        """Return the view between this one (0) and another (1)."""
        return View(*(a + share * (b - a) for a, b in zip(self.values, other.values, strict=True)))

    @property
    def values(self) -> tuple[float, ...]:
        """The four numbers."""
        return self.x, self.y, self.zoom, self.angle


Kind = Callable[[np.random.Generator, Size], Iterator[Shot]]


def turned_back(value: float, low: float, high: float) -> float:
    """Return a position that bounces between low and high as the value goes on."""
    span = high - low
    return low + abs((value - low + span) % (2 * span) - span)


def backdrop(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Return a textured background with shapes on it, or a plain room with pale ones, (height, width, 3) float32."""
    dark, plain = rng.uniform(20, 150, 3), rng.random() < 0.5
    light = dark + rng.uniform(30, 100)
    if plain:
        canvas = Canvas(gradient(tuple(light), tuple(dark), size))
    else:
        name, zoom = str(rng.choice(["brick", "gravel", "grass"])), float(rng.uniform(0.6, 1.4))
        canvas = Canvas(texture(name, tuple(dark), tuple(light), size, zoom=zoom))
    for _ in range(size[0] * size[1] // 12000):
        sides, angle = (4, 45.0) if plain else (int(rng.choice([3, 4, 6])), rng.uniform(0, 90))
        corners = regular(sides, tuple(rng.uniform((0, 0), size)), rng.uniform(0.08, 0.2) * size[1], angle)
        colour = rng.uniform(30, 225, 3)
        canvas.polygon(corners, tuple((dark + light) / 2 + rng.uniform(-25, 25, 3) if plain else colour))
    return canvas.pixels


def look(rng: np.random.Generator, width: float) -> Sprite:
    """Return the person of the portrait, perhaps mirrored, in slightly other colours, for a face of this width."""
    sprite = (astronaut().mirrored() if rng.random() < 0.5 else astronaut()).halved_for(width)
    return replace(sprite, rgb=sprite.rgb * rng.uniform(0.8, 1.0, 3).astype(np.float32))


def face_width(rng: np.random.Generator, size: Size) -> float:
    """Return the width of a face that is large enough to be detected, in pixels."""
    return float(max(42, rng.uniform(0.23, 0.4) * size[1]))


def company(rng: np.random.Generator, size: Size, count: int, *, speed: float = 0.0, first: int = 1) -> list[Actor]:
    """Return people side by side, numbered from `first`, who move by up to `speed` of the image's width per frame."""
    width, height = size
    actors = []
    for k in range(count):
        face = min(face_width(rng, size), 0.8 * width / count)
        x = width * (k + rng.uniform(0.4, 0.6)) / count
        dx, dy = speed * width * rng.uniform(0.5, 1) * rng.choice([-1, 1]), 0.2 * speed * width * rng.uniform(-1, 1)
        pose = Pose(x, rng.uniform(0.35, 0.55) * height, face, rng.uniform(-8, 8))
        actors.append(Actor(k + first, look(rng, face), pose, float(dx), float(dy)))
    return actors


def runs(rng: np.random.Generator, *lengths: tuple[int, int]) -> list[int]:
    """Return FRAMES numbers 0, 1, 2 ..., each repeated: from a least to a most, by turns where there are several."""
    numbers: list[int] = []
    for number, (low, high) in zip(range(FRAMES), itertools.cycle(lengths), strict=False):
        numbers += [number] * int(rng.integers(low, high + 1))
    return numbers[:FRAMES]


def painted(background: np.ndarray, actors: Sequence[Actor]) -> Canvas:
    """Return a canvas with the actors in front of the background."""
    canvas = Canvas(background)
    for actor in actors:
        canvas.person(actor.number, actor.sprite, actor.pose)
    return canvas


def seen(world: np.ndarray, actors: Sequence[Actor], view: View, size: Size) -> Canvas:
    """Return the canvas of a view of the world, which is mirrored beyond its edges."""
    cos, sin = (view.zoom * f(math.radians(view.angle)) for f in (math.cos, math.sin))
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix[:, 2] = np.array(size) / 2 - matrix[:, :2] @ (view.x, view.y)
    of_pixels = matrix.copy()
    of_pixels[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    pixels = cv2.warpAffine(world, of_pixels, size, borderMode=cv2.BORDER_REFLECT)
    moved = []
    for actor in actors:
        x, y = matrix @ (actor.pose.x, actor.pose.y, 1)
        pose = Pose(x, y, actor.pose.width * view.zoom, actor.pose.angle + view.angle)
        moved.append(replace(actor, pose=pose))
    return painted(pixels, moved)


def filmed(
    world: np.ndarray, actors: Sequence[Actor], path: Sequence[View], size: Size, *, exposure: float = 0.0
) -> Iterator[Shot]:
    """Yield a shot for each step of the camera's path; `exposure`: share of the step in which the image is blurred."""
    for start, end in itertools.pairwise(path):
        moments = np.linspace(0, exposure, BLUR_STEPS) if exposure and start != end else [exposure / 2]
        canvases = [seen(world, actors, start.towards(end, float(moment)), size) for moment in moments]
        middle = canvases[len(canvases) // 2]
        middle.pixels = np.mean([canvas.pixels for canvas in canvases], axis=0, dtype=np.float32)
        smear = exposure * math.hypot(end.x - start.x, end.y - start.y)
        yield Shot(middle, smeared=frozenset(a.number for a in actors if smear > MAX_SMEAR * a.pose.width))


def lit(rng: np.random.Generator, size: Size, lights: Sequence[Light], *, speed: float | None = None) -> Iterator[Shot]:
    """Yield shots of two people who walk about in front of a background, one for each light; slowly unless told."""
    speed = rng.uniform(0, 0.015) if speed is None else speed
    background, actors = backdrop(rng, size), company(rng, size, 2, speed=speed)
    for i, light in enumerate(lights):
        yield Shot(painted(background, [actor.within(i, size) for actor in actors]), light)


def grey(level: float) -> Light:
    """Return white light of a brightness, where 1 is normal."""
    return Light(gain=(level, level, level))


def strobe(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield light on every other frame only."""
    dark = float(rng.uniform(0, 0.05))
    yield from lit(rng, size, [grey(dark if i % 2 else 1) for i in range(FRAMES)])


def strobe_random(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield light that goes on and off at random, one to three frames each."""
    dark = float(rng.uniform(0, 0.05))
    yield from lit(rng, size, [grey(dark if k % 2 else 1) for k in runs(rng, (1, 3))])


def strobe_colour(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield light that changes its colour, or goes out, every one to three frames."""
    gains = rng.uniform(0.15, 1.2, (FRAMES, 3)) * (rng.random((FRAMES, 1)) < 0.8)
    yield from lit(rng, size, [Light(gain=tuple(gains[k])) for k in runs(rng, (1, 3))])


def flash(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield white flashes of one or two frames, every three to eight frames."""
    veils = rng.uniform(0.5, 1, FRAMES)
    lights = [Light(veil=veils[k] if k % 2 else 0, colour=(255, 255, 255)) for k in runs(rng, (2, 7), (1, 2))]
    yield from lit(rng, size, lights, speed=0.02)


def fade(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield shots that fade to black or white and in from there, in two to five frames each."""
    number = 0
    while True:
        colour = (0, 0, 0) if rng.random() < 0.5 else (255, 255, 255)
        fading, steady = np.linspace(1, 0, int(rng.integers(3, 7)))[:-1], [0.0] * int(rng.integers(3, 9))
        background, actors = backdrop(rng, size), company(rng, size, int(rng.integers(1, 3)), first=number + 1)
        number += len(actors)
        for veil in (*fading, *steady, *fading[::-1]):
            yield Shot(painted(background, actors), Light(veil=float(veil), colour=colour))


def street(rng: np.random.Generator, size: Size, columns: int, rows: int) -> tuple[np.ndarray, list[Actor], Size]:
    """Return a world of as many images side by side, with a person in each, and its size."""
    width, height = size
    world_size = columns * width, rows * height
    actors = []
    for row in range(rows):
        actors += [
            actor.moved(0, row * height)
            for actor in company(rng, (world_size[0], height), columns, first=row * columns + 1)
        ]
    return backdrop(rng, world_size), actors, world_size


def stops(rng: np.random.Generator, places: Sequence[tuple[float, float]], step: float) -> list[View]:
    """Return the path of a camera that dashes from place to place, `step` pixels per frame, with short rests."""
    path = [View(*places[0])]
    while len(path) <= FRAMES:
        path += [path[-1]] * int(rng.integers(0, 5))
        here, there = path[-1], View(*places[int(rng.integers(len(places)))])
        frames = math.ceil(math.hypot(there.x - here.x, there.y - here.y) / (step * rng.uniform(0.5, 1)))
        path += [here.towards(there, (k + 1) / frames) for k in range(frames)]
    return path[: FRAMES + 1]


def pan_horizontal(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a camera that swings from side to side, with motion blur, up to half the image's width per frame."""
    width, height = size
    world, actors, (world_width, _) = street(rng, size, 4, 1)
    swing = world_width / 2 - width / 2
    pace = rng.uniform(0.25, 0.5) * width / swing  # radians per frame
    path = [View(world_width / 2 + swing * math.sin(pace * i), height / 2) for i in range(FRAMES + 1)]
    yield from filmed(world, actors, path, size, exposure=float(rng.uniform(0.1, 0.25)))


def pan_vertical(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a camera that dashes up and down, without motion blur."""
    width, height = size
    world, actors, _ = street(rng, size, 1, 4)
    places = [(width / 2, height * (row + 0.5)) for row in range(4)]
    yield from filmed(world, actors, stops(rng, places, 0.5 * height), size)


def pan_diagonal(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a camera that dashes back and forth between nine people, up to half the image's width per frame."""
    width, height = size
    world, actors, _ = street(rng, size, 3, 3)
    places = [(width * (column + 0.5), height * (row + 0.5)) for column in range(3) for row in range(3)]
    yield from filmed(world, actors, stops(rng, places, 0.5 * width), size)


def shake(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a camera shaken by hand, which zooms in and out at once every few frames."""
    width, height = size
    world, actors = backdrop(rng, (2 * width, height)), [a.moved(width / 2) for a in company(rng, size, 2)]
    offsets = rng.normal(0, 0.06, (FRAMES + 1, 2)) * (width, height)
    tilts, zooms = rng.normal(0, 4, FRAMES + 1), rng.uniform(0.7, 1.5, FRAMES)
    numbers = [*runs(rng, (2, 6)), 0]
    path = [
        View(width + offsets[i, 0], height / 2 + offsets[i, 1], float(zooms[numbers[i]]), float(tilts[i]))
        for i in range(FRAMES + 1)
    ]
    yield from filmed(world, actors, path, size, exposure=0.1)


def roll(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a camera that rolls about its axis, up to 25 degrees to both sides."""
    width, height = size
    world, actors = backdrop(rng, (2 * width, height)), [a.moved(width / 2) for a in company(rng, size, 2)]
    pace, shift = rng.uniform(0.3, 0.8), rng.uniform(0, 0.1)
    path = [
        View(width * (1 + shift * math.sin(i / 5)), height / 2, 0.9, 25 * math.sin(pace * i)) for i in range(FRAMES + 1)
    ]
    yield from filmed(world, actors, path, size)


def montage(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield shots of two to four frames of other people in other places."""
    number = 0
    while True:
        actors = [replace(a, number=a.number + number) for a in company(rng, size, int(rng.integers(1, 3)), speed=0.02)]
        number += len(actors)
        background = backdrop(rng, size)
        for i in range(int(rng.integers(2, 5))):
            yield Shot(painted(background, [actor.within(i, size) for actor in actors]))


def jump(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield jumps back and forth between two shots; in the first half of the clip, each returns as it was."""
    scenes = [(backdrop(rng, size), company(rng, size, k, speed=0.01, first=k)) for k in (1, 2)]
    for i, k in enumerate(runs(rng, (1, 5))):
        background, actors = scenes[k % 2]
        moved = [actor.within(max(0, i - FRAMES // 2), size) for actor in actors]
        yield Shot(painted(background, moved), Light(noise=0 if i < FRAMES // 2 else 1))


def jump_cuts(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield shots of two to six frames in one place, with people elsewhere in each."""
    background, numbers = backdrop(rng, size), runs(rng, (2, 6))
    shots = [company(rng, size, int(rng.integers(1, 3)), first=2 * k + 1) for k in range(numbers[-1] + 1)]
    for k in numbers:
        yield Shot(painted(background, shots[k]))


def bars(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield bars that pass before people."""
    width, height = size
    background, actors = backdrop(rng, size), company(rng, size, 2, speed=0.01)
    bar, gap = (float(rng.uniform(*part)) * actors[0].pose.width for part in ((0.3, 0.7), (2.0, 3.2)))
    speed, colour = width * float(rng.uniform(0.03, 0.12)), tuple(rng.uniform(20, 90, 3))
    for i in range(FRAMES):
        canvas = painted(background, [actor.within(i, size) for actor in actors])
        for left in np.arange(-bar + (speed * i) % (bar + gap) - (bar + gap), width, bar + gap):
            canvas.polygon(rectangle(left, 0, bar, height), colour)
        yield Shot(canvas)


def blinds(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield blinds before people that close and open again, wholly at times."""
    width, height = size
    background, actors = backdrop(rng, size), company(rng, size, 2, speed=0.01)
    pitch, pace, colour = height / int(rng.integers(8, 16)), rng.uniform(0.2, 0.6), tuple(rng.uniform(90, 220, 3))
    for i in range(FRAMES):
        canvas = painted(background, [actor.within(i, size) for actor in actors])
        closed = float(np.clip(0.5 - 2 * math.cos(pace * i), 0.1, 1))
        for top in np.arange(0, height, pitch):
            canvas.polygon(rectangle(0, top, width, closed * pitch + 0.5), colour)
        yield Shot(canvas)


def traffic(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield cars that pass before people, and a hand that waves before them."""
    width, height = size
    background, actors = backdrop(rng, size), company(rng, size, 2, speed=0.01)
    cars = []  # length, speed, frame on which it enters at the left, colour
    for begin in range(0, FRAMES, 12):
        length, speed = width * rng.uniform(0.3, 0.8), width * rng.uniform(0.08, 0.35)
        cars.append((length, speed, begin + int(rng.integers(0, 8)), tuple(rng.uniform(30, 220, 3))))
    for i in range(FRAMES):
        canvas = painted(background, [actor.within(i, size) for actor in actors])
        hand = actors[0].within(i, size).pose
        centre = hand.x + 1.4 * hand.width * math.sin(i / 2.5), hand.y + 0.3 * hand.width
        canvas.polygon(regular(24, centre, 0.35 * hand.width), (206, 158, 130))
        for length, speed, begin, colour in cars:
            canvas.polygon(rectangle(speed * (i - begin) - length, 0.1 * height, length, 0.8 * height), colour)
        yield Shot(canvas)


def rectangle(left: float, top: float, width: float, height: float) -> np.ndarray:
    """Return the corners of a rectangle, (4, 2)."""
    right, bottom = left + width, top + height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def visitors(rng: np.random.Generator, size: Size, taken: int) -> list[list[Actor]]:
    """Return, for each frame, who is there: a face for one to three frames, then nobody for two to six."""
    width, height = size
    by_turn = []
    for number in range(FRAMES):
        face = float(rng.uniform(26, 40) if rng.random() < 0.5 else face_width(rng, size))
        pose = Pose(rng.uniform(0.15, 0.85) * width, rng.uniform(0.3, 0.6) * height, face, rng.uniform(-10, 10))
        by_turn.append([Actor(taken + 1 + number // 2, look(rng, face), pose)] if number % 2 else [])
    return [by_turn[k] for k in runs(rng, (2, 6), (1, 3))]


def visits(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield small and large faces that come and go within three frames, between frames that are otherwise equal."""
    background = backdrop(rng, size)
    for present in visitors(rng, size, 0):
        yield Shot(painted(background, present), Light(noise=0))


def visits_light(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield faces that come and go within three frames, under light that flickers."""
    background, levels = backdrop(rng, size), rng.uniform(0.35, 1.2, FRAMES)
    for level, present in zip(levels, visitors(rng, size, 0), strict=True):
        yield Shot(painted(background, present), grey(float(level)))


def visits_moving(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield faces that dash by within three frames, while the camera pans and somebody walks."""
    width, height = size
    world, walker = backdrop(rng, (2 * width, height)), company(rng, size, 1, speed=0.02)[0]
    step = float(rng.uniform(0.02, 0.2)) * width
    for i, present in enumerate(visitors(rng, size, walker.number)):
        view = View(width + 0.3 * width * math.sin(i / 9), height / 2)
        passing = [replace(actor, dx=step).within(i, size) for actor in present]
        there = [actor.moved(view.x - width / 2) for actor in (walker.within(i, size), *passing)]
        yield Shot(seen(world, there, view, size))


def dark(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield a dim and noisy clip of people who walk fast."""
    level, noise = rng.uniform(0.18, 0.3), rng.uniform(3, 6)
    yield from lit(rng, size, [replace(grey(float(level)), noise=float(noise))] * FRAMES, speed=0.03)


def strides(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield people who walk fast, for a low frame rate."""
    yield from lit(rng, size, [Light()] * FRAMES, speed=float(rng.uniform(0.1, 0.2)))


def sprint(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield people who run and turn back at once, for a high frame rate."""
    yield from lit(rng, size, [Light()] * FRAMES, speed=float(rng.uniform(0.03, 0.06)))


def walk(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield people who walk, for heavy compression."""
    yield from lit(rng, size, [Light()] * FRAMES, speed=0.03)


def swap(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield two people who swap places, within one to six frames."""
    background, actors = backdrop(rng, size), company(rng, size, 2)
    place, begin, frames = 0.0, 4, 1
    for i in range(FRAMES):
        if i == begin + frames:
            begin, frames = i + int(rng.integers(2, 7)), int(rng.integers(1, 7))
        place += 1 / frames if i >= begin else 0
        share = turned_back(place, 0, 1)
        (left, right) = actors
        dx, dy = right.pose.x - left.pose.x, right.pose.y - left.pose.y
        yield Shot(painted(background, [left.moved(share * dx, share * dy), right.moved(-share * dx, -share * dy)]))


def light(rng: np.random.Generator, size: Size) -> Iterator[Shot]:
    """Yield people who move fast while the light becomes brighter and darker, and changes its colour."""
    pace, phase = rng.uniform(0.5, 1.2), rng.uniform(0, 2, 3)
    gains = 0.85 + 0.55 * np.sin(pace * np.arange(FRAMES)[:, None] + phase)
    yield from lit(rng, size, [Light(gain=tuple(gain)) for gain in gains], speed=0.06)


@dataclass(frozen=True)
class Film:
    """How a kind is filmed: its shots, frames per second, and constant rate factor of x264."""

    shots: Kind
    rate: int = 30
    crf: int = 24


KINDS: dict[str, Film] = {
    "strobe": Film(strobe),
    "strobe_random": Film(strobe_random),
    "strobe_colour": Film(strobe_colour),
    "flash": Film(flash),
    "fade": Film(fade),
    "light": Film(light),
    "pan_horizontal": Film(pan_horizontal),
    "pan_vertical": Film(pan_vertical),
    "pan_diagonal": Film(pan_diagonal),
    "shake": Film(shake),
    "roll": Film(roll),
    "montage": Film(montage),
    "jump": Film(jump),
    "jump_cuts": Film(jump_cuts),
    "bars": Film(bars),
    "blinds": Film(blinds),
    "traffic": Film(traffic),
    "visits": Film(visits),
    "visits_light": Film(visits_light),
    "visits_moving": Film(visits_moving),
    "dark": Film(dark),
    "low_rate": Film(strides, rate=6),
    "high_rate": Film(sprint, rate=60),
    "compressed": Film(walk, crf=40),
    "swap": Film(swap),
}


def visible_faces(shot: Shot, pixels: np.ndarray) -> dict[int, float]:
    """Return the visible part, 0..1, of each face that a person could see on a frame.

    A face is left out where less than MIN_VISIBLE of its oval is in the image and not occluded, where the light leaves
    less than MIN_CONTRAST in it (the dark phase of a strobe, a flash, the end of a fade), and where motion blur smears
    it over more than MAX_SMEAR of its width.

    Args:
        shot: The frame before it was lit.
        pixels: (height, width, 3) float32, lit, without noise.
    """
    luma = pixels @ LUMA
    parts = {}
    for number in shot.canvas.boxes():
        mask = shot.canvas.visible_part(number)
        part = float(mask.sum()) / shot.canvas.oval_area(number)
        if part >= MIN_VISIBLE and number not in shot.smeared and luma[mask >= 0.5].std() >= MIN_CONTRAST:
            parts[number] = round(min(part, 1.0), 2)
    return parts


def frames_of(kind: str, seed: int = 0) -> Iterator[Frame]:
    """Yield the frames of a hard clip with their ground truth."""
    film = KINDS[kind]
    rng = np.random.default_rng([seed, *kind.encode()])
    size = SIZES[int(rng.integers(len(SIZES)))]
    duration = Fraction(1, film.rate)
    for i, shot in enumerate(itertools.islice(film.shots(rng, size), FRAMES)):
        pixels = shot.light.on(shot.canvas.pixels)
        grain = np.random.default_rng([seed, i]).normal(0, shot.light.noise, pixels.shape[:2])[..., None]
        noisy = np.clip(np.rint(pixels + grain), 0, 255).astype(np.uint8)
        visible, boxes = visible_faces(shot, pixels), shot.canvas.boxes()
        yield Frame(i * duration, duration, noisy, {number: boxes[number] for number in visible}, visible=visible)


def write_hard_clip(folder: Path, kind: str, seed: int = 0) -> Path:
    """Write a hard clip, KIND.mp4 or KIND-SEED.mp4, and its ground truth; return its path."""
    film = KINDS[kind]
    path = folder / f"{kind}-{seed}.mp4" if seed else folder / f"{kind}.mp4"
    write_clip(path, frames_of(kind, seed), film.crf, preset="ultrafast", rate=film.rate, audio=False)
    return path
