"""Requests of the engine for the messages of lmms-eval's tasks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import ChatRequest, DetectRequest, EncodedImage, Generation, Message, QueryRequest
from engine.generation.verbs import VisionModel
from mdtool.errors import InputError
from mdtool.media.image.image_input import to_rgb

# The tasks RefCOCO and ScreenSpot ask for a box in words: "Bounding box coordinates are specified in the format ...
# Please provide the bounding box coordinate of the region this sentence describes: the left cup".
BOX_QUESTION = re.compile(
    r"Bounding box coordinates are specified in the format.*(?:sentence describes|corresponds to the command):\s*(.+)",
    re.DOTALL,
)
MAX_TOKENS = 1024


@dataclass(frozen=True)
class Content:
    """A message of a task: its role, and its texts and images (Pillow) in order."""

    role: str
    parts: tuple[Any, ...]


def contents(messages: Sequence[Mapping[str, Any]]) -> list[Content]:
    """Return the messages of a task, which are dictionaries of "role" and "content".

    Raises:
        InputError: One has video or audio.
    """
    return [Content(message["role"], tuple(_part(part) for part in message["content"])) for message in messages]


def _part(part: Mapping[str, Any]) -> Any:
    if part["type"] == "text":
        return part["text"]
    if part["type"] == "image":
        return part["url"]
    raise InputError(f"this task asks about {part['type']}; mdtool answers questions about images")


def to_request(
    model: VisionModel, messages: Sequence[Content], generation: Generation
) -> QueryRequest | ChatRequest | DetectRequest:
    """Return the request for the messages of a task.

    A question about one image is a query, or a detection if it asks for a box and the model detects. All else is a
    chat.

    Args:
        model: Encodes the images.
        messages: One turn or several.
        generation: Sampling parameters.
    """
    if len(messages) == 1 and messages[0].role == "user":
        texts = [part for part in messages[0].parts if isinstance(part, str)]
        images = [part for part in messages[0].parts if not isinstance(part, str)]
        question = "\n".join(texts).strip()
        wanted = BOX_QUESTION.search(question)
        if wanted and len(images) == 1 and "detect" in model.abilities.prompts:
            return DetectRequest(_encoded(model, images[0]), wanted[1].strip().rstrip("."))
        if len(images) <= 1:
            encoded = _encoded(model, images[0]) if images else None
            return QueryRequest(encoded, question, False, generation=generation)
    turns = tuple(
        Message(
            turn.role,  # type: ignore[arg-type]  # checked by the engine
            tuple(part if isinstance(part, str) else _encoded(model, part) for part in turn.parts),
        )
        for turn in messages
    )
    return ChatRequest(turns, generation)


def _encoded(model: VisionModel, image: Any) -> EncodedImage:
    [encoded] = model.encode([to_rgb(image)])
    return encoded


def to_generation(settings: Mapping[str, Any]) -> Generation:
    """Return sampling parameters for a task's `generation_kwargs`: greedy decoding unless it samples."""
    temperature = settings.get("temperature") or 0
    stops = settings.get("until") or ()
    return Generation(
        temperature=float(temperature) if settings.get("do_sample", bool(temperature)) else 0,
        top_p=settings.get("top_p") if temperature else None,
        max_tokens=int(settings.get("max_new_tokens") or MAX_TOKENS),
        stop=tuple(stop for stop in ([stops] if isinstance(stops, str) else stops) if stop),
    )
