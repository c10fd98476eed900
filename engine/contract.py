"""The interface of every model family: requests, results, protocols and errors.

Coordinates are normalised: fractions of the upright image's width and height, 0..1, origin top left. Images are
(height, width, 3) uint8 RGB arrays.
"""

import sys
import unicodedata
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:  # not every model needs torch, which takes long to load
    from torch import Tensor

UNLIMITED = sys.maxsize  # as max_objects: list objects until the model stops by itself


@dataclass(frozen=True, slots=True)
class Box:
    """The bounding box of one object. `score` is the model's confidence, 0..1, or None if it gives none."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float
    label: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """A point in the image."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Grounding:
    """Points that a passage of the reasoning refers to: the passage is `reasoning[start:end]`."""

    start: int
    end: int
    points: tuple[Point, ...]


Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated text: a caption, or the answer to a question.

    Attributes:
        text: The answer.
        reasoning: The model's chain of thought; empty without reasoning.
        grounding: Points in the image that the reasoning refers to.
        tokens: Generated token ids, those of the reasoning first. End-of-sequence tokens are left out; tokens whose
            text a stop string cut off are included.
        prompt_tokens: Length of the prefill in positions, image included.
        image_tokens: How many of these the images of the prompt became, where that depends on the images; else 0.
        finish: What ended generation: "stop" (the model, or a stop string), "length" (max_tokens, or the model's
            context) or "cancelled" (the request was cancelled).
    """

    text: str
    reasoning: str = ""
    grounding: tuple[Grounding, ...] = ()
    tokens: tuple[int, ...] = ()
    prompt_tokens: int = 0
    finish: Finish = "stop"
    image_tokens: int = 0

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Generation:
    """Sampling parameters; None stands for the model's default.

    Attributes:
        temperature: Divides the logits; 0 is greedy decoding.
        top_p: Probability mass of nucleus sampling, 0..1.
        max_tokens: Greatest number of generated tokens.
        seed: Of the random generator; the same seed gives the same text, batched or alone.
        top_k: Samples only from the k most likely tokens; at least 1.
        min_p: Least probability of a token relative to the most likely one, 0..1.
        repetition_penalty: Above 1 makes tokens of the prompt and of the generated text less likely, below 1 more.
        presence_penalty: Subtracted from the logit of each token that the generated text contains, -2..2.
        stop: Strings that end the text; the text ends before the first one that is complete. They apply neither to
            reasoning nor to constrained decoding.
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
    """A constraint on an answer: exactly one of these texts.

    Raises:
        ValueError: There are fewer than two, or one is empty, a duplicate, or has leading or trailing whitespace.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.texts) < 2:
            raise ValueError("two choices are needed at least")
        for text in self.texts:
            if not text.strip():
                raise ValueError("a choice is empty")
            if text != text.strip():
                raise ValueError(f"the choice {text!r} has leading or trailing whitespace")
            if self.texts.count(text) > 1:
                raise ValueError(f"the choice {text!r} is given twice")


@dataclass(frozen=True, slots=True)
class Number:
    """A constraint on an answer: a decimal number, with an optional minus sign and fraction."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """The skills of a model.

    Attributes:
        prompts: Skill ("detect", "point", "caption", "query", "gaze") -> the prompts that the model supports (for
            "caption" the lengths); None means any text.
        missing: Why the model lacks a skill, where a reader would wonder.
    """

    prompts: dict[str, frozenset[str] | None]
    missing: dict[str, str] = field(default_factory=dict)

    def supports(self, skill: str, prompt: str) -> bool:
        """Return whether the model has this skill and supports this prompt."""
        if skill not in self.prompts:
            return False
        known = self.prompts[skill]
        return known is None or normalize_prompt(prompt) in known


class EncodedImage:
    """An encoded image, reusable for any number of requests; its content is private to each model family."""

    @property
    def nbytes(self) -> int:
        """Size of its tensors in memory, which may grow as requests use it."""
        return 0


# Requests. `adapter`: name or path of the LoRA adapter to apply; None: that of `LoadOptions`. `image`: None only in
# `Model.check`, except for QueryRequest.


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """A request for a caption of this length."""

    image: EncodedImage | None
    length: str = "normal"
    generation: Generation = Generation()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A request for the answer to a question.

    Attributes:
        image: None for a question without an image.
        reasoning: Whether the model reasons before it answers; None: the model's default.
        references: Points (x, y) or boxes (x_min, y_min, x_max, y_max) that the question refers to.
        allowed: Constrains decoding of the answer, not of the reasoning; None: any text. A choice is generated in full
            whatever max_tokens is; a number has at least one token.
        system: System message of a model that can chat; None: none.
    """

    image: EncodedImage | None
    question: str
    reasoning: bool | None = None
    references: tuple[tuple[float, ...], ...] = ()
    generation: Generation = Generation()
    adapter: str | None = None
    allowed: Choices | Number | None = None
    system: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: text and images, in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | EncodedImage, ...]


