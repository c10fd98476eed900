"""What a person asks of a model (caption, query, chat, detect, point, gaze), for every family over its `run`."""

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
    """A model with its verbs; a family derives from it and gives what is abstract here.

    Every verb raises what `check` raises, and the error of the first request that fails.
    """

    name: str
    revision: str
    image_batch_size: int
    setup: tuple[str, ...]

    @property
    @abstractmethod
    def abilities(self) -> Abilities: ...

    @abstractmethod
    def encode(self, images: Sequence[np.ndarray]) -> Sequence[EncodedImage]: ...

    @abstractmethod
    def scheduler(self, batch: int | None = None) -> Scheduler: ...

    def check(self, request: Request) -> None:
        """Raise what `run` would answer the request with as Failed, as far as that can be told without computing.

        Raises:
            EngineError: the model has no such skill.
            UnsupportedPrompt: it does not know the prompt.
        """
        skill = SKILLS[type(request)]
        if skill not in self.abilities.prompts:
            raise EngineError(f"{self.name} can't {skill}")
        prompt = request.length if isinstance(request, CaptionRequest) else getattr(request, "prompt", "")
        if not self.abilities.supports(skill, prompt):
            raise UnsupportedPrompt(f"{self.name} can't {skill} {prompt!r}; it knows {_some(self.abilities, skill)}")

    def run(self, requests: Iterable[Request], batch: int | None = None) -> Iterator[Event]:
        return run_requests(self.scheduler(batch), requests)

    def caption(
        self, encoded: Sequence[EncodedImage], length: str = "normal", generation: Generation = Generation()
    ) -> list[str]:
        """Describe each image. length: one of those that the model knows, often "short", "normal" and "long"."""
        answers: list[Answer] = self.results([CaptionRequest(image, length, generation) for image in encoded])
        return [answer.text for answer in answers]

    def stream_caption(
        self, encoded: Sequence[EncodedImage], length: str = "normal", generation: Generation = Generation()
    ) -> Iterator[TextDelta]:
        """Describe each image; the text comes as it grows, in pieces of whole words."""
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
        """Answer a question about each image, or without one (None). The arguments are those of `QueryRequest`."""
        places = tuple(references)
        return self.results(
            [QueryRequest(image, question, reasoning, places, generation, allowed=allowed) for image in encoded]
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
        """Answer as `query` does; the text comes as it grows. The reasoning is not streamed."""
        places = tuple(references)
        return self._text_deltas(
            [QueryRequest(image, question, reasoning, places, generation, allowed=allowed) for image in encoded]
        )

    def chat(self, messages: Sequence[Message], generation: Generation = Generation()) -> Answer:
        """Give the assistant's next turn in a conversation, which may have several images and turns."""
        [answer] = self.results([ChatRequest(tuple(messages), generation)])
        reply: Answer = answer
        return reply

    def stream_chat(self, messages: Sequence[Message], generation: Generation = Generation()) -> Iterator[TextDelta]:
        """Give what `chat` gives, as it grows."""
        return self._text_deltas([ChatRequest(tuple(messages), generation)])

    def detect(
        self,
        encoded: Sequence[EncodedImage],
        prompt: str,
        threshold: float | None = None,
        max_objects: int | None = None,
    ) -> list[list[Box]]:
        """Find what the prompt names on each image.

        Args:
            encoded: the images.
            prompt: such as "face".
            threshold: least score, 0..1; None: the model's own.
            max_objects: most boxes an image. None: the model's default; ObjectLimitWarning if that, and not the model,
                ended a list. UNLIMITED leaves it to the model.

        Returns:
            For each image its boxes, in fractions of the image; they may reach out of it.

        Raises:
            EngineError: max_objects is UNLIMITED, and the model found no end.
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
        """Find several things in one batch: for each prompt what `detect` gives."""
        requests = [
            DetectRequest(image, prompt, max_objects, threshold=threshold) for image in encoded for prompt in prompts
        ]
        for prompt in prompts:
            self.check(DetectRequest(None, prompt, max_objects, threshold=threshold))
        found: list[list[Box]] = self.objects(requests, max_objects)
        return [found[number :: len(prompts)] for number in range(len(prompts))]

    def point(self, encoded: Sequence[EncodedImage], prompt: str, max_objects: int | None = None) -> list[list[Point]]:
        """Point at what the prompt names on each image. max_objects: as for `detect`."""
        self.check(PointRequest(None, prompt, max_objects))
        return self.objects([PointRequest(image, prompt, max_objects) for image in encoded], max_objects)

    def detect_gaze(self, encoded: Sequence[EncodedImage], eyes: Sequence[tuple[float, float]]) -> list[Point | None]:
        """Tell where the person with this eye, (x, y), looks on each image; None: out of it."""
        return self.results([GazeRequest(image, eye) for image, eye in zip(encoded, eyes, strict=True)])

    def detect_gaze_accurately(
        self, encoded: Sequence[EncodedImage], mirrored: Sequence[EncodedImage], faces: Sequence[Box], seed: int = 0
    ) -> list[Point | None]:
        """Tell where the person with each face looks, as the mean of twenty answers.

        Args:
            encoded: the images.
            mirrored: the same images, encoded from left to right.
            faces: one on each image.
            seed: the same seed gives the same result.
        """
        gazes = []
        for image, mirror, face in zip(encoded, mirrored, faces, strict=True):
            plain, flipped = sample_eye_points(face, seed)
            requests = [GazeRequest(image, eye) for eye in plain] + [GazeRequest(mirror, eye) for eye in flipped]
            found: list[Point | None] = self.results(requests)
            gazes.append(mean_gaze(found[: len(plain)], found[len(plain) :]))
        return gazes

    def results(self, requests: Iterable[Request]) -> list[Any]:
        """Serve requests and return their results, in their order. See `engine.contract.Done` for the types.

        Raises:
            EngineError, ValueError: of the first request that fails.
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
        """Serve requests of one limit and return their boxes or points, in their order.

        A list that the limit ended gives an ObjectLimitWarning at the line that called the caller of this.

        Raises:
            EngineError: max_objects is UNLIMITED, and the model found no end.
        """
        found: list[ObjectList] = self.results(requests)
        if not all(one.complete for one in found):
            if max_objects == UNLIMITED:
                raise EngineError(f"{self.name} found no end of objects in a picture: its answer can't be trusted")
            warn_object_limit(max(len(one.items) for one in found if not one.complete))
        return [one.items for one in found]


def _some(abilities: Abilities, skill: str) -> str:
    """All prompts of a few, or the shortest of many."""
    known = sorted(abilities.prompts[skill] or ())
    if len(known) <= 8:
        return ", ".join(known)
    return ", ".join(sorted(known, key=lambda prompt: (not prompt.isascii(), len(prompt), prompt))[:8]) + ", ..."
