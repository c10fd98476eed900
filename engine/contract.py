"""What every model family meets: requests, results, protocols, and the errors a caller can act on.

Coordinates are fractions of the upright image, 0..1, origin top left. Images are HxWx3 uint8 RGB arrays.
"""

import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # not every model needs torch, which takes long to load
    from torch import Tensor

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

    def __str__(self) -> str:
        return self.text


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

    def supports(self, skill: str, prompt: str) -> bool:
        if skill not in self.prompts:
            return False
        known = self.prompts[skill]
        return known is None or normalize_prompt(prompt) in known


class EncodedImage:
    """One image as a model has encoded it, good for any number of requests; what it holds is private to each family."""


# What can be asked. `adapter`: the LoRA adapter that answers, by name or path; None: that of `LoadOptions`.


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    image: EncodedImage | None
    length: str = "normal"
    generation: Generation = Generation()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """references: points (x, y) or boxes (x_min, y_min, x_max, y_max) that the question is about.

    image None asks without an image. reasoning None: as the model was made for. allowed: what the answer can only be,
    None for any text; a choice is always whole, whatever max_tokens is, and a number has one token at least. The
    thoughts are free.
    """

    image: EncodedImage | None
    question: str
    reasoning: bool | None = None
    references: tuple[tuple[float, ...], ...] = ()
    generation: Generation = Generation()
    adapter: str | None = None
    allowed: Choices | Number | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; its parts in the order in which they are read."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | EncodedImage, ...]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The next turn of the assistant after these messages. allowed: as in `QueryRequest`."""

    messages: tuple[Message, ...]
    generation: Generation = Generation()
    adapter: str | None = None
    allowed: Choices | Number | None = None


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """max_objects, threshold None: the model's defaults. threshold: least score of a box, 0..1."""

    image: EncodedImage | None
    prompt: str
    max_objects: int | None = None
    adapter: str | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class PointRequest:
    """max_objects None: the model's default."""

    image: EncodedImage | None
    prompt: str
    max_objects: int | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class GazeRequest:
    """eye: (x, y) of the eye, or of the middle of the face, whose gaze is asked for."""

    image: EncodedImage | None
    eye: tuple[float, float]


Request = CaptionRequest | QueryRequest | ChatRequest | DetectRequest | PointRequest | GazeRequest
SKILLS: dict[type[Any], str] = {
    CaptionRequest: "caption",
    QueryRequest: "query",
    ChatRequest: "chat",
    DetectRequest: "detect",
    PointRequest: "point",
    GazeRequest: "gaze",
}


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded; an option that the model can't honour is an EngineError.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps". dtype: "float32", "bfloat16", "float16", or None for what the
    device computes fast in. quantize: "int4" (also "int4-64", "int4-32": the group size), "int8", or None. compile: use
    torch.compile. detail: "low", "auto", "high", or a number in the model's own unit (centerface: pixels of the longer
    side of its input; Moondream: crops of a large image). resize: the library that scales images, None: libvips where
    it is installed, as the reference does. adapter: the LoRA adapter, by name or path, of requests that name none.
    """

    device: str = "auto"
    dtype: str | None = None
    quantize: str | None = None
    compile: bool = False
    detail: str | int = "auto"
    resize: Literal["vips", "pillow"] | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectList:
    """What was found (boxes by detect, points by point), and whether the model stopped by itself (False: max_objects
    or the context ended it)."""

    items: list[Box] | list[Point]
    complete: bool


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Some more text of one request: whole words."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one request: Answer (caption, query), ObjectList (detect, point), Point or None (gaze)."""

    index: int
    result: Answer | ObjectList | Point | None


@dataclass(frozen=True, slots=True)
class Failed:
    """One request that could not be served; the others go on."""

    index: int
    error: Exception


Result = Answer | ObjectList | Point | None  # of caption, query and chat; of detect and point; of gaze
Event = TextDelta | Done | Failed


class Scheduler(Protocol):
    """Requests in, events out; the caller decides when the model computes.

    Tickets number the requests from 0 in the order in which they were added; an event's index is its request's ticket.
    """

    @property
    def idle(self) -> bool:
        """Whether no request waits or is under way."""

    @property
    def free_slots(self) -> int:
        """How many more requests would be begun at the next step."""

    def add(self, request: Request) -> int:
        """Take a request, to be begun when there is a place, and return its ticket."""

    def step(self) -> list[Event]:
        """Compute one step for all requests under way; [] where there is nothing to do."""

    def cancel(self, ticket: int) -> None:
        """End a request early and free its memory before the next step; one that has ended is left alone."""


class Model(Protocol):
    """The contract. A batch gives each of its members what it gets alone, on a CPU to the last bit.

    The verbs (caption, query, detect, ...) are shared code over `run`: see `engine.generation.verbs`.
    """

    name: str
    revision: str  # another one where the weights are: the hub's commit, or a digest; "" if they are in no file
    image_batch_size: int  # are best encoded together; more would only wait for one another
    setup: tuple[str, ...]  # what it computes with, and why, in lines for people

    @property
    def abilities(self) -> Abilities: ...

    def encode(self, images: Sequence[np.ndarray]) -> Sequence[EncodedImage]:
        """Encode images of any sizes once, for any number of requests.

        Raises:
            ValueError: an array is not HxWx3 uint8.
        """

    def check(self, request: Request) -> None:
        """Raise what `run` would answer the request with as Failed, as far as that can be told without computing.

        The image may be None: it is not checked.
        """

    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Make a scheduler of at most `batch` requests a step; None: as many as fit."""

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Event]:
        """Serve requests, `batch` at a time (None: as many as fit); as one ends, the next takes its place.

        Requests are drawn as places come free, so the iterable may be endless; a slow one stalls nothing under way.
        """


@runtime_checkable
class Landmarks(Protocol):
    """What a model has besides that knows where the parts of a face are."""

    def landmarks(self, encoded: Sequence[EncodedImage], threshold: float | None = None) -> list[np.ndarray]:
        """Of the faces that `detect` gives at this threshold, in its order: (faces, 5, 2), x y of the eyes, the nose
        and the corners of the mouth; of each pair first the one on the left in a picture of an upright face."""


@runtime_checkable
class ImageEmbedder(Protocol):
    """What a model has besides that encodes in two steps, between which a picture is small enough to be kept.

    encode(images) is encode_embeddings(see(images)), to the last bit.
    """

    embedding_key: (
        str  # another one wherever `embed_images` may give other bits: other weights, settings, libraries or processors
    )

    def embed_images(self, images: Sequence[np.ndarray]) -> list["Tensor"]: ...

    def encode_embeddings(self, embeddings: Sequence["Tensor"]) -> list[EncodedImage]:
        """seen: on any device."""


@runtime_checkable
class Compilable(Protocol):
    """What a model has besides that torch can compile."""

    compiled: bool

    def warm_up(self) -> None:
        """Compilable what is compiled, so that no answer waits for it."""


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


def normalize_prompt(prompt: str) -> str:
    """Prompt without case, outer or repeated white space, or decomposed letters."""
    return " ".join(unicodedata.normalize("NFC", prompt).casefold().split())


def warn_object_limit(max_objects: int) -> None:
    warnings.warn(
        f"stopped at {max_objects} objects in a picture: there may be more; raise max_objects to find them",
        ObjectLimitWarning,
        stacklevel=4,
    )
