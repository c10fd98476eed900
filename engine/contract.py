"""What every model family meets: plain requests and results, two protocols, and the errors a caller can act on.

Coordinates are fractions of the picture, 0..1, origin top left. Pictures are HxWx3 uint8 RGB arrays.
"""

import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # not every model needs torch, which takes long to load
    from torch import Tensor

T = TypeVar("T")

UNLIMITED = sys.maxsize  # as max_objects: until the model stops by itself


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
class Grounding:
    """Places that a passage of the reasoning speaks of; `text[start:end]` is the passage."""

    start: int
    end: int
    points: tuple[Point, ...]


Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Text that was generated: a caption, or the reply to a question.

    text: the answer. reasoning: what the model reasoned on the way, empty where it did not; grounding: places that it
    speaks of. tokens: the ids that were generated, those of the reasoning first, without the tokens that ended either,
    but with those whose text a stop string cut off. prompt_tokens: positions that the model had read before the first
    generated token, those of the picture included. finish: "stop" where the model ended the text, or a stop string
    did; "length" where max_tokens or the model's context did; "cancelled" where the request was cancelled.
    """

    text: str
    reasoning: str = ""
    grounding: tuple[Grounding, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    finish: Finish = "stop"


@dataclass(frozen=True, slots=True)
class Generation:
    """How text is generated; None stands for the model's own default.

    temperature: 0 is greedy decoding. top_p: the nucleus that is drawn from, 0..1. max_tokens: the text ends there at
    the latest. seed: the same seed gives the same text, batched or alone.

    top_k: only so many of the likeliest tokens are drawn from, 1 or more. min_p: only tokens that are at least so
    likely, as a share of the likeliest, 0..1. repetition_penalty: over 1 makes tokens of the prompt and of the text so
    far less likely, under 1 more. presence_penalty: is taken off the logit of each token in the text so far, -2..2.
    stop: the text ends before the first of these strings that is complete in it. It has no say in reasoning, nor in an
    answer that can only be a choice or a number.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int = 0
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choices:
    """What an answer is one of, to the letter.

    ValueError for fewer than two, and for one that is there twice, is empty, or has white space round it.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.texts) < 2:
            raise ValueError("two choices are needed at least")
        for text in self.texts:
            if not text.strip():
                raise ValueError("a choice is empty")
            if text != text.strip():
                raise ValueError(f"the choice {text!r} has white space round it")
            if self.texts.count(text) > 1:
                raise ValueError(f"the choice {text!r} is there twice")


@dataclass(frozen=True, slots=True)
class Number:
    """That an answer is a number: digits, and maybe a minus before them and a fraction behind a point."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can do.

    prompts: for each skill it has ("detect", "point", "caption", "query", "gaze"), the prompts it serves (for
    "caption" the lengths); None means any words.
    """

    prompts: dict[str, frozenset[str] | None]

    def serves(self, skill: str, prompt: str) -> bool:
        if skill not in self.prompts:
            return False
        known = self.prompts[skill]
        return known is None or normalise(prompt) in known


# What `encode` returns is private to each family: one value a picture, good for any number of prompts.
EncodedImage = Any


# What can be asked of one picture. `adapter` is a fine-tuned variant, as `LanguageModel.adapter` returns it.


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    image: EncodedImage
    length: str = "normal"
    generation: Generation = Generation()
    adapter: Any = None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """references: points (x, y) or boxes (x_min, y_min, x_max, y_max) that the question is about.

    image None asks without a picture. reasoning None: as the model was made for. allowed: what the answer can only be,
    None for any text; a choice is always whole, whatever max_tokens is, and a number has one token at least. The
    thoughts are free.
    """

    image: EncodedImage | None
    question: str
    reasoning: bool | None = None
    references: tuple[tuple[float, ...], ...] = ()
    generation: Generation = Generation()
    adapter: Any = None
    allowed: Choices | Number | None = None


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """max_objects None: the model's default."""

    image: EncodedImage
    prompt: str
    max_objects: int | None = None
    adapter: Any = None


@dataclass(frozen=True, slots=True)
class PointRequest:
    """max_objects None: the model's default."""

    image: EncodedImage
    prompt: str
    max_objects: int | None = None
    adapter: Any = None


@dataclass(frozen=True, slots=True)
class GazeRequest:
    """eye: (x, y) of the eye, or of the middle of the face, whose gaze is asked for."""

    image: EncodedImage
    eye: tuple[float, float]


Request = CaptionRequest | QueryRequest | DetectRequest | PointRequest | GazeRequest


@dataclass(frozen=True, slots=True)
class Found:
    """What was found (boxes by detect, points by point), and whether the model stopped by itself (False: max_objects
    or the context ended it)."""

    items: list[Box] | list[Point]
    complete: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more text of one request: whole words."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one request: Answer (caption, query), Found (detect, point), Point or None (gaze)."""

    index: int
    result: Answer | Found | Point | None