class ChatCache:
    """What a model keeps of conversations for their next turns.

    Attributes:
        limit_bytes: Of all conversations; the latest is kept in any case.
        content: Private to each model family; None: nothing yet.
    """

    def __init__(self, limit_bytes: int = 0) -> None:
        self.limit_bytes = limit_bytes
        self.content: Any = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request for the assistant's next turn in a conversation.

    Attributes:
        messages: The conversation so far.
        allowed: As in `QueryRequest`.
        cache: The model computes only what no conversation in it begins with, and adds this one. The last bits of
            results may depend on it. None: every request is computed anew.
    """

    messages: tuple[Message, ...]
    generation: Generation = Generation()
    adapter: str | None = None
    allowed: Choices | Number | None = None
    cache: ChatCache | None = None


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """A request for the boxes of all objects that match a prompt.

    Attributes:
        max_objects: Greatest number of boxes; None: the model's default.
        threshold: Least score of a box, 0..1; None: the model's default.
    """

    image: EncodedImage | None
    prompt: str
    max_objects: int | None = None
    adapter: str | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class PointRequest:
    """A request for a point on each object that matches a prompt. `max_objects` None: the model's default."""

    image: EncodedImage | None
    prompt: str
    max_objects: int | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class GazeRequest:
    """A request for the gaze target of a person. `eye`: (x, y) of an eye, or of the centre of the face."""

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


