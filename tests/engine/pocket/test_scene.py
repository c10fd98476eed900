"""Scenes that are made up keep to the rules of their world."""

import math
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from engine.pocket.scene import (
    BACKGROUNDS,
    COLOURS,
    FACE,
    KINDS,
    SHAPES,
    SIGN,
    SKIN,
    Colour,
    Scene,
    SceneObject,
    random_scene,
    targets,
)

SCENES = tuple(random_scene(seed) for seed in range(400))
THINGS = [(scene, thing) for scene in SCENES for thing in scene.objects]
FACES = [(scene, thing) for scene, thing in THINGS if thing.kind == FACE]


def half(thing: SceneObject) -> tuple[float, float]:
    """Half of the width and height that it takes at most."""
    shares = {SIGN: (0.5, 0.36), FACE: (0.42, 0.5)}
    across, down = shares.get(thing.kind, (0.5, 0.5))
    return thing.size * across, thing.size * down


def overlap(one: SceneObject, other: SceneObject) -> float:
    """The area that both take."""
    (w1, h1), (w2, h2) = half(one), half(other)
    across = min(one.x + w1, other.x + w2) - max(one.x - w1, other.x - w2)
    down = min(one.y + h1, other.y + h2) - max(one.y - h1, other.y - h2)
    return max(across, 0) * max(down, 0)


def near(one: Colour, other: Colour, spread: int) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= spread


def clear_targets(face: SceneObject, things: tuple[SceneObject, ...]) -> list[int]:
    """Those that no other thing comes within 28 degrees of, as seen from the face."""
    others = [i for i, thing in enumerate(things) if thing is not face]
    lines = np.array([(things[i].x - face.x, things[i].y - face.y) for i in others]).reshape(-1, 2)
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    apart = np.degrees(np.arccos((lines @ lines.T).clip(-1, 1)))
    np.fill_diagonal(apart, 180)
    return [i for i, row in zip(others, apart, strict=True) if row.min() > 28]


def test_a_seed_is_one_scene() -> None:
    assert tuple(random_scene(seed) for seed in range(50)) == SCENES[:50]
    assert len({replace(scene, seed=0) for scene in SCENES}) == len(SCENES)
    assert [scene.seed for scene in SCENES] == list(range(400))


def test_there_are_one_to_eight_things() -> None:
    assert {len(scene.objects) for scene in SCENES} == set(range(1, 9))


def test_everything_comes_up() -> None:
    assert {thing.kind for _, thing in THINGS} == set(KINDS)
    assert {thing.colour for _, thing in THINGS if thing.kind != FACE} == set(COLOURS)
    assert {scene.background.kind for scene in SCENES} == set(BACKGROUNDS)
    wears = {
        (degradation.blur > 0, degradation.noise > 0, degradation.jpeg is not None)
        for degradation in (scene.degradation for scene in SCENES)
    }
    assert len(wears) == 8
    said = [thing.digits for _, thing in THINGS if thing.kind == SIGN]
    assert {len(digits) for digits in said} == {1, 2}
    assert set("".join(said)) == set("0123456789")
    assert {thing.looks_at is None for _, thing in FACES} == {True, False}


def test_wear_stays_within_what_can_be_seen_through() -> None:
    for degradation in (scene.degradation for scene in SCENES):
        assert degradation.blur == 0 or 0.3 <= degradation.blur <= 1.2
        assert degradation.noise == 0 or 2 <= degradation.noise <= 12
        assert degradation.jpeg is None or 35 <= degradation.jpeg <= 95


def test_sides_and_aspects_are_within_the_limits() -> None:
    for scene in SCENES:
        assert min(scene.width, scene.height) >= 96
        assert max(scene.width, scene.height) <= 480
        long, short = max(scene.width, scene.height), min(scene.width, scene.height)
        assert (long - 0.5) / (short + 0.5) <= 3  # rounded to whole pixels
    aspects = [scene.width / scene.height for scene in SCENES]
    assert min(aspects) < 0.4
    assert max(aspects) > 2.5


@pytest.mark.parametrize("side", [170, 250])
def test_the_mean_side_can_be_chosen(side: int) -> None:
    for seed in range(50):
        scene = random_scene(seed, side)
        assert math.sqrt(scene.width * scene.height) == pytest.approx(side, abs=1)


def test_paint_is_near_its_name() -> None:
    for _, thing in THINGS:
        if thing.kind == FACE:
            assert thing.colour == ""
            assert any(near(thing.rgb, skin, 8) for skin in SKIN)
        else:
            assert near(thing.rgb, COLOURS[thing.colour], 14)


