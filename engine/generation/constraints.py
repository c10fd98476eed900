"""Constrained decoding: the tokens allowed next, so that an answer is one of several choices, or a number.

Constraints are stateless: before each token they are called with those generated so far. The end-of-text token counts
as a token too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.contract import Choices

# With an optional leading space: many models begin a text with one.
_NUMBER = re.compile(r" ?-?[0-9]+(\.[0-9]+)?")
_NUMBER_PREFIX = re.compile(r" ?-?([0-9]+(\.[0-9]*)?)?")


class Tokenizer(Protocol):
    """What a constraint needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids."""


class Constraint(Protocol):
    """What constrained decoding needs of a constraint."""

    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        """Return the tokens allowed next.

        Args:
            tokens: Those generated so far.
            remaining: How many more may be generated.

        Returns:
            Token ids; empty where the answer is complete.
        """

    def answer(self, tokens: Sequence[int]) -> str:
        """Return the answer, once the tokens determine it."""


class ChoiceConstraint:
    """Restricts the answer to one of several choices, always complete, whatever the token limit.

    Each choice may be tokenized as at the start of a text, or as after a space.
    """

    def __init__(self, choices: Choices, tokenizer: Tokenizer, end: int) -> None:
        """Tokenize the choices.

        Args:
            choices: The possible answers.
            tokenizer: The model's.
            end: Id of the end-of-text token.

        Raises:
            ValueError: A choice does not survive tokenization.
        """
        self._tokenizations: dict[tuple[int, ...], str] = {}  # token ids with the end -> the choice
        for choice in choices.texts:
            for text in (choice, f" {choice}"):
                ids = tokenizer.encode(text)
                if tokenizer.decode(ids) != text:
                    raise ValueError(f"the choice {choice!r} can't be tokenized by the model: leave it out")
                self._tokenizations[*ids, end] = choice

    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        """Return the tokens allowed next; see `Constraint`."""
        candidates = self._candidates(tokens)
        if len(set(candidates.values())) == 1:
            return ()
        return tuple(dict.fromkeys(ids[len(tokens)] for ids in candidates))

    def answer(self, tokens: Sequence[int]) -> str:
        """Return the choice."""
        (choice,) = set(self._candidates(tokens).values())
        return choice

    def _candidates(self, tokens: Sequence[int]) -> dict[tuple[int, ...], str]:
        prefix = tuple(tokens)
        return {ids: choice for ids, choice in self._tokenizations.items() if ids[: len(prefix)] == prefix}


class NumberConstraint:
    """Restricts the answer to a number: an optional minus, digits, and an optional decimal fraction.

    At the token limit the number ends as it stands. The last token, if needed, completes it: there is always one.
    """

    def __init__(self, texts: Mapping[int, str], end: int) -> None:
        """Select the tokens that numbers are made of.

        Args:
            texts: The text of each token alone; their order decides what a sampled token is.
            end: Id of the end-of-text token.
        """
        self._texts = {token: text for token, text in texts.items() if text and set(text) <= set(" -.0123456789")}
        self._end = end

    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        """Return the tokens allowed next; see `Constraint`."""
        if self._end in tokens:
            return ()
        text = self._text(tokens)
        complete = bool(_NUMBER.fullmatch(text))
        if complete and remaining <= 0:
            return ()
        pattern = _NUMBER_PREFIX if remaining > 1 else _NUMBER
        allowed = (token for token, piece in self._texts.items() if pattern.fullmatch(text + piece))
        return (*allowed, self._end) if complete else tuple(allowed)

    def answer(self, tokens: Sequence[int]) -> str:
        """Return the number as text."""
        return self._text(tokens).strip()

    def _text(self, tokens: Sequence[int]) -> str:
        return "".join(self._texts[token] for token in tokens if token != self._end)
