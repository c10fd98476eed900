"""What was asked and answered, as data."""

from engine.contract import Answer, CaptionRequest, Grounding, ObjectList, Point, PointRequest, QueryRequest
from mdtool.records.answers import record


def test_the_record_of_an_answer_that_was_reasoned() -> None:
    passage = Grounding(4, 9, (Point(1 / 3, 0.5), Point(0.25, 1.0)))
    answer = Answer("Two.", "The dogs.", (passage,))
    entry = record(QueryRequest(None, "how many?"), answer, "a.jpg", size=(3, 2), model="moondream3")
    assert entry == {
        "schema": "mdtool.answers/1", "input": "a.jpg", "width": 3, "height": 2, "model": "moondream3",
        "question": "how many?", "answer": "Two.", "reasoning": "The dogs.",
        "grounding": [{"start": 4, "end": 9, "points": [{"x": 0.333333, "y": 0.5}, {"x": 0.25, "y": 1.0}]}],
    }  # fmt: skip


def test_found_in_no_picture() -> None:
    assert record(PointRequest(None, "dog"), ObjectList([], True), "a.jpg", size=(3, 2), model="m")["points"] == []


def test_the_tokens_of_an_image_are_told_where_they_vary() -> None:
    request = CaptionRequest(None, "short")
    told = record(request, Answer("A dog.", image_tokens=64), "a.jpg", size=(3, 2), model="m")
    assert (told["caption"], told["image_tokens"]) == ("A dog.", 64)
    assert "image_tokens" not in record(request, Answer("A dog."), "a.jpg", size=(3, 2), model="m")
