"""Steps of a flow: the inputs that it feeds to the model, and what it decodes from the hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.generation.sampling import GREEDY, Sampler


@dataclass(frozen=True)
class Coordinate:
    """Input of a Forward: one coordinate, as a fraction of the image's width or height."""

    value: float


@dataclass(frozen=True)
class Size:
    """Input of a Forward: width and height of an object, as fractions of the image."""

    width: float
    height: float


ModelInput = int | Coordinate | Size  # int: a token id


@dataclass
class History:
    """The tokens of one sequence so far.

    Attributes:
        prompt_tokens: Positions before the first generated token, those of an image included.
        prompt: Token ids of its prompts.
        generated: Token ids generated, without stop tokens.
        image_tokens: See `engine.contract.Answer`.
    """

    prompt_tokens: int = 0
    prompt: list[int] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    image_tokens: int = 0

    def add_prompt(self, pieces: Sequence[object]) -> None:
        """Append a prompt; only those before the first generated token count as `prompt_tokens`."""
        if not self.generated:
            self.prompt_tokens += len(pieces)
        self.prompt += [piece for piece in pieces if isinstance(piece, int)]


@dataclass(frozen=True)
class ReadToken:
    """Decode the next token; the result is its id.

    Attributes:
        sampler: Selects it.
        suppressed: Ids that are never selected.
        allowed_token_ids: The only ids allowed, of equal logits the first here; empty: all.
        history: Tokens that the sampler's penalties apply to.
    """

    sampler: Sampler = GREEDY
    suppressed: tuple[int, ...] = ()
    allowed_token_ids: tuple[int, ...] = ()
    history: History | None = None


@dataclass(frozen=True)
class ReadCoordinate:
    """Decode a coordinate; the result is a fraction of the image, float."""


@dataclass(frozen=True)
class ReadSize:
    """Decode the size of an object; the result is (width, height), fractions of the image."""
