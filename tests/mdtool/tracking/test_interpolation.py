"""Between two looks at a face its gaze goes evenly or jumps midway; findings are read only a little ahead."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice

import numpy as np
import pytest

from mdtool.records.findings import FrameFindings, FrameInfo, Record
from mdtool.tracking.interpolation import MAX_BUFFERED_FRAMES, MAX_GAP_SECONDS, interpolate_keyframes
from recipes.regions import GazeEstimate, Region

RATE = 30


def face(
    x: float | None, seen: bool, track: int = 1, side: float = 0.2, method: str = "model", at: float = 0.5
) -> Region:
    gaze = GazeEstimate(None if x is None else (x, 0.5), x is not None, method)  # type: ignore[arg-type]
    return Region(at - side / 2, 0.5 - side / 2, at + side / 2, 0.5 + side / 2, "face", track, None, seen, gaze)


def record(number: int, *regions: Region, stream: int = 0, rate: float = RATE) -> Record:
    return Record("clip", FrameInfo(stream, number, number / rate), FrameFindings(list(regions)))


def targets(records: Iterator[Record], track: int = 1) -> list[float | None]:
    return [
        region.gaze.target[0] if region.gaze and region.gaze.target else None
        for one in records
        for region in one.findings.regions
        if region.track == track
    ]


def held(*looks: float | None, step: int = 4, **how: str) -> list[Record]:
    """Looks at one face, `step` frames apart, and what was recorded in between."""
    return [
        record(number, face(looks[number // step], number % step == 0, **how))  # type: ignore[arg-type]
        for number in range(step * (len(looks) - 1) + 1)
    ]


def test_a_gaze_goes_evenly_from_look_to_look() -> None:
    found = targets(interpolate_keyframes(held(0.52, 0.6, 0.56)))
    assert found == pytest.approx([0.52, 0.54, 0.56, 0.58, 0.6, 0.59, 0.58, 0.57, 0.56])


def test_a_gaze_that_jumps_is_held_until_midway() -> None:
    assert targets(interpolate_keyframes(held(0.2, 0.6, 0.6))) == [0.2] * 2 + [0.6] * 7
    assert targets(interpolate_keyframes(held(0.9, 0.1, 0.7))) == [0.9] * 2 + [0.1] * 4 + [0.7] * 3
    assert targets(interpolate_keyframes(held(0.2, 0.6, step=5))) == [0.2] * 3 + [0.6] * 3


@pytest.mark.parametrize("jumps", range(1, 7))
def test_a_jump_is_told_to_half_the_time_between_two_looks(jumps: int) -> None:
    """Whenever it was: jumps is the first frame that shows the new gaze, of 0 to 6."""
    truth = [0.2 if number < jumps else 0.8 for number in range(13)]
    looks = [record(number, face(truth[number - number % 6], number % 6 == 0)) for number in range(13)]
    found = targets(interpolate_keyframes(looks))
    assert set(found) == {0.2, 0.8}
    assert [one == other for one, other in zip(found, truth, strict=True)].count(False) == abs(jumps - 3)


def test_of_gazes_that_jump_few_are_far_off() -> None:
    """Two minutes of looks at one thing after another, for about 0.75 s each; the model looks five times a second."""
    draw, step = np.random.default_rng(5), RATE // 5
    truth: list[float] = []
    while len(truth) < 120 * RATE:
        truth += [draw.uniform(0.0, 1.0)] * max(4, round(RATE * draw.gamma(3, 0.25)))
    seen = [x + draw.normal(0, 0.02) for x in truth[::step]]
    records = [record(number, face(seen[number // step], number % step == 0)) for number in range(len(truth))]
    found = np.array(targets(interpolate_keyframes(records)), float)
    assert (np.abs(found - truth) > 0.1).mean() < 0.06


def test_where_a_face_is_followed_by_the_camera_its_gaze_goes_evenly() -> None:
    """All in the picture moves, or only the person, who looks at the same thing."""
    for ends in ((0.2, 0.6), (0.8, 0.8)):
        looks = [record(n, face(ends[n == 4], n in (0, 4), at=(0.1 + 0.1 * n))) for n in range(5)]
        wanted = [ends[0] + n / 4 * (ends[1] - ends[0]) for n in range(5)]
        assert targets(interpolate_keyframes(looks)) == pytest.approx(wanted)


def test_the_gaze_of_a_large_face_goes_farther_evenly() -> None:
    small, large = (
        [record(n, face(0.2 if n < 4 else 0.5, n in (0, 4), side=side)) for n in range(5)] for side in (0.5, 0.7)
    )
    assert targets(interpolate_keyframes(small)) == [0.2] * 2 + [0.5] * 3
    assert targets(interpolate_keyframes(large)) == pytest.approx([0.2, 0.275, 0.35, 0.425, 0.5])


def test_a_gaze_goes_out_of_the_picture_and_comes_back_midway() -> None:
    assert targets(interpolate_keyframes(held(0.2, None, 0.4))) == [0.2] * 2 + [None] * 4 + [0.4] * 3


def test_a_gaze_that_is_not_known_at_one_look_is_held_until_midway() -> None:
    records = held(0.2, None, None)
    for number, gaze in ((4, GazeEstimate(None, None)), (8, GazeEstimate(None, False))):
        records[number] = record(number, replace(records[number].findings.regions[0], gaze=gaze))
    found = [one.findings.regions[0].gaze for one in interpolate_keyframes(records)]
    known = [gaze.in_frame if gaze else "nothing" for gaze in found]
    assert known == [True] * 2 + [None] * 4 + [False] * 3


def test_unevenly_timed_frames_are_where_their_times_are() -> None:
    times = [0.0, 0.1, 0.4, 0.5]
    for last, wanted in ((0.1, [0.0, 0.02, 0.08, 0.1]), (1.0, [0.0, 0.0, 1.0, 1.0])):
        looks = [
            Record("clip", FrameInfo(0, n, t), FrameFindings([face(0.0 if n < 3 else last, n in (0, 3))]))
            for n, t in enumerate(times)
        ]
        assert targets(interpolate_keyframes(looks)) == pytest.approx(wanted)


def test_looks_that_are_too_far_apart_are_held() -> None:
    step = round(MAX_GAP_SECONDS * RATE) + 1
    assert targets(interpolate_keyframes(held(0.2, 0.28, step=step))) == [0.2] * step + [0.28]
    assert targets(interpolate_keyframes(held(0.2, 0.28, step=step - 1)))[step // 2] == pytest.approx(0.24, abs=0.002)


def test_another_method_begins_midway() -> None:
    looks = held(0.2, 0.25)
    looks[-1] = record(4, face(0.25, True, method="head"))
    found = list(interpolate_keyframes(looks))
    assert targets(iter(found)) == [0.2] * 2 + [0.25] * 3
    methods = [region.gaze.method for one in found for region in one.findings.regions if region.gaze]
    assert methods == ["model"] * 2 + ["head"] * 3


def test_a_head_turns_evenly_but_not_past_the_camera() -> None:
    assert targets(interpolate_keyframes(held(0.6, 1.0, method="head"))) == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert targets(interpolate_keyframes(held(0.0, 1.0, method="head"))) == [0.0] * 2 + [1.0] * 3


def test_people_and_streams_are_kept_apart() -> None:
    records = []
    for number in range(5):
        seen, last = number % 4 == 0, number == 4
        records.append(record(number, face(0.04 if last else 0.0, seen), face(0.96 if last else 1.0, seen, track=2)))
        records.append(record(number, face(0.5, seen), stream=3))
    found = list(interpolate_keyframes(records))
    first = [one for one in found if one.info.stream == 0]
    assert targets(iter(first)) == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    assert targets(iter(first), track=2) == pytest.approx([1, 0.99, 0.98, 0.97, 0.96])
    assert targets(one for one in found if one.info.stream == 3) == [0.5] * 5
    assert [one.info.frame for one in first] == [0, 1, 2, 3, 4]


def test_a_look_that_missed_the_face_does_not_count() -> None:
    records = held(0.2, 0.2, 0.28)
    records[4] = record(4, face(0.2, False))
    assert targets(interpolate_keyframes(records)) == pytest.approx([0.2 + 0.01 * n for n in range(9)])


@pytest.mark.parametrize(("label", "gaze"), [("face", GazeEstimate(None, False)), ("cup", None)])
def test_an_object_is_as_large_in_between_as_at_the_looks(label: str, gaze: GazeEstimate | None) -> None:
    first, last = (
        Region(0.4, 0.4, 0.6, 0.6, label, 1, None, True, gaze),
        Region(0.3, 0.3, 0.7, 0.7, label, 1, None, True),
    )
    wide = Region(0.3, 0.2, 0.9, 0.8, label, 1, None, False, gaze)
    found = list(interpolate_keyframes([record(0, first), record(1, wide), record(2, replace(last, gaze=gaze))]))
    region = found[1].findings.regions[0]
    assert (region.x_min, region.x_max, region.y_min, region.y_max) == pytest.approx((0.45, 0.75, 0.35, 0.65))
    assert (region.label, region.gaze, region.seen) == (label, gaze, False)


@pytest.mark.parametrize(("rate", "most"), [(RATE, round(MAX_GAP_SECONDS * RATE) + 2), (1e9, MAX_BUFFERED_FRAMES + 1)])
def test_only_a_little_is_read_ahead(rate: float, most: int) -> None:
    read = 0

    def endless() -> Iterator[Record]:
        nonlocal read
        for number in count():
            read += 1
            yield record(number, face(0.5, number % 6 == 0, track=number // 100), rate=rate)

    for given, one in enumerate(islice(interpolate_keyframes(endless()), 3000)):
        assert one.info.frame == given
        assert read - given <= most
