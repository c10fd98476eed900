"""Lists of objects as a model writes them, token by token."""

import json
from collections.abc import Sequence

import pytest
from golden_qwen import FOLDER

from engine.contract import UNLIMITED, Box, Generation, ObjectList, Point
from engine.generation.prompt_style import ObjectQuestion
from engine.generation.scheduler import ContextFull, Forward
from engine.generation.steps import History, ReadToken
from engine.generation.text_flows import decoding_params
from engine.generation.tokenizer import load_tokenizer
from engine.generation.vlm_flows import UnreadableAnswer, objects_flow

TOKENIZER = load_tokenizer(FOLDER / "tokenizer.json", 357)
END = TOKENIZER.special("<|im_end|>")
PROMPT = [5, 6, 7]
BOXES = ObjectQuestion(Box, "{prompt}?", "bbox_2d", answer_start="```json\n")
POINTS = ObjectQuestion(Point, "{prompt}?", "point_2d")
FACES = [{"bbox_2d": [100 * i, 0, 100 * i + 50, 500], "label": "a face"} for i in range(4)]


def listed(
    answer: str,
    question: ObjectQuestion = BOXES,
    limit: int = 50,
    *,
    end: Sequence[int] = (END,),
    max_tokens: int = 1000,
    room: int = 10_000,
) -> tuple[ObjectList, int]:
    """Return the result where the model answers so, and how many tokens it was asked for."""
    params = decoding_params(Generation(), Generation(0.0, 1.0, max_tokens), stop_ids=(END,))
    history = History()
    flow = objects_flow(PROMPT, params, TOKENIZER.decode, question, history=history, label="face", limit=limit)
    tokens, read, fed = iter([*TOKENIZER.encode(answer), *end]), 0, 0
    step = next(flow)
    assert step == Forward(PROMPT)
    try:
        while True:
            if isinstance(step, ReadToken):
                read += 1
                step = flow.send(next(tokens))
            elif (fed := fed + len(step.pieces)) > room:
                step = flow.throw(ContextFull())
            else:
                step = flow.send(None)
    except StopIteration as stop:
        found: ObjectList = stop.value
        return found, read


def boxes(count: int) -> list[Box]:
    return [Box(0.1 * i, 0.0, (100 * i + 50) / 1000, 0.5, "face") for i in range(count)]


def close(found: ObjectList, wanted: list[Box], complete: bool) -> None:
    assert [pytest.approx((b.x_min, b.y_min, b.x_max, b.y_max)) for b in wanted] == [
        (b.x_min, b.y_min, b.x_max, b.y_max) for b in found.items if isinstance(b, Box)
    ]
    assert {item.label for item in found.items} <= {"face"}
    assert found.complete == complete


def test_boxes_are_labelled_as_asked_for() -> None:
    close(listed(json.dumps(FACES) + "\n```")[0], boxes(4), True)


def test_points() -> None:
    found, _ = listed('[{"point_2d": [250, 500], "label": "the eye"}]', POINTS)
    assert found == ObjectList([Point(0.25, 0.5, "face")], complete=True)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_model_is_stopped_at_the_limit(limit: int) -> None:
    text = json.dumps(FACES)
    found, read = listed(text, limit=limit)
    close(found, boxes(limit), False)
    assert read < len(TOKENIZER.encode(text))


def test_a_list_as_long_as_the_limit_is_complete() -> None:
    close(listed(json.dumps(FACES), limit=4)[0], boxes(4), True)


def test_the_limit_may_be_none() -> None:
    close(listed(json.dumps(FACES), limit=UNLIMITED)[0], boxes(4), True)


@pytest.mark.parametrize("how", ["max_tokens", "room"])
def test_a_list_that_is_cut_off_is_not_complete(how: str) -> None:
    cut = len(TOKENIZER.encode(json.dumps(FACES)[:-10]))
    found, _ = listed(json.dumps(FACES), max_tokens=cut) if how == "max_tokens" else listed(json.dumps(FACES), room=cut)
    close(found, boxes(3), False)


@pytest.mark.parametrize("text", ["", "I see no face.", "[[[["])
def test_anything_else_is_refused_with_what_it_was(text: str) -> None:
    with pytest.raises(UnreadableAnswer, match="the model did not answer with a list of objects: '```json"):
        listed(text)


def test_a_model_that_never_lists_an_object_is_stopped() -> None:
    with pytest.raises(UnreadableAnswer):
        listed("[" + "the dog " * 300)
    close(listed(json.dumps(FACES[:2])[:-1] + ", the dog" * 300)[0], boxes(2), False)


def test_an_empty_list_is_an_answer() -> None:
    close(listed("[]\n```")[0], [], True)