def test_signs_alone_have_digits_and_faces_alone_look() -> None:
    for _, thing in THINGS:
        assert (thing.digits != "") == (thing.kind == SIGN)
        assert thing.looks_at is None or thing.kind == FACE
        assert thing.angle == 0 or thing.kind in set(SHAPES) - {"circle", "ring"}
        assert abs(thing.angle) <= 0.4


def test_sizes_are_within_the_limits() -> None:
    for scene, thing in THINGS:
        least = 12 if thing.kind in SHAPES else 26
        assert least <= thing.size <= 0.85 * min(scene.width, scene.height)
    assert {thing.size for _, thing in THINGS} >= {12, 26}


def test_signs_and_faces_are_wholly_inside() -> None:
    for scene, thing in THINGS:
        if thing.kind in (SIGN, FACE):
            across, down = half(thing)
            assert across <= thing.x <= scene.width - across
            assert down <= thing.y <= scene.height - down


def test_shapes_are_cut_seldom_and_never_far() -> None:
    """How near the edge a middle comes, as a share of half of the size; below 1 it may be cut."""
    inside = np.array(
        [
            min(thing.x, scene.width - thing.x, thing.y, scene.height - thing.y) / (thing.size / 2)
            for scene, thing in THINGS
            if thing.kind in SHAPES
        ]
    )
    assert inside.min() >= 0.3
    assert 0.05 < (inside < 1).mean() < 0.2


def test_nothing_overlaps_a_sign_or_a_face() -> None:
    """And shapes each other by less than a fifth of the smaller one's box."""
    covered = 0
    for scene in SCENES:
        for one, other in combinations(scene.objects, 2):
            area = overlap(one, other)
            if {one.kind, other.kind} & {SIGN, FACE}:
                assert area == 0
            assert area < 0.2 * min(one.size, other.size) ** 2
            covered += area > 0
    assert covered > 20


def test_signs_and_faces_are_in_front_and_at_most_two_of_each() -> None:
    for scene in SCENES:
        in_front = [thing.kind in (SIGN, FACE) for thing in scene.objects]
        assert in_front == sorted(in_front)
        count = Counter(thing.kind for thing in scene.objects)
        assert max(count[SIGN], count[FACE]) <= 2
    assert {Counter(thing.kind for thing in scene.objects)[FACE] for scene in SCENES} == {0, 1, 2}


def test_a_face_looks_at_what_no_other_thing_is_in_line_with() -> None:
    looking = 0
    for scene, face in FACES:
        clear = clear_targets(face, scene.objects)
        assert targets(face, scene.objects) == clear
        assert face.looks_at is None or face.looks_at in clear
        looking += face.looks_at is not None
    assert looking > 0.8 * sum(bool(clear_targets(face, scene.objects)) for scene, face in FACES)


def test_the_cone_is_28_degrees_to_each_side() -> None:
    face = SceneObject(FACE, "", SKIN[0], 100, 100, 40)

    def at(degrees: float, far: float = 80) -> SceneObject:
        x, y = 100 + far * math.cos(math.radians(degrees)), 100 + far * math.sin(math.radians(degrees))
        return SceneObject("circle", "red", COLOURS["red"], x, y, 12)

    assert targets(face, (face, at(10))) == [1]
    assert targets(face, (face, at(10), at(39, far=40))) == [1, 2]
    assert targets(face, (face, at(10), at(37, far=40))) == []
    assert targets(face, (at(170), face, at(-170), at(90))) == [3]  # the angles turn over on the left
    assert targets(face, (face,)) == []


def test_backgrounds_are_unlike_the_things_on_them() -> None:
    """The first colour is 70 levels from each paint, the second, which is near it, 60 at least."""

    def nearest(scene: Scene, colour: Colour) -> float:
        return min(float(np.linalg.norm(np.subtract(colour, thing.rgb))) for thing in scene.objects)

    for scene in SCENES:
        assert nearest(scene, scene.background.first) >= 70
        assert nearest(scene, scene.background.second) >= 60
        assert near(scene.background.first, scene.background.second, 45)


def test_backgrounds_are_greyish_and_their_patterns_fine() -> None:
    for scene in SCENES:
        red, green, blue = scene.background.first
        assert max(red, green, blue) - min(red, green, blue) <= 48
        assert 0.05 <= scene.background.period / min(scene.width, scene.height) <= 0.16
