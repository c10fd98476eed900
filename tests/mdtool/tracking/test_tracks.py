"""Boxes carried from look to look, and followed while nobody looks."""

from collections.abc import Sequence

import numpy as np
import pytest
from synthetic_video import HEIGHT, WIDTH, MovingObject, Scene, texture

from mdtool.tracking.optical_flow import OpticalFlow
from mdtool.tracking.tracked_box import TrackedBox
from mdtool.tracking.tracks import (
    FADING_FRAMES,
    CoastingState,
    FlowBetween,
    appearance_of,
    appearance_similarity,
    interpolate_boxes,
    propagate,
)
from recipes.regions import Region

SIZE = (40, 50)


def flows(pictures: Sequence[np.ndarray]) -> FlowBetween:
    flow = OpticalFlow()
    return lambda a, b: flow.between(pictures[a], pictures[b])


def box_of(thing: MovingObject, index: int) -> np.ndarray:
    box = thing.box(index)
    assert box is not None
    return box


def bare(true: np.ndarray, covers: np.ndarray) -> float:
    """Part of the true box that lies outside of the other."""
    low, high = np.maximum(true[:2], covers[:2]), np.minimum(true[2:], covers[2:])
    return float(1 - np.clip(high - low, 0, None).prod() / (true[2:] - true[:2]).prod())


@pytest.mark.parametrize("move", [(0, 0), (2, 0), (-3, 2), (6, -1), (0, 5)])
def test_a_box_is_carried_both_ways(move: tuple[int, int]) -> None:
    thing = MovingObject(lambda i: (160 + move[0] * (i - 6), 90 + move[1] * (i - 6)), SIZE)
    pictures = list(Scene(13, [thing]).pictures())
    there = propagate(box_of(thing, 0), 0, 12, flows(pictures))
    back = propagate(box_of(thing, 12), 12, 0, flows(pictures))[::-1]
    assert len(there) == len(back) == 13
    drift = 1.5 + 0.2 * 12 * max(map(abs, move))
    for index in range(13):
        assert np.abs(there[index] - box_of(thing, index)).max() < drift
        assert np.abs(back[index] - box_of(thing, index)).max() < drift


def test_carried_nowhere_a_box_stays() -> None:
    box = np.array([1.0, 2, 3, 4])
    assert [b.tolist() for b in propagate(box, 5, 5, flows([]))] == [[1, 2, 3, 4]]


@pytest.mark.parametrize("move", [(0, 0), (2, 0), (-3, 2), (6, -1), (9, 0)])
def test_between_two_sightings_the_object_is_covered(move: tuple[int, int]) -> None:
    thing = MovingObject(lambda i: (160 + move[0] * (i - 5), 90 + move[1] * (i - 5)), SIZE)
    pictures = list(Scene(11, [thing]).pictures())
    flow = flows(pictures)
    there, back = propagate(box_of(thing, 0), 0, 10, flow), propagate(box_of(thing, 10), 10, 0, flow)
    boxes = list(interpolate_boxes(there, back[::-1]))
    assert len(boxes) == 9
    for index, box in enumerate(boxes, 1):
        assert bare(box_of(thing, index), box) < 0.05
        assert (box[2:] - box[:2]).prod() < 2.2 * np.prod(SIZE)


def test_between_the_size_goes_evenly_from_one_to_the_other() -> None:
    still = [texture(1)] * 5
    small, large = np.array([100.0, 80, 120, 100]), np.array([90.0, 70, 130, 110])
    flow = flows(still)
    there, back = propagate(small, 0, 4, flow), propagate(large, 4, 0, flow)
    widths = [box[2] - box[0] for box in interpolate_boxes(there, back[::-1])]
    assert widths == pytest.approx([25, 30, 35], abs=0.5)


def test_between_neighbours_there_is_nothing() -> None:
    assert list(interpolate_boxes([np.zeros(4), np.zeros(4)], [np.ones(4), np.ones(4)])) == []


def coast(thing: MovingObject, pictures: Sequence[np.ndarray], last: int) -> CoastingState:
    """As if the object was lost after frame `last`."""
    step = box_of(thing, last)[:2] - box_of(thing, last - 1)[:2]
    return CoastingState(box_of(thing, last), step, appearance_of(pictures[last], box_of(thing, last)))


def go_on(lost: CoastingState, pictures: Sequence[np.ndarray], last: int) -> list[np.ndarray]:
    """Where it is thought to be on each frame after `last`, until it is given up."""
    flow, covers = flows(pictures), []
    for index in range(last + 1, len(pictures)):
        lost.advance(pictures[index], flow(index - 1, index))
        if lost.is_lost:
            break
        covers.append(lost.padded_box())
    return covers


