"""Verdicts: spans against those worked out tick by tick, areas against a raster, and each threshold by itself."""

import itertools
import json
import math
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.policy import Policy, Rule, Thresholds
from recipes.regions import Region
from recipes.verdict import SCHEMA, Example, Reply, Ruling, Verdict, VerdictBuilder, hit, share

GRID = 8  # cells a side of the raster on which boxes are drawn
TICK = 1 / 16  # seconds; sums of it are exact


@dataclass(frozen=True)
class Shown:
    """One frame. start, length: ticks; boxes None: it could not be judged."""

    start: int
    length: int
    boxes: list[Region] | None


SMALL, LARGE = Region(0.25, 0.25, 0.5, 0.5), Region(0, 0, 0.5, 0.5)


def tallied(frames: Sequence[Shown], bridge: float = 0.5, **thresholds: Any) -> Verdict:
    tally = VerdictBuilder(Policy((Rule("it", "flag", ("it",), thresholds=Thresholds(**thresholds)),)), bridge)
    for index, shown in enumerate(frames):
        found = None if shown.boxes is None else {"it": shown.boxes}
        tally.add(index, shown.start * TICK, shown.length * TICK, found)
    return tally.verdict()


def ruled(frames: Sequence[Shown], bridge: float = 0.5, **thresholds: Any) -> Ruling:
    (ruling,) = tallied(frames, bridge, **thresholds).rulings
    return ruling


def row(pattern: str, length: int = 1) -> list[Shown]:
    """Frames in a row: # has a box, + a larger one, - one that was carried there, . none, ? could not be judged."""
    boxes = {"#": [SMALL], "+": [LARGE], "-": [Region(0.25, 0.25, 0.5, 0.5, seen=False)], ".": [], "?": None}
    return [Shown(number * length, length, boxes[letter]) for number, letter in enumerate(pattern)]


def raster(boxes: Sequence[Region]) -> float:
    cells = np.zeros((GRID, GRID), bool)
    for y in range(GRID):
        for x in range(GRID):
            cells[y, x] = any(
                box.x_min * GRID <= x < box.x_max * GRID and box.y_min * GRID <= y < box.y_max * GRID for box in boxes
            )
    return float(cells.mean())


@st.composite
def boxes(draw: st.DrawFn) -> Region:
    """With corners on the raster, in the picture or not; of any size over 0."""
    x0, x1 = sorted(draw(st.lists(st.integers(-2, GRID + 2), min_size=2, max_size=2, unique=True)))
    y0, y1 = sorted(draw(st.lists(st.integers(-2, GRID + 2), min_size=2, max_size=2, unique=True)))
    return Region(x0 / GRID, y0 / GRID, x1 / GRID, y1 / GRID, seen=draw(st.booleans()))


@st.composite
def clips(draw: st.DrawFn) -> list[Shown]:
    """Frames of any length, with holes between them, or going on after the next has come."""
    frames, start = [], draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 25))):
        found = draw(st.none() | st.lists(boxes(), max_size=3))
        frames.append(Shown(start, draw(st.integers(1, 6)), found))
        start += draw(st.integers(1, 8))
    return frames


