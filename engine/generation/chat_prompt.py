"""From a conversation to the inputs of a model: rendering in ChatML, and tokenization.

Text is tokenized between two control tokens at once, as the tokenizers of the reference implementations do. No text of
a message can become a control token.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from engine.contract import EncodedImage, Message
from engine.generation.image_features import ImageFeatures
from engine.generation.tokenizer import Tokenizer


@dataclass(frozen=True)
class Special:
    """A control token, by its name in the tokenizer."""

    name: str


PromptPart = str | Special | EncodedImage
ImagePart = Special | ImageFeatures  # an image in a prompt: its embeddings, and the control tokens around them
PromptTemplate = Callable[[Sequence[Message]], list[PromptPart]]  # up to the start of the assistant's next turn


def chatml(messages: Sequence[Message]) -> list[PromptPart]:
    """Render a conversation in ChatML, up to the start of the assistant's next turn."""
    parts: list[PromptPart] = []
    for message in messages:
        parts += [Special("<|im_start|>"), f"{message.role}\n", *message.parts, Special("<|im_end|>"), "\n"]
    return [*parts, Special("<|im_start|>"), "assistant\n"]


def tokenize(
    parts: Iterable[PromptPart], tokenizer: Tokenizer, features: Callable[[EncodedImage], Sequence[ImagePart]]
) -> list[int | ImageFeatures]:
    """Return the inputs of a model for a rendered prompt.

    Args:
        parts: As rendered.
        tokenizer: The model's.
        features: What stands for an image.

    Returns:
        Token ids and images, each of these as often as it has rows.
    """
    pieces: list[int | ImageFeatures] = []
    text = ""
    for part in (*_flat(parts, features), None):
        if isinstance(part, str):
            text += part
            continue
        if text:
            pieces += tokenizer.encode(text)
            text = ""
        if isinstance(part, Special):
            pieces.append(tokenizer.special(part.name))
        elif part is not None:
            pieces += [part] * len(part)
    return pieces


def _flat(
    parts: Iterable[PromptPart], features: Callable[[EncodedImage], Sequence[ImagePart]]
) -> Iterator[str | ImagePart]:
    for part in parts:
        if isinstance(part, EncodedImage):
            yield from features(part)
        else:
            yield part