def test_what_only_the_model_lost_is_followed() -> None:
    thing = MovingObject(lambda i: (60 + 2 * i, 90), SIZE)
    pictures = list(Scene(30, [thing]).pictures())
    covers = go_on(coast(thing, pictures, 5), pictures, 5)
    assert len(covers) == 24
    assert max(bare(box_of(thing, index), box) for index, box in enumerate(covers, 6)) < 0.1


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_what_takes_a_bend_is_followed_for_a_while(seed: int) -> None:
    thing = MovingObject(lambda i: (160 - 80 * np.cos(i / 30), 70 + 50 * np.sin(i / 30)), SIZE, seed=seed)
    pictures = list(Scene(30, [thing]).pictures())
    covers = go_on(coast(thing, pictures, 5), pictures, 5)
    assert len(covers) >= 8
    assert max(bare(box_of(thing, index), box) for index, box in enumerate(covers, 6)) < 0.1


def test_what_vanishes_at_once_is_given_up_at_once() -> None:
    thing = MovingObject(lambda i: (60 + 2 * i, 90) if i <= 10 else None, SIZE)
    pictures = list(Scene(20, [thing]).pictures())
    assert len(go_on(coast(thing, pictures, 10), pictures, 10)) == 0


def test_what_slips_away_is_followed_a_little() -> None:
    thing = MovingObject(lambda i: (100 + 2 * i, 90), SIZE)
    column = MovingObject(lambda i: (170, 90), (60, HEIGHT), seed=5, is_target=False)
    pictures = list(Scene(60, [thing, column]).pictures())
    begins = 10  # its right edge is at the column's left one
    covers = go_on(coast(thing, pictures, begins), pictures, begins)
    for index, box in enumerate(covers, begins + 1):
        true = box_of(thing, index)
        assert bare(np.array([true[0], true[1], min(true[2], 140), true[3]]), box) < 0.1
    hidden = begins + SIZE[0] // 2
    assert hidden - begins - 10 <= len(covers) <= hidden - begins + FADING_FRAMES


def test_what_leaves_the_picture_is_followed_out() -> None:
    thing = MovingObject(lambda i: (240 + 3 * i, 90), SIZE)
    pictures = list(Scene(60, [thing]).pictures())
    covers = go_on(coast(thing, pictures, 5), pictures, 5)
    inside = [i for i in range(6, 60) if box_of(thing, i)[0] < WIDTH]
    assert abs(len(covers) - len(inside)) <= 2
    for index, box in zip(inside, covers, strict=False):
        assert bare(np.clip(box_of(thing, index), 0, WIDTH), box) < 0.1


def test_doubt_makes_the_cover_grow_but_not_without_end() -> None:
    box, look = np.array([10.0, 10, 50, 60]), np.zeros((8, 8), np.float32)
    sizes = [
        CoastingState(box, np.zeros(2), look, uncertainty=uncertainty).padded_box()
        for uncertainty in (0.0, 1.0, 2.0, 100.0, 1000.0)
    ]
    widths = [cover[2] - cover[0] for cover in sizes]
    assert widths[0] == 40
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]
    assert widths[3] == widths[4] < 1.5 * 40


def test_the_same_place_looks_the_same() -> None:
    picture, box = texture(1), np.array([30.0, 40, 80, 90])
    assert appearance_similarity(appearance_of(picture, box), picture, box) == 1


def test_another_picture_does_not_look_the_same() -> None:
    box = np.array([30.0, 40, 80, 90])
    assert appearance_similarity(appearance_of(texture(1), box), texture(2), box) < 0.4


def test_half_covered_half_looks_the_same() -> None:
    picture, box = texture(1), np.array([40.0, 40, 80, 80])
    covered = picture.copy()
    covered[40:80, 40:60] = 255
    assert appearance_similarity(appearance_of(picture, box), covered, box) == pytest.approx(0.5, abs=0.1)


def test_out_of_the_picture_nothing_looks_the_same() -> None:
    look = appearance_of(texture(1), np.array([30.0, 40, 80, 90]))
    assert appearance_similarity(look, texture(1), np.array([WIDTH + 50.0, 40, WIDTH + 90, 90])) == 0


def test_only_what_is_in_the_picture_is_compared() -> None:
    picture = texture(1)
    half_out = np.array([-20.0, 40, 20, 90])
    look = appearance_of(picture, half_out)
    assert np.isnan(look[:, 0]).all()
    assert not np.isnan(look[:, -1]).any()
    assert appearance_similarity(look, picture, half_out) == 1


@pytest.mark.parametrize(("score", "confident"), [(None, True), (0.9, True), (0.3, True), (0.29, False), (0.0, False)])
def test_sure_sightings(score: float | None, confident: bool) -> None:
    assert TrackedBox(np.zeros(4), Region(0, 0, 1, 1, "thing", score=score)).confident is confident
