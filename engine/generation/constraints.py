"""Which tokens may come next, so that an answer is one of some choices, or a number, and never anything else.

A constraint keeps nothing: it is asked before each token, with those that came so far. The end of the text is a token
too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.contract import Choices

# Behind a space at most, with which many models begin a text.
_NUMBER = re.compile(r" ?-?[0-9]+(\.[0-9]+)?")
_BEGUN = re.compile(r" ?-?([0-9]+(\.[0-9]*)?)?")


class Tokenizer(Protocol):
    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Constraint(Protocol):
    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        """The tokens that may come behind these; none where the answer is settled. left: as many more are wanted at
        most."""

    def answer(self, tokens: Sequence[int]) -> str:
        """What the tokens say, once they settle it."""


class ChoiceConstraint:
    """One of the choices, as a whole, however few tokens are wanted.

    Each may be made of the tokens that it has at the beginning of a text, or of those that it has behind a space.
    ValueError for a choice that the tokenizer can't write.
    """

    def __init__(self, choices: Choices, tokenizer: Tokenizer, end: int) -> None:
        self._ways: dict[tuple[int, ...], str] = {}  # the tokens up to the end -> the choice
        for choice in choices.texts:
            for text in (choice, f" {choice}"):
                ids = tokenizer.encode(text)
                if tokenizer.decode(ids) != text:
                    raise ValueError(f"the choice {choice!r} can't be written by the model: leave it out")
                self._ways[*ids, end] = choice

    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        open_ways = self._open(tokens)
        if len(set(open_ways.values())) == 1:
            return ()
        return tuple(dict.fromkeys(way[len(tokens)] for way in open_ways))

    def answer(self, tokens: Sequence[int]) -> str:
        (choice,) = set(self._open(tokens).values())
        return choice

    def _open(self, tokens: Sequence[int]) -> dict[tuple[int, ...], str]:
        begun = tuple(tokens)
        return {way: choice for way, choice in self._ways.items() if way[: len(begun)] == begun}


class NumberConstraint:
    """A number: digits, and maybe a minus before them and a fraction behind a point.

    Where as many tokens have come as are wanted, it ends as what it is. The last makes it whole, and there is one.
    """

    def __init__(self, texts: Mapping[int, str], end: int) -> None:
        """texts: of each token alone; their order counts where one is drawn."""
        self._texts = {token: text for token, text in texts.items() if text and set(text) <= set(" -.0123456789")}
        self._end = end

    def allowed_tokens(self, tokens: Sequence[int], remaining: int) -> tuple[int, ...]:
        if self._end in tokens:
            return ()
        text = self._text(tokens)
        whole = bool(_NUMBER.fullmatch(text))
        if whole and remaining <= 0:
            return ()
        wanted = _BEGUN if remaining > 1 else _NUMBER
        more = (token for token, piece in self._texts.items() if wanted.fullmatch(text + piece))
        return (*more, self._end) if whole else tuple(more)

    def answer(self, tokens: Sequence[int]) -> str:
        return self._text(tokens).strip()

    def _text(self, tokens: Sequence[int]) -> str:
        return "".join(self._texts[token] for token in tokens if token != self._end)