@dataclass(frozen=True, slots=True)
class ImageBudget:
    """How many tokens an image may become, for models that take images of any size; None: the model's default.

    Attributes:
        min_tokens: A smaller image is enlarged to it.
        max_tokens: A larger image is reduced to it, with all of its tiles.
        tiles: Whether a large image is split into tiles.
        max_tiles: Most tiles of an image.
        thumbnail: Whether the tiles are followed by the whole image, reduced.

    Raises:
        ValueError: A number is not positive, or the least exceeds the greatest.
    """

    min_tokens: int | None = None
    max_tokens: int | None = None
    tiles: bool | None = None
    max_tiles: int | None = None
    thumbnail: bool | None = None

    def __post_init__(self) -> None:
        for name in ("min_tokens", "max_tokens", "max_tiles"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} must be 1 or more, not {number}")
        if self.min_tokens and self.max_tokens and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}, more than max_tokens, {self.max_tokens}")


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded. Loading raises EngineError for an option that the model does not support.

    Attributes:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        dtype: "float32", "bfloat16" or "float16"; None: the fastest for the device. With "float32" the weights of a
            GGUF file are dequantised, as the kernels that multiply its blocks round activations.
        quantize: "int8", "int4", or "int4-64" and "int4-32" with another group size; None: as stored.
        compile: Use torch.compile.
        detail: "low", "auto", "high", or a number in the model's own unit (centerface: pixels of the longer side of
            its input; Moondream: crops of a large image).
        resize: Library that resizes images; None: libvips if it is installed, as in the reference implementation.
        adapter: Name or path of the LoRA adapter for requests that name none.
        image_budget: Of images that are encoded without one.
        kv: "int8" keeps keys and values of the text model in 8 bits, half the memory; None: in `dtype`.
        mmproj: The vision part of a model in a GGUF file; None: the one beside the file, if there is one.
        chat_template: "builtin" (the family's own), the name of a built-in one, or Jinja; None: that of the checkpoint.
        reduce_images: On a CPU, reduce large images for answers in text as the model's authors advise, unless detail or
            image_budget say how large they may be; without it every image is as in the reference implementation.
        kept_image_bytes: Memory for encoded images, which are then found again by their content, so that another
            request on the same image starts at the text; 0: none are kept. For models that read images as tokens.
    """

    device: str = "auto"
    dtype: str | None = None
    quantize: str | None = None
    compile: bool = False
    detail: str | int = "auto"
    resize: Literal["vips", "pillow"] | None = None
    adapter: str | None = None
    image_budget: ImageBudget = ImageBudget()
    mmproj: str | None = None
    chat_template: str | None = None
    reduce_images: bool = False
    kv: str | None = None
    kept_image_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The objects found: boxes from detect, points from point.

    `complete` is False if max_objects or the model's context ended the list, or a part of it could not be read.
    """

    items: list[Box] | list[Point]
    complete: bool


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of one request's text, in whole words."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one request: Answer (caption, query), ObjectList (detect, point), Point or None (gaze)."""

    index: int
    result: Answer | ObjectList | Point | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The error of one request; other requests are not affected."""

    index: int
    error: Exception


Result = Answer | ObjectList | Point | None  # caption, query, chat; detect, point; gaze
Event = TextDelta | Done | Failed


class Scheduler(Protocol):
    """Continuous batching: requests in, events out; the caller decides when the model computes.

    Tickets number the requests from 0 in the order in which they were added; an event's index is its request's ticket.
    """

    @property
    def idle(self) -> bool:
        """Whether no request is waiting or running."""

    @property
    def free_slots(self) -> int:
        """How many more requests could start at the next step."""

    def add(self, request: Request) -> int:
        """Queue a request and return its ticket; it starts when a slot is free."""

    def step(self) -> list[Event]:
        """Compute one step of all running requests and return their events; [] if there is nothing to do."""

    def cancel(self, ticket: int) -> None:
        """Cancel a request and free its memory before the next step; no effect on one that has ended."""


class Model(Protocol):
    """A loaded model. Results do not depend on the batch; on a CPU they are bit-exact.

    The skills (caption, query, detect, ...) are shared code over `run`: see `engine.generation.verbs`.

    Attributes:
        revision: Identifies the weights: the hub's commit, or a digest of the files; "" if the weights are in no file.
        image_batch_size: Number of images that are best encoded together.
        setup: Human-readable lines on device, dtype, kernels and compilation.
    """

    name: str
    revision: str
    image_batch_size: int
    setup: tuple[str, ...]

    @property
    def abilities(self) -> Abilities:
        """The skills of the model."""

    def encode(self, images: Sequence[np.ndarray]) -> Sequence[EncodedImage]:
        """Encode images for any number of requests.

        Args:
            images: (height, width, 3) uint8 RGB arrays of any sizes.

        Raises:
            ValueError: An array has another shape or dtype.
        """

    def check(self, request: Request) -> None:
        """Raise the error that `run` would return for a request as Failed, as far as it is known without computing.

        The image is not checked and may be None.
        """

    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Return a scheduler that runs at most `batch` requests at a time; None: as many as memory allows."""

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Event]:
        """Run requests, at most `batch` at a time (None: as many as memory allows), and yield their events.

        Requests are taken from the iterable as slots become free. It may be endless, and waiting for it does not stall
        running requests.
        """


@runtime_checkable
class Landmarks(Protocol):
    """The additional interface of a face detector with landmarks."""

    def landmarks(self, encoded: Sequence[EncodedImage], threshold: float | None = None) -> list[np.ndarray]:
        """Return the landmarks of the faces that `detect` returns at this threshold, in the same order.

        Returns:
            Per image (faces, 5, 2) normalised x, y: eyes, nose, corners of the mouth. Of each pair, the one on the left
            in the image of an upright face is first.
        """


