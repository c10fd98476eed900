"""The skills of a model (caption, query, chat, detect, point, gaze), shared by all families, over its `run`."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from engine.contract import (
    SKILLS,
    UNLIMITED,
    Abilities,
    Answer,
    Box,
    CaptionRequest,
    ChatCache,
    ChatRequest,
    Choices,
    DetectRequest,
    Done,
    EncodedImage,
    EngineError,
    Event,
    Failed,
    GazeRequest,
    Generation,
    Message,
    Number,
    ObjectList,
    Point,
    PointRequest,
    QueryRequest,
    Request,
    Scheduler,
    TextDelta,
    UnsupportedPrompt,
    warn_object_limit,
)
from engine.generation.gaze import mean_gaze, sample_eye_points
from engine.generation.requests import run_requests


class VisionModel(Protocol):
    """Base class of all models: a family implements the abstract methods and inherits the skills.

    Every skill raises what `check` raises, and the error of the first request that fails.

    Attributes:
        name: Of the model.
        revision: Identifies the weights: a hub commit or a digest; "" if neither is known.
        image_batch_size: Images that are best encoded together.
        setup: Device, dtype and kernels, as lines for people.
    """

    name: str
    revision: str
    image_batch_size: int
    setup: tuple[str, ...]

    @property
    @abstractmethod
    def abilities(self) -> Abilities:
        """The skills of the model, and the prompts of each."""

    @abstractmethod
    def encode(self, images: Sequence[np.ndarray]) -> Sequence[EncodedImage]:
        """Encode images once, for any number of requests.

        Args:
            images: (height, width, 3) uint8 RGB each, of any sizes.

        Raises:
            ValueError: An array is of another shape or type.
        """

    @abstractmethod
    def scheduler(self, batch: int | None = None) -> Scheduler:
        """Create a scheduler of at most `batch` requests a step; None: as many as fit into memory."""

    def check(self, request: Request) -> None:
        """Raise the error that `run` would give as a Failed event, as far as it is known without running the model.

        Args:
            request: Its image may be None, and is not checked.

        Raises:
            EngineError: The model has no such skill.
            UnsupportedPrompt: The model does not support the prompt.
        """
        skill = SKILLS[type(request)]
        if skill not in self.abilities.prompts:
            reason = self.abilities.missing.get(skill)
            raise EngineError(f"{self.name} can't {skill}" + (f": {reason}" if reason else ""))
        prompt = request.length if isinstance(request, CaptionRequest) else getattr(request, "prompt", "")
        if not self.abilities.supports(skill, prompt):
            raise UnsupportedPrompt(
                f"{self.name} can't {skill} {prompt!r}; it supports {_examples(self.abilities, skill)}"
            )

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Event]:
        """Serve requests by continuous batching.

        Args:
            requests: May be endless, and slow: see `run_requests`.
            batch: Most requests at a time; None: as many as fit into memory.

        Yields:
            The events of all requests as they come, indexed in the order of the requests.
        """
        return run_requests(self.scheduler(batch), requests)

    def caption(
        self, encoded: Sequence[EncodedImage], length: str = "normal", generation: Generation = Generation()
    ) -> list[str]:
        """Describe each image.

        Args:
            encoded: The images.
            length: One that the model supports, usually "short", "normal" or "long".
            generation: Sampling options.
        """
        answers: list[Answer] = self.results([CaptionRequest(image, length, generation) for image in encoded])
        return [answer.text for answer in answers]

    def stream_caption(
        self, encoded: Sequence[EncodedImage], length: str = "normal", generation: Generation = Generation()
    ) -> Iterator[TextDelta]:
        """Describe each image; yield the text in pieces of whole words as it is generated."""
        return self._text_deltas([CaptionRequest(image, length, generation) for image in encoded])

    def query(
        self,
        encoded: Sequence[EncodedImage | None],
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        *,
        generation: Generation = Generation(),
        allowed: Choices | Number | None = None,
    ) -> list[Answer]:
        """Answer a question about each image.

        Args:
            encoded: The images; None: a question without an image.
            question: The question.
            reasoning: Whether to reason first; None: the model's default.
            references: Points (x, y) and boxes (x_min, y_min, x_max, y_max) that the question refers to.
            generation: Sampling options.
            allowed: The only answers allowed; None: any text.
        """
        regions = tuple(references)
        return self.results(
            [QueryRequest(image, question, reasoning, regions, generation, allowed=allowed) for image in encoded]
        )

    def stream_query(
        self,
        encoded: Sequence[EncodedImage | None],
        question: str,
        reasoning: bool | None = None,
        references: Sequence[tuple[float, ...]] = (),
        *,
        generation: Generation = Generation(),
        allowed: Choices | Number | None = None,
    ) -> Iterator[TextDelta]:
        """Answer as `query` does; yield the text as it is generated, without the reasoning."""
        regions = tuple(references)
        return self._text_deltas(
            [QueryRequest(image, question, reasoning, regions, generation, allowed=allowed) for image in encoded]
        )

    def chat(
        self, messages: Sequence[Message], generation: Generation = Generation(), cache: ChatCache | None = None
    ) -> Answer:
        """Generate the assistant's next turn of a conversation, which may have several turns and images.

        Args:
            messages: The conversation so far.
            generation: Sampling options.
            cache: Of this conversation, so that only its new part is computed; see `ChatRequest`.
        """
        [answer] = self.results([ChatRequest(tuple(messages), generation, cache=cache)])
        reply: Answer = answer
        return reply

    def stream_chat(
        self, messages: Sequence[Message], generation: Generation = Generation(), cache: ChatCache | None = None
    ) -> Iterator[TextDelta]:
        """Answer as `chat` does; yield the text as it is generated."""
        return self._text_deltas([ChatRequest(tuple(messages), generation, cache=cache)])

    def detect(
        self,
        encoded: Sequence[EncodedImage],
        prompt: str,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[Box]]:
        """Detect the objects that the prompt names in each image.

        Args:
            encoded: The images.
            prompt: Such as "face".
            threshold: Confidence threshold, 0..1; None: the model's default.
            max_objects: Most boxes an image. None: the model's default, with an ObjectLimitWarning if it cut a list
                short. UNLIMITED: until the model stops.

        Returns:
            The boxes of each image, in normalised coordinates; they may extend beyond the image.

        Raises:
            EngineError: max_objects is UNLIMITED, and the model did not stop by itself.
        """
        self.check(DetectRequest(None, prompt, max_objects, threshold=threshold))
        requests = [DetectRequest(image, prompt, max_objects, threshold=threshold) for image in encoded]
        return self.objects(requests, max_objects)

    def detect_each(
        self,
        encoded: Sequence[EncodedImage],
        prompts: Sequence[str],
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[list[Box]]]:
        """Detect the objects of several prompts in one batch; return the result of `detect` for each prompt."""
        requests = [
            DetectRequest(image, prompt, max_objects, threshold=threshold) for image in encoded for prompt in prompts
        ]
        for prompt in prompts:
            self.check(DetectRequest(None, prompt, max_objects, threshold=threshold))
        found: list[list[Box]] = self.objects(requests, max_objects)
        return [found[number :: len(prompts)] for number in range(len(prompts))]

    def point(self, encoded: Sequence[EncodedImage], prompt: str, max_objects: int | None = None) -> list[list[Point]]:
        """Point at the objects that the prompt names in each image.

        Args:
            encoded: The images.
            prompt: Such as "eye".
            max_objects: Most points an image, as for `detect`.

        Returns:
            The points of each image, in normalised coordinates.
        """
        self.check(PointRequest(None, prompt, max_objects))
        return self.objects([PointRequest(image, prompt, max_objects) for image in encoded], max_objects)

    def detect_gaze(self, encoded: Sequence[EncodedImage], eyes: Sequence[tuple[float, float]]) -> list[Point | None]:
        """Predict the gaze target of one person in each image.

        Args:
            encoded: The images.
            eyes: (x, y) of the person's eye, or of the middle of the face, in normalised coordinates; one an image.

        Returns:
            The target of each, in normalised coordinates; None: out of the frame.
        """
        return self.results([GazeRequest(image, eye) for image, eye in zip(encoded, eyes, strict=True)])

    def detect_gaze_accurately(
        self, encoded: Sequence[EncodedImage], mirrored: Sequence[EncodedImage], faces: Sequence[Box], seed: int = 0
    ) -> list[Point | None]:
        """Predict gaze targets as the mean over twenty points of the face.

        Args:
            encoded: The images.
            mirrored: The same images, flipped horizontally before encoding.
            faces: One face in each image.
            seed: The same seed gives the same result.

        Returns:
            The target of each, in normalised coordinates; None: out of the frame.
        """
        gazes = []
        for image, mirror, face in zip(encoded, mirrored, faces, strict=True):
            plain, flipped = sample_eye_points(face, seed)
            requests = [GazeRequest(image, eye) for eye in plain] + [GazeRequest(mirror, eye) for eye in flipped]
            found: list[Point | None] = self.results(requests)
            gazes.append(mean_gaze(found[: len(plain)], found[len(plain) :]))
        return gazes

    def results(self, requests: Iterable[Request]) -> list[Any]:
        """Run requests and return their results in order.

        Args:
            requests: Any mix of requests; an iterator is drawn as there is room for more.

        Returns:
            The result of each: see `engine.contract.Done` for the types.

        Raises:
            EngineError, ValueError: Of the first request that fails.
        """
        results: dict[int, Any] = {}
        for event in self.run(requests):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Done):
                results[event.index] = event.result
        return [results[index] for index in range(len(results))]

    def _text_deltas(self, requests: Sequence[Request]) -> Iterator[TextDelta]:
        for event in self.run(requests):
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, TextDelta):
                yield event

    def objects(self, requests: Iterable[DetectRequest | PointRequest], max_objects: int | None) -> list[Any]:
        """Run requests that share one limit and return their boxes or points in order.

        Warns with an ObjectLimitWarning, at the line that called the caller, if the limit ended a list.

        Raises:
            EngineError: max_objects is UNLIMITED, and the model did not stop.
        """
        found: list[ObjectList] = self.results(requests)
        if not all(objects.complete for objects in found):
            if max_objects == UNLIMITED:
                raise EngineError(f"{self.name} did not stop listing objects in an image: its answer can't be trusted")
            warn_object_limit(max(len(objects.items) for objects in found if not objects.complete))
        return [objects.items for objects in found]


def _examples(abilities: Abilities, skill: str) -> str:
    """List all prompts of a skill if they are few, else the shortest."""
    known = sorted(abilities.prompts[skill] or ())
    if len(known) <= 8:
        return ", ".join(known)
    return ", ".join(sorted(known, key=lambda prompt: (not prompt.isascii(), len(prompt), prompt))[:8]) + ", ..."