@dataclass(frozen=True, slots=True)
class Failed:
    """One request that could not be served; the others go on."""

    index: int
    error: Exception


Event = Piece | Done | Failed


class Model(Protocol):
    """The contract. A list of images in, a list of results out; a batch gives what its members alone would give."""

    name: str
    revision: str  # another one where the weights are: the hub's commit, or a digest; "" if they are in no file
    pictures_at_once: int  # are best encoded together; more would only wait for one another
    setup: tuple[str, ...]  # what it computes with, and why, in lines for people

    @property
    def abilities(self) -> Abilities: ...

    def encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]: ...

    def detect(
        self,
        encoded: Sequence[EncodedImage],
        prompt: str,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[Box]]:
        """max_objects None: the model's default. ObjectLimitWarning if it, and not the model, ended a list;
        UNLIMITED leaves it to the model, and where that never stops raises EngineError."""

    def point(
        self, encoded: Sequence[EncodedImage], prompt: str, max_objects: int | None = None
    ) -> list[list[Point]]: ...


@runtime_checkable
class Landmarks(Protocol):
    """What a model has besides that knows where the parts of a face are."""

    def landmarks(self, encoded: Sequence[EncodedImage], threshold: float | None = None) -> list[np.ndarray]:
        """Of the faces that `detect` gives at this threshold, in its order: (faces, 5, 2), x y of the eyes, the nose
        and the corners of the mouth; of each pair first the one on the left in a picture of an upright face."""


@runtime_checkable
class ManyPrompts(Protocol):
    """What a model has besides that looks for several things at once faster than for one after another."""

    def detect_each(
        self,
        encoded: Sequence[EncodedImage],
        prompts: Sequence[str],
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[list[Box]]]:
        """For each prompt what `detect` gives."""


@runtime_checkable
class Seeing(Protocol):
    """What a model has besides that encodes in two steps, between which a picture is small enough to be kept.

    encode(images) is encode_seen(see(images)), to the last bit.
    """

    sight: str  # another one wherever `see` may give other bits: other weights, settings, libraries or processors

    def see(self, images: Sequence[np.ndarray]) -> list["Tensor"]: ...

    def encode_seen(self, seen: Sequence["Tensor"]) -> list[EncodedImage]:
        """seen: on any device."""


@runtime_checkable
class Compiles(Protocol):
    """What a model has besides that torch can compile."""

    compiled: bool

    def warm_up(self) -> None:
        """Compiles what is compiled, so that no answer waits for it."""


class LanguageModel(Model, Protocol):
    """A model that also reads and writes words.

    With stream=True, `caption` and `query` give the text as it grows instead, in pieces of whole words.
    """

    def caption(
        self,
        encoded: Sequence[EncodedImage],
        length: str = "normal",
        generation: Generation = Generation(),
        stream: bool = False,
    ) -> list[str] | Iterator[Piece]: ...

    def query(
        self,
        encoded: Sequence[EncodedImage | None],
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        generation: Generation = Generation(),
        stream: bool = False,
        allowed: Choices | Number | None = None,
    ) -> list[Answer] | Iterator[Piece]: ...

    def detect_gaze(
        self, encoded: Sequence[EncodedImage], eyes: Sequence[tuple[float, float]]
    ) -> list[Point | None]: ...

    def detect_gaze_accurately(
        self, encoded: Sequence[EncodedImage], mirrored: Sequence[EncodedImage], faces: Sequence[Box], seed: int = 0
    ) -> list[Point | None]: ...

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Piece | Done | Failed]:
        """Any requests, `batch` of them at a time (None: as many as fit): each ends when it is done, and the next
        takes its place. Requests are drawn as places come free, so the iterable may be endless."""


class EngineError(Exception):
    """Anything the engine can't do; the message says what and how to mend it, in one line."""


class UnsupportedPrompt(EngineError):
    """The model does not know the thing that was asked for."""


class ModelUnavailable(EngineError):
    """No such model, or its weights are missing or broken."""


class Cancelled(EngineError):
    """The request was cancelled before it had a result."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled")


class ObjectLimitWarning(UserWarning):
    """A list of objects was ended by its limit: there may be more in the picture."""


def normalise(prompt: str) -> str:
    """Prompt without case, outer or repeated white space, or decomposed letters."""
    return " ".join(unicodedata.normalize("NFC", prompt).casefold().split())


def limited(lists: Sequence[list[T]], max_objects: int | None) -> list[list[T]]:
    """The first max_objects of each list (None: all), with an ObjectLimitWarning if that left some out."""
    if max_objects is None or all(len(members) <= max_objects for members in lists):
        return list(lists)
    warn_of_limit(max_objects)
    return [members[:max_objects] for members in lists]


def warn_of_limit(max_objects: int) -> None:
    warnings.warn(
        f"stopped at {max_objects} objects in a picture: there may be more; raise max_objects to find them",
        ObjectLimitWarning,
        stacklevel=4,
    )
