"""Objects out of answers as models write them, and out of any other text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.generation.boxes_from_text import ParsedObjects, parse_objects

FACE = {"bbox_2d": [100, 200, 300, 400], "label": "face"}
BOX = (0.1, 0.2, 0.3, 0.4)
OTHER = {"bbox_2d": [0, 500, 1000, 750], "label": "face"}
OTHER_BOX = (0.0, 0.5, 1.0, 0.75)


def boxes(text: str) -> ParsedObjects | None:
    return parse_objects(text, "bbox_2d", 4, 1000)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([FACE, OTHER]),
        f"```json\n{json.dumps([FACE, OTHER], indent=1)}\n```",
        f"```json\n{json.dumps([FACE, OTHER])}",
        f"Here they are:\n```JSON\n{json.dumps([FACE, OTHER])}\n```\nThat is all.",
        json.dumps([FACE, OTHER, FACE]),
        "[[100, 200, 300, 400], [0, 500, 1000, 750]]",
    ],
)
def test_a_whole_list_is_complete(text: str) -> None:
    assert boxes(text) == ParsedObjects([BOX, OTHER_BOX], complete=True)


@pytest.mark.parametrize("text", [json.dumps(FACE), "```json\n" + json.dumps(FACE) + "```", "[100, 200, 300, 400]"])
def test_a_single_object_is_a_list_of_one(text: str) -> None:
    assert boxes(text) == ParsedObjects([BOX], complete=True)


@pytest.mark.parametrize("text", ["[]", "```json\n[]\n```", "```json\n[\n]"])
def test_an_empty_list_is_an_answer(text: str) -> None:
    assert boxes(text) == ParsedObjects([], complete=True)


@pytest.mark.parametrize("end", range(1, 50, 7))
def test_a_list_that_was_cut_off_gives_what_it_has_and_is_not_complete(end: int) -> None:
    text = "```json\n[" + json.dumps(FACE) + ", " + json.dumps(OTHER)[:end]
    assert boxes(text) == ParsedObjects([BOX], complete=False)


def test_objects_in_prose_are_found_but_not_trusted_to_be_all() -> None:
    assert boxes(f"There is {json.dumps(FACE)} and {json.dumps(OTHER)}.") == ParsedObjects([BOX, OTHER_BOX], False)


@pytest.mark.parametrize(
    "bad", [[1, 2, 3], [1, 2, 3, 4, 5], ["a", 1, 2, 3], [None, 1, 2, 3], [True, 1, 2, 3], "1,2,3,4", {}, None]
)
def test_an_entry_that_cannot_be_read_leaves_the_list_incomplete(bad: object) -> None:
    assert boxes(json.dumps([FACE, {"bbox_2d": bad, "label": "face"}])) == ParsedObjects([BOX], complete=False)
    assert boxes(json.dumps([{"bbox_2d": bad, "label": "face"}])) is None


@pytest.mark.parametrize(
    "text", ["", "There are no faces.", "```json\n", "{}", '{"label": "face"}', "5", "null", '"[]"', "[" * 5000, "{"]
)
def test_anything_else_is_no_answer(text: str) -> None:
    assert boxes(text) is None


def test_corners_are_sorted_and_clamped() -> None:
    assert boxes("[1500, 400, 100, -3]") == ParsedObjects([(0.1, 0.0, 1.0, 0.4)], complete=True)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    assert boxes(f'[{{"bbox_2d": [1, 2, 3, {number}]}}]') is None


def test_points_have_two_numbers_and_any_scale() -> None:
    assert parse_objects('[{"point": [0.25, 0.5]}]', "point", 2, 1) == ParsedObjects([(0.25, 0.5)], complete=True)


answers = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["bbox_2d", "label"]), inner),
)


@given(
    st.text() | answers.map(json.dumps), st.integers(0, 200), st.sampled_from(["", "```json\n", "[", '{"bbox_2d": '])
)
def test_no_text_breaks_it(text: str, end: int, start: str) -> None:
    parsed = boxes(start + text[:end])
    for item in parsed.items if parsed else []:
        x_min, y_min, x_max, y_max = item
        assert 0 <= x_min <= x_max <= 1
        assert 0 <= y_min <= y_max <= 1
