"""What a flow of the text model may yield, beside text: values to be read by the model, and readings of its state."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.generation.sampling import GREEDY, Sampler


@dataclass(frozen=True)
class Coordinate:
    """In a Forward: one coordinate, a fraction of the picture."""

    value: float


@dataclass(frozen=True)
class Size:
    """In a Forward: width and height of an object, fractions of the picture."""

    width: float
    height: float


ModelInput = int | Coordinate | Size  # int: a token


@dataclass
class History:
    """What one sequence has read.

    prompt_tokens: positions before the first generated token, those of a picture included. prompt: token ids of its
    prompts. generated: those that it generated, without the ones that ended a text.
    """

    prompt_tokens: int = 0
    prompt: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)

    def add_prompt(self, pieces: Sequence[ModelInput]) -> None:
        if not self.generated:
            self.prompt_tokens += len(pieces)
        self.prompt += [piece for piece in pieces if isinstance(piece, int)]


@dataclass(frozen=True)
class ReadToken:
    """The next token: never one of `suppressed`; one of `allowed_token_ids`, if that is given, and of equals the
    first there."""

    sampler: Sampler = GREEDY
    suppressed: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    history: History | None = None  # which penalties look back on


@dataclass(frozen=True)
class ReadCoordinate:
    """A float."""


@dataclass(frozen=True)
class ReadSize:
    """Width and height."""