@settings(deadline=None)  # a slow moment of the machine is no fault
@given(
    frames=clips(),
    bridge=st.integers(0, 8),
    min_ticks=st.sampled_from([0, 0, 3, 10]),
    min_times=st.integers(0, 4),
    min_cells=st.sampled_from([0, 0, 4, 20]),
)
def test_a_verdict_is_what_it_is_tick_by_tick(
    frames: list[Shown], bridge: int, min_ticks: int, min_times: int, min_cells: int
) -> None:
    """The clip as a text with a letter a tick: # shows what counts, . does not."""
    ends = [min(a.start + a.length, b.start) for a, b in itertools.pairwise(frames)]
    ends.append(frames[-1].start + frames[-1].length)
    areas = [raster(shown.boxes or []) for shown in frames]
    counts = [area > 0 and area * GRID**2 >= min_cells for area in areas]
    ticks = ["."] * ends[-1]
    for number, shown in enumerate(frames):
        if counts[number]:
            in_a_row = counts[number + 1 : number + 2] == [True]
            end = frames[number + 1].start if in_a_row else ends[number]
            ticks[shown.start : end] = "#" * (end - shown.start)
    text = re.sub(rf"(?<=#)\.{{0,{bridge}}}(?=#)", lambda gap: "#" * len(gap[0]), "".join(ticks))
    runs = [run.span() for run in re.finditer("#+", text) if len(run[0]) >= min_ticks]
    inside = [n for n, f in enumerate(frames) if counts[n] and any(start <= f.start < end for start, end in runs)]
    seen = sum(any(box.seen and raster([box]) > 0 for box in frames[n].boxes or []) for n in inside)

    thresholds = {"min_seconds": min_ticks * TICK, "min_times": min_times, "min_share": min_cells / GRID**2}
    verdict = tallied(frames, bridge * TICK, **thresholds)
    (ruling,) = verdict.rulings
    if inside and seen >= min_times:
        spans = tuple((start * TICK, end * TICK) for start, end in runs)
        best = max(inside, key=lambda number: areas[number])
        example = Example(best, frames[best].start * TICK)
        assert ruling == Ruling(ruling.rule, spans, len(inside), seen, areas[best], example)
    else:
        assert ruling == Ruling(ruling.rule)
    assert verdict.hit is ruling.hit
    assert verdict.frames == len(frames)
    assert verdict.unjudged == sum(shown.boxes is None for shown in frames)
    assert verdict.seconds == (ends[-1] - frames[0].start) * TICK


@settings(deadline=None)
@given(st.lists(boxes(), max_size=6))
def test_the_share_is_that_of_a_raster(found: list[Region]) -> None:
    assert share(found) == pytest.approx(raster(found), abs=1e-12)


def test_what_boxes_share_counts_once() -> None:
    assert share([LARGE, LARGE, SMALL]) == 0.25
    assert share([Region(0, 0, 1, 0.5), Region(0, 0, 0.5, 1)]) == 0.75
    assert share([Region(-1, -1, 2, 2)]) == 1
    assert share([]) == 0


@pytest.mark.parametrize(
    ("pattern", "spans"),
    [
        ("....", []),
        ("#...", [(0, 1)]),
        ("...#", [(3, 4)]),
        ("####", [(0, 4)]),
        ("#..#", [(0, 4)]),
        ("#...#", [(0, 1), (4, 5)]),
        ("#?-#", [(0, 4)]),
        ("#???#", [(0, 1), (4, 5)]),
    ],
)
def test_spans_bridge_two_frames_of_a_quarter_second(pattern: str, spans: list[tuple[float, float]]) -> None:
    ruling = ruled(row(pattern, length=4))
    assert ruling.spans == tuple((start / 4, end / 4) for start, end in spans)
    assert ruling.hit is bool(spans)
    assert ruling.seconds == sum(end - start for start, end in spans) / 4


def test_a_frame_ends_where_the_next_begins() -> None:
    assert ruled([Shown(0, 100, [SMALL]), Shown(1, 1, []), Shown(40, 1, [])]).spans == ((0, TICK),)


def test_frames_in_a_row_are_one_span_over_a_hole() -> None:
    assert ruled([Shown(0, 1, [SMALL]), Shown(100, 1, [SMALL])], bridge=0).spans == ((0, 101 * TICK),)


def test_short_spans_are_dropped_with_all_that_is_theirs() -> None:
    ruling = ruled(row("+" + 20 * "." + "####" + 20 * "." + "+++"), min_seconds=4 * TICK)
    assert ruling.spans == ((21 * TICK, 25 * TICK),)
    assert (ruling.frames, ruling.area, ruling.example) == (4, 1 / 16, Example(21, 21 * TICK))


def test_times_are_counted_where_the_model_looked_and_in_spans_that_count() -> None:
    frames = row("##" + 20 * "." + "#--#--")
    assert ruled(frames, min_times=4).seen == 4
    assert not ruled(frames, min_times=5).hit
    assert ruled(frames, min_times=2, min_seconds=6 * TICK).seen == 2
    assert not ruled(frames, min_times=3, min_seconds=6 * TICK).hit
    assert ruled(row("---")).hit  # without a threshold, what was carried there is enough


