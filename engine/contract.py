"""What every model family meets: plain results, one protocol, and the errors a caller can act on.

Coordinates are fractions of the picture, 0..1, origin top left. Pictures are HxWx3 uint8 RGB arrays.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle round one object. `score` is the model's confidence, 0..1, or None where it has none."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One place in the picture."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to a question, and what the model reasoned on the way (empty where it does not reason)."""

    text: str
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can do.

    prompts: for each skill it has ("detect", "point", "caption", ...), the prompts it serves; None means any words.
    """

    prompts: dict[str, frozenset[str] | None]

    def serves(self, skill: str, prompt: str) -> bool:
        if skill not in self.prompts:
            return False
        known = self.prompts[skill]
        return known is None or normalise(prompt) in known


# What `encode` returns is private to each family: one value a picture, good for any number of prompts.
EncodedImage = Any


class Model(Protocol):
    """The contract. A list of images in, a list of results out; a batch gives what its members alone would give."""

    name: str

    @property
    def abilities(self) -> Abilities: ...

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]: ...

    def detect(
        self, encoded: Sequence[EncodedImage], prompt: str, threshold: float | None = None
    ) -> list[list[Box]]: ...

    def point(self, encoded: Sequence[EncodedImage], prompt: str) -> list[list[Point]]: ...


class EngineError(Exception):
    """Anything the engine can't do; the message says what and how to mend it, in one line."""


class UnsupportedPrompt(EngineError):
    """The model does not know the thing that was asked for."""


class ModelUnavailable(EngineError):
    """No such model, or its weights are missing or broken."""


def normalise(prompt: str) -> str:
    """Prompt without case, outer or repeated white space, or decomposed letters."""
    return " ".join(unicodedata.normalize("NFC", prompt).casefold().split())