@runtime_checkable
class Budgeted(Protocol):
    """The additional interface of a model for which an image becomes more or fewer tokens.

    Attributes:
        default_budget: Of images that are encoded without one.
    """

    default_budget: ImageBudget

    def encode(self, images: Sequence[np.ndarray], budget: ImageBudget) -> Sequence[EncodedImage]:
        """Encode images as `Model.encode` does; what the budget leaves open is as the model was loaded."""


@runtime_checkable
class ImageEmbedder(Protocol):
    """The additional interface of a model whose image embeddings can be cached.

    `encode_embeddings(embed_images(images))` equals `encode(images)` to the last bit.

    Attributes:
        embedding_key: Cache key; it differs wherever the bits of an embedding may: by weights, settings, libraries and
            processor.
    """

    embedding_key: str

    def embed_images(self, images: Sequence[np.ndarray]) -> list["Tensor"]:
        """Return the vision encoder's embedding of each image."""

    def encode_embeddings(self, embeddings: Sequence["Tensor"]) -> list[EncodedImage]:
        """Encode images from their embeddings, which may be on any device."""


@runtime_checkable
class Chatting(Protocol):
    """The additional interface of a model that can chat.

    Attributes:
        longest_side: Pixels that the longer side of an image is reduced to for answers in text; None: it is not.
    """

    longest_side: int | None

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Return how many tokens a conversation has up to the assistant's next turn, images included.

        Raises:
            EngineError, ValueError: It can't be served.
        """


@runtime_checkable
class StepwiseEncoder(Protocol):
    """The additional interface of a model that encodes an image piece by piece, so that others can run in between."""

    def encode_in_steps(self, image: np.ndarray, adapter: str | None = None) -> Generator[None, None, EncodedImage]:
        """Encode an image to what `Model.encode` gives, to the last bit on a CPU, and yield between pieces of the work.

        Args:
            image: (height, width, 3) uint8 RGB.
            adapter: LoRA adapter of the requests that it is for; None: the default.

        Returns:
            The encoded image.

        Raises:
            ValueError: The image has another shape or dtype.
            ModelUnavailable: There is no such adapter.
        """


@runtime_checkable
class StepwiseStarter(Protocol):
    """The additional interface of a model that starts a request piece by piece, so that others can run in between."""

    def prepare_in_steps(self, request: Request) -> Generator[None, None, Any]:
        """Do what the scheduler does before the first decode step of a request, and yield between pieces of the work.

        Returns:
            What `add` of the model's scheduler takes in place of the request, for the same result to the last bit on a
            CPU.

        Raises:
            EngineError, ValueError: The request can't be served.
        """


@runtime_checkable
class Compilable(Protocol):
    """The additional interface of a model that torch.compile can speed up."""

    compiled: bool

    def warm_up(self) -> None:
        """Compile ahead of the first request."""


class EngineError(Exception):
    """Base of the engine's errors; the message says in one line what is wrong and what to do."""


class UnsupportedPrompt(EngineError):
    """The model does not support this prompt."""


class ModelUnavailable(EngineError):
    """The model is unknown, or its weights are missing or damaged."""


class NotDownloaded(ModelUnavailable):
    """A published model would do, but its weights are not on this machine.

    Attributes:
        name: Of the model.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class NonFiniteOutput(ModelUnavailable):
    """The model computed NaN or infinity: its weights are damaged, and nothing that it returns can be trusted."""

    def __init__(
        self,
        message: str = "the model computed NaN or infinity: its weights or its adapter are damaged (`mdtool models "
        "verify` checks downloaded ones), or exceed the range of their dtype (--dtype float32 has the widest)",
    ) -> None:
        super().__init__(message)


class Cancelled(EngineError):
    """The request was cancelled before it had a result."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled")


class ObjectLimitWarning(UserWarning):
    """max_objects ended a list of objects: there may be more in the image."""


def normalize_prompt(prompt: str) -> str:
    """Return a prompt for comparison: Unicode NFC, case-folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFC", prompt).casefold().split())


def warn_object_limit(max_objects: int) -> None:
    """Warn that max_objects ended a list of objects, on the line of the skill's caller."""
    warnings.warn(
        f"stopped at {max_objects} objects in an image: there may be more; raise max_objects to find them",
        ObjectLimitWarning,
        stacklevel=4,
    )
