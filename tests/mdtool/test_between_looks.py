"""Between two looks at a face its gaze goes evenly; findings are read only a little ahead."""

from collections.abc import Iterator
from itertools import count, islice

import pytest

from mdtool.findings import Gazed, Moment, Record, Region, Verdict
from mdtool.stream.between_looks import LONGEST, MOST_HELD, between_looks

RATE = 30


def face(x: float | None, seen: bool, track: int = 1, side: float = 0.2, method: str = "model") -> Region:
    gaze = Gazed(None if x is None else (x, 0.5), x is not None, method)  # type: ignore[arg-type]
    return Region(0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2, "face", track, None, seen, gaze)


def record(number: int, *regions: Region, stream: int = 0, rate: float = RATE) -> Record:
    return Record("clip", Moment(stream, number, number / rate), Verdict(list(regions)))


def targets(records: Iterator[Record], track: int = 1) -> list[float | None]:
    return [
        region.gaze.target[0] if region.gaze and region.gaze.target else None
        for one in records
        for region in one.verdict.regions
        if region.track == track
    ]


def held(*looks: float | None, step: int = 4, **how: str) -> list[Record]:
    """Looks at one face, `step` frames apart, and what was recorded in between."""
    return [
        record(number, face(looks[number // step], number % step == 0, **how))  # type: ignore[arg-type]
        for number in range(step * (len(looks) - 1) + 1)
    ]


def test_a_gaze_goes_evenly_from_look_to_look() -> None:
    found = targets(between_looks(held(0.2, 0.6, 0.4)))
    assert found == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.55, 0.5, 0.45, 0.4])


def test_a_gaze_out_of_the_picture_is_held() -> None:
    assert targets(between_looks(held(0.2, None, 0.4))) == [0.2] * 4 + [None] * 4 + [0.4]


def test_unevenly_timed_frames_are_where_their_times_are() -> None:
    times = [0.0, 0.1, 0.4, 0.5]
    looks = [
        Record("clip", Moment(0, n, t), Verdict([face(0.0 if n < 3 else 1.0, n in (0, 3))]))
        for n, t in enumerate(times)
    ]
    assert targets(between_looks(looks)) == pytest.approx([0.0, 0.2, 0.8, 1.0])


def test_looks_that_are_too_far_apart_are_held() -> None:
    step = round(LONGEST * RATE) + 1
    assert targets(between_looks(held(0.2, 0.6, step=step))) == [0.2] * step + [0.6]
    assert targets(between_looks(held(0.2, 0.6, step=step - 1)))[step // 2] == pytest.approx(0.4, abs=0.01)


def test_another_method_begins_anew() -> None:
    looks = held(0.2, 0.6)
    looks[-1] = record(4, face(0.6, True, method="head"))
    assert targets(between_looks(looks)) == [0.2] * 4 + [0.6]


def test_people_and_streams_are_kept_apart() -> None:
    records = []
    for number in range(5):
        seen, last = number % 4 == 0, number == 4
        records.append(record(number, face(1.0 if last else 0.0, seen), face(0.0 if last else 1.0, seen, track=2)))
        records.append(record(number, face(0.5, seen), stream=3))
    found = list(between_looks(records))
    first = [one for one in found if one.moment.stream == 0]
    assert targets(iter(first)) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert targets(iter(first), track=2) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert targets(one for one in found if one.moment.stream == 3) == [0.5] * 5
    assert [one.moment.frame for one in first] == [0, 1, 2, 3, 4]


def test_a_look_that_missed_the_face_does_not_count() -> None:
    records = held(0.2, 0.2, 0.6)
    records[4] = record(4, face(0.2, False))
    assert targets(between_looks(records)) == pytest.approx([0.2 + 0.05 * n for n in range(9)])


def test_a_face_is_as_large_in_between_as_at_the_looks() -> None:
    wide = Region(0.3, 0.2, 0.9, 0.8, "face", 1, None, False, Gazed(None, False))
    records = [record(0, face(None, True, side=0.2)), record(1, wide), record(2, face(None, True, side=0.4))]
    region = list(between_looks(records))[1].verdict.regions[0]
    assert (region.x_min, region.x_max, region.y_min, region.y_max) == pytest.approx((0.45, 0.75, 0.35, 0.65))


def test_things_without_a_gaze_stay_as_they_are() -> None:
    cup = Region(0.1, 0.1, 0.2, 0.2, "cup", 7, None, True)
    records = [record(number, cup) for number in range(5)]
    assert list(between_looks(records)) == records


@pytest.mark.parametrize(("rate", "most"), [(RATE, round(LONGEST * RATE) + 2), (1e9, MOST_HELD + 1)])
def test_only_a_little_is_read_ahead(rate: float, most: int) -> None:
    read = 0

    def endless() -> Iterator[Record]:
        nonlocal read
        for number in count():
            read += 1
            yield record(number, face(0.5, number % 6 == 0, track=number // 100), rate=rate)

    for given, one in enumerate(islice(between_looks(endless()), 3000)):
        assert one.moment.frame == given
        assert read - given <= most
