"""The flows of a VLM that answers in text only: see `engine.generation.scheduler`."""

from collections.abc import Callable, Sequence
from typing import Any

from engine.contract import Box, EngineError, ObjectList
from engine.error_text import short_repr
from engine.generation.boxes_from_text import parse_objects
from engine.generation.prompt_style import ObjectQuestion
from engine.generation.scheduler import ContextFull, Flow, Forward
from engine.generation.steps import History, ReadToken
from engine.generation.text_flows import DecodingParams

MAX_OBJECT_TOKENS = 160  # a model that writes more without the end of an object is not listing any


class UnreadableAnswer(EngineError):
    """The model was asked for a list of objects and answered with something else."""


def objects_flow(
    pieces: Sequence[object],
    params: DecodingParams,
    decode: Callable[[Sequence[int]], str],
    question: ObjectQuestion,
    *,
    history: History,
    label: str,
    limit: int,
) -> Flow:
    """List objects as JSON, and parse them; the result is an ObjectList.

    Args:
        pieces: The prompt.
        params: How the answer is decoded.
        decode: Ids to text.
        question: How the model writes objects.
        history: Of the sequence.
        label: Of the objects found.
        limit: Most objects.

    Raises:
        UnreadableAnswer: The answer is no list of objects.
    """
    history.add_prompt(pieces)
    yield Forward(pieces)
    is_cut, last_object, found = False, 0, 0
    while (token := (yield ReadToken(params.sampler, history=history))) not in params.stop_ids:
        history.generated.append(token)
        count = len(history.generated)
        if "}" in decode([token]):
            last_object, found = count, found + decode([token]).count("}")
        if count >= params.max_tokens or count - last_object >= MAX_OBJECT_TOKENS or found > limit:
            is_cut = True
            break
        try:
            yield Forward([token])
        except ContextFull:
            is_cut = True
            break
    text = question.answer_start + decode(history.generated)
    numbers = 4 if question.kind is Box else 2
    parsed = parse_objects(text, question.key, numbers, question.scale)
    if parsed is None:
        raise UnreadableAnswer(f"the model did not answer with a list of objects: {short_repr(text)}")
    kind: Callable[..., Any] = question.kind
    objects = [kind(*item, label) for item in parsed.items[:limit]]
    return ObjectList(objects, parsed.complete and not is_cut and len(objects) == len(parsed.items))