@pytest.mark.parametrize(("least", "hits"), [(0, True), (0.25, True), (0.2500001, False), (1, False)])
def test_the_share_is_that_of_all_findings_of_a_frame(least: float, hits: bool) -> None:
    quarters = [Region(0.1, 0, 0.3, 0.625), Region(0.7, 0, 0.9, 0.625)]  # 0.3 - 0.1 is a little less than 0.2
    assert ruled([Shown(0, 1, quarters)], min_share=least).hit is hits
    assert ruled([Shown(0, 1, [quarters[0]]), Shown(1, 1, [quarters[1]])], min_share=0.2).hit is False


def test_fifteen_frames_at_thirty_a_second_last_half_a_second() -> None:
    for first in range(100):
        tally = VerdictBuilder(Policy((Rule("it", "flag", ("it",), thresholds=Thresholds(min_seconds=0.5)),)))
        for index in range(first, first + 15):
            tally.add(index, index / 30, 1 / 30, {"it": [SMALL]})
        assert tally.verdict().hit


def test_the_example_is_the_first_of_equals() -> None:
    shifted = [Region(n / 10, 0, n / 10 + 0.2, 0.5) for n in range(8)]  # one area but for the last bits
    assert len({box.x_max - box.x_min for box in shifted}) > 1
    assert ruled([Shown(n, 1, [box]) for n, box in enumerate(shifted)]).example == Example(0, 0)
    assert ruled(row("##+#+")).example == Example(2, 2 * TICK)
    apart = [Shown(0, 1, [LARGE]), Shown(1, 1, []), Shown(50, 1, [LARGE])]
    assert ruled(apart).example == Example(0, 0)


def test_a_photo_has_no_time_to_be_too_short() -> None:
    ruling = ruled([Shown(0, 0, [LARGE])], min_seconds=5, min_times=9)
    assert (ruling.spans, ruling.frames, ruling.area, ruling.example) == (((0, 0),), 1, 0.25, Example(0, 0))
    assert not ruled([Shown(0, 0, [LARGE])], min_share=0.5).hit
    assert not ruled([Shown(0, 1, [LARGE])], min_seconds=5).hit
    assert not ruled([Shown(0, 0, [LARGE]), Shown(1, 0, [])], min_seconds=5).hit


@pytest.mark.parametrize(
    ("box", "counts"),
    [
        (Region(0.5, 0.5, 0.5, 0.5), True),
        (Region(-1, -1, 0.01, 0.01), True),
        (Region(1, 0, 1.5, 1), False),
        (Region(1, 0, 1, 1), False),
        (Region(-1, 0, 0, 1), False),
        (Region(0, 1, 1, 2), False),
    ],
)
def test_what_lies_outside_of_the_picture_is_not_in_it(box: Region, counts: bool) -> None:
    assert ruled([Shown(0, 1, [box])]).hit is counts


@pytest.mark.parametrize("box", [Region(0.5, 0, 0.4, 1), Region(0, math.nan, 1, 1)])
def test_a_box_that_is_none_is_told(box: Region) -> None:
    with pytest.raises(ValueError, match="not a box"):
        ruled([Shown(0, 1, [LARGE, box])])


def asked() -> Rule:
    return Rule("asked", "cut", question="Is it safe?", answers=("no",), thresholds=Thresholds(min_times=2))


def test_replies_to_a_question_make_spans_without_a_place() -> None:
    tally = VerdictBuilder(Policy((asked(),)), bridge=0)
    replies = ["Yes", "No.", "no", "No, it burns", "Yes, no fire"]
    for index, text in enumerate(replies):
        tally.add(index, index / 2, 0.5, {"asked": Reply(text, seen=index % 2 == 1)})
    (ruling,) = tally.verdict().rulings
    assert ruling == Ruling(asked(), ((0.5, 2.0),), 3, 2, None, Example(1, 0.5))
    assert ruling.as_dict()["largest_area"] is None


