"""Records of answers ("mdtool.answers/1"): one JSON object per image and prompt, question or length.

`mdtool.records.schemas` describes the fields.
"""

from collections.abc import Sequence
from typing import Any

from engine.contract import (
    Answer,
    Box,
    CaptionRequest,
    DetectRequest,
    Point,
    PointRequest,
    QueryRequest,
    Request,
)

SCHEMA = "mdtool.answers/1"
DECIMALS = 6
SIDES = ("x_min", "y_min", "x_max", "y_max")
PLACE = ("x", "y")


def record(request: Request, result: Any, source: str, *, size: tuple[int, int], model: str) -> dict[str, Any]:
    """Return the record of one answer.

    Args:
        request: The request.
        result: Its result, as in `engine.contract.Done`.
        source: The image, as it was named.
        size: Width and height in pixels, upright.
        model: Name of the model.
    """
    width, height = size
    header = {"schema": SCHEMA, "input": source, "width": width, "height": height, "model": model}
    return header | answer_entry(request, result)


def answer_entry(request: Request, result: Any) -> dict[str, Any]:
    """Return the fields of a record that hold the request and its result.

    Args:
        request: The request.
        result: Its result, as in `engine.contract.Done`.

    Raises:
        TypeError: There are no records of such requests.
    """
    match request:
        case CaptionRequest(length=length):
            return {"length": length, "caption": result.text} | _spent(result)
        case QueryRequest(question=question, references=references):
            at = {"at": [list(reference) for reference in references]} if references else {}
            return {"question": question} | at | _answer(result) | _spent(result)
        case DetectRequest(prompt=prompt):
            return {
                "prompt": prompt,
                "objects": [_object(box, prompt) for box in result.items],
                "complete": result.complete,
            }
        case PointRequest(prompt=prompt):
            points = [{"label": point.label or prompt, **_rounded(point, PLACE)} for point in result.items]
            return {"prompt": prompt, "points": points, "complete": result.complete}
    raise TypeError(f"no record for {request}")


def _answer(answer: Answer) -> dict[str, Any]:
    entry: dict[str, Any] = {"answer": answer.text}
    if answer.reasoning:
        entry["reasoning"] = answer.reasoning
        entry["grounding"] = [
            {"start": passage.start, "end": passage.end, "points": [_rounded(point, PLACE) for point in passage.points]}
            for passage in answer.grounding
        ]
    return entry


def _spent(answer: Answer) -> dict[str, int]:
    return {"image_tokens": answer.image_tokens} if answer.image_tokens else {}


def _object(box: Box, prompt: str) -> dict[str, Any]:
    score = {} if box.score is None else {"score": round(box.score, DECIMALS)}
    return {"label": box.label or prompt, **_rounded(box, SIDES), **score}


def _rounded(coordinates: Box | Point, names: Sequence[str]) -> dict[str, float]:
    return {name: round(getattr(coordinates, name), DECIMALS) for name in names}
