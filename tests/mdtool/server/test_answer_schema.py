"""Answers kept to a JSON Schema."""

import json

import pytest

from mdtool.server.answer_schema import AnswerSchema


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("number", "007", 7),
        ("number", "-0.50", -0.5),
        ("number", "3", 3),
        ("number", "12345678901234567890.5", 12345678901234567890.5),
        ("integer", "3.7", 3),
        ("integer", "-3.0", -3),
        ("integer", "010", 10),
        ("boolean", "true", True),
        ("string", 'say "hi"', 'say "hi"'),
    ],
)
def test_the_text_is_json(kind: str, answer: str, expected: object) -> None:
    assert json.loads(AnswerSchema(kind).json_text(answer)) == expected  # type: ignore[arg-type]
    assert json.loads(AnswerSchema(kind, key='a"b').json_text(answer)) == {'a"b': expected}  # type: ignore[arg-type]
