"""From a conversation to the inputs of a model: the chat template rendered, tokenized, and images put into it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.contract import EncodedImage, EngineError, Message
from engine.generation.chat_template import ChatTemplate
from engine.generation.image_features import ImageFeatures
from engine.generation.tokenizer import Tokenizer


@dataclass(frozen=True)
class Special:
    """A control token, by its name in the tokenizer."""

    name: str


ImagePart = Special | ImageFeatures  # an image in a prompt: its embeddings, and the control tokens between them


def prompt_pieces(
    messages: Sequence[Message],
    template: ChatTemplate,
    tokenizer: Tokenizer,
    image_token: str,
    *,
    parts_of: Callable[[EncodedImage], Sequence[ImagePart]],
    answer_start: str = "",
) -> list[int | ImageFeatures]:
    """Return the inputs of a model for a conversation, up to the start of the assistant's next turn.

    No text of a message can become a control token.

    Args:
        messages: The conversation.
        template: Renders it.
        tokenizer: The model's.
        image_token: Name of the control token that the template writes for an image.
        parts_of: What takes the place of that token.
        answer_start: Text that the assistant's turn begins with.

    Returns:
        Token ids and images, each of these as often as it has rows.

    Raises:
        EngineError: The template fails, or does not write each image once.
    """
    prompt = template.render([_escaped(message, tokenizer) for message in messages]) + answer_start
    images = [part for message in messages for part in message.parts if isinstance(part, EncodedImage)]
    ids, placeholder = tokenizer.encode_prompt(prompt), tokenizer.special(image_token)
    if ids.count(placeholder) != len(images):
        raise EngineError(
            f"{template.origin}: the chat template writes {ids.count(placeholder)} images for a conversation with "
            f"{len(images)}"
        )
    following = iter(images)
    pieces: list[int | ImageFeatures] = []
    for token in ids:
        pieces += _rows(parts_of(next(following)), tokenizer) if token == placeholder else (token,)
    return pieces


def _escaped(message: Message, tokenizer: Tokenizer) -> Message:
    return replace(
        message, parts=tuple(tokenizer.escape(part) if isinstance(part, str) else part for part in message.parts)
    )


def _rows(parts: Sequence[ImagePart], tokenizer: Tokenizer) -> Iterator[int | ImageFeatures]:
    for part in parts:
        if isinstance(part, Special):
            yield tokenizer.special(part.name)
        else:
            yield from (part for _ in range(len(part)))
