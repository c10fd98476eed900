"""Who looks at whom or what, steadily over time, and for how long."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contract import Point
from recipes.gaze import (
    FACE_JUMP,
    JUMP,
    LONGEST_GAP,
    MARGIN,
    Attention,
    Gaze,
    Method,
    Smoother,
    is_saccade,
    mutual,
    tracks_looking_at,
    who_looks_at,
)
from recipes.regions import Region

SIDE = 0.1


def person(
    track: int, x: float, y: float, target: tuple[float, float] | None, method: Method = "model", side: float = SIDE
) -> Gaze:
    """With a face of that side round (x, y); without a target, looking out of the picture."""
    face = Region(x - side / 2, y - side / 2, x + side / 2, y + side / 2, "face")
    return Gaze(track, face, Point(x, y), target and Point(*target), target is not None, method)


def looks(people: Sequence[Gaze], *targets: Region) -> dict[int, int | str | None]:
    return {one.track: one.looks_at for one in who_looks_at(people, targets)}


def test_a_target_in_another_face_is_that_person() -> None:
    people = [person(1, 0.2, 0.5, (0.8, 0.5)), person(2, 0.8, 0.5, (0.5, 0.1)), person(3, 0.5, 0.9, None)]
    assert looks(people) == {1: 2, 2: None, 3: None}


@pytest.mark.parametrize("method", ["model", "head"])
def test_faces_and_named_targets_reach_a_little_beyond_their_boxes(method: Method) -> None:
    edge, margin = 0.5 - SIDE / 2, MARGIN * SIDE
    half = SIDE / 2
    other, cup = person(2, 0.8, 0.5, None), Region(0.8 - half, 0.5 - half, 0.8 + half, 0.5 + half, "cup")
    for y, hit in ((edge - 0.9 * margin, True), (edge - 1.1 * margin, False)):
        one = person(1, 0.2, y, (0.8, y), method)
        assert looks([one, other])[1] == (2 if hit else None)
        assert looks([one], cup)[1] == ("cup" if hit else None)
        assert tracks_looking_at(who_looks_at([one], [cup]), [cup]) == [[1] if hit else []]


def test_what_is_hit_goes_before_a_neighbour_that_is_just_missed() -> None:
    left, right = Region(0.2, 0.2, 0.5, 0.5, "left screen"), Region(0.5, 0.21, 0.79, 0.5, "right screen")
    assert [looks([person(1, 0.5, 0.9, (x, 0.3))], left, right)[1] for x in (0.49, 0.51)] == [left.label, right.label]
    before = person(2, 0.3, 0.3, None)
    assert looks([person(1, 0.5, 0.9, (0.36, 0.3)), before], left)[1] == 2  # just missed, in front of what is large


def test_nobody_looks_at_themselves() -> None:
    assert looks([person(1, 0.5, 0.5, (0.5, 0.52))]) == {1: None}
    behind = person(2, 0.5, 0.5, None, side=0.4)  # whose face holds the first one
    assert looks([person(1, 0.5, 0.5, (0.5, 0.52)), behind])[1] == 2


def test_a_named_target_is_looked_at_and_the_smallest_box_wins() -> None:
    one = [person(1, 0.1, 0.1, (0.6, 0.6))]
    table, cup = Region(0.3, 0.3, 0.9, 0.9, "table"), Region(0.56, 0.56, 0.64, 0.64, "cup")
    assert looks(one, table) == {1: "table"}
    assert looks(one, table, cup) == looks(one, cup, table) == {1: "cup"}
    assert looks(one, Region(0.7, 0.7, 0.8, 0.8, "plate")) == {1: None}
    assert looks([*one, person(2, 0.6, 0.6, None)], table)[1] == 2
    assert looks([*one, person(2, 0.6, 0.6, None)], cup)[1] == "cup"


def test_of_equal_boxes_the_face_wins() -> None:
    screen = Region(0.25, 0.25, 0.75, 0.75, "screen")
    assert looks([person(1, 0.1, 0.1, (0.5, 0.5)), person(2, 0.5, 0.5, None, side=0.5)], screen)[1] == 2


def test_a_heads_line_ends_at_the_first_thing_that_it_meets() -> None:
    turned = person(1, 0.1, 0.5, (1.0, 0.5), "head")
    near, far = person(2, 0.4, 0.52, None), person(3, 0.8, 0.5, None, side=0.05)
    assert looks([turned, far, near])[1] == 2
    assert looks([turned, far])[1] == 3
    assert looks([turned, person(2, 0.4, 0.7, None)])[1] is None
    assert looks([turned], Region(0.0, 0.0, 1.0, 1.0, "room")) == {1: None}
    assert looks([turned], Region(0.9, 0.0, 1.0, 1.0, "wall")) == {1: "wall"}
    assert looks([person(1, 0.5, 0.9, (0.5, 0.0), "head")], Region(0.4, 0.1, 0.6, 0.2, "lamp")) == {1: "lamp"}
    behind = person(1, 0.5, 0.5, (1.0, 0.5), "head")
    assert looks([behind, person(2, 0.2, 0.5, None)])[1] is None


def test_all_else_is_left_as_it_was() -> None:
    people = [person(1, 0.2, 0.5, (0.8, 0.5)), person(2, 0.8, 0.5, None)]
    named = who_looks_at(people)
    assert [replace(one, looks_at=None) for one in named] == people
    assert [one.looks_at for one in who_looks_at([replace(one, target=None, in_frame=False) for one in named])] == [
        None,
        None,
    ]


def test_those_who_look_at_each_other() -> None:
    def looking(track: int, at: int | str | None) -> Gaze:
        return replace(person(track, 0.5, 0.5, (0.1, 0.1)), looks_at=at)

    assert mutual([looking(4, 1), looking(1, 4), looking(2, 1), looking(3, "cup"), looking(5, None)]) == [(1, 4)]
    assert mutual([looking(1, 2), looking(2, 3), looking(3, 1)]) == []
    assert mutual([looking(6, 5), looking(5, 6), looking(2, 1), looking(1, 2)]) == [(1, 2), (5, 6)]
    assert mutual([]) == []


def test_of_things_of_one_name_the_very_one_is_looked_at() -> None:
    cups = [Region(0.1, 0.8, 0.2, 0.9, "cup"), Region(0.7, 0.4, 0.8, 0.5, "cup")]
    table = Region(0.5, 0.3, 0.9, 0.9, "table")
    people = [person(1, 0.2, 0.2, (0.75, 0.45)), person(4, 0.2, 0.45, (1.0, 0.45), "head"), person(3, 0.9, 0.1, None)]
    people = who_looks_at([*people, person(2, 0.4, 0.1, (0.15, 0.85)), person(5, 0.3, 0.1, (0.6, 0.7))], [*cups, table])
    assert tracks_looking_at(people, [*cups, table]) == [[2], [1], [4, 5]]
    assert tracks_looking_at(people, []) == []
    assert tracks_looking_at([], cups) == [[], []]


def moved(
    by: tuple[float, float], face_by: tuple[float, float] = (0, 0), side: float = SIDE, method: Method = "model"
) -> bool:
    """Whether a gaze from the middle to (0.7, 0.6) jumped when its target and the face went as far as that."""
    one, other = (person(1, 0.5 + x, 0.5 + y, None, side=side).face for x, y in ((0, 0), face_by))
    return is_saccade(method, (one, Point(0.7, 0.6)), (other, Point(0.7 + by[0], 0.6 + by[1])))


def test_a_gaze_jumps_if_it_goes_far_in_the_picture_and_from_the_face() -> None:
    less, more = 0.99 * JUMP, 1.01 * JUMP
    assert [moved(by) for by in ((less, 0), (0, -less), (more, 0), (0, -more))] == [False, False, True, True]
    assert [moved((part * JUMP, part * JUMP)) for part in (0.7, 0.72)] == [False, True]
    assert not moved((0.3, 0), face_by=(0.3, 0))  # the camera pans
    assert not moved((0, 0), face_by=(0.3, 0))  # who looks goes by
    assert moved((0.3, 0), face_by=(-0.3, 0))
    assert [moved((part * FACE_JUMP * 0.5, 0), side=0.5) for part in (0.99, 1.01)] == [False, True]


def test_a_head_jumps_by_a_right_angle() -> None:
    assert not moved((-0.1, 0.3), method="head")
    assert not moved((0.3, -0.3), method="head")
    assert moved((-0.5, 0), method="head")
    assert moved((-0.31, 0.1), method="head")


def test_a_gaze_that_can_not_be_is_refused() -> None:
    good = person(1, 0.5, 0.5, (0.1, 0.1))
    assert replace(good, target=None, in_frame=None).in_frame is None
    for change in ({"target": None}, {"in_frame": False}, {"in_frame": None}):
        with pytest.raises(ValueError, match="only then"):
            replace(good, **change)
    nowhere = Region(0, 0, 1, np.nan)
    for place in ({"eye": Point(float("nan"), 0)}, {"target": Point(0, float("inf"))}, {"face": nowhere}):
        with pytest.raises(ValueError, match="not a finite number"):
            replace(good, **place)
    with pytest.raises(ValueError, match="model, head"):
        replace(good, method="eyes")  # type: ignore[arg-type]


def smoothed(times: Sequence[float], places: Sequence[tuple[float, float] | None], steady: Smoother) -> np.ndarray:
    """(n, 2) the targets of one person; NaN where there is none."""
    found = []
    for time, place in zip(times, places, strict=True):
        (one,) = steady(time, [person(1, 0.5, 0.5, place)])
        found.append((one.target.x, one.target.y) if one.target else (np.nan, np.nan))
    return np.array(found)


def steps(rate: float, seconds: float) -> list[float]:
    return [frame / rate for frame in range(int(rate * seconds))]


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_a_gaze_at_rest_is_steadied(rate: float) -> None:
    times = steps(rate, 20)
    places = np.random.default_rng(1).normal(0.5, 0.015, (len(times), 2))
    calm = smoothed(times, [tuple(place) for place in places], Smoother())[len(times) // 10 :]
    assert (calm.std(axis=0) < 0.6 * places.std(axis=0)).all()
    assert np.allclose(calm.mean(axis=0), 0.5, atol=0.01)


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_a_jump_is_followed_at_once(rate: float) -> None:
    times = steps(rate, 4)
    places = [(0.2, 0.7) if time < 2 else (0.7, 0.4) for time in times]
    found = smoothed(times, places, Smoother())
    assert found == pytest.approx(np.array(places), abs=1e-12)


def test_a_jump_leaves_noise_as_steady_as_before() -> None:
    times = steps(30, 8)
    noise = np.random.default_rng(3).normal(0, 0.015, (len(times), 2))
    places = noise + [(0.2, 0.7) if time < 4 else (0.7, 0.4) for time in times]
    found = smoothed(times, [tuple(place) for place in places], Smoother())
    for part in (slice(30, 120), slice(150, 240)):
        assert (found[part].std(axis=0) < 0.6 * places[part].std(axis=0)).all()
    assert np.linalg.norm(found - places, axis=1).max() < 0.06


@pytest.mark.parametrize("speed", [0.05, 0.3, 1.0])
def test_what_moves_smoothly_is_followed_closely(speed: float) -> None:
    """speed: pictures a second."""
    times = steps(30, 0.8 / speed)
    places = [(0.1 + speed * time, 0.5) for time in times]
    assert np.abs(smoothed(times, places, Smoother()) - places).max() < 0.04


def test_only_the_past_counts_and_every_run_gives_the_same() -> None:
    times = steps(25, 4)
    places = [tuple(place) for place in np.random.default_rng(2).uniform(0, 1, (len(times), 2))]
    whole = smoothed(times, places, Smoother())
    assert (smoothed(times[:40], places[:40], Smoother()) == whole[:40]).all()


def test_a_variable_frame_rate_is_smoothed_by_its_times() -> None:
    even = steps(30, 6)
    uneven = [time for index, time in enumerate(even) if index % 7 not in (2, 3, 5)]

    def slow(time: float) -> tuple[float, float]:
        return 0.5 + 0.1 * np.sin(time), 0.5

    a, b = (smoothed(times, [slow(time) for time in times], Smoother()) for times in (even, uneven))
    shared = [even.index(time) for time in uneven]
    assert np.abs(a[shared] - b)[len(b) // 6 :].max() < 0.01


@pytest.mark.parametrize("how", ["cut", "gap", "out", "back", "method"])
def test_it_begins_anew(how: str) -> None:
    steady, time = Smoother(), 0.0
    for frame in range(30):
        time = frame / 30
        steady(time, [person(1, 0.5, 0.5, (0.2, 0.2))])
    after = time + 1 / 30
    if how == "cut":
        steady.cut()
    elif how == "gap":
        after = time + LONGEST_GAP + 0.01
    elif how == "out":
        (one,) = steady(after, [person(1, 0.5, 0.5, None)])
        assert one.target is None
        after += 1 / 30
    elif how == "back":
        after = time
    (one,) = steady(after, [person(1, 0.5, 0.5, (0.23, 0.2), "head" if how == "method" else "model")])
    assert one.target == Point(0.23, 0.2)


def test_it_goes_on_over_a_frame_on_which_the_gaze_is_not_known() -> None:
    steady = Smoother()
    steady(0.0, [person(1, 0.5, 0.5, (0.2, 0.2))])
    unknown = replace(person(1, 0.5, 0.5, None), in_frame=None)
    assert steady(0.04, [unknown]) == [unknown]
    (one,) = steady(0.08, [person(1, 0.5, 0.5, (0.22, 0.2))])
    assert one.target
    assert 0.2 < one.target.x < 0.22


def test_people_are_smoothed_apart() -> None:
    both, alone = Smoother(), Smoother()
    for frame, x in enumerate((0.2, 0.25, 0.2, 0.24)):
        first = person(1, 0.5, 0.5, (x, 0.5))
        pair = [person(2, 0.5, 0.5, (1 - x / 2, 0.9)), first]
        assert both(frame / 30, pair)[1] == alone(frame / 30, [first])[0]


@given(
    st.lists(st.tuples(st.floats(-1, 9), st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1))), max_size=12),
)
def test_any_times_and_targets_stay_in_the_picture(frames: list[tuple[float, tuple[float, float] | None]]) -> None:
    found = smoothed([time for time, _ in frames], [place for _, place in frames], Smoother())
    for (_, place), (x, y) in zip(frames, found, strict=True):
        assert np.isnan(x) if place is None else (-1e-9 <= x <= 1 + 1e-9 and -1e-9 <= y <= 1 + 1e-9)


def test_attention_is_counted_in_seconds_and_shares() -> None:
    attention = Attention()
    at = replace(person(1, 0.5, 0.5, (0.1, 0.1)), looks_at=2)
    out = person(2, 0.5, 0.5, None)
    for _ in range(30):
        attention.add([at, out], 0.1)
    attention.add([replace(at, looks_at="screen"), out], 0.75)
    attention.add([replace(at, looks_at=None), replace(out, in_frame=None)], 0.25)
    attention.add([replace(at, target=None, in_frame=False, looks_at=None)], 1)
    assert attention.as_dict() == {
        "people": [
            {
                "track": 1,
                "seconds": 5.0,
                "targets": [
                    {"kind": "person", "person": 2, "seconds": 3.0, "share": 0.6},
                    {"kind": "out_of_frame", "seconds": 1.0, "share": 0.2},
                    {"kind": "target", "label": "screen", "seconds": 0.75, "share": 0.15},
                    {"kind": "elsewhere", "seconds": 0.25, "share": 0.05},
                ],
            },
            {"track": 2, "seconds": 3.75, "targets": [{"kind": "out_of_frame", "seconds": 3.75, "share": 1.0}]},
        ]
    }
    assert json.loads(json.dumps(attention.as_dict())) == attention.as_dict()


def test_a_target_may_be_called_anything() -> None:
    attention = Attention()
    for name in ("elsewhere", "out_of_frame", "2"):
        attention.add([replace(person(1, 0.5, 0.5, (0.1, 0.1)), looks_at=name)], 1)
    attention.add([replace(person(1, 0.5, 0.5, (0.1, 0.1)), looks_at=2)], 1)
    attention.add([person(1, 0.5, 0.5, (0.1, 0.1))], 1)
    (one,) = attention.as_dict()["people"]
    assert [target["share"] for target in one["targets"]] == [0.2] * 5


def test_a_photo_has_attention_without_seconds() -> None:
    attention = Attention()
    attention.add([person(1, 0.5, 0.5, (0.1, 0.1))], 0)
    (one,) = attention.as_dict()["people"]
    assert one["targets"] == [{"kind": "elsewhere", "seconds": 0, "share": None}]
    assert Attention().as_dict() == {"people": []}


@pytest.mark.parametrize("seconds", [-0.1, float("nan"), float("inf")])
def test_a_frame_of_no_length_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="0 seconds or more"):
        Attention().add([], seconds)
