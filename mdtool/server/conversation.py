"""A conversation as the routes of OpenAI and Ollama have it, and the engine's request for its next turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.contract import (
    Abilities,
    ChatRequest,
    Choices,
    EncodedImage,
    Generation,
    ImageBudget,
    Message,
    Number,
    QueryRequest,
)
from engine.contract import Request as EngineRequest
from mdtool.server.api_error import bad_request

DETAIL = {"low": ImageBudget(max_tokens=256), "high": ImageBudget(min_tokens=1024)}  # as --detail

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Picture:
    """An image in a turn, as it was given."""

    reference: str


@dataclass(frozen=True)
class Turn:
    """A turn of a conversation: texts and images in order."""

    role: Role
    parts: tuple[str | Picture, ...]


@dataclass(frozen=True)
class Conversation:
    """A conversation to go on with.

    Attributes:
        turns: Of which the last is the user's.
        detail: How closely to look at the images: the closest that one of them asks for.
    """

    turns: tuple[Turn, ...]
    detail: str | None = None

    @property
    def references(self) -> list[str]:
        """The images in order."""
        return [part.reference for turn in self.turns for part in turn.parts if isinstance(part, Picture)]

    @property
    def budget(self) -> ImageBudget | None:
        """How many tokens an image may become; None: the model's default."""
        return DETAIL.get(self.detail or "auto")

    @property
    def last_text(self) -> str:
        """The text of the last turn."""
        return "\n".join(part for part in self.turns[-1].parts if isinstance(part, str))


@dataclass(frozen=True)
class Answering:
    """How the next turn is generated."""

    generation: Generation
    adapter: str | None = None
    allowed: Choices | Number | None = None
    reasoning: bool = False


def request_maker(
    conversation: Conversation, abilities: Abilities, answering: Answering, param: str = "messages"
) -> Callable[[Sequence[EncodedImage]], EngineRequest]:
    """Return what makes the engine's request from the encoded images.

    A model that can't chat answers one user turn with one image, as a query.

    Raises:
        ApiError: The model can't go on with such a conversation.
    """
    if conversation.turns[-1].role != "user":
        raise bad_request(f"{param}: the last message must be the user's", param)
    if "chat" in abilities.prompts:
        return lambda encoded: _chat(conversation, encoded, answering)
    if len(conversation.turns) != 1 or len(conversation.references) != 1:
        raise bad_request(
            f"{param}: this model does not chat; send one user message with one image and a question", param
        )
    question = conversation.last_text
    return lambda encoded: QueryRequest(
        encoded[0],
        question,
        answering.reasoning,
        generation=answering.generation,
        adapter=answering.adapter,
        allowed=answering.allowed,
    )


def _chat(conversation: Conversation, encoded: Sequence[EncodedImage], answering: Answering) -> ChatRequest:
    images = iter(encoded)
    messages = tuple(
        Message(turn.role, tuple(next(images) if isinstance(part, Picture) else part for part in turn.parts))
        for turn in conversation.turns
    )
    return ChatRequest(messages, answering.generation, answering.adapter, answering.allowed)