def test_a_verdict_is_json_of_a_named_schema() -> None:
    rules = (Rule("guns", "flag", ("gun",)), Rule("it", "flag", ("it",)), asked())
    tally = VerdictBuilder(Policy(rules))
    assert tally.verdict() == Verdict(tuple(map(Ruling, rules)), 0, 0, 0.0)
    for index in range(3):
        tally.add(index, index / 30, 1 / 30, {"guns": [LARGE], "it": [], "asked": Reply("Yes")})
    tally.add(3, 0.1, 1 / 30, None)
    nothing = {"hit": False, "spans": [], "seconds": 0, "frames": 0, "seen": 0, "largest_area": None, "example": None}
    assert json.loads(json.dumps(tally.verdict().as_dict())) == {
        "schema": "mdtool.verdict/1",
        "hit": True,
        "frames": 4,
        "unjudged": 1,
        "seconds": 0.133333,
        "rules": [
            {
                "rule": "guns",
                "action": "flag",
                "hit": True,
                "spans": [[0.0, 0.1]],
                "seconds": 0.1,
                "frames": 3,
                "seen": 3,
                "largest_area": 0.25,
                "example": {"frame": 0, "time": 0.0},
            },
            {"rule": "it", "action": "flag", **nothing},
            {"rule": "asked", "action": "cut", **nothing},
        ],
    }
    assert SCHEMA == "mdtool.verdict/1"


@pytest.mark.parametrize("pattern", ["#", "+-", "#........", "?"])
def test_memory_does_not_grow_with_frames(pattern: str) -> None:
    """A clip of one long span, of flickers each too short to count, and of nothing that could be judged."""
    rule = Rule("it", "flag", ("it",), thresholds=Thresholds(min_seconds=3 * TICK))
    tally = VerdictBuilder(Policy((rule,)), bridge=5 * TICK)
    sizes = []
    for index, shown in enumerate(row(pattern * (9000 // len(pattern)))):
        tally.add(index, shown.start * TICK, shown.length * TICK, None if shown.boxes is None else {"it": shown.boxes})
        if index in (899, 8989):
            sizes.append(len(pickle.dumps(tally)))
    assert sizes[1] < sizes[0] + 50


def test_a_verdict_can_be_asked_for_at_any_time() -> None:
    tally = VerdictBuilder(Policy((Rule("it", "flag", ("it",)),)))
    frames = row("##......................#..")
    for index, shown in enumerate(frames):
        assert tally.verdict().rulings == tally.verdict().rulings
        tally.add(index, shown.start * TICK, shown.length * TICK, {"it": shown.boxes or []})
    assert tally.verdict() == tallied(frames)


@pytest.mark.parametrize(
    ("index", "time", "duration"), [(4, 2, 1), (5, 2, 1), (6, 0.9, 1), (6, math.nan, 1), (6, 2, -1), (6, 2, math.nan)]
)
def test_frames_out_of_order_are_told(index: int, time: float, duration: float) -> None:
    tally = VerdictBuilder(Policy((Rule("it", "flag", ("it",)),)))
    tally.add(5, 1.0, 0.1, {"it": []})
    with pytest.raises(ValueError, match="does not come after the one before"):
        tally.add(index, time, duration, {"it": []})


def test_findings_that_leave_out_a_rule_are_no_clean_verdict() -> None:
    tally = VerdictBuilder(Policy((Rule("a", "flag", ("a",)), Rule("b", "flag", ("b",)))))
    wrong: list[dict[str, list[Region]]] = [{"a": []}, {}, {"a": [], "b": [], "c": []}]
    for found in wrong:
        with pytest.raises(ValueError, match="don't have the same rules"):
            tally.add(0, 0, 1, found)


def test_boxes_are_no_reply() -> None:
    with pytest.raises(ValueError, match="'asked' needs a reply"):
        hit(asked(), [])
    with pytest.raises(ValueError, match="'it' needs boxes"):
        hit(Rule("it", "flag", ("it",)), Reply("no"))
